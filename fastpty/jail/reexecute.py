"""Executes the router again from files that nobody can write to, before it enters a foreign root.

A program in such a root can reach the file that the router runs (`#!/proc/self/exe`, CVE-2019-5736) and, with enough
rights, the libraries that it has mapped (/proc/PID/map_files). Writing to them would change the host's Python. So the
router executes itself through read-only mounts that are attached nowhere (open_tree(2), mount_setattr(2), Linux 5.12).
Where the kernel refuses that, it executes a sealed copy of the interpreter in memory (memfd_create(2)).

The new process gets the settings that were read, so no file is read and no command is run a second time.
"""

from __future__ import annotations

import _pickle  # `pickle` would take 0.3 MB more
import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Sequence
from functools import partial

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.jail import imports, inherited
from fastpty.system import child, linux
from fastpty.system.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.configuration.language.setting import Setting

_READING = "reading the configuration"
_VARIABLE = "_FASTPTY_ANEW"
_PROGRAM = "/proc/self/exe"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10  # linux/memfd.h, Linux 6.3
_FAILURES_OF_MOUNTS = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EACCES)


@dataclass(frozen=True)
class Place:
    """Descriptors of a root and a working directory to return to."""

    root: int
    directory: int

    def go_back(self) -> None:
        """Changes to them, and closes the descriptors."""
        os.fchdir(self.root)
        os.chroot(".")
        os.fchdir(self.directory)
        os.close(self.root)
        os.close(self.directory)


@dataclass(frozen=True)
class Handover:
    """What the first execution has read: the settings, and warnings about them that are not logged yet.

    place: its root and directory, if this execution runs in another root.
    """

    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]
    place: Place | None

    def finish(self, config: Config) -> None:
        """Loads all modules that are needed later, and returns to the root and directory of the first execution."""
        imports.stop(config)
        if self.place is not None:
            self.place.go_back()


def configure(argv: Sequence[str]) -> tuple[Config, list[str]]:
    """Reads the configuration, executes this program again if the configuration needs that, and returns the Config.

    A child reads, because a running router needs nothing of what reads and checks configurations.
    """
    handover = _handover()
    if handover is not None:
        config = child.outsource(_READING, partial(_build, handover.settings))
        handover.finish(config)
        return config, [*handover.warnings]
    config, warnings, settings, modules = child.outsource(_READING, partial(_read, argv))
    _execute_if_needed(config, settings, warnings)
    imports.prepare_reload(config, modules)
    return config, warnings


def _read(argv: Sequence[str]) -> tuple[Config, list[str], Sequence[Setting], Sequence[str]]:
    from fastpty.configuration import command_line
    from fastpty.jail import preflight

    config, warnings, settings = command_line.read(argv, preflight.check)
    return config, warnings, settings if config.changes_root else (), [*sys.modules.keys() - {"__main__"}]


def _build(settings: Sequence[Setting]) -> Config:
    from fastpty.configuration.build import build

    return build(settings)[0]


def _execute_if_needed(config: Config, settings: Sequence[Setting], warnings: Sequence[str]) -> None:
    """Executes this program again, and does not return, if `config` leads into a foreign root.

    It is not needed if this user cannot write to the interpreter: programs inside have at most this user's rights.
    Raises FastptyError.
    """
    try:
        if config.changes_root and _could_be_written():
            _execute(_pack(settings, warnings))
    except OSError as error:
        hint = ": mount /proc" if error.filename == _PROGRAM else ""
        raise FastptyError(f"cannot execute the router again from read-only files: {error.strerror}{hint}") from error


def _handover() -> Handover | None:
    """In the second execution, returns what the first one has passed on; otherwise None."""
    text = os.environ.pop(_VARIABLE, None)
    if text is None:
        return None
    try:
        notes, *others = map(int, text.split(","))
        is_ours = _is_handover(notes)
    except (ValueError, OSError):
        is_ours = False
    if not is_ours:
        raise FastptyError(f"${_VARIABLE} is for the router itself: unset it")
    with open(notes, "rb") as file:
        settings, warnings = _pickle.load(file)
    if not others:
        return Handover(settings, warnings, None)
    tree, root, directory = others
    os.close(tree)
    for fd in (root, directory):
        os.set_inheritable(fd, False)
    return Handover(settings, warnings, Place(root, directory))


def _could_be_written() -> bool:
    own = os.geteuid()
    return own == 0 or os.stat(_PROGRAM).st_uid == own or os.access(_PROGRAM, os.W_OK)


def _pack(settings: Sequence[Setting], warnings: Sequence[str]) -> int:
    fd = os.memfd_create("fastpty-settings", os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        _pickle.dump((tuple(settings), tuple(warnings)), file)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _is_handover(fd: int) -> bool:
    """Returns True if this user's own program wrote this file. The environment may come from another user (sudo(8))."""
    is_named = os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:fastpty-settings")
    is_sealed = bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
    return is_named and is_sealed and os.fstat(fd).st_uid == os.geteuid()


def _execute(notes: int) -> None:
    """Executes this program with the same arguments and environment, so that Python finds the same modules."""
    interpreter = os.readlink(_PROGRAM)
    tree = _read_only_tree()
    if tree is None:
        os.execve(_sealed_copy(interpreter), sys.orig_argv, _environment(notes))
    place = Place(*(os.open(name, os.O_PATH | os.O_DIRECTORY) for name in ("/", ".")))
    environment = _environment(notes, tree, place.root, place.directory)
    here = os.readlink("/proc/self/cwd")
    try:
        os.fchdir(tree)
        os.chroot(".")
        with contextlib.suppress(OSError):  # module paths may be relative to it; it may be gone
            os.chdir(here)
        os.execve(interpreter, sys.orig_argv, environment)
    finally:
        place.go_back()


def _environment(*handed_on: int) -> dict[str, str]:
    """This process's environment without variables that Python added, and with the numbers of these descriptors."""
    environment = inherited.without_interpreter_variables(os.environ, inherited.names_at_start())
    for fd in handed_on:
        os.set_inheritable(fd, True)
    environment[_VARIABLE] = ",".join(str(fd) for fd in handed_on)
    return environment


def _read_only_tree() -> int | None:
    """Returns a read-only copy of all mounts, attached nowhere, or None if the kernel refuses it."""
    try:
        tree = linux.open_tree("/", linux.OPEN_TREE_CLONE | linux.AT_RECURSIVE | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _FAILURES_OF_MOUNTS:
            return None
        raise
    try:
        linux.make_read_only(tree)
    except OSError as error:
        os.close(tree)
        if error.errno in _FAILURES_OF_MOUNTS:
            return None
        raise
    return tree


def _sealed_copy(path: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        copy = os.memfd_create("fastpty-router", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        copy = os.memfd_create("fastpty-router", flags)
    with open(path, "rb") as original:
        size = os.fstat(original.fileno()).st_size
        while size > 0:
            size -= os.sendfile(copy, original.fileno(), None, size)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    return copy
