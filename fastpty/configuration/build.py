"""Builds a Config from settings: parses each option on its own, then checks them together."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastpty.configuration import checks
from fastpty.configuration.config import Config
from fastpty.configuration.language.files import FORMATS
from fastpty.configuration.language.setting import COMMAND_LINE, Setting
from fastpty.configuration.option import Option
from fastpty.configuration.options import MEANT_FOR_UWSGI, OPTIONS, find
from fastpty.configuration.uwsgi_keys import (
    IGNORED,
    PLUGINS_BUILT_IN,
    WITHOUT_MEANING,
    instead,
    is_confining,
    misspelt,
    nearest,
)
from fastpty.errors import UsageError
from fastpty.net.address import Address, SharedAddress
from fastpty.system.names import comma_list

_ADDRESS_FIELDS = (
    "raw_addresses",
    "uwsgi_addresses",
    "pty_addresses",
    "pty_uwsgi_addresses",
    "pty_viewer_addresses",
    "stats_addresses",
)
_PIDFILE_FIELDS = ("pidfiles", "pidfiles2")
_QUOTED = re.compile(r"""(["'])(?:(?!\1).)*\1""", re.DOTALL)
_COMMENTED = re.compile(r"\s[#;](\s|$)")
_METAVARS_OF_COMMANDS = frozenset({"CMD", "ACTION:ARGUMENT"})  # a comment in them is the shell's
_WITH_QUOTES = tuple(
    f".{format_}" for format_ in FORMATS if format_ != "ini"
)  # in these formats quotes delimit values


def build(settings: Iterable[Setting]) -> tuple[Config, list[str]]:
    """Returns the Config for `settings`, and warnings about settings that may not do what was meant.

    Raises UsageError as `assemble` and `checks.check` do.
    """
    config, warnings = assemble(settings)
    return config, [*warnings, *checks.check(config)]


def assemble(settings: Iterable[Setting]) -> tuple[Config, list[str]]:
    """Returns the Config for `settings`, with each option checked on its own, and warnings.

    If an option that cannot be repeated is set more than once, the last setting counts. Raises UsageError for a bad
    value, for an unsupported uWSGI option that would confine sessions, and for an unknown option that must be a
    mistake: one outside of uWSGI's sections, one that looks misspelt, or any under `strict`.
    """
    values: dict[str, Any] = {option.field: option.default_value() for option in OPTIONS if option.field}
    unknown: list[str] = []
    warnings: list[str] = []
    origins: dict[str, str] = {}
    for setting in settings:
        option = find(setting.name, is_uwsgis=setting.is_uwsgis)
        if option is not None and option.field is not None:
            value = _parse(option, setting)
            values[option.field] = values[option.field] + value if option.repeatable else value
            warnings += _warnings_for(option, setting)
            if option.field in _PIDFILE_FIELDS and setting.origin != COMMAND_LINE:
                origins[value[0]] = setting.origin
        elif setting.name not in IGNORED:
            unknown.append(_unknown(setting))
            # It may be a name that is made up for %(name).
            if not setting.is_used:
                warnings.append(f"{unknown[-1]}; ignored")
    if unknown and values["strict"]:
        raise UsageError(unknown[0])
    values["gid"] = _primary_group(values["uid"], values["gid"])
    warnings += _unused_sockets(values)
    for field in _ADDRESS_FIELDS:
        values[field] = tuple(_resolved(address, values["shared_sockets"]) for address in values[field])
    return Config(**values, pidfile_origins=origins), warnings


def _parse(option: Option, setting: Setting) -> Any:
    text = option.bare if setting.value is None else setting.value
    if text is None:
        raise UsageError(f"{setting.label} needs a value: {option.metavar}")
    try:
        return option.parse(text)
    except (ValueError, UsageError) as error:
        hint = _hint(setting)
        raise UsageError(f"{setting.label}: {error}" + (f" ({hint})" if hint else "")) from error


def _hint(setting: Setting) -> str | None:
    """What to do about quotes or a comment that have become part of a value; None if it has none."""
    value = setting.value or ""
    if setting.origin == COMMAND_LINE or setting.text.has_data or (setting.file or "").endswith(_WITH_QUOTES):
        return None
    if _QUOTED.fullmatch(value):
        return "the quotes are part of the value: remove them"
    if _COMMENTED.search(value):
        return "the comment is part of the value: put it on a line of its own"
    return None


def _unknown(setting: Setting) -> str:
    """The message about an option that is not in the table; raises UsageError if it cannot be ignored safely.

    It can be ignored if it is used as a placeholder, and in uWSGI's own files if its name is not close to any option.
    """
    if setting.name in WITHOUT_MEANING:
        raise UsageError(f"{setting.label} is not supported: {WITHOUT_MEANING[setting.name]}")
    if is_confining(setting.name):
        advice = instead(setting.name) or "sessions would be less confined without it"
        raise UsageError(f"{setting.label} is not supported: {advice}")
    if setting.name in MEANT_FOR_UWSGI:
        return f"{setting.label} is uWSGI's own option here (the router's is {MEANT_FOR_UWSGI[setting.name]})"
    meant = misspelt(setting.name)
    near = meant or nearest(setting.name, in_files=setting.origin != COMMAND_LINE)
    hint = f" (did you mean {near!r}?)" if near else ""
    line = f"{setting.origin}: unknown option {setting.name!r}{hint}"
    if (meant or setting.is_ours or setting.origin == COMMAND_LINE) and not setting.is_used:
        raise UsageError(line)
    return line


def _warnings_for(option: Option, setting: Setting) -> Iterable[str]:
    """Warnings about a setting that can be understood, but perhaps not as it was meant."""
    hint = None if option.is_flag else _hint(setting)
    if hint and not (option.metavar in _METAVARS_OF_COMMANDS and "comment" in hint):
        yield f"{setting.label}: {hint}"
    if option.field == "plugins":
        for plugin in comma_list(setting.value or ""):
            if plugin not in PLUGINS_BUILT_IN:
                yield f"{setting.label}: fastpty has no plugin {plugin!r}; ignored"


def _primary_group(uid: int | None, gid: int | None) -> int | None:
    """The group to become: the primary group of uid if no gid is given. uWSGI would stay in group 0."""
    if uid is None or gid is not None:
        return gid
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise UsageError(f"uid {uid} has no account, so its group is unknown: set gid too") from None


def _resolved(address: Address, shared: Sequence[Address]) -> Address:
    """The shared socket that =N names; any other address as it is."""
    if not isinstance(address, SharedAddress):
        return address
    if address.index >= len(shared):
        raise UsageError(f"{address.text} names no shared-socket: there are {len(shared)}, numbered from 0")
    return shared[address.index]


def _unused_sockets(values: Mapping[str, Any]) -> Iterable[str]:
    """Warnings about shared sockets that no address names."""
    addresses = [address for field in _ADDRESS_FIELDS for address in values[field]]
    named = {address.index for address in addresses if isinstance(address, SharedAddress)}
    for index, address in enumerate(values["shared_sockets"]):
        if index not in named:
            yield f"shared-socket {address.text} is not used: no address names it as ={index}"
