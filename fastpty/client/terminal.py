"""The local terminal of the client: its raw mode, its size, and the signals that must not leave it raw."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; `signal` is slow to load
import errno
import fcntl
import os
import select
import struct
import termios

from fastpty.client.ready import is_ready
from fastpty.errors import FastptyError, SessionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Any

FATAL = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)
"""Signals that end the client. They come from other processes, not from the keyboard: raw mode turns that off."""

_TYPED_AHEAD_MOST_BYTES = 65536
_OF_TERMINAL = (_signal.SIGWINCH, _signal.SIGTSTP, _signal.SIGCONT)
_DISABLED = b"\0"  # a control character that is switched off: _POSIX_VDISABLE


class DisconnectedError(SessionError):
    """The user asked to disconnect."""


class SignalledError(FastptyError):
    """A fatal signal arrived. HeldSignals then ends the process by that signal, so no caller sees this error."""


def window_size(fd: int) -> tuple[int, int] | None:
    """Rows and columns of the terminal `fd`; None if it is not a terminal or does not know its size."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def is_in_foreground(fd: int) -> bool:
    """True if this process is in the foreground of the terminal `fd`.

    Also if `fd` is not its controlling terminal: then job control does not apply.
    """
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


def _is_controlling(fd: int) -> bool:
    try:
        os.tcgetpgrp(fd)
    except OSError:
        return False
    return True


class RawTerminal:
    """Raw mode on the terminal `fd` within a `with` block; does nothing if `fd` is not a terminal.

    Changes take effect with TCSANOW. TCSAFLUSH would drop what was typed ahead, for the remote shell at the start and
    for the local one at the end. TCSADRAIN would wait for output, forever on a stopped terminal. There is no need to
    wait: the modes apply to output when it is written.

    `typed_ahead` is what was typed before raw mode began, as raw mode would have delivered it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_terminal = os.isatty(fd)
        self._saved: list[Any] = []
        self._is_raw = False
        self._is_controlling = False
        self.typed_ahead = b""

    def __enter__(self) -> RawTerminal:
        if self._is_terminal:
            self._saved = termios.tcgetattr(self._fd)
            self._is_controlling = _is_controlling(self._fd)
            # In the background, these calls stop the client (SIGTTIN, SIGTTOU) until it is brought to the foreground.
            lines = _read_lines(self._fd, self._saved)
            self._set(_raw(self._saved))
            self._is_raw = True
            self.typed_ahead = lines + _read_rest(self._fd, self._saved)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Restores the original modes, unless another process group is in the foreground now and has set its own."""
        if self._is_raw and is_in_foreground(self._fd):
            self._try_to_set(self._saved)
        self._is_raw = False

    def forget(self) -> None:
        """Notes that the modes may have changed: this process was stopped, and others had the terminal."""
        self._is_raw = False

    def ensure_raw(self) -> None:
        """Sets raw mode again after restore() or forget(), once this process is in the foreground."""
        if self._is_terminal and not self._is_raw and not self._is_orphaned() and is_in_foreground(self._fd):
            self._is_raw = self._try_to_set(_raw(self._saved))

    def _is_orphaned(self) -> bool:
        """True if the shell has ended and left this process: the terminal belongs to whoever comes next."""
        return self._is_controlling and not _is_controlling(self._fd)

    def _try_to_set(self, modes: list[Any]) -> bool:
        try:
            self._set(modes)
        except termios.error:  # the terminal has gone
            return False
        return True

    def _set(self, modes: list[Any]) -> None:
        while True:
            try:
                return termios.tcsetattr(self._fd, termios.TCSANOW, modes)
            except termios.error as error:
                if error.args[0] != errno.EINTR:
                    raise


