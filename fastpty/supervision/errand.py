"""Work that may wait for others, done in a child: the caller goes on meanwhile, and later gets the result."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastpty.errors import FastptyError
from fastpty.system import child, signals

_ANSWER_BYTES_MOST = 64 << 20
_READ_BYTES = 1 << 18


class Errand:
    """Runs `work` in a child until it returns, or until `seconds` are over.

    What it returns is pickled, by this program's own code and through a pipe that no program started by `work` has.
    The child is its caller's to reap. Raises OSError where there can be none.
    """

    def __init__(self, work: Callable[[], Any], seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self._data = bytearray()
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = child.start("reading the configuration", partial(_run, work, writer), signal.SIGKILL)
        except OSError:
            os.close(self._reader)
            raise
        finally:
            os.close(writer)
        os.set_blocking(self._reader, False)
        with contextlib.suppress(OSError):  # the child does the same; whoever comes first
            os.setpgid(self._pid, self._pid)

    def fileno(self) -> int:
        """The descriptor, readable while there is something for has_returned()."""
        return self._reader

    def has_returned(self) -> bool:
        """Whether `work` is done. Never waits; to be asked when the descriptor is readable."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._reader, _READ_BYTES)
            self._data += data
            return not data or len(self._data) > _ANSWER_BYTES_MOST
        return False

    def result(self) -> Any:
        """What `work` has returned. Raises FastptyError: the one that `work` raised, or for what is no answer."""
        if not self._data or len(self._data) > _ANSWER_BYTES_MOST:
            raise FastptyError("the process that was to read it has failed")
        failure, answer = pickle.loads(self._data)  # noqa: S301 - see above
        if failure is not None:
            raise FastptyError(failure)
        return answer

    def end(self) -> None:
        """Kills the child, if it still runs, and what it has started in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        self.let_go()

    def let_go(self) -> None:
        """Closes this process's side."""
        os.close(self._reader)


def _run(work: Callable[[], Any], writer: int) -> None:
    signals.reset()
    _write_all(writer, pickle.dumps(_outcome(work)))


def _outcome(work: Callable[[], Any]) -> tuple[str | None, Any]:
    """What went wrong, and what `work` returns."""
    try:
        return None, work()
    except FastptyError as error:
        return str(error), None


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
