"""Checks that an inherited socket (`fd://N`) is as private as the configuration says.

Another program made it; systemd gives it mode 0666 unless its unit says otherwise. The socket must already be as the
options ask. Nothing is changed here: connections that the old mode allowed may already wait.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.listening.bind import Listener
from fastpty.net.address import FdAddress, TcpAddress, UnixAddress

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_WRITERS = stat.S_IWUSR | _OTHERS  # connecting needs write permission on the socket file: unix(7)


def check(listener: Listener, config: Config, for_sessions: bool) -> Iterator[str]:
    """Yields warnings; raises FastptyError if more users may connect than configured, or an option cannot apply.

    for_sessions: False for a socket for statistics.
    """
    if listener.socket.family == socket.AF_UNIX:
        yield from _check_local(listener, config, for_sessions)
    else:
        _check_tcp(listener, config, for_sessions)


def _check_local(listener: Listener, config: Config, for_sessions: bool) -> Iterator[str]:
    name = listener.socket.getsockname()
    found = listener.file_status()
    has_rule = bool(config.allow_users or config.allow_groups or (for_sessions and config.run_as == "peer"))
    if isinstance(name, bytes):
        if config.socket_owner is not None:
            raise _refusal(listener, "it is abstract and has no file: remove chown-socket")
        text = os.fsdecode(name[1:].rstrip(b"\0"))
        yield from _check_mode(listener, f"@{text} is abstract, which is as mode 666", 0o666, config, has_rule)
    elif found is None or not stat.S_ISSOCK(found.st_mode):
        if not has_rule:
            raise _refusal(
                listener,
                f"its file {name or '(none)'} cannot be found, so its mode is unknown: add allow-user or allow-group",
            )
    else:
        mode = found.st_mode & 0o777
        yield from _check_mode(listener, f"{name} has mode {mode:03o}", mode, config, has_rule)
        _check_owner(listener, name, (found.st_uid, found.st_gid), config, has_rule)
        if listener.lost_file():
            yield f"{listener.address.text}: its file {name} is gone: nobody can connect there by its name"


def _check_mode(listener: Listener, what: str, mode: int, config: Config, has_rule: bool) -> Iterator[str]:
    wanted, there = config.socket_mode & _WRITERS, mode & _WRITERS
    if wanted == there:
        return
    if there & ~wanted and not has_rule:
        raise _refusal(
            listener,
            f"{what}, so more users may connect than chmod-socket={config.socket_mode:03o} allows: change the mode "
            "where the socket is made (SocketMode= of systemd), add allow-user or allow-group, or set "
            f"chmod-socket={mode:03o}",
        )
    if wanted & ~there:
        raise _refusal(
            listener,
            f"{what}, and chmod-socket={config.socket_mode:03o} does not apply to an inherited socket: change the mode "
            "where the socket is made",
        )
    yield f"{listener.address.text}: {what}, not {config.socket_mode:03o}: only the rules decide who may connect"


def _check_owner(listener: Listener, name: str, owner: tuple[int, int], config: Config, has_rule: bool) -> None:
    if config.socket_owner is None:
        if owner[0] not in (0, os.geteuid(), config.uid) and not has_rule:
            raise _refusal(
                listener,
                f"{name} belongs to uid {owner[0]}, who may connect: change the owner where the socket is made "
                f"(SocketUser= of systemd), add allow-user or allow-group, or set chown-socket={owner[0]}",
            )
    elif any(wanted not in (-1, there) for wanted, there in zip(config.socket_owner, owner, strict=True)):
        raise _refusal(
            listener,
            f"{name} belongs to uid {owner[0]} and gid {owner[1]}, and chown-socket does not apply to an "
            "inherited socket: change the owner where "
            "the socket is made",
        )


def _check_tcp(listener: Listener, config: Config, for_sessions: bool) -> None:
    host, port = listener.socket.getsockname()[:2]
    where = TcpAddress(host, port)
    if not (where.is_loopback or config.insecure_tcp or (for_sessions and config.tls_identity)):
        raise _refusal(
            listener,
            f"{where.text} is open to the network without authentication: bind it to 127.0.0.1, use TLS (tls-cert) for "
            "sessions, or set insecure-tcp",
        )
    if config.reuse_port and not listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        raise _refusal(listener, "reuse-port takes effect where a socket is made (ReusePort= of systemd)")
    has_file = any(isinstance(each, UnixAddress | FdAddress) for each in config.addresses if each != listener.address)
    if config.socket_owner is not None and not has_file:
        raise _refusal(listener, "it is TCP and has no file: remove chown-socket")


def _refusal(listener: Listener, why: str) -> FastptyError:
    return FastptyError(f"cannot listen on {listener.address.text}: {why}")
