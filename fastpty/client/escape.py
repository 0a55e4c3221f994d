"""Escape sequences as in ssh(1): a `~` at the beginning of a line is for the client itself.

A pure state machine: bytes in, bytes out. It holds back at most one byte, an escape character at the beginning of a
line, until the next byte arrives.
"""

from __future__ import annotations

_LINE_ENDS = b"\r\n"

DISCONNECT, HELP, SHOW_CONNECTION, SUSPEND = b".", b"?", b"#", b"\x1a"
_COMMANDS = (DISCONNECT, HELP, SHOW_CONNECTION, SUSPEND)


class Fed:
    """The result of EscapeFilter.feed(): the bytes to send, and the keys of the commands in the input, in order."""

    def __init__(self, output: bytes, commands: tuple[bytes, ...] = ()) -> None:
        self.output = output
        self.commands = commands


class EscapeFilter:
    """Finds escape sequences in typed input, however it is split into reads.

    With `~` as the escape character: `~.` disconnects, `~?` shows a help, `~#` shows the connection, `~^Z` suspends the
    client, `~~` sends one `~`. Any other pair is sent as typed. `character` is one byte, or None for no escapes at all.
    Raises ValueError if it is a line end or longer.
    """

    def __init__(self, character: bytes | None) -> None:
        if character is not None and (len(character) != 1 or character in _LINE_ENDS):
            raise ValueError(f"{character!r} cannot be an escape character")
        self.character = character
        self._line_start = True
        self._held = b""

    def feed(self, data: bytes) -> Fed:
        """Takes the next input. Bytes after a `~.` are dropped."""
        if self.character is None:
            return Fed(data)
        output = bytearray()
        commands: list[bytes] = []
        at = 0
        while at < len(data):
            if self._held:
                following = data[at : at + 1]
                at += 1
                self._held = b""
                if following in _COMMANDS:
                    commands.append(following)
                    if following == DISCONNECT:
                        break
                    continue  # the next key is still at the beginning of the line, so that `~?~.` works
                output += self.character if following == self.character else self.character + following
                self._line_start = following in _LINE_ENDS
            elif self._line_start and data[at : at + 1] == self.character:
                self._held = self.character
                at += 1
            else:
                end = self._next_line_start(data, at)
                output += data[at:end]
                self._line_start = data[end - 1 : end] in _LINE_ENDS
                at = end
        return Fed(bytes(output), tuple(commands))

    def _next_line_start(self, data: bytes, at: int) -> int:
        """The index after `at` of an escape character that follows a line end, or the end of `data`."""
        assert self.character is not None
        found = [data.find(bytes((end,)) + self.character, at) for end in _LINE_ENDS]
        return min((index + 1 for index in found if index >= 0), default=len(data))

    def flush(self) -> bytes:
        """Returns the byte that is held back, if any; to be sent when the input ends."""
        held, self._held = self._held, b""
        return held

    def help_text(self) -> bytes:
        """The help, for a terminal in raw mode."""
        shown = (self.character or b"").decode("latin-1")
        lines = (
            "",
            "At the beginning of a line:",
            f"  {shown}.   disconnect",
            f"  {shown}?   show this help",
            f"  {shown}#   show the connection",
            f"  {shown}^Z  suspend the client",
            f"  {shown}{shown}   send one {shown}",
            "",
        )
        return "\r\n".join(lines).encode("latin-1")
