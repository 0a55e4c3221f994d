"""The Python interface: runs a command without a terminal, over the negotiated extension. `fastpty.run` is this run."""

from __future__ import annotations

import errno
import locale
import math
import os
import select
import subprocess
import time

from fastpty.client.exec_session import ExecSession
from fastpty.client.opening import open_session, seconds_left
from fastpty.client.report import signal_of
from fastpty.client.request import start
from fastpty.errors import UsageError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypedDict, Unpack

    from fastpty.client.link import Link

    class Options(TypedDict, total=False):
        """The keyword arguments of run."""

        input: bytes | str | None
        capture_output: bool
        text: bool
        timeout: float | None
        env: Mapping[str, str] | None
        cwd: str | bytes | None
        check: bool


_ANSWER_SECONDS = 10.0
_DRAIN_MS = 1000
_CHUNK_BYTES = 65536


class _Options:
    """The keyword arguments of run, with their defaults. Raises TypeError for others."""

    input: bytes | str | None = None
    capture_output: bool = False
    text: bool = False
    timeout: float | None = None
    env: Mapping[str, str] | None = None
    cwd: str | bytes | None = None
    check: bool = False

    def __init__(self, options: Options) -> None:
        for name, value in options.items():
            if name not in _Options.__annotations__:
                raise TypeError(f"run() got an unexpected keyword argument {name!r}")
            setattr(self, name, value)

    def request(self, args: Sequence[str | bytes]) -> bytes:
        """The frame START."""
        variables = [f"{name}={value}" for name, value in (self.env or {}).items()]
        streams = extension.STREAMS_ITEM, extension.streams(merges=False, drain_ms=_DRAIN_MS)
        return start(None, args, variables, self.cwd, items=[streams])


def run(
    address: str | os.PathLike[str], args: Sequence[str | bytes], **options: Unpack[Options]
) -> subprocess.CompletedProcess[Any]:
    r"""Runs a command at a router, as subprocess.run does here. The command has three streams and no terminal.

    >>> fastpty.run("/tmp/fpty.socket", ["sort"], input="b\na\n", capture_output=True, text=True).stdout
    'a\nb\n'

    address: as for `fastpty connect`. A TCP address must be one of the router's fpty-router addresses.
    args: the program and its arguments. No shell reads them.
    Options, all of them keywords:
    input: what the program reads from standard input; None: nothing. A str if `text` is true.
    capture_output: return the output as `stdout` and `stderr`; otherwise it goes to this process's descriptors 1 and 2.
    text: input and output are str, in the locale's encoding, with "\n" for every end of a line.
    timeout: seconds for all of it; None: any time. The router has 10 seconds to accept the session in any case.
    env: variables that the program gets in addition. cwd: its working directory.
    check: raise subprocess.CalledProcessError if the return code is not 0.

    The return code is the program's exit status, or -N if signal N ended it. Raises subprocess.TimeoutExpired after
    `timeout`; the program is then hung up. Raises SessionError if the program could not run to its end: its
    `exit_status` is 127 or 126 if the router cannot execute the command. Raises FastptyError if there is no router, and
    UsageError for arguments that no program can have.
    """
    wanted = _Options(options)
    if not args:
        raise UsageError("the command is missing: give a program and its arguments")
    done = _run(os.fspath(address), list(args), wanted)
    if wanted.check:
        done.check_returncode()
    return done


def _run(address: str, args: list[str | bytes], wanted: _Options) -> subprocess.CompletedProcess[Any]:
    data = _encoded(wanted.input, text=wanted.text)
    until = None if wanted.timeout is None else time.monotonic() + wanted.timeout
    answer_by = min(until or math.inf, time.monotonic() + _ANSWER_SECONDS)
    protocol = ExecSession()
    protocol.program = os.fsdecode(args[0])
    link = open_session(address, protocol, wanted.request(args), size=None, until=answer_by)
    running = _Running(link, protocol, data, captures=wanted.capture_output)
    try:
        is_over = running.until_the_end(until)
    finally:
        link.sock.close()
    stdout, stderr = running.outputs(text=wanted.text)
    if not is_over:
        assert wanted.timeout is not None
        raise subprocess.TimeoutExpired(args, wanted.timeout, stdout, stderr)
    status = protocol.check(link.broken)
    signum = signal_of(status)
    return subprocess.CompletedProcess(args, status.code if signum is None else -signum, stdout, stderr)


class _Running:
    """The loop that moves the bytes."""

    def __init__(self, link: Link, protocol: ExecSession, data: bytes, *, captures: bool) -> None:
        self._link = link
        self._protocol = protocol
        self._data = memoryview(data)
        self._captured = (bytearray(), bytearray()) if captures else None
        self._stopped: set[int] = set()

    def until_the_end(self, until: float | None) -> bool:
        """Returns True when the session has ended, or False when `until` has come first."""
        self._pass_on(self._link.take(self._link.early))
        while self._link.output_open:
            left = seconds_left(until)
            if left == 0.0:
                return False
            self._feed()
            events = select.POLLIN | (select.POLLOUT if self._link.wants_to_send else 0)
            poll = select.poll()
            poll.register(self._link.sock, events)
            poll.poll(None if left is None else left * 1000 + 1)
            self._link.send()
            self._pass_on(self._link.receive())
        return True

    def outputs(self, *, text: bool) -> tuple[bytes | str | None, bytes | str | None]:
        """Standard output and error, if they were captured."""
        if self._captured is None:
            return None, None
        stdout, stderr = (_decoded(bytes(data)) if text else bytes(data) for data in self._captured)
        return stdout, stderr

    def _feed(self) -> None:
        while self._link.has_room and self._link.takes_input:
            self._link.queue(bytes(self._data[:_CHUNK_BYTES]))
            self._data = self._data[_CHUNK_BYTES:]
            if not self._data or extension.INPUT_STREAM in self._protocol.ended:
                self._link.end_input()

    def _pass_on(self, output: bytes) -> None:
        for index, data in enumerate((output, self._protocol.take_errors())):
            if self._captured is not None:
                self._captured[index].extend(data)
            else:
                self._write(index + 1, data)

    def _write(self, fd: int, data: bytes) -> None:
        """Writes to standard output or error. If nobody reads it, the program learns that."""
        if fd in self._stopped:
            return
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(fd, left) :]
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            self._stopped.add(fd)
            self._link.queue_frames(self._protocol.stop(fd))


def _encoded(data: bytes | str | None, *, text: bool) -> bytes:
    if data is None:
        return b""
    if isinstance(data, str) != text:
        raise TypeError("input is a str if text is true, and else bytes")
    if isinstance(data, bytes):
        return data
    return data.encode(locale.getpreferredencoding(False))


def _decoded(data: bytes) -> str:
    """As subprocess does it."""
    return data.decode(locale.getpreferredencoding(False)).replace("\r\n", "\n").replace("\r", "\n")
