"""Tracks the terminal modes that the remote program turns on, so that the client can turn off those left on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

# Private modes (CSI ? n h, CSI ? n l) as xterm numbers them: application cursor keys, mouse reports and their
# encodings, focus reports, bracketed paste, reports of the colour scheme and of the window's size. The alternate
# screens are listed apart: modes that were turned on in one are turned off before it is left.
_OFF_AT_FIRST = frozenset((1, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2031, 2048))
_ALTERNATE_SCREENS = frozenset((47, 1047, 1049))
_CURSOR_IS_SHOWN = 25

# A sequence may be split between reads. The sequences that this class looks for are shorter than this.
_LONGEST_BYTES = 64

_SEQUENCES = rb"""
    \x1b (?:
        \[ \? (?P<numbers>[\d;]{1,40}) (?P<switch>[hl])  # a private mode
      | \[ > \d* (?P<push>u)                        # kitty's keyboard protocol: flags are pushed,
      | \[ < (?P<count>\d{0,9}) (?P<pop>u)              #   popped,
      | \[ = (?P<flags>\d*) (?:;\d*)? (?P<set>u)    #   set
      | \[ > 4 (?:;(?P<level>\d*))? (?P<keys>m)     # xterm's modifyOtherKeys
      | (?P<keypad>[=>])                            # application keypad, numeric keypad
      | (?P<reset>c)                                # full reset
    )"""
_BEGINNING = rb"\x1b(?:\[[?<>=]?[\d;]*)?\Z"


class ModeTracker:
    """Reads a terminal's output. undo() returns the sequences that turn off the modes that are on."""

    def __init__(self) -> None:
        self._tail = b""
        self._patterns: tuple[re.Pattern[bytes], re.Pattern[bytes]] | None = None
        self._reset()

    def _reset(self) -> None:
        self._on: set[int] = set()
        self._pushed = [0, 0]  # flags of kitty's protocol: the main and the alternate screen have a stack each
        self._others: dict[str, bool] = {}

    def feed(self, data: bytes | bytearray) -> None:
        """Takes the next output."""
        if not self._tail and b"\x1b" not in data:
            return
        text = self._tail + data
        sequences, beginning = self._compiled()
        for match in sequences.finditer(text):
            self._obey(match)
        cut = beginning.search(text, max(0, len(text) - _LONGEST_BYTES))
        self._tail = text[cut.start() :] if cut else b""

    def _compiled(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        if self._patterns is None:
            import re  # only now: it is slow to load

            self._patterns = re.compile(_SEQUENCES, re.VERBOSE), re.compile(_BEGINNING)
        return self._patterns

    def _obey(self, match: re.Match[bytes]) -> None:
        found = match.groupdict()
        if found["switch"]:
            for number in found["numbers"].split(b";"):
                # The cursor is shown by default, so `l` is the change that has to be undone.
                turned_on = (found["switch"] == b"h") != (number == b"%d" % _CURSOR_IS_SHOWN)
                (self._on.add if turned_on else self._on.discard)(int(number or 0))
        elif found["push"]:
            self._pushed[self._is_alternate] += 1
        elif found["pop"]:
            left = self._pushed[self._is_alternate] - int(found["count"] or 1)
            self._pushed[self._is_alternate] = max(0, left)
        elif found["set"]:
            self._others["flags"] = bool(found["flags"].strip(b"0"))
        elif found["keys"]:
            self._others["keys"] = bool((found["level"] or b"").strip(b"0"))
        elif found["keypad"]:
            self._others["keypad"] = found["keypad"] == b"="
        else:
            self._reset()

    @property
    def _is_alternate(self) -> bool:
        return bool(self._on & _ALTERNATE_SCREENS)

    def undo(self) -> bytes:
        """Returns the sequences that turn off all modes that are on, and forgets these modes."""
        undone = [b"\x1b[?%dl" % number for number in sorted(self._on & _OFF_AT_FIRST)]
        pops = [b"\x1b[<%du" % count if count else b"" for count in self._pushed]
        if self._is_alternate:
            undone.append(pops[True])
        sequences = {"flags": b"\x1b[=0u", "keys": b"\x1b[>4m", "keypad": b"\x1b>"}
        undone += [sequence for name, sequence in sequences.items() if self._others.get(name)]
        undone += [b"\x1b[?%dl" % number for number in sorted(self._on & _ALTERNATE_SCREENS)]
        undone.append(pops[False])
        if _CURSOR_IS_SHOWN in self._on:
            undone.append(b"\x1b[?25h")
        self._reset()
        return b"".join(undone)
