"""Runs a real router process for tests, and connects plain clients to its sockets."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, AnyStr

import pytest

from fastpty.errors import FastptyError
from tests.support.start_with import start_with

PATIENCE_SECONDS = float(os.environ.get("FASTPTY_TEST_PATIENCE", "30"))

# For programs that do not use the C part. They run without the sanitizer, so they start faster.
PLAIN_PYTHON = os.environ.get("SANITIZED_PYTHON", sys.executable)

# The prompt of /bin/sh.
PROMPT = b"# " if os.geteuid() == 0 else b"$ "

RAW_CAT = "stty raw -echo; printf READY; exec cat"


def eventually(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Polls a condition until it is true; fails after `seconds`. For events that no descriptor reports."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s: {what}"
        select.select([], [], [], 0.005)


def state(pid: int) -> str:
    """The state of a process, a letter as in ps(1)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def process_gone(pid: int) -> bool:
    """True if the process has ended, even if it has not been reaped."""
    try:
        return state(pid) == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def processes() -> Iterator[tuple[int, list[str]]]:
    """The pid of each process, and the fields of its /proc/PID/stat from the state on. Ended ones are left out.

    Path.glob() looks at each file, and fails if a process ends at that moment.
    """
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield int(name), Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()


def children(pid: int) -> list[int]:
    """The pids of the child processes, including zombies; empty for a process that is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descriptors(pid: int) -> dict[int, str]:
    """The open descriptors of a process, with the targets of their links in /proc."""
    found = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/{pid}/fd/{entry}")
        except FileNotFoundError:
            continue
    return found


def wait_until_quiet(pid: int) -> None:
    """Waits until the process has used no CPU time for 0.3 s."""

    def used() -> str:
        return " ".join(Path(f"/proc/{pid}/stat").read_text().split()[13:15])

    state = {"last": "", "same": 0}

    def quiet() -> bool:
        now = used()
        state["same"] = state["same"] + 1 if now == state["last"] else 0
        state["last"] = now
        return state["same"] >= 60

    eventually(quiet, "the router is quiet")


def read_until_ready(log: IO[AnyStr]) -> None:
    """Reads a router's log up to the line that says that it is ready."""
    lines = []
    for line in log:
        lines.append(line)
        if "ready" in str(line):
            return
    raise AssertionError(f"the router has ended before it was ready: {lines}")


def join_thread(thread: threading.Thread) -> None:
    """Waits until a thread has ended, for the kernel too.

    At its end the C library and a sanitizer hold locks. If the process forks at that moment, as in_child() does, they
    stay locked in the child, which waits for ever.
    """
    thread.join(PATIENCE_SECONDS)
    eventually(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists(), "the thread has ended")


def message_of(error: pytest.ExceptionInfo[FastptyError]) -> str:
    """The message of an expected error, which must be one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


class Router:
    """A running fastpty-router; a thread reads its log. first: what the process does before it becomes the router."""

    def __init__(
        self,
        *arguments: str,
        first: Callable[[], object] | None = None,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        program: Sequence[str] = ("-m", "fastpty.router"),
    ):
        self.lines: list[str] = []
        self._log_is_complete = False
        self._news = threading.Condition()
        self._orphans: list[int] = []
        argv = [sys.executable, *program, *arguments]
        self.process = subprocess.Popen(
            start_with(first, argv) if first else argv,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            env={**os.environ, **(env or {})},
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The first worker: the process that relays, whose children are the sessions' programs."""
        workers = self.workers
        assert workers, f"the router has no worker: {self.log}"
        return workers[0]

    @property
    def workers(self) -> list[int]:
        """All workers; `process` is their supervisor."""
        return children(self.process.pid)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._log_is_complete = True
            self._news.notify_all()

    def wait_for_log(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """The first `count` lines of the log that match."""
        found: list[re.Match[str]] = []
        searched = 0

        def has_come() -> bool:  # each line is searched once: a reader of the log that falls behind delays the router
            nonlocal searched
            found.extend(match for line in self.lines[searched:] if (match := re.search(pattern, line)))
            searched = len(self.lines)
            return len(found) >= count or self._log_is_complete

        with self._news:
            self._news.wait_for(has_come, PATIENCE_SECONDS)
            end = " The router has ended." if self._log_is_complete else ""
            assert len(found) >= count, f"{len(found)} of {count} lines with {pattern!r}.{end} Its log:\n{self.log}"
            return found[:count]

    def wait_until_listening(self, sockets: int = 1) -> Router:
        self.wait_for_log("listening on ", sockets)
        self.wait_for_log("ready$")
        return self

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def kill_supervisor(self) -> None:
        """Kills the supervisor with SIGKILL. The workers go on, and so does the log."""
        self._orphans = [os.pidfd_open(pid) for pid in self.workers]
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def destroy(self) -> None:
        """Kills all processes that are left of the router."""
        for pidfd in self._orphans:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        if self.process.poll() is None:
            for pid in (self.process.pid, *self.workers):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(PATIENCE_SECONDS)

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Stops the router if it still runs; returns its exit status. The log is complete afterwards."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        status = self.process.wait(PATIENCE_SECONDS)
        join_thread(self._reader)
        return status


class Client:
    """A connection to a router's socket. Calls fail after PATIENCE_SECONDS."""

    def __init__(self, path: str | tuple[str, int] | socket.socket):
        if isinstance(path, socket.socket):
            self.socket = path
        elif isinstance(path, tuple):
            self.socket = socket.create_connection(path)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.seen = b""
        self._looked = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def frame(self, modifier2: int, size: int = 0, payload: bytes = b"") -> None:
        self.send(frame(modifier2, size, payload))

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def wait_for_output(self) -> None:
        """Waits until there is something to read, and reads nothing."""
        assert select.select([self.socket], [], [], PATIENCE_SECONDS)[0], "no output has come"

    def read_until(self, *wanted: bytes) -> bytes:
        """Reads until all of `wanted` have come, in this order; returns everything read so far."""
        for text in wanted:
            while (found := self.seen.find(text, self._looked)) < 0:
                data = self.socket.recv(65536)
                assert data, f"ended before {text!r}: {self.seen[-500:]!r}"
                self.seen += data
            self._looked = found + len(text)
        return self.seen

    def read_exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self.socket.recv(min(65536, count - len(data)))
            assert more, f"ended after {len(data)} of {count} bytes"
            data += more
        return bytes(data)

    def read_to_end(self) -> bytes:
        """Reads until a clean end of file; returns everything read so far."""
        parts = [self.seen]
        while data := self.socket.recv(65536):
            parts.append(data)
        self.seen = b"".join(parts)
        return self.seen


def fill(client: Client, framed: bool, sent: int = 0) -> int:
    """Sends input until the router reads no more; returns the number of bytes, including the `sent` ones of before."""
    wire = frame(0, payload=bytes(65_535)) if framed else bytes(65_535)
    client.socket.setblocking(False)
    while select.select([], [client.socket], [], 0.5)[1]:
        sent += client.socket.send(wire[sent % len(wire) :])
    client.socket.settimeout(PATIENCE_SECONDS)
    return sent


def frame(modifier2: int, size: int = 0, payload: bytes = b"") -> bytes:
    """A uwsgi packet. size: for packets without a payload."""
    return struct.pack("<BHB", 0, len(payload) or size, modifier2) + payload


def run(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs fastpty-router with these arguments, and with `environ` added to the environment, until it exits."""
    return subprocess.run(
        [sys.executable, "-m", "fastpty.router", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,  # a start may wait 30 s for the server of setns
        cwd=cwd,
        env={**os.environ, **environ},
    )
