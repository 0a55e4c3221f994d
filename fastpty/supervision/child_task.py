"""Runs work that may block in a child process. The caller goes on, and fetches the result later."""

from __future__ import annotations

import _pickle  # `pickle` would take 0.3 MB more
import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial

from fastpty.errors import FastptyError
from fastpty.system import child, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ANSWER_BYTES_MOST = 64 << 20
_READ_BYTES = 1 << 18


class ChildTask:
    """Runs `work` in a child. until: the time, `seconds` from now, at which the caller must call end().

    The child sends the pickled result through a pipe that no program started by `work` inherits. The caller reaps the
    child. Raises OSError if no child can be started.
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
        with contextlib.suppress(OSError):  # the child does the same, in case it runs first
            os.setpgid(self._pid, self._pid)

    def fileno(self) -> int:
        """The descriptor that becomes readable when has_returned() should be called."""
        return self._reader

    def has_returned(self) -> bool:
        """Reads without waiting; True if `work` is done."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._reader, _READ_BYTES)
            self._data += data
            return not data or len(self._data) > _ANSWER_BYTES_MOST
        return False

    def result(self) -> Any:
        """What `work` returned. Raises the FastptyError that `work` raised, or one if there is no valid answer."""
        if not self._data or len(self._data) > _ANSWER_BYTES_MOST:
            raise FastptyError("the process that reads it has failed")
        try:
            failure, answer = _pickle.loads(self._data)
        except Exception as error:  # the child may have loaded newer files, after an upgrade
            raise FastptyError(f"cannot use what was read ({error}): restart the router") from error
        if failure is not None:
            raise FastptyError(failure)
        return answer

    def end(self) -> None:
        """Kills the child and every process in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Closes this process's end of the pipe."""
        os.close(self._reader)


def _run(work: Callable[[], Any], writer: int) -> None:
    signals.reset()
    _write_all(writer, _pickle.dumps(_outcome(work)))


def _outcome(work: Callable[[], Any]) -> tuple[str | None, Any]:
    """The text of the FastptyError that `work` raised, or None, and what it returned."""
    try:
        return None, work()
    except FastptyError as error:
        return str(error), None


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
