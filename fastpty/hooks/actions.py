"""The hooks of each phase: uWSGI's options `hook-`, `mount-`, `umount-` and `exec-`.

Phases, kinds and the actions of `hook-` are those of uWSGI 2.0.21. In each phase the hooks run in the order of KINDS
and, within one kind, in the order of writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable

from fastpty.errors import FastptyError
from fastpty.hooks import mounts, waits
from fastpty.system import at_start, names, signals
from fastpty.system.records import dataclass, field
from fastpty.system.standard_descriptors import WARNING, write_error

PHASES = ("asap", "pre-jail", "in-jail", "post-jail", "as-root", "as-user", "as-user-atexit")
KINDS = ("hook", "mount", "umount", "exec")

_HOOK_WAIT_SECONDS = 60.0  # uWSGI's default of wait-for-fs-timeout
_END_SECONDS = 2.0  # between SIGTERM and SIGKILL, for an interrupted hook to clean up
_KILLED_SECONDS = 1.0

Run = Callable[[], None]


@dataclass(frozen=True)
class Hook:
    """One hook. text: its value. what: its name in messages, which may hide the value.

    run: runs the hook; raises OSError or FastptyError.
    """

    phase: str
    kind: str
    text: str
    what: str
    run: Run = field(compare=False)  # parsing the same text twice gives two functions

    @property
    def option(self) -> str:
        """The option that has set the hook."""
        return f"{self.kind}-{self.phase}"

    @property
    def turn(self) -> int:
        """The place of the hook's kind in the order of a phase."""
        return KINDS.index(self.kind)

    @property
    def variable(self) -> str | None:
        """The environment variable that a putenv action sets; None for other hooks."""
        action, _, argument = self.text.removeprefix("!").partition(":")
        return argument.partition("=")[0] if (self.kind, action) == ("hook", "putenv") else None

    def __reduce__(self) -> tuple[Callable[..., Hook], tuple[str, str, str]]:
        """Pickles the text, because `run` is a function made from it."""
        return _parsed, (self.kind, self.phase, self.text)

    def __call__(self) -> None:
        """Runs the hook; raises FastptyError with its name if it fails."""
        try:
            self.run()
        except OSError as error:
            raise FastptyError(f"{self.what}: {error.strerror or error}") from error


def parse(kind: str, phase: str) -> Callable[[str], tuple[Hook]]:
    """Returns the parser for the value of the option `kind`-`phase`. It raises ValueError."""
    name = f"{kind}-{phase}"

    def read(text: str) -> tuple[Hook]:
        names.text(text)
        shown = "!" if text.startswith("!") else repr(text)  # as in uWSGI, a leading ! hides the value from the log
        what = f"{name} {shown}"
        readers: dict[str, Callable[[], Run]] = {
            "hook": lambda: _action(text, what),
            "mount": lambda: mounts.parse_mount(text).run,
            "umount": lambda: mounts.parse_umount(text).run,
            "exec": lambda: lambda: run_command(text, what),
        }
        return (Hook(phase, kind, text, what, readers[kind]()),)

    return read


def _parsed(kind: str, phase: str, text: str) -> Hook:
    (hook,) = parse(kind, phase)(text)
    return hook


def run_command(command: str, what: str) -> None:
    """Runs a command through /bin/sh -c with empty input, default signals, and the file limit of the router's start.

    The command inherits descriptors 0, 1 and 2 only; its output goes where the router's goes. Raises FastptyError,
    which begins with `what`, unless it exits with 0.
    """
    with signals.uninterrupted() as go_on:
        try:
            process = _start_command(command)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise FastptyError(f"{what} could not be started: {error}") from error
        try:
            go_on()
            status = process.wait()
        except signals.Stopped:
            _end_group(process)
            raise
    if status > 0:
        raise FastptyError(f"{what} failed with exit status {status}")
    if status < 0:
        raise FastptyError(f"{what} was killed by signal {-status} ({signal.strsignal(-status)})")


def _start_command(command: str) -> subprocess.Popen[bytes]:
    """Starts a command in its own process group, so that all its processes but daemons can be killed together."""
    # Its input is an empty pipe: a new root may lack /dev/null.
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, preexec_fn=at_start.restore, process_group=0
    )
    assert process.stdin is not None
    process.stdin.close()
    return process


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Sends SIGTERM to a command's process group, and SIGKILL to what is left of it a moment later."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # a file system that never answers can keep it from ending
        process.wait(_KILLED_SECONDS)


