"""Turns files into records. The files may change meanwhile, and their owner may be hostile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from fastpty.copying.records import (
    DATA_BYTES,
    PATH_MOST,
    TARGET_MOST,
    TEXT_MOST,
    CutFile,
    Data,
    Directory,
    EndFile,
    Failed,
    File,
    Link,
    Record,
    RecordWriter,
    Total,
    shown,
    top_name,
)
from fastpty.copying.tree import DIRECTORY, Tree
from fastpty.system import linux
from fastpty.system.records import NamedTuple

# O_NONBLOCK: opening a FIFO would wait for a writer.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MTIME_MOST = 2**63 - 1
_SIZE_MOST = 2**64 - 1  # sparse files can be larger together
_PROC = 0x9FA0  # PROC_SUPER_MAGIC, linux/magic.h

Fail = Callable[[bytes, OSError], None]


class _Found(NamedTuple):
    """Something to send under `path`. name and directory: how to open it; no directory: the user named it."""

    path: bytes
    status: os.stat_result
    name: bytes
    directory: int | None


def send(
    paths: Sequence[bytes],
    out: int,
    report: Callable[[str], None] | None,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Writes the files and directories `paths` to the blocking descriptor `out`, each under its last name.

    Links are followed in `paths`, and nowhere below. Of `DIRECTORY/.` the content is sent. Other file systems below a
    directory are not entered. report: takes a line about each thing that was not sent; None: the other side reports it.
    progress: takes the number of bytes so far, and that of all as it was at the beginning. Returns True if everything
    was sent. Raises OSError if `out` cannot be written to.
    """
    sender = _Sender(RecordWriter(out), report, progress)
    sender.send_total(paths)
    for path in paths:
        with closing(_walk(path, sender.fail)) as walk:
            for found in walk:
                sender.send(found)
    return sender.end()


class _Sender:
    def __init__(
        self,
        writer: RecordWriter,
        report: Callable[[str], None] | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._writer = writer
        self._report = report
        self._progress = progress
        self._total = 0
        self._is_whole = True

    def send_total(self, paths: Sequence[bytes]) -> None:
        """Sends how much there is now. What cannot be read is not counted, and not reported yet."""
        files = 0
        for path in paths:
            for found in _walk(path, lambda path, error: None):
                if stat.S_ISREG(found.status.st_mode):
                    files += 1
                    self._total += found.status.st_size
        self._writer.write(Total(files, min(self._total, _SIZE_MOST)))

    def send(self, found: _Found) -> None:
        """Sends one thing, or reports why not. Raises OSError if the stream cannot be written to."""
        try:
            record, descriptor = _opened(found)
        except OSError as error:
            self.fail(found.path, error)
            return
        if descriptor is None:
            self._writer.write(record)
            return
        try:
            self._writer.write(record)
            self._send_content(found.path, descriptor)
        finally:
            os.close(descriptor)

    def _send_content(self, path: bytes, descriptor: int) -> None:
        """Sends all that can be read, however much it is by now."""
        while True:
            try:
                content = os.read(descriptor, DATA_BYTES)
            except OSError as error:
                self._writer.write(CutFile(self._failure(path, error)))
                return
            if not content:
                self._writer.write(EndFile())
                return
            self._writer.write(Data(content))
            if self._progress is not None:
                self._progress(self._writer.size, self._total)

    def fail(self, path: bytes, error: OSError) -> None:
        """Reports that something is not sent. The other side gets the reason only if it is not reported here."""
        self._writer.write(Failed(self._failure(path, error)))

    def _failure(self, path: bytes, error: OSError) -> bytes:
        self._is_whole = False
        text = f"{shown(path)}: not sent: {error.strerror}"
        if self._report is None:
            return text.encode()[:TEXT_MOST]
        self._report(text)
        return b""

    def end(self) -> bool:
        """Ends the stream. Returns True if all was sent."""
        self._writer.end()
        return self._is_whole


def _walk(path: bytes, fail: Fail) -> Generator[_Found, None, None]:
    """Finds what `path` names and all below it, each directory before its content."""
    top = top_name(path)
    try:
        if b"\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        status = os.stat(path)
        root = _not_of_proc(os.open(path, DIRECTORY)) if stat.S_ISDIR(status.st_mode) else None
    except OSError as error:
        fail(path, error)
        return
    if root is None:
        yield _Found(top, status, path, None)
        return
    with Tree(root) as tree:
        yield _Found(top, status, path, None)
        yield from _below(tree, top, fail)


def _below(tree: Tree, top: bytes, fail: Fail) -> Generator[_Found, None, None]:
    """Finds all below the directory whose path in the stream is `top`. Does not recurse."""
    names: list[bytes] = []  # the way to the directory that is read
    waiting = [_listed(tree, names, top, fail)]  # the names that are left in each directory on the way
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            del names[-1:]
            continue
        name = waiting[-1].pop()
        path = b"/".join(filter(None, (top, *names, name)))
        try:
            found = _looked_up(tree, names, name, path)
        except OSError as error:
            fail(path, error)
            continue
        yield found
        if stat.S_ISDIR(found.status.st_mode):
            names.append(name)
            waiting.append(_listed(tree, names, path, fail))


def _listed(tree: Tree, names: list[bytes], path: bytes, fail: Fail) -> list[bytes]:
    """Returns the names in a directory, the first one last."""
    try:
        listed = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree.open(names))
        try:
            return sorted(map(os.fsencode, os.listdir(listed)), reverse=True)
        finally:
            os.close(listed)
    except OSError as error:
        fail(path or b".", error)
        return []


