"""The configuration read anew: what a reload may change, and what is of the start.

What confines the sessions or decides who gets one is never half old and half new: a new configuration that has it
otherwise is refused, and what goes into force has passed the checks of a start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fastpty.configuration.build import assemble
from fastpty.configuration.checks import check, check_user_namespace
from fastpty.configuration.command_line import parse
from fastpty.configuration.config import Config
from fastpty.configuration.language import loader
from fastpty.configuration.options import HOOKS, JAIL, LOG, OPTIONS, PROCESS
from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.net.address import TcpAddress, UnixAddress, why
from fastpty.system.user_namespace import users_differ


def _of_groups(*groups: str) -> dict[str, str]:
    """The fields of these groups of options, each with the first option that fills it."""
    return {option.field: option.name for option in reversed(OPTIONS) if option.field and option.group in groups}


# Entered, or given up, or given to the TLS proxy, once, with rights that are gone now.
_CONFINING = _of_groups(JAIL, HOOKS) | {"hooks": "hooks", "waits": "wait-for"}
_CONFINING |= {"tls_certificate": "tls-cert", "tls_key": "tls-key", "tls_authorities": "tls-ca"}
_CONFINING |= {"allow_tls_names": "allow-tls-name", "tls_users": "tls-user"}
_CONFINING |= {"run_as": "run-as", "session_cgroup": "session-cgroup"}
_OF_SOCKET_FILES = {"socket_mode": "chmod-socket", "socket_owner": "chown-socket"}

# These stay as they are and do no harm by it.
_KEPT = _of_groups(LOG, PROCESS) | {"max_startups": "max-startups", "pty_input": "pty-input"}
_OF_NEW_SOCKETS = {"backlog": "listen", "reuse_port": "reuse-port"}


def reader(argv: Sequence[str]) -> Callable[[Config], Config]:
    """A function from the present configuration to the one that the same command line means when it is called.

    What is of the start and harmless it keeps, and warns in the log where the new configuration has it otherwise. It
    raises FastptyError where that is wrong, cannot be read, or asks for what only a start can do. Relative names of
    files are meant from where the router was started, and variables from the environment that it was started with.
    """
    start = os.getcwd()
    environ = dict(os.environ)

    def reread(present: Config) -> Config:
        if present.changes_root:
            raise FastptyError(
                "the jail has another root (chroot, pivot-root, setns), where files and users may be somebody else's: "
                "nothing is read there, restart the router"
            )
        try:
            # A router that has given up root may stay in a directory that it could not enter any more, such as /root.
            with contextlib.nullcontext() if os.getcwd() == start else contextlib.chdir(start):
                loaded = loader.load(parse(argv), environ, is_reload=True)
                wanted, warnings = assemble(loaded.settings)
        except OSError as error:
            raise FastptyError(f"cannot go back to {start}: {error.strerror}") from error
        _check_for_what_takes_a_restart(present, wanted)
        if users_differ():
            check_user_namespace(wanted)
        effective = replace(wanted, **{field: getattr(present, field) for field in _KEPT})
        for warning in [*loaded.warnings, *warnings, *check(effective)]:
            logger.warning("%s", warning)
        for name in _changed(_KEPT, present, wanted):
            logger.warning("%s has changed: that takes a restart", name)
        for name in _changed(_OF_NEW_SOCKETS, present, wanted):
            logger.warning("%s has changed: that is for sockets which are new", name)
        return effective

    return reread


def read_to_be_sent(read: Callable[[Config], Config], present: Config) -> Config:
    """In another process: what `read` gives, so that it can be pickled, for received(). Raises FastptyError.

    What is listened on is looked up here, where it may take its time.
    """
    config = read(present)
    for address in config.addresses:
        if isinstance(address, TcpAddress) and address not in present.addresses:
            _look_up(address)
    return replace(config, hooks=())


def _look_up(address: TcpAddress) -> None:
    try:
        address.resolve()
    except OSError as error:
        raise FastptyError(f"cannot listen on {address.text}: {why(error, {})}") from error


def received(sent: Config, present: Config) -> Config:
    """The configuration of read_to_be_sent(). Its hooks, which are functions, are those of the present one."""
    return replace(sent, hooks=present.hooks)


def _check_for_what_takes_a_restart(present: Config, wanted: Config) -> None:
    changed = _changed(_CONFINING, present, wanted)
    if changed:
        raise FastptyError(f"a reload cannot change {', '.join(changed)}: restart the router")
    changed = _changed(_OF_SOCKET_FILES, present, wanted)
    for address in present.addresses:
        if changed and isinstance(address, UnixAddress) and address in wanted.addresses:
            raise FastptyError(
                f"a reload cannot change {', '.join(changed)} of {address.text}, which stays: restart the router"
            )


def _changed(names: Mapping[str, str], present: Config, wanted: Config) -> list[str]:
    """The names of those options whose fields differ."""
    return sorted(name for field, name in names.items() if getattr(present, field) != getattr(wanted, field))
