"""Reads the configuration again for a reload, and decides which changes a reload may make.

`Option.reload` in the table of options says what happens to each change. A reload that would change how sessions
are confined is refused, so that this is never half old and half new. The new configuration passes the same checks as at
a start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from fastpty.configuration.build import assemble
from fastpty.configuration.checks import check, check_user_namespace
from fastpty.configuration.command_line import parse
from fastpty.configuration.config import Config
from fastpty.configuration.language import loader
from fastpty.configuration.option import Reload
from fastpty.configuration.options import OPTIONS
from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.net.address import UnixAddress
from fastpty.system.records import replace
from fastpty.system.user_namespace import users_differ

_NAMES_OF_FAMILIES = {"hooks": "hooks", "waits": "wait-for"}  # fields that many options fill


def reader(argv: Sequence[str], start: str, environ: dict[str, str]) -> Callable[[Config], Config]:
    """Returns the function that reload.reader() describes. start, environ: directory and environment of the start."""

    def read(present: Config) -> Config:
        try:
            # A router that has given up root may be unable to enter its own working directory again, such as /root.
            with contextlib.nullcontext() if os.getcwd() == start else contextlib.chdir(start):
                loaded = loader.load(parse(argv), environ, is_reload=True)
                wanted, warnings = assemble(loaded.settings)
        except OSError as error:
            raise FastptyError(f"cannot change back to {start}: {error.strerror}") from error
        _refuse_changes(present, wanted)
        if users_differ():
            check_user_namespace(wanted)
        effective = replace(wanted, **{field: getattr(present, field) for field in _fields(Reload.KEEP)})
        for warning in [*loaded.warnings, *warnings, *check(effective)]:
            logger.warning("%s", warning)
        for name in _changed(Reload.KEEP, present, wanted):
            logger.warning("%s has changed: restart the router to apply it", name)
        for name in _changed(Reload.NEW_SOCKETS, present, wanted):
            logger.warning("%s has changed: it applies to new sockets only", name)
        return effective

    return read


def _refuse_changes(present: Config, wanted: Config) -> None:
    changed = _changed(Reload.REFUSE, present, wanted)
    if changed:
        raise FastptyError(f"a reload cannot change {', '.join(changed)}: restart the router")
    changed = _changed(Reload.REFUSE_FOR_OPEN_SOCKETS, present, wanted)
    for address in present.addresses:
        if changed and isinstance(address, UnixAddress) and address in wanted.addresses:
            raise FastptyError(
                f"a reload cannot change {', '.join(changed)} of {address.text}, which stays open: restart the router"
            )


def _changed(policy: Reload, present: Config, wanted: Config) -> list[str]:
    """The names of the options with this policy whose values differ."""
    return sorted(
        name for field, name in _fields(policy).items() if getattr(present, field) != getattr(wanted, field)
    )


def _fields(policy: Reload) -> dict[str, str]:
    """The fields of Config whose options have this policy, each with the name of its first option."""
    options = [option for option in reversed(OPTIONS) if option.field and option.reload is policy]
    return {option.field: _NAMES_OF_FAMILIES.get(option.field, option.name) for option in options if option.field}