def _action(text: str, what: str) -> Run:
    name, colon, argument = text.removeprefix("!").partition(":")
    if not colon:
        raise ValueError(f"{text!r} is not ACTION:ARGUMENT")
    if name == "exec":
        return lambda: run_command(argument, what)
    if name == "safeexec":
        return lambda: _run_safely(argument, what)
    if name in _INSTEAD:
        raise ValueError(f"the action {name!r} is not supported: {_INSTEAD[name]}")
    if name not in _ACTIONS:
        raise ValueError(f"{name!r} is not an action (known: {', '.join(sorted([*_ACTIONS, 'exec', 'safeexec']))})")
    return _ACTIONS[name](argument)


def _run_safely(command: str, what: str) -> None:
    try:
        run_command(command, what)
    except FastptyError as error:
        write_error(f"fastpty-router: warning: {error}; continuing because of safeexec", WARNING)


def _on_text(act: Callable[[str], object]) -> Callable[[str], Run]:
    def read(argument: str) -> Run:
        names.text(argument)

        def run() -> None:
            act(argument)

        return run

    return read


def _write(flags: int, end: str) -> Callable[[str], Run]:
    """The action with argument `FILE TEXT` that writes TEXT and `end`. TEXT may be missing if `end` is not empty."""

    def read(argument: str) -> Run:
        path, blank, text = argument.partition(" ")
        if not path or not (blank or end):
            raise ValueError(f"{argument!r} is not FILE TEXT")
        data = os.fsencode(text + end)
        return lambda: _write_file(path, flags | os.O_CREAT, data)

    return read


def _write_file(path: str, flags: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o666)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def _write_fifo(argument: str) -> Run:
    path, blank, text = argument.partition(" ")
    if not (path and blank):
        raise ValueError(f"{argument!r} is not FIFO TEXT")

    def run() -> None:
        try:
            _write_file(path, os.O_NONBLOCK, os.fsencode(text))
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ENODEV):  # without a reader nothing is written, as in uWSGI
                raise

    return run


def _chmod(argument: str) -> Run:
    path, _, mode = argument.rpartition(" ")
    if not path:
        raise ValueError(f"{argument!r} is not FILE MODE")
    wanted = names.mode(mode)
    return lambda: os.chmod(path, wanted)


def _chown(argument: str) -> Run:
    words = argument.rsplit(" ", 2)
    if len(words) != 3:
        raise ValueError(f"{argument!r} is not FILE USER GROUP")
    path, user, group = words[0], names.user(words[1]), names.group(words[2])
    return lambda: os.chown(path, user, group)


def _putenv(argument: str) -> Run:
    name, value = names.environment_entry(argument)
    return lambda: os.environ.__setitem__(name, value)


def _exit(argument: str) -> Run:
    status = int(argument) if argument.isascii() and argument.isdigit() else 0

    def run() -> None:
        raise SystemExit(status)

    return run


def _wait(kind: str) -> Callable[[str], Run]:
    def read(argument: str) -> Run:
        wait = waits.parse(kind)(argument)
        return lambda: wait.run(_HOOK_WAIT_SECONDS)

    return read


def _print(argument: str) -> Run:
    return lambda: print(argument, file=sys.stderr, flush=True)


_ACTIONS: dict[str, Callable[[str], Run]] = {
    "cd": _on_text(os.chdir),
    "chdir": _on_text(os.chdir),
    "mkdir": _on_text(os.mkdir),
    "unlink": _on_text(os.unlink),
    "create": _on_text(lambda path: _write_file(path, os.O_CREAT | os.O_TRUNC, b"")),
    "creat": _on_text(lambda path: _write_file(path, os.O_CREAT | os.O_TRUNC, b"")),
    "sticky": _on_text(lambda path: os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_ISVTX)),
    "write": _write(os.O_TRUNC, ""),
    "writen": _write(os.O_TRUNC, "\n"),
    "append": _write(os.O_APPEND, ""),
    "appendn": _write(os.O_APPEND, "\n"),
    "writefifo": _write_fifo,
    "chmod": _chmod,
    "chown": _chown,
    "chown2": _chown,
    "putenv": _putenv,
    "hostname": _on_text(socket.sethostname),
    "mount": lambda argument: mounts.parse_mount(argument).run,
    "umount": lambda argument: mounts.parse_umount(argument).run,
    "wait_for_fs": _wait("fs"),
    "wait_for_file": _wait("file"),
    "wait_for_dir": _wait("dir"),
    "wait_for_socket": _wait("socket"),
    "print": _print,
    "log": _print,
    "exit": _exit,
}

_NO_C_CALLS = "fastpty cannot call C functions: use exec: with a command"
_INSTEAD = {
    **dict.fromkeys(("call", "callret", "callint", "callintret"), _NO_C_CALLS),
    **dict.fromkeys(("rpc", "retryrpc"), "fastpty has no RPC: use exec: with a command"),
    "alarm": "fastpty has no alarms: use exec: with a command",
}
