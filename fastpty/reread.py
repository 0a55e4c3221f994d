"""The configuration read anew: what a reload may change, and what is of the start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from fastpty import loader
from fastpty.command_line import parse
from fastpty.config import Config, build
from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.options import HOOKS, JAIL, LOG, OPTIONS, PROCESS

# Entered, or opened, once, with rights that are gone now.
_OF_THE_START = {
    option.field: option.name for option in OPTIONS if option.field and option.group in (JAIL, HOOKS, LOG, PROCESS)
}
_OF_THE_START |= {"tls_certificate": "tls-cert", "tls_key": "tls-key", "tls_authorities": "tls-ca"}
_OF_THE_START |= {"allow_tls_names": "allow-tls-name", "tls_users": "tls-user"}
_OF_THE_START |= {"run_as": "run-as", "session_cgroup": "session-cgroup"}
_OF_NEW_SOCKETS = {"socket_mode": "chmod-socket", "socket_owner": "chown-socket", "backlog": "listen"}
_OF_NEW_SOCKETS |= {"reuse_port": "reuse-port"}


def reader(argv: Sequence[str]) -> Callable[[Config], Config]:
    """A function from the present configuration to the one that the same command line means when it is called.

    It keeps what is of the start and warns in the log where the new configuration has it otherwise. It raises
    FastptyError where that is wrong or cannot be read. Relative names of files are meant from where the router was
    started.
    """
    start = os.getcwd()

    def reread(present: Config) -> Config:
        try:
            with contextlib.chdir(start):
                loaded = loader.load(parse(argv), is_reload=True)
                wanted, warnings = build(loaded.settings)
        except OSError as error:
            raise FastptyError(f"cannot go back to {start}: {error.strerror}") from error
        for warning in loaded.warnings + warnings:
            logger.warning("%s", warning)
        kept = {}
        for field, name in _OF_THE_START.items():
            kept[field] = getattr(present, field)
            if kept[field] != getattr(wanted, field):
                logger.warning("%s has changed: that takes a restart", name)
        for field, name in _OF_NEW_SOCKETS.items():
            if getattr(present, field) != getattr(wanted, field):
                logger.warning("%s has changed: that is for sockets which are new", name)
        return replace(wanted, **kept)

    return reread
