"""Signals as something to wait for beside descriptors: signalfd(2), which Python's library lacks."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable, Iterator

_libc = ctypes.CDLL(None, use_errno=True)

# <sys/signalfd.h>
_SFD_NONBLOCK = os.O_NONBLOCK
_SFD_CLOEXEC = os.O_CLOEXEC
_INFO_BYTES = 128  # struct signalfd_siginfo, which begins with ssi_signo, ssi_errno and ssi_code
_SIGSET_BYTES = 128  # glibc's sigset_t: signal N is bit N - 1

# <asm-generic/siginfo.h>: sent by the kernel itself. Of SIGHUP that is a terminal that has closed.
SI_KERNEL = 0x80


class SignalQueue:
    """Blocks `signals` in this process and makes them readable from a descriptor. Raises OSError."""

    def __init__(self, signals: Iterable[int]) -> None:
        numbers = frozenset(signals)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        mask = sum(1 << (number - 1) for number in numbers).to_bytes(_SIGSET_BYTES, "little")
        self._fd: int = _libc.signalfd(-1, mask, _SFD_NONBLOCK | _SFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "signalfd")

    def fileno(self) -> int:
        """The descriptor, readable while a signal waits."""
        return self._fd

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The signals that wait: each one's number and si_code (sigaction(2))."""
        while True:
            try:
                info = os.read(self._fd, _INFO_BYTES)
            except BlockingIOError:
                return
            number, _, code = struct.unpack_from("=Iii", info)
            yield number, code

    def close(self) -> None:
        """Closes the descriptor; the signals stay blocked."""
        os.close(self._fd)
