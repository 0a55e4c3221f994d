"""The directories that a copy creates: only for this user at first, with mode and time when they are complete."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from fastpty.copying.links import Links
from fastpty.copying.tree import Tree, common


class _Made:
    """A directory to be completed. depth: how many names its path has. has_links: links will be put below it."""

    def __init__(self, status: os.stat_result, depth: int, mode: int, mtime_ns: int) -> None:
        self.status = status
        self.depth = depth
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.has_links = False


class NewDirectories:
    """Creates directories, and completes each when the copy leaves it, or at the end if links follow.

    leave_for() must be called with the path of each thing before it is created. fail: takes what could not be
    completed.
    """

    def __init__(self, tree: Tree, links: Links, fail: Callable[[list[bytes], OSError], None]) -> None:
        self._tree = tree
        self._links = links
        self._fail = fail
        self._place: list[bytes] = []
        self._made: list[_Made] = []  # on the way to the place
        self._late: list[tuple[bytes, _Made]] = []

    def make(self, names: list[bytes], mode: int, mtime_ns: int) -> None:
        """Creates a directory. One that exists stays as it is. Raises OSError if something else is in the way."""
        if names:
            try:
                os.mkdir(names[-1], 0o700, dir_fd=self._tree.open(names[:-1]))
            except FileExistsError:
                pass
            else:
                self._made.append(_Made(os.fstat(self._tree.open(names)), len(names), mode, mtime_ns))
        self._tree.open(names)

    def leave_for(self, names: list[bytes]) -> None:
        """Completes the directories that do not lead to this path."""
        self._leave(common(self._place, names))
        self._place = names

    def keep_open(self) -> None:
        """Completes the directories that lead to the place only at the end."""
        if self._made:
            self._made[-1].has_links = True

    def end(self) -> None:
        """Completes all directories. Links must be in their places."""
        self._leave(-1)
        for path, made in self._late:
            self._complete(path.split(b"/"), made)

    def _leave(self, depth: int) -> None:
        """Completes the directories whose paths are longer, the deepest first."""
        while self._made and self._made[-1].depth > depth:
            made = self._made.pop()
            names = self._place[: made.depth]
            if made.has_links:
                path = b"/".join(names)
                self._links.count(path)
                self._late.append((path, made))
                self.keep_open()
            else:
                self._complete(names, made)

    def _complete(self, names: list[bytes], made: _Made) -> None:
        try:
            directory = self._tree.open(names)
            status = os.fstat(directory)
            if not os.path.samestat(status, made.status):
                raise OSError(errno.EEXIST, "another directory has taken its place")
            os.utime(b".", ns=(made.mtime_ns, made.mtime_ns), dir_fd=directory)
            # A directory in one with setgid has that bit, too, so that what is created there has the same group.
            os.chmod(b".", made.mode | status.st_mode & stat.S_ISGID, dir_fd=directory)
        except OSError as error:
            self._fail(names, error)
