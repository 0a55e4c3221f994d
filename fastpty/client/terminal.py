"""The local terminal of the client: its raw mode, its size, and the signals that must not leave it raw."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import termios
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

FATAL = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals from outside that end the client. None of them comes from the keyboard: raw mode switches that
off.
"""

_PTMX = os.makedev(5, 2)

_Handler = Callable[[int, FrameType | None], Any] | int | None


def window_size(fd: int) -> tuple[int, int] | None:
    """Rows and columns of the terminal `fd`, or None where it is no terminal or does not know its size."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def reopened(fd: int, flags: int) -> int | None:
    """A non-blocking descriptor of our own for the terminal or pipe that `fd` is, or None.

    `flags` is os.O_RDONLY or os.O_WRONLY. O_NONBLOCK on `fd` itself would be set for the shell, too, that
    shares it with us; without it only small writes are sure not to block, at a third of the throughput to a
    pipe. Files are left alone: a second opening has another offset. Sockets cannot be opened again, and
    neither can another user's terminal.
    """
    with contextlib.suppress(OSError):
        found = os.fstat(fd)
        # Opening /dev/ptmx would make a new pty.
        if stat.S_ISFIFO(found.st_mode) or (os.isatty(fd) and found.st_rdev != _PTMX):
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return None


class RawTerminal:
    """Raw mode on the terminal `fd` for as long as a `with` block lasts; does nothing where it is none.

    Changes take effect with TCSANOW. TCSAFLUSH would throw away what was typed ahead, for the remote shell
    at the start and for the local one at the end. TCSADRAIN would wait for output, on a stopped terminal
    for good, and there is no need: what was written has gone through the old modes at the time of the write.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_terminal = os.isatty(fd)
        self._saved: list[Any] = []
        self._is_raw = False

    def __enter__(self) -> RawTerminal:
        if self._is_terminal:
            self._saved = termios.tcgetattr(self._fd)
            # In the background this stops the client until it is brought to the foreground, as it should.
            self._set(_raw(self._saved))
            self._is_raw = True
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Sets the modes that it found, unless the terminal is another's now, who has set his own."""
        if self._is_raw and self._in_foreground():
            with contextlib.suppress(termios.error):  # the terminal has gone
                self._set(self._saved)
        self._is_raw = False

    def forget(self) -> None:
        """To be called after this process was stopped: others may have changed the modes since."""
        self._is_raw = False

    def ensure_raw(self) -> None:
        """Sets raw mode again after restore() or forget(), as soon as this process is in the foreground."""
        if self._is_terminal and not self._is_raw and self._in_foreground():
            with contextlib.suppress(termios.error):  # the terminal has gone
                self._set(_raw(self._saved))
                self._is_raw = True

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal, so there is no job control on it

    def _set(self, modes: list[Any]) -> None:
        while True:
            try:
                return termios.tcsetattr(self._fd, termios.TCSANOW, modes)
            except termios.error as error:
                if error.args[0] != errno.EINTR:
                    raise


def _raw(modes: list[Any]) -> list[Any]:
    """The modes with all of the kernel's editing, echo, signals and translation off; IUTF8 stays as it is."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = modes
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.IXON)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXOFF | termios.IXANY)
    oflag &= ~termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]


class HeldSignals:
    """Turns signals into bytes on a descriptor, so that a poll loop acts on them and no handler does.

    Within the `with` block SIGWINCH, SIGTSTP, SIGCONT and the FATAL ones do nothing but make fileno()
    readable. At the end of the block all is as before, and a fatal signal that came in is delivered after
    all: the process dies of it, so that its parent sees that. Put the RawTerminal inside. Signals that were
    ignored stay so (nohup). For the main thread only.
    """

    def __init__(self) -> None:
        self._previous: dict[int, _Handler] = {}
        self._fatal: int | None = None

    def __enter__(self) -> HeldSignals:
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for signum in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, *FATAL):
            if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                self._previous[signum] = signal.signal(signum, _only_wake)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        self.take()
        os.close(self._read_end)
        os.close(self._write_end)
        if self._fatal is not None:
            die_of(self._fatal)

    def fileno(self) -> int:
        """Readable when a signal has come in."""
        return self._read_end

    def take(self) -> frozenset[int]:
        """The signals that came in since the last call."""
        taken: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            while some := os.read(self._read_end, 512):
                taken.update(some)
        self._fatal = self._fatal or next((signum for signum in FATAL if signum in taken), None)
        return frozenset(taken)

    def stop(self) -> None:
        """Stops this process, as the SIGTSTP that came in would have; returns when it is continued."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _only_wake)


def die_of(signum: int) -> None:
    """Ends this process by the default action of `signum`."""
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signum)


def _only_wake(signum: int, frame: FrameType | None) -> None:
    """The bytes go to the wake-up descriptor before a handler runs, so nothing is left to do here."""
