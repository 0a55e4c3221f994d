"""From settings to a Config: each option parsed by itself, then the whole checked."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastpty.configuration import checks
from fastpty.configuration.config import Config
from fastpty.configuration.language.setting import COMMAND_LINE, Setting
from fastpty.configuration.options import BY_NAME, OPTIONS, Option
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


def build(settings: Iterable[Setting]) -> tuple[Config, list[str]]:
    """The Config that `settings` ask for, and lines of warning about those that may not do what was meant.

    Raises UsageError where `assemble` or `checks.check` does.
    """
    config, warnings = assemble(settings)
    return config, [*warnings, *checks.check(config)]


def assemble(settings: Iterable[Setting]) -> tuple[Config, list[str]]:
    """The Config that `settings` ask for, each option checked by itself alone, and lines of warning.

    Of an option that is not repeatable the last setting counts. Raises UsageError for a bad value, for a
    uWSGI option that would confine the shell and is not supported, and for an unknown option that must be a mistake:
    one in a place of our own, or near to an option, or under `strict` any.
    """
    values: dict[str, Any] = {option.field: option.default_value() for option in OPTIONS if option.field}
    unknown: list[str] = []
    warnings: list[str] = []
    for setting in settings:
        option = BY_NAME.get(setting.name)
        if option is not None and option.field is not None:
            value = _parse(option, setting)
            values[option.field] = values[option.field] + value if option.repeatable else value
            warnings += _doubts(option, setting)
        elif setting.name not in IGNORED:
            unknown.append(_unknown(setting))
            # What something looked up is of use as a placeholder.
            if not setting.is_used:
                warnings.append(f"{unknown[-1]}; ignored")
    if unknown and values["strict"]:
        raise UsageError(unknown[0])
    values["gid"] = _primary_group(values["uid"], values["gid"])
    warnings += _unused_sockets(values)
    for kind in ("raw_addresses", "uwsgi_addresses", "pty_addresses", "stats_addresses"):
        values[kind] = tuple(_address_meant(where, values["shared_sockets"]) for where in values[kind])
    return Config(**values), warnings


def _parse(option: Option, setting: Setting) -> Any:
    text = option.bare if setting.value is None else setting.value
    if text is None:
        raise UsageError(f"{setting.label} needs a value: {option.metavar}")
    try:
        return option.parse(text)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{setting.label}: {error}") from error


def _unknown(setting: Setting) -> str:
    """What to say of an option that is not in the table; raises UsageError if ignoring it is not safe.

    It is safe where the name serves as a placeholder, and in uWSGI's own files where it is far from all our options.
    """
    if setting.name in WITHOUT_MEANING:
        raise UsageError(f"{setting.label}: {WITHOUT_MEANING[setting.name]}")
    if is_confining(setting.name):
        advice = instead(setting.name)
        raise UsageError(
            f"{setting.label} is not supported: {advice}"
            if advice
            else f"{setting.label} is not supported yet, and going on without it would not be safe"
        )
    meant = misspelt(setting.name)
    near = meant or nearest(setting.name, in_files=setting.origin != COMMAND_LINE)
    hint = f" (did you mean {near!r}?)" if near else ""
    line = f"{setting.origin}: unknown option {setting.name!r}{hint}"
    if (meant or setting.is_ours or setting.origin == COMMAND_LINE) and not setting.is_used:
        raise UsageError(line)
    return line


def _doubts(option: Option, setting: Setting) -> Iterable[str]:
    """Warnings about a setting that was understood, but perhaps not as it was meant."""
    value = setting.value or ""
    if option.field == "plugins":
        for plugin in comma_list(value):
            if plugin not in PLUGINS_BUILT_IN:
                yield f"{setting.label}: no plugin {plugin!r} here; ignored"


def _primary_group(uid: int | None, gid: int | None) -> int | None:
    """The group to become: the user's own if only the user is given. uWSGI would stay in group 0."""
    if uid is None or gid is not None:
        return gid
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise UsageError(f"uid {uid} has no account to take the group from: give gid, too") from None


def _address_meant(where: Address, shared: Sequence[Address]) -> Address:
    """The address that =N stands for; any other as it is."""
    if not isinstance(where, SharedAddress):
        return where
    if where.index >= len(shared):
        raise UsageError(f"{where.text}: there are {len(shared)} shared-socket options, numbered from 0")
    return shared[where.index]


def _unused_sockets(values: Mapping[str, Any]) -> Iterable[str]:
    """Warnings about those shared sockets that no address names."""
    kinds = ("raw_addresses", "uwsgi_addresses", "pty_addresses", "stats_addresses")
    named = {where.index for kind in kinds for where in values[kind] if isinstance(where, SharedAddress)}
    for index, where in enumerate(values["shared_sockets"]):
        if index not in named:
            yield f"shared-socket {where.text} is not listened on: no address names it as ={index}"
