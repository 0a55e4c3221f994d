"""What `--check` and `show-config` show of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.options import BY_NAME, OPTIONS

DEFAULT = "default"


def report(settings: Sequence[Setting]) -> list[str]:
    """The effective configuration, a line for each value: where it comes from, the option, the value.

    The origin is `FILE:LINE`, `command line`, `$VARIABLE` or `default`. Of an option that is not repeatable only the
    setting that counts is shown, and nothing of one that is neither set nor has a default.
    """
    rows = list(_rows(settings))
    width = max(len(origin) for origin, _ in rows)
    return [f"{origin.ljust(width)}  {line}" for origin, line in rows]


def as_ini(listing: Iterable[Setting]) -> list[str]:
    """All settings as uWSGI's `show-config` writes them: words of the language, too, values already expanded."""
    lines = [f"{setting.name} = {'true' if setting.value is None else setting.value}" for setting in listing]
    return [";fastpty-router configuration", "[uwsgi]", *lines, ";end of configuration"]


def _rows(settings: Sequence[Setting]) -> Iterator[tuple[str, str]]:
    for option in OPTIONS:
        if option.field is None:
            continue
        given = [setting for setting in settings if BY_NAME.get(setting.name) is option]
        for setting in given if option.repeatable else given[-1:]:
            value = option.bare if setting.value is None else setting.value
            yield setting.origin, f"{option.name} = {value}"
        if not given and option.default is not None:
            yield DEFAULT, f"{option.name} = {option.default}"