def _raw(modes: list[Any]) -> list[Any]:
    """Returns `modes` without the kernel's editing, echo, signals and translation; IUTF8 stays as it is."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = modes
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.IXON)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXOFF | termios.IXANY)
    oflag &= ~termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cc = list(cc)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, cc]


def _read_lines(fd: int, modes: list[Any]) -> bytes:
    """Reads the lines that were typed on a terminal in canonical mode; returns the keys that made them.

    Call it before raw mode is set, which turns a queued end-of-file key into a NUL byte. In canonical mode a read
    returns one line, and the end-of-file key ends a line without being part of it.
    """
    iflag, _, _, lflag, _, _, cc = modes
    if not lflag & termios.ICANON:
        return b""
    line_ends = {b"\n", cc[termios.VEOL], cc[termios.VEOL2]} - {_DISABLED}
    keys = b""
    while len(keys) < _TYPED_AHEAD_MOST_BYTES and is_ready(fd, select.POLLIN):
        try:
            line = os.read(fd, _TYPED_AHEAD_MOST_BYTES)
        except OSError:  # the terminal has hung up, or another process has it: the client notices when it reads
            break
        keys += _as_typed(line, iflag)
        if line[-1:] not in line_ends:
            keys += cc[termios.VEOF]
    return keys


def _read_rest(fd: int, modes: list[Any]) -> bytes:
    """Reads what was typed before raw mode was set and is not a whole line; returns the keys."""
    try:
        waiting = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
        keys = os.read(fd, waiting) if waiting and is_ready(fd, select.POLLIN) else b""
    except OSError:  # the terminal has hung up: the client notices when it reads
        return b""
    if modes[3] & termios.ICANON:
        keys = keys.replace(_DISABLED, modes[6][termios.VEOF])  # typed just before raw mode was set
    return _as_typed(keys, modes[0])


def _as_typed(line: bytes, iflag: int) -> bytes:
    return line.replace(b"\n", b"\r") if iflag & termios.ICRNL else line


class HeldSignals:
    """Turns signals into bytes on a descriptor, so that a poll loop acts on them instead of a handler.

    Within the `with` block SIGWINCH, SIGTSTP, SIGCONT and the FATAL ones only make fileno() readable. At the end of the
    block the previous handlers are restored. A fatal signal that arrived is then raised again: the process dies of it,
    so that its parent sees the cause. Use the RawTerminal inside the block. Signals that were ignored stay ignored
    (nohup). For the main thread only. `fatal` and `others` replace these two sets of signals.
    """

    def __init__(self, fatal: Iterable[int] = FATAL, others: Iterable[int] = _OF_TERMINAL) -> None:
        self._fatal_ones = tuple(fatal)
        self._others = tuple(others)
        self._previous: dict[int, Any] = {}
        self._fatal: int | None = None

    def __enter__(self) -> HeldSignals:
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wakeup = _signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for signum in (*self._others, *self._fatal_ones):
            if _signal.getsignal(signum) not in (_signal.SIG_IGN, None):
                self._previous[signum] = _signal.signal(signum, _only_wake)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            _signal.signal(signum, handler)
        _signal.set_wakeup_fd(self._previous_wakeup)
        self.take()
        os.close(self._read_end)
        os.close(self._write_end)
        if self._fatal is not None:
            die_of(self._fatal)

    def fileno(self) -> int:
        """The descriptor that is readable when a signal has arrived."""
        return self._read_end

    def take(self) -> frozenset[int]:
        """Returns the signals that arrived since the last call."""
        taken: set[int] = set()
        while some := self._read():
            taken.update(some)
        self._fatal = self._fatal or next((signum for signum in self._fatal_ones if signum in taken), None)
        return frozenset(taken)

    def _read(self) -> bytes:
        try:
            return os.read(self._read_end, 512)
        except BlockingIOError:
            return b""

    def stop(self) -> None:
        """Stops this process, as SIGTSTP does by default; returns when it is continued."""
        _signal.signal(_signal.SIGTSTP, _signal.SIG_DFL)
        _signal.raise_signal(_signal.SIGTSTP)
        _signal.signal(_signal.SIGTSTP, _only_wake)


def die_of(signum: int) -> None:
    """Ends this process by the default action of `signum`."""
    _signal.signal(signum, _signal.SIG_DFL)
    _signal.raise_signal(signum)


def signal_name(signum: int) -> str:
    """The signal in words, such as `Hangup`."""
    return str(_signal.strsignal(signum))


def _only_wake(signum: int, frame: FrameType | None) -> None:
    """Does nothing: Python writes the signal's number to the wake-up descriptor before it calls a handler."""
