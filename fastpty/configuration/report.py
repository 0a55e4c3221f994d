"""Prints a configuration, for `--check` and `show-config`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.options import OPTIONS, find

DEFAULT = "default"


def report(settings: Sequence[Setting], remarks: Mapping[str, str | None]) -> list[str]:
    """The effective configuration, one line for each value: its origin, the option, the value.

    The origin is `FILE:LINE`, `command line`, `$VARIABLE` or `default`. Of an option that cannot be repeated only the
    last setting is shown. An option that is neither set nor has a default is left out.
    remarks: what is shown in parentheses after the value of an option.
    """
    rows = list(_rows(settings))
    width = max(len(origin) for origin, _, _ in rows)
    return [
        f"{origin.ljust(width)}  {name} = {value}" + (f" ({remark})" if (remark := remarks.get(name)) else "")
        for origin, name, value in rows
    ]


def as_ini(listing: Iterable[Setting]) -> list[str]:
    """All settings in the form of uWSGI's `show-config`: words of the language included, values expanded."""
    lines = [f"{setting.name} = {'true' if setting.value is None else setting.value}" for setting in listing]
    return [";fastpty-router configuration", "[uwsgi]", *lines, ";end of configuration"]


def _rows(settings: Sequence[Setting]) -> Iterator[tuple[str, str, str]]:
    for option in OPTIONS:
        if option.field is None:
            continue
        given = [setting for setting in settings if find(setting.name, is_uwsgis=setting.is_uwsgis) is option]
        for setting in given if option.repeatable else given[-1:]:
            yield setting.origin, option.name, str(option.bare if setting.value is None else setting.value)
        if not given and option.default is not None:
            yield DEFAULT, option.name, option.default
