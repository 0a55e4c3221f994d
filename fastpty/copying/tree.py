"""Opens the directories below one directory, without following a link."""

from __future__ import annotations

import errno
import os

from fastpty.copying.records import shown

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags that open a directory to use the names in it. That needs no right to list it."""

_OPEN_MOST = 64


def common(one: list[bytes], other: list[bytes]) -> int:
    """Returns how many names the two paths have in common, from the first on."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:  # quick, where one is deep below the other
        return shorter
    count = 0
    for name, same in zip(one, other, strict=False):
        if name != same:
            break
        count += 1
    return count


class Tree:
    """A directory and all below it.

    Keeps the way to the directory that was used last open, but of a long way only the deepest part: neither depth nor
    descriptors limit a copy that goes from one directory to the next.
    """

    def __init__(self, root: int) -> None:
        """Takes the descriptor `root` over, and closes it at the end."""
        self.root = root
        self._names: list[bytes] = []
        self._opened: list[int] = []  # of the last names

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self._opened, self.root):
            os.close(descriptor)

    def open(self, names: list[bytes]) -> int:
        """Returns a descriptor of the directory with this path below the root. The next call may close it.

        Opens one name after the other, as a link may stand at any of them. Raises OSError.
        """
        for _ in range(len(self._names) - common(self._names, names)):
            self._leave()
        if self._names and not self._opened:
            self._names.clear()
        for name in names[len(self._names) :]:
            self._enter(name)
        return self._opened[-1] if self._opened else self.root

    def _leave(self) -> None:
        self._names.pop()
        if self._opened:
            os.close(self._opened.pop())

    def _enter(self, name: bytes) -> None:
        above = self._opened[-1] if self._opened else self.root
        try:
            opened = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        except NotADirectoryError:
            raise OSError(
                errno.ENOTDIR, f"{shown(name)} is a link or not a directory, and no link is followed"
            ) from None
        self._names.append(name)
        self._opened.append(opened)
        if len(self._opened) > _OPEN_MOST:
            os.close(self._opened.pop(0))
