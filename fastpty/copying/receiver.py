"""Turns records into files. The sender must not reach anything outside the target."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress

from fastpty.copying.directories import NewDirectories
from fastpty.copying.links import Links
from fastpty.copying.new_file import NOT_REPLACEABLE, NewFile, is_replaceable, put_link
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
    check_name,
    said,
    shown,
)
from fastpty.copying.tree import DIRECTORY, Tree
from fastpty.errors import CopyError

_PERMISSIONS = 0o777


def receive(
    source: int,
    target: bytes,
    report: Callable[[str], None],
    *,
    into_directory: bool,
    progress: Callable[[int, int], None] | None = None,
    names: Collection[bytes] | None = None,
) -> bool:
    """Reads records from the blocking descriptor `source` and creates what they describe.

    If `target` is a directory, things go into it under their names; with `into_directory`, or a slash at its end, it
    must be one. Otherwise one thing is expected, and gets this name. A file appears under its name when it is complete,
    in place of a file or link. Directories are merged.

    report: takes a line about each thing that was not copied, and about files that are overwritten in place. progress:
    takes the number of bytes so far, and that of all if the other side has said it, else 0. names: the names that may
    come, of records.top_names(). Without them, a sender that is asked for one file could send another, such as
    .profile.

    Returns True if everything was sent and written. Raises CopyError if the target cannot be used, or the stream is
    malformed or was cut: files that were complete by then stay. A signal that ends the process leaves the temporary
    file of the moment behind, unless its handler calls abandon().
    """
    root, name = _opened_target(target, into_directory)
    with Tree(root) as tree:
        return _Receiver(RecordReader(source), tree, name, report, progress, names).run()


def _opened_target(target: bytes, into_directory: bool) -> tuple[int, bytes | None]:
    """Returns a directory and None, or the directory above `target` and the name that the only thing gets there."""
    if not target or b"\0" in target:
        raise CopyError("the target of the copy has no name, or one that no file can have")
    try:
        return os.open(target, DIRECTORY), None
    except OSError as error:
        if into_directory or target.endswith(b"/"):
            raise CopyError(f"{shown(target)}: {error.strerror}: the target must be an existing directory") from error
    with suppress(OSError):
        if not is_replaceable(os.stat(target)):  # also where a link leads, as /dev/stdout
            raise CopyError(f"{shown(target)}: {NOT_REPLACEABLE}")
    above, name = os.path.split(target)
    try:
        return os.open(above or b".", DIRECTORY), name
    except OSError as error:
        raise CopyError(f"{shown(target)}: {error.strerror}: the directory of the target must exist") from error


class _Receiver:
    def __init__(
        self,
        reader: RecordReader,
        tree: Tree,
        name: bytes | None,
        report: Callable[[str], None],
        progress: Callable[[int, int], None] | None,
        expected: Collection[bytes] | None,
    ) -> None:
        self._reader = reader
        self._tree = tree
        self._report = report
        self._progress = progress
        self._expected = expected
        self._total = 0
        self._name = name  # of the only thing here
        self._only: list[bytes] | None = None  # its name in the stream: none if it is `DIRECTORY/.`
        self._lost: list[bytes] | None = None  # a directory that could not be created
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._links = Links(0 if name is None else 1)
        self._directories = NewDirectories(tree, self._links, self._fail)
        self._is_whole = True

    def run(self) -> bool:
        """Reads all records. Returns True if everything was sent and written."""
        try:
            while not isinstance(record := self._read(), End):
                if isinstance(record, Directory | File | Link):
                    self._take(record)
            self._put_links()
        finally:
            self._directories.end()
        return self._is_whole

    def _read(self) -> Record:
        """Returns the next record. Reports a failure of the other side, and shows progress."""
        record = self._reader.read()
        if isinstance(record, CutFile | Failed):
            self._is_whole = False
            if record.text:
                self._report(said(record.text))
        elif isinstance(record, Total):
            self._total = record.size
        elif isinstance(record, Data) and self._progress is not None:
            self._progress(self._reader.size, self._total)
        return record

    def _take(self, record: Directory | File | Link) -> None:
        """Creates what the record describes, or reports why not: then run() skips the content of a file."""
        names = self._place(record.path)
        if self._lost is not None and names[: len(self._lost)] == self._lost:
            return
        self._directories.leave_for(names)
        try:
            if isinstance(record, Directory):
                self._directories.make(names, self._allowed(record.mode), record.mtime_ns)
            elif isinstance(record, File):
                self._take_file(names, record)
            else:
                self._directories.keep_open()
                self._links.add(b"/".join(names), record.target)
        except OSError as error:
            self._fail(names, error)
            if isinstance(record, Directory):
                self._lost = names

    def _place(self, path: bytes) -> list[bytes]:
        """Returns the path below the root. Raises CopyError if it was not asked for, or if there is no name for it."""
        names = path.split(b"/") if path else []
        check_name(path, self._expected)
        if self._name is None:
            return names
        if self._only is None:
            self._only = names[:1]
        kept = len(self._only)
        if names[:kept] != self._only:
            raise CopyError("several things cannot get one name: the target must be an existing directory")
        return [self._name, *names[kept:]]

    def _take_file(self, names: list[bytes], record: File) -> None:
        with NewFile(self._tree.open(names[:-1]), names[-1]) as file:
            while isinstance(content := self._read(), Data):
                file.write(content.content)
            if isinstance(content, EndFile) and file.commit(self._allowed(record.mode), record.mtime_ns):
                self._report_on(names, "written in place, because it is a mount point")

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
        self._report_on(names, f"not written: {error.strerror}")

    def _report_on(self, names: list[bytes], text: str) -> None:
        self._report(f"{shown(b'/'.join(names))}: {text}")
