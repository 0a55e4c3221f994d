"""The `fastpty-router` command: bind, enter the jail, supervise, clean up."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from fastpty import __version__, cli, end_quietly_on_interrupt, log
from fastpty.access import accounts
from fastpty.access.limits import Limits
from fastpty.configuration import reread
from fastpty.configuration.config import Config
from fastpty.errors import FastptyError, printable
from fastpty.gateways.tls_gateway import Proxy
from fastpty.jail import reexecute, steps
from fastpty.listening.places import Listeners
from fastpty.service import background, process_name
from fastpty.service.pidfile import PidFile
from fastpty.sessions import program
from fastpty.sessions.cgroups import SessionCgroups
from fastpty.supervision import worker
from fastpty.supervision.supervisor import Supervisor
from fastpty.system import at_start, signals
from fastpty.system.standard_descriptors import open_standard_descriptors
from fastpty.viewers.own_terminal import OwnTerminal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the router until a signal stops it. The exit status: 0, 1 for a failure, 2 for bad usage."""
    end_quietly_on_interrupt()
    open_standard_descriptors(os.O_RDWR)
    argv = sys.argv[1:] if argv is None else argv
    starter = background.Starter()
    try:
        config, warnings = reexecute.configure(argv)
        for warning in warnings:
            print(f"fastpty-router: warning: {printable(warning)}", file=sys.stderr)
        steps.check(config)
        accounts.check(config.run_as)
        if config.is_client:
            return be_client_in_jail(config)
        if config.daemonize or config.daemonize2:
            starter = background.go_to_background()
        signals.hold()
        return run(config, argv, starter)
    except FastptyError as error:
        starter.failed(error)
        return error.exit_status
    except signals.Stopped as stopped:
        starter.stopped(stopped.number)
        return 0


def be_client_in_jail(config: Config) -> int:
    """The exit status, also where a stop signal ends it on its way into the jail."""
    try:
        steps.prepare(config)
        return steps.inside(config, be_client)
    except signals.Stopped as stopped:
        return 128 + stopped.number


def be_client(config: Config) -> None:
    """Does what `fastpty` does, as `uwsgi --pty-connect` is uWSGI's client, and ends the process with its status."""
    option, place = (
        ("--pty-connect", config.pty_connect) if config.pty_connect else ("--pty-uconnect", config.pty_uconnect)
    )
    assert place is not None
    raise SystemExit(cli.main([option, place.text]))


def run(config: Config, argv: Sequence[str], starter: background.Starter) -> int:
    """The order of things; the exit status. Raises FastptyError for what goes wrong before clients are served."""
    again = partial(read_again, reread.reader(argv))
    log.start(config.loggers)
    log.redirect(config.daemonize or config.logto)
    steps.prepare(config)
    if (title := config.title(is_master=True)) is not None:
        process_name.set_title(title)
    with ExitStack() as stack:
        listeners = Listeners(config)
        stack.callback(listeners.close)
        keep_pidfiles(config.pidfiles, config.vacuum, stack)
        # Before the jail: the key may be root's alone to read, and the socket's file outside.
        proxy = Proxy(config, listeners)
        terminal = OwnTerminal(config.pty_addresses) if config.pty_input and config.pty_addresses else None
        cgroups = SessionCgroups(config) if config.session_cgroup else None
        if cgroups is not None:
            stack.callback(cgroups.close)
        return steps.inside(config, partial(serve, listeners, proxy, terminal, cgroups, again, starter))


def read_again(read: Callable[[Config], Config], present: Config) -> Config:
    """For a reload: the new configuration, whose commands can be executed. Raises FastptyError."""
    config = read(present)
    program.check(config)
    return config


def keep_pidfiles(paths: Sequence[str], vacuum: bool, stack: ExitStack) -> None:
    """Writes this process's id into each; with vacuum they are removed at the end."""
    for path in dict.fromkeys(paths):
        file = PidFile(path)
        stack.callback(_end_pidfile, file, vacuum)


def serve(
    listeners: Listeners,
    proxy: Proxy,
    terminal: OwnTerminal | None,
    cgroups: SessionCgroups | None,
    again: Callable[[Config], Config],
    starter: background.Starter,
    config: Config,
) -> None:
    """In the jail: relays until a signal stops it. The first hangs the sessions up, a second kills what is left."""
    # Ignored, as a parent may have left it, it would make the kernel reap what the supervisor waits for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    program.check(config)
    if cgroups is not None:
        cgroups.inside()
    with ExitStack() as stack:
        log.redirect(config.daemonize2 or config.logto2)
        keep_pidfiles(config.pidfiles2, config.vacuum, stack)
        if terminal is not None:
            terminal.start()
            stack.callback(terminal.end)
        supervise(listeners, proxy, cgroups, again, starter, config)


def supervise(
    listeners: Listeners,
    proxy: Proxy,
    cgroups: SessionCgroups | None,
    again: Callable[[Config], Config],
    starter: background.Starter,
    config: Config,
) -> None:
    """Runs the supervisor of the workers to its end."""
    log.logger.info(
        "fastpty-router %s, uid %d gid %d, for: %s", __version__, os.getuid(), os.getgid(), config.command
    )
    for name in dict.fromkeys(place.name for place in listeners):
        log.logger.info("listening on %s", name)
    at_start.raise_file_limit()
    limits = Limits()

    def work(config: Config, listeners: Listeners, link: worker.Link, shares: bool) -> None:
        starter.let_go()
        worker.run(config, listeners, link, shares, limits=limits, cgroups=cgroups)

    worker_ended = cgroups.end_of_worker if cgroups else None
    Supervisor(config, listeners, again, work, starter.ready, worker_ended, proxy.gateways).run()
    log.logger.info("stopped")


def _end_pidfile(file: PidFile, vacuum: bool) -> None:
    try:
        file.close(remove=vacuum)
    except OSError as error:
        log.logger.warning("pidfile %s stays behind: %s", file.path, error.strerror)


if __name__ == "__main__":
    sys.exit(main())
