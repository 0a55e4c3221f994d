"""The `fastpty-router` command: bind, enter the jail, supervise, clean up."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from fastpty import __version__, end_quietly_on_interrupt, log
from fastpty.access import accounts
from fastpty.configuration.config import Config
from fastpty.configuration.reload import reader
from fastpty.errands.processes import close_elsewhere
from fastpty.errors import FastptyError, printable
from fastpty.jail import reexecute, steps
from fastpty.listening.places import Listeners, cannot_remove_files
from fastpty.listening.removal import Remover
from fastpty.service import background, process_name
from fastpty.service.pidfile import PidFile
from fastpty.sessions import program
from fastpty.supervision import worker
from fastpty.supervision.link import Link
from fastpty.supervision.supervisor import Supervisor, Tasks
from fastpty.system import at_start, signals
from fastpty.system.records import dataclass
from fastpty.system.standard_descriptors import WARNING, open_standard_descriptors, write_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.gateways.gateway import Gateway
    from fastpty.sessions.cgroups import SessionCgroups
    from fastpty.viewers.own_terminal import OwnTerminal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the router until a signal stops it. Returns the exit status: 0, 1 for a failure, 2 for bad usage."""
    end_quietly_on_interrupt()
    open_standard_descriptors(os.O_RDWR)
    argv = sys.argv[1:] if argv is None else argv
    starter = background.Starter()
    try:
        config, warnings = reexecute.configure(argv)
        for warning in warnings:
            write_error(f"fastpty-router: warning: {printable(warning)}", WARNING)
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
    """Enters the jail as `fastpty connect` would connect there, and returns the exit status."""
    try:
        steps.prepare(config)
        return steps.run_inside(config, be_client)
    except signals.Stopped as stopped:
        return 128 + stopped.number


def be_client(config: Config) -> None:
    """Connects as `fastpty` does, for --pty-connect and --pty-uconnect, and exits with its status."""
    from fastpty import cli  # jail/imports.py has loaded it before another root is entered

    option, place = (
        ("--pty-connect", config.pty_connect) if config.pty_connect else ("--pty-uconnect", config.pty_uconnect)
    )
    assert place is not None
    raise SystemExit(cli.main([option, place.text]))


@dataclass(frozen=True)
class _Prepared:
    """What was made before the jail is entered, with rights and files that may be out of reach inside."""

    listeners: Listeners
    gateways: Sequence[Gateway]
    terminal: OwnTerminal | None
    cgroups: SessionCgroups | None
    pidfiles: Sequence[PidFile]
    read_configuration: Callable[[Config], Config]
    starter: background.Starter


def run(config: Config, argv: Sequence[str], starter: background.Starter) -> int:
    """Binds, enters the jail and serves; returns the exit status. Raises FastptyError if the start fails."""
    read_configuration = partial(_read_again, reader(argv))
    log.start(config.loggers, config.log_level, config.log_format)
    log.redirect(config.daemonize or config.logto)
    steps.prepare(config)
    if (title := config.title(is_master=True)) is not None:
        process_name.set_title(title)
    with ExitStack() as stack:
        listeners = Listeners(config)
        stack.callback(listeners.close)
        pidfiles = _keep_pidfiles(config.pidfiles, config, stack)
        if config.vacuum and cannot_remove_files(config):
            _remove_from_outside(pidfiles)
        # The key may be readable by root only, so it is read before the jail.
        gateways = _gateways(config, listeners)
        terminal = _own_terminal(config)
        cgroups = _session_cgroups(config)
        if cgroups is not None:
            stack.callback(cgroups.close)
        prepared = _Prepared(listeners, gateways, terminal, cgroups, pidfiles, read_configuration, starter)
        return steps.run_inside(config, partial(_serve, prepared))


def _gateways(config: Config, listeners: Listeners) -> Sequence[Gateway]:
    if config.tls_identity is None:
        return ()
    from fastpty.gateways.tls_gateway import Proxy

    return Proxy(config, listeners).gateways


def _own_terminal(config: Config) -> OwnTerminal | None:
    if not (config.pty_input and config.pty_addresses):
        return None
    from fastpty.viewers.own_terminal import OwnTerminal

    return OwnTerminal(config.pty_addresses)


def _session_cgroups(config: Config) -> SessionCgroups | None:
    if not config.session_cgroup:
        return None
    from fastpty.sessions.cgroups import SessionCgroups

    return SessionCgroups(config)


def _read_again(read: Callable[[Config], Config], present: Config) -> Config:
    """For a reload: returns the new configuration if its commands can be executed. Raises FastptyError."""
    config = read(present)
    program.check(config)
    return config


def _keep_pidfiles(paths: Sequence[str], config: Config, stack: ExitStack) -> list[PidFile]:
    """Writes this process's id to each file. With vacuum they are removed at the end."""
    files = []
    for path in dict.fromkeys(paths):
        try:
            files.append(PidFile(path))
        except FastptyError as error:
            origin = config.pidfile_origins.get(path)
            raise FastptyError(f"{origin}: {error}" if origin else str(error)) from error
        stack.callback(_end_pidfile, files[-1], config.vacuum)
    return files


def _remove_from_outside(pidfiles: Sequence[PidFile]) -> None:
    """Has a process that keeps its rights remove these files, because the router will not be able to."""
    if pidfiles:
        remover = Remover(pidfiles)
        for file in pidfiles:
            file.remove_from_outside = remover.remove


def _serve(prepared: _Prepared, config: Config) -> None:
    """In the jail: serves until a signal stops the router."""
    # If a parent has set SIGCHLD to be ignored, the kernel would reap the children that the supervisor waits for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    config = program.check(config)
    if prepared.cgroups is not None:
        prepared.cgroups.inside()
    with ExitStack() as stack:
        log.redirect(config.daemonize2 or config.logto2)
        stack.callback(log.flush)
        pidfiles = [*prepared.pidfiles, *_keep_pidfiles(config.pidfiles2, config, stack)]
        if prepared.terminal is not None:
            prepared.terminal.start()
            stack.callback(prepared.terminal.end)
        _supervise(prepared, pidfiles, config)


def _supervise(prepared: _Prepared, pidfiles: Sequence[PidFile], config: Config) -> None:
    """Runs the supervisor until all workers have ended."""
    log.logger.info(
        "fastpty-router %s started as uid %d gid %d; command: %s",
        __version__,
        os.getuid(),
        os.getgid(),
        config.command,
    )
    for name in dict.fromkeys(place.name for place in prepared.listeners):
        log.logger.info("listening on %s", name)
    at_start.raise_file_limit()
    cgroups = prepared.cgroups
    common = worker.Common(cgroups=cgroups)

    def work(config: Config, listeners: Listeners, link: Link, has_shared_terminal: bool) -> None:
        prepared.starter.close()
        worker.run(config, listeners, link, has_shared_terminal, common=common)

    tasks = Tasks(
        work,
        prepared.read_configuration,
        on_ready=prepared.starter.ready,
        worker_ended=cgroups.end_of_worker if cgroups else lambda pid: None,
        gateways=prepared.gateways,
        close_in_gateway=common.session_numbers.close,
        control_sockets=[file.control for file in pidfiles],
    )
    Supervisor(config, prepared.listeners, tasks).run()
    log.logger.info("stopped")


def _end_pidfile(file: PidFile, vacuum: bool) -> None:
    if file.control.socket is not None:
        close_elsewhere(file.control.socket)
    try:
        file.close(remove=vacuum)
    except OSError as error:
        log.logger.warning("pidfile %s was not removed: %s", file.path, error.strerror)


if __name__ == "__main__":
    sys.exit(main())
