"""Reports how a session ended: as an exit status, and as one line of JSON for --status-fd."""

from __future__ import annotations

import os

from fastpty.errors import FastptyError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastpty.client.session import Session
    from fastpty.wire.extension import Status

_SIGNAL_BASE = 128  # a shell's exit status for a program that signal N ended is 128 + N


def signal_of(status: Status) -> int | None:
    """The signal that ended the program; None if it exited."""
    return status.code if status.how in (extension.SIGNALLED, extension.DUMPED_CORE) else None


def exit_status(status: Status) -> int:
    """The client's exit status for how the program ended."""
    signum = signal_of(status)
    return (status.code if signum is None else _SIGNAL_BASE + signum) & 0xFF


def write_status(fd: int, session: Session | None, error: str | None) -> None:
    """Writes a line of JSON to `fd`: how the program ended, and the `error` if the session failed.

    Raises FastptyError if it cannot be written.
    """
    import json  # only now: it is slow to load

    line = json.dumps(_described(session, error)) + "\n"
    try:
        os.write(fd, line.encode())
    except OSError as failure:
        raise FastptyError(f"--status-fd: cannot write to descriptor {fd}: {failure.strerror}") from failure


def _described(session: Session | None, error: str | None) -> dict[str, Any]:
    if session is None:
        return {"session": None, "error": error}
    fields: dict[str, Any] = {"session": session.number}
    status = session.status
    if error is not None or status is None:
        fields["error"] = error
    if status is not None and (signum := signal_of(status)) is not None:
        fields |= {"signal": signum, "core": status.how == extension.DUMPED_CORE}
    elif status is not None and status.how == extension.EXITED:
        fields["code"] = status.code
    fields |= {"output_bytes": session.output_bytes, "input_bytes": session.input_bytes}
    if session.has_errors:
        fields["error_bytes"] = session.error_bytes
    if status is not None:
        fields |= {"input_taken_bytes": status.input_bytes, "input_dropped_bytes": status.dropped_bytes}
        fields["hung_up"] = bool(status.flags & extension.BY_ROUTER)
        fields["output_cut"] = bool(status.flags & extension.CUT)
        fields["seconds"] = status.run_microseconds / 1e6
    return fields


def die_like(status: Status) -> None:
    """Ends this process by the signal that ended the program, without a core file.

    Returns if the program exited, or if this process cannot die of that signal.
    """
    import resource
    import signal

    signum = signal_of(status)
    if signum is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        if signum != signal.SIGKILL:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
        signal.raise_signal(signum)
    except (OSError, ValueError):  # no such signal here
        return
