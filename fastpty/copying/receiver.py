"""Turns records into files. Whoever sends them must not get at anything outside the target."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from fastpty.copying.directories import NewDirectories
from fastpty.copying.links import Links
from fastpty.copying.new_file import NewFile, put_link
from fastpty.copying.records import (
    CutFile,
    Data,
    Directory,
    End,
    EndFile,
    Failed,
    File,
    Link,
    Record,
    RecordReader,
    Total,
)
from fastpty.copying.tree import DIRECTORY, Tree
from fastpty.errors import CopyError, printable

_TEXT_MOST = 400
_PERMISSIONS = 0o777


def receive(
    source: int,
    target: bytes,
    report: Callable[[str], None],
    *,
    into_directory: bool,
    progress: Callable[[int, int], None] | None = None,
    repeats: bool = True,
) -> bool:
    """Reads records from the blocking descriptor `source` and creates what they describe.

    If `target` is a directory, things go into it under their names; into_directory, or a slash at its end: it must be
    one. Otherwise one thing is expected, and gets this name. Files appear under their names when they are complete; one
    that exists is replaced. Directories are merged.

    report: takes a line about each thing that was not copied, and about files that are overwritten in place. repeats:
    also about what the other side says it has not sent. progress: takes the number of bytes so far, and that of all, or
    0. Returns True if everything was sent and written. Raises CopyError if the target
    cannot be used, or the stream is malformed or was cut: files that were complete by then stay.

    A signal that ends the process leaves the temporary file of the moment behind, unless its handler calls abandon().
    """
    root, name = _opened_target(target, into_directory)
    with Tree(root) as tree:
        return _Receiver(RecordReader(source), tree, name, (report, progress), repeats=repeats).run()


def _opened_target(target: bytes, into_directory: bool) -> tuple[int, bytes | None]:
    """Returns a directory and None, or the directory above `target` and the name that the only thing gets there."""
    if not target or b"\0" in target:
        raise CopyError("the target of the copy has no name, or one that no file can have")
    shown = os.fsdecode(target)
    try:
        return os.open(target, DIRECTORY), None
    except OSError as error:
        if into_directory or target.endswith(b"/"):
            raise CopyError(f"{shown}: {error.strerror}: the target must be an existing directory") from error
    above, name = os.path.split(target)
    try:
        return os.open(above or b".", DIRECTORY), name
    except OSError as error:
        raise CopyError(f"{shown}: {error.strerror}: the directory of the target must exist") from error


class _Receiver:
    def __init__(
        self,
        reader: RecordReader,
        tree: Tree,
        name: bytes | None,
        tell: tuple[Callable[[str], None], Callable[[int, int], None] | None],
        *,
        repeats: bool,
    ) -> None:
        self._reader = reader
        self._tree = tree
        self._report, self._progress = tell
        self._repeats = repeats
        self._total = 0
        self._new_name = name  # what the only thing is called here
        self._only: bytes | None = None  # what it is called in the stream
        self._above: list[bytes] = []  # the target, if it is a new directory whose content comes without it
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._links = Links(0 if name is None else 1)
        self._directories = NewDirectories(tree, self._links, self._fail)
        self._is_whole = True

    def run(self) -> bool:
        """Reads all records. Returns True if everything was sent and written."""
        try:
            while not isinstance(record := self._reader.read(), End):
                self._take(record)
            self._put_links()
        finally:
            self._directories.end()
        return self._is_whole

    def _take(self, record: Record) -> None:
        if isinstance(record, Total):
            self._total = record.size
        if isinstance(record, Failed):
            self._fail_there(record.text)
        if not isinstance(record, Directory | File | Link):
            return
        names = self._place(record.path)
        self._directories.leave_for(names)
        if isinstance(record, Link):
            self._directories.keep_open()
            self._links.add(b"/".join(names), record.target)
            return
        try:
            if isinstance(record, Directory):
                self._directories.make(names, self._allowed(record.mode), record.mtime_ns)
            else:
                self._take_file(names, record)
        except OSError as error:
            self._fail(names, error)
            while self._reader.in_file:
                self._read_content()

    def _place(self, path: bytes) -> list[bytes]:
        """Returns the path below the root. Raises CopyError if the target takes only one thing and this is another."""
        names = path.split(b"/") if path else []
        if self._new_name is None:
            return self._above + names
        if self._only is None and not path:
            self._above, self._new_name = [self._new_name], None
            return self._above
        self._only = names[0] if self._only is None and names else self._only
        if not names or names[0] != self._only:
            raise CopyError("several things cannot get the name of one: the target must be an existing directory")
        return [self._new_name, *names[1:]]

    def _take_file(self, names: list[bytes], record: File) -> None:
        with NewFile(self._tree.open(names[:-1]), names[-1]) as file:
            while isinstance(content := self._read_content(), Data):
                file.write(content.content)
            if isinstance(content, EndFile) and file.commit(self._allowed(record.mode), record.mtime_ns):
                self._report(f"{_shown(names)}: written in place, because it is a mount point")

    def _read_content(self) -> Record:
        """Reads the next record of a file, reports if the file was cut, and shows progress."""
        record = self._reader.read()
        if isinstance(record, CutFile):
            self._fail_there(record.text)
        elif isinstance(record, Data) and self._progress is not None:
            self._progress(self._reader.size, self._total)
        return record

    def _put_links(self) -> None:
        for path, target, objection in self._links.items():
            names = path.split(b"/")
            try:
                if objection:
                    raise OSError(0, objection)
                put_link(self._tree.open(names[:-1]), names[-1], target)
            except OSError as error:
                self._fail(names, error)

    def _allowed(self, mode: int) -> int:
        """Never setuid, setgid or sticky."""
        return mode & _PERMISSIONS & ~self._umask

    def _fail(self, names: list[bytes], error: OSError) -> None:
        self._is_whole = False
        self._report(f"{_shown(names)}: not written: {error.strerror}")

    def _fail_there(self, text: bytes) -> None:
        """Reports a failure of the other side, in its words."""
        self._is_whole = False
        if self._repeats:
            self._report(printable(text[:_TEXT_MOST].decode(errors="replace")))


def _shown(names: list[bytes]) -> str:
    return printable(os.fsdecode(b"/".join(names)))
