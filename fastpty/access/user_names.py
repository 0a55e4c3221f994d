"""User names for the log and the statistics, from /etc/passwd alone.

The C library could ask a name service over the network, which the relay must not wait for. A user that only such a
service knows appears with its uid. In a foreign root all users do: a read there could block for ever.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Sequence

from fastpty.system import foreign_root

_PATH = "/etc/passwd"
_BYTES_MOST = 1 << 20
_CHECK_SECONDS = 1.0


class UserNames:
    """The names in /etc/passwd. Once a second at most, it checks whether the file has changed."""

    def __init__(self) -> None:
        self._check_at = 0.0
        self._version: tuple[int, ...] = ()
        self._names: dict[int, str] = {}

    def find(self, uid: int) -> str | None:
        """Returns the first name with this uid, or None."""
        if foreign_root.is_entered():
            return None
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_SECONDS
            with contextlib.suppress(OSError, MemoryError):
                self._refresh()
        return self._names.get(uid)

    def _refresh(self) -> None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        file = foreign_root.open_no_link(_PATH, flags)
        try:
            status = os.fstat(file)
            version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if version == self._version:
                return
            data = os.read(file, min(status.st_size, _BYTES_MOST)) if stat.S_ISREG(status.st_mode) else b""
        finally:
            os.close(file)
        entries = (line.split(b":", 3) for line in reversed(data.split(b"\n")))
        self._names = {int(entry[2]): os.fsdecode(entry[0]) for entry in entries if _is_entry(entry)}
        self._version = version


def _is_entry(words: Sequence[bytes]) -> bool:
    """True for the first words of a line of passwd(5), and what follows the third."""
    return len(words) == 4 and bool(words[0]) and words[2].isdigit() and len(words[2]) <= 10
