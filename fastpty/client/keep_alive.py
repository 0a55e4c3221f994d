"""Checks, with PING frames of the extension, whether a router across a network is still there.

While nothing is sent, TCP does not report that the other host has vanished, or that a firewall has dropped the
connection.
"""

from __future__ import annotations

import time

from fastpty.errors import SessionError

_SILENCE_SECONDS = 15.0
_UNANSWERED_MOST = 3


class KeepAlive:
    """Decides when a PING is due and when the router is lost. Any byte from the router shows that it is there."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._next = time.monotonic() + _SILENCE_SECONDS

    def note_life(self) -> None:
        """Notes that the router has sent something, or that this client is not reading and would not see it."""
        self._unanswered = 0
        self._next = time.monotonic() + _SILENCE_SECONDS

    def wait(self) -> float:
        """Seconds until a PING is due; 0: now."""
        return max(0.0, self._next - time.monotonic())

    def note_ping(self) -> None:
        """Notes that a PING is sent. Raises SessionError if too many were not answered."""
        if self._unanswered == _UNANSWERED_MOST:
            seconds = _SILENCE_SECONDS * (_UNANSWERED_MOST + 1)
            raise SessionError(
                f"lost the connection: the router has not answered for {seconds:g} s; exit status unknown"
            )
        self._unanswered += 1
        self._next = time.monotonic() + _SILENCE_SECONDS
