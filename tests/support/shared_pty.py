"""A router with a shared terminal."""

from __future__ import annotations

from tests.support.harness import Client, Router


class Shared:
    """A router with a pty-socket, and clients that join its terminal."""

    def __init__(self, router: Router, path: str) -> None:
        self.router = router
        self.path = path

    def join(self) -> Client:
        return Client(self.path)

    @property
    def program(self) -> int:
        """The leader of the program that was started last."""
        return int(self.router.wait_for_log(r"the shared terminal: \S+: process (\d+)")[-1][1])
