"""Escape sequences as in ssh(1): a `~` that begins a line speaks to the client itself.

A pure machine: bytes in, bytes out. It holds back one byte at most, an escape character that begins a line,
until it knows what follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_ENDS = b"\r\n"


@dataclass(frozen=True)
class Fed:
    """What came of some input: the bytes to send on, and what the person asked of the client itself."""

    output: bytes
    disconnect: bool = False
    help: bool = False


class EscapeFilter:
    """Finds escape sequences in what is typed, however it is split into reads.

    At the beginning of a line, with `~` for the escape character: `~.` disconnects, `~?` asks for help,
    `~~` is one `~`, and any other pair is passed on as typed. `character` is one byte, or None for no
    escapes at all; ValueError otherwise.
    """

    def __init__(self, character: bytes | None) -> None:
        if character is not None and (len(character) != 1 or character in _LINE_ENDS):
            raise ValueError(f"{character!r} cannot be an escape character")
        self.character = character
        self._at_line_start = re.compile(b"(?<=[\r\n])" + re.escape(character or b""))
        self._line_start = True
        self._held = b""

    def feed(self, data: bytes) -> Fed:
        """Takes the next input. What follows a `~.` in it is dropped: the connection is at its end."""
        if self.character is None:
            return Fed(data)
        output = bytearray()
        wants_help = False
        at = 0
        while at < len(data):
            if self._held:
                following = data[at : at + 1]
                at += 1
                self._held = b""
                if following == b".":
                    return Fed(bytes(output), disconnect=True, help=wants_help)
                if following == b"?":
                    wants_help = True
                    continue  # still at the beginning of the line, so that `~?~.` works
                output += self.character if following == self.character else self.character + following
                self._line_start = following in _LINE_ENDS
            elif self._line_start and data[at : at + 1] == self.character:
                self._held = self.character
                at += 1
            else:
                found = self._at_line_start.search(data, at + 1)
                end = found.start() if found else len(data)
                output += data[at:end]
                self._line_start = data[end - 1 : end] in _LINE_ENDS
                at = end
        return Fed(bytes(output), help=wants_help)

    def flush(self) -> bytes:
        """What is still held back; to be sent on when the input ends."""
        held, self._held = self._held, b""
        return held

    def help_text(self) -> bytes:
        """The help, for a terminal in raw mode."""
        shown = (self.character or b"").decode("latin-1")
        lines = (
            "",
            "At the beginning of a line:",
            f"  {shown}.  disconnect",
            f"  {shown}?  this help",
            f"  {shown}{shown}  one {shown}",
            "",
        )
        return "\r\n".join(lines).encode("latin-1")