def _looked_up(tree: Tree, names: list[bytes], name: bytes, path: bytes) -> _Found:
    """Looks a name up in the directory `names`. Raises OSError if it cannot be sent."""
    if len(path) > PATH_MOST:
        raise OSError(errno.ENAMETOOLONG, "the path is too long")
    directory = tree.open(names)
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        status = os.fstat(tree.open([*names, name]))
        if status.st_dev != os.fstat(tree.root).st_dev:
            raise OSError(errno.EXDEV, "another file system is mounted there")
    return _Found(path, status, name, directory)


def _opened(found: _Found) -> tuple[Record, int | None]:
    """Returns the record that sends it and, of a file, a descriptor. Raises OSError if it cannot be sent."""
    status = found.status
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Directory(mode, _mtime_ns(status), found.path), None
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(found.name, dir_fd=found.directory)
        if len(target) > TARGET_MOST:
            raise OSError(errno.ENAMETOOLONG, "the text of the link is too long")
        return Link(found.path, target), None
    descriptor = _open_file(found)
    status = os.fstat(descriptor)
    return File(stat.S_IMODE(status.st_mode), _mtime_ns(status), status.st_size, found.path), descriptor


def _open_file(found: _Found) -> int:
    """Opens a regular file. Checks it before, since opening a device can change it, and afterwards. Raises OSError."""
    _check_regular(found.status)
    flags = _READ if found.directory is None else _READ | os.O_NOFOLLOW
    descriptor = _not_of_proc(os.open(found.name, flags, dir_fd=found.directory))
    try:
        _check_regular(os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _not_of_proc(descriptor: int) -> int:
    """Returns the descriptor. Raises OSError, and closes it, if it is of something in /proc.

    In /proc/self a process can read what no other process may read about it. At the router this process is a copy of
    the worker, so the client would get the router's environment and memory addresses.
    """
    if linux.file_system_type(descriptor) == _PROC:
        os.close(descriptor)
        raise OSError(errno.EPERM, "what is in /proc cannot be copied")
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a file, directory or link")


def _mtime_ns(status: os.stat_result) -> int:
    """Returns the time of the last change. Some file systems have times that no record can hold."""
    return min(max(status.st_mtime_ns, -_MTIME_MOST), _MTIME_MOST)
