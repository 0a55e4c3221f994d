"""Prints a configuration, for `--check` and `show-config`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.options import OPTIONS, find

DEFAULT = "default"


def report(settings: Sequence[Setting]) -> list[str]:
    """The effective configuration, one line for each value: its origin, the option, the value.

    The origin is `FILE:LINE`, `command line`, `$VARIABLE` or `default`. Of an option that cannot be repeated only the
    last setting is shown. An option that is neither set nor has a default is left out.
    """
    rows = list(_rows(settings))
    width = max(len(origin) for origin, _ in rows)
    return [f"{origin.ljust(width)}  {line}" for origin, line in rows]


def as_ini(listing: Iterable[Setting]) -> list[str]:
    """All settings in the form of uWSGI's `show-config`: words of the language included, values expanded."""
    lines = [f"{setting.name} = {'true' if setting.value is None else setting.value}" for setting in listing]
    return [";fastpty-router configuration", "[uwsgi]", *lines, ";end of configuration"]


def _rows(settings: Sequence[Setting]) -> Iterator[tuple[str, str]]:
    for option in OPTIONS:
        if option.field is None:
            continue
        given = [setting for setting in settings if find(setting.name, is_uwsgis=setting.is_uwsgis) is option]
        for setting in given if option.repeatable else given[-1:]:
            value = option.bare if setting.value is None else setting.value
            yield setting.origin, f"{option.name} = {value}"
        if not given and option.default is not None:
            yield DEFAULT, f"{option.name} = {option.default}"
