"""A configuration file as its parser gets it, and the choice of the section that is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.text import Text
from fastpty.configuration.uwsgi_keys import misspelt_section
from fastpty.errors import UsageError
from fastpty.system.records import dataclass

OURS = "fastpty"
UWSGIS = "uwsgi"

Expand = Callable[[str, str], Text]
"""Puts the magic variables into a text; the second argument is its origin."""


@dataclass(frozen=True)
class Source:
    """The text of a file, its path, and the section to read; None means [fastpty] or [uwsgi].

    expand: puts the magic variables into a name or value. warn: takes a line of warning.
    """

    text: str
    path: str
    section: str | None
    expand: Expand
    warn: Callable[[str], None]

    def choose(self, found: Mapping[str, str]) -> str:
        """Returns the name of the section to read. `found` gives the origin of each section of the file.

        A file with [fastpty] is meant for this program, so its [uwsgi] is left to uWSGI, with a warning. Raises
        UsageError if the section is missing, and for one whose name looks misspelt: ignoring it could leave sessions
        less confined than the file asks for.
        """
        if self.section is not None:
            if self.section not in found:
                raise UsageError(f"{self.path}: there is no [{self.section}] section")
            return self.section
        for name, origin in found.items():
            if meant := misspelt_section(name):
                raise UsageError(f"{origin}: nothing reads the section {name!r} (did you mean {meant!r}?)")
        if OURS in found and UWSGIS in found:
            self.warn(f"{found[UWSGIS]}: [uwsgi] is ignored beside [fastpty] (include = :uwsgi reads it too)")
        if OURS in found or UWSGIS in found:
            return OURS if OURS in found else UWSGIS
        raise UsageError(f"{self.path}: there is no [fastpty] or [uwsgi] section")

    def setting(self, name: str, value: str | None, origin: str, *, is_ours: bool = True) -> Setting:
        """A setting of this file, with the magic variables put in."""
        bare = Setting(self.expand(name, origin).whole, None, origin, is_ours=is_ours)
        return bare if value is None else bare.with_value(self.expand(value, origin))
