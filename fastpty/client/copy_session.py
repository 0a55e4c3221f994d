"""A session of `fastpty cp`."""

from __future__ import annotations

from fastpty.client.exec_session import ExecSession
from fastpty.errors import printable


class CopySession(ExecSession):
    """An ExecSession whose standard error has lines without control characters: no program writes there."""

    def take_errors(self) -> bytes:
        """Returns the messages of the other side that have arrived since the last call."""
        lines = super().take_errors().decode(errors="surrogateescape").split("\n")
        return "\n".join(map(printable, lines)).encode()
