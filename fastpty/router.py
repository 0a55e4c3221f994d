"""The `fastpty-router` command: bind, enter the jail, relay, clean up."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from fastpty import __version__, address, command_line, jail, log, procname
from fastpty._relay import Relay
from fastpty.config import Config
from fastpty.errors import FastptyError
from fastpty.sessions import Sessions, raise_file_limit
from fastpty.supervisor import Supervisor

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the router until a signal stops it. The exit status: 0, 1 for a failure, 2 for bad usage."""
    try:
        wanted, warnings = command_line.configure(sys.argv[1:] if argv is None else argv)
        for warning in warnings:
            print(f"fastpty-router: warning: {warning}", file=sys.stderr)
        jail.prepare(wanted)
        procname.set_title(wanted, procname.ROUTER if wanted.processes == 1 else procname.MASTER)
        with listening(wanted) as listeners:
            return jail.inside(wanted, partial(serve, listeners))
    except FastptyError as error:
        print(f"fastpty-router: {error}", file=sys.stderr)
        return error.exit_status


@contextmanager
def listening(wanted: Config) -> Iterator[list[tuple[address.Listener, bool]]]:
    """All listening sockets, each with whether it speaks the uwsgi protocol. Closes them, and removes their files.

    A socket file belongs to whom the router becomes, so that it is private to the account whose shell it gives, and
    so that the router can remove it. Raises FastptyError for the first address that cannot be had.
    """
    owner = wanted.socket_owner
    if owner is None and (wanted.uid, wanted.gid) != (None, None) and os.geteuid() == 0:
        owner = (-1 if wanted.uid is None else wanted.uid, -1 if wanted.gid is None else wanted.gid)
    hidden = jail.hides_files(wanted)
    with ExitStack() as stack:
        listeners = []
        for framed, places in ((False, wanted.raw_addresses), (True, wanted.uwsgi_addresses)):
            for place in places:
                for listener in address.listen(place, mode=wanted.socket_mode, owner=owner, backlog=wanted.backlog):
                    stack.callback(_close, listener, hidden)
                    listeners.append((listener, framed))
        yield listeners


def serve(listeners: Sequence[tuple[address.Listener, bool]], wanted: Config) -> None:
    """Relays until a signal stops it. The first hangs the sessions up, a second kills at once what is left."""
    log.start()
    # Ignored, as a parent may have left it, it would make the kernel reap what the relay and the supervisor wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    names = [f"{listener.address.text} ({'uwsgi' if framed else 'raw'})" for listener, framed in listeners]
    log.logger.info(
        "fastpty-router %s, uid %d gid %d, for: %s", __version__, os.getuid(), os.getgid(), wanted.command
    )
    for name in dict.fromkeys(names):
        log.logger.info("listening on %s", name)
    files = raise_file_limit()
    if wanted.processes == 1:
        run_relay(wanted, listeners, names, files)
    else:

        def work() -> None:
            procname.set_title(wanted, procname.WORKER)
            run_relay(wanted, listeners, names, files)

        Supervisor(wanted.processes, work, _stop_signals()).run()
    log.logger.info("stopped")


def run_relay(
    wanted: Config, listeners: Sequence[tuple[address.Listener, bool]], names: Sequence[str], files: tuple[int, int]
) -> None:
    """One worker: the sessions of the connections that it accepts, until it is stopped."""

    def on_signal(number: int) -> None:
        if number == signal.SIGCHLD:
            _reap_orphans(relay)
            return
        log.logger.info("%s: stopping", signal.Signals(number).name)
        relay.stop()

    relay = Relay(
        Sessions(wanted, names, on_signal, files),
        splice=wanted.splice,
        idle_seconds=wanted.idle_timeout_seconds or 0,
        grace_seconds=wanted.stop_timeout_seconds,
    )
    for listener, framed in listeners:
        relay.listen(listener.socket.fileno(), framed=framed)
    # As process 1 of a container there are orphans to reap.
    relay.watch_signals([*_stop_signals(), *([signal.SIGCHLD] if os.getpid() == 1 else [])])
    log.logger.info("ready")
    relay.run()


def _stop_signals() -> list[int]:
    """Those that stop the router, unless its parent had them ignored, as nohup(1) does."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def _reap_orphans(relay: Relay) -> None:
    """As process 1 of a container: whatever was left to us is reaped, the sessions' leaders by the relay."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        if not relay.reap(found.si_pid):
            os.waitpid(found.si_pid, 0)


def _close(listener: address.Listener, hidden: bool) -> None:
    try:
        if hidden and listener.has_file and not listener.owns_file():
            log.logger.warning("%s stays behind: it lies outside the jail", listener.address.text)
        listener.close()
    except OSError as error:
        # A router that gave up its rights may not be allowed to remove what it made as root.
        log.logger.warning("%s stays behind: %s", listener.address.text, error.strerror)


if __name__ == "__main__":
    sys.exit(main())
