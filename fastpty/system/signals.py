"""Signals: held back during the start, and read from a descriptor afterwards (signalfd(2))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FrameType

from fastpty.system.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_libc = ctypes.CDLL(None, use_errno=True)

# <sys/signalfd.h>
_SFD_NONBLOCK = os.O_NONBLOCK
_SFD_CLOEXEC = os.O_CLOEXEC
_INFO_BYTES = 128  # struct signalfd_siginfo, which begins with ssi_signo, ssi_errno, ssi_code, ssi_pid
_SIGSET_BYTES = 128  # glibc's sigset_t: signal N is bit N - 1

# <asm-generic/siginfo.h>: sent by the kernel. SIGHUP with this code means that the terminal has closed.
SI_KERNEL = 0x80

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_MEANT_FOR_THE_SUPERVISOR = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def signal_name(number: int) -> str:
    """The signal's name as in signal(7), or "signal N" for a real-time signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Stopped(BaseException):
    """A stop signal arrived within `interruptible`. Not an Exception, so `except Exception` does not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop_signals() -> list[int]:
    """Returns the signals that stop the router, except those that were ignored at its start, as by nohup(1)."""
    return [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]


def hold() -> None:
    """Blocks the router's signals until the supervisor reads them. Call it before there is anything to clean up.

    A stop signal ends the start within `interruptible`. A reload waits for the end of the start.
    """
    others = [number for number in _MEANT_FOR_THE_SUPERVISOR if signal.getsignal(number) != signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, [*stop_signals(), *others])


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """A stop signal raises Stopped in the body, also one that was held back. Clean-up is not interrupted again."""
    stopping = stop_signals()

    def stop(number: int, _: FrameType | None) -> NoReturn:
        signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
        raise Stopped(number)

    with _blocked(stopping):
        handlers = {number: signal.signal(number, stop) for number in stopping}
        try:
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping)
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[Callable[[], object]]:
    """Holds stop signals back within `interruptible`, for a step that must be completed.

    Yields a function that ends this early: it raises Stopped if a signal has arrived.
    """
    with _blocked(stop_signals()) as mask:
        yield partial(signal.pthread_sigmask, signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _blocked(numbers: Iterable[int]) -> Iterator[set[int | signal.Signals]]:
    """Yields the previous mask, and restores it unless this process is about to end (Stopped, SystemExit)."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield mask
    except Exception:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def reset() -> None:
    """Sets default actions and an empty mask. Call it in a child before execve(2), which would keep the old ones."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class ReceivedSignal(NamedTuple):
    """A signal with its si_code and si_pid (sigaction(2)). sender is 0 for a process outside this pid namespace."""

    number: int
    code: int
    sender: int


class SignalQueue:
    """Blocks `signals` and makes them readable from a descriptor. Raises OSError."""

    def __init__(self, signals: Iterable[int]) -> None:
        numbers = frozenset(signals)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        mask = sum(1 << (number - 1) for number in numbers).to_bytes(_SIGSET_BYTES, "little")
        self._fd: int = _libc.signalfd(-1, mask, _SFD_NONBLOCK | _SFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "signalfd")

    def fileno(self) -> int:
        """Returns the descriptor, which is readable while a signal is pending."""
        return self._fd

    def __iter__(self) -> Iterator[ReceivedSignal]:
        """Yields the pending signals."""
        while True:
            try:
                info = os.read(self._fd, _INFO_BYTES)
            except BlockingIOError:
                return
            number, _, code, sender = struct.unpack_from("=IiiI", info)
            yield ReceivedSignal(number, code, sender)

    def close(self) -> None:
        """Closes the descriptor; the signals stay blocked."""
        os.close(self._fd)
