"""Reads settings from the environment: UWSGI_FOO_BAR and FASTPTY_FOO_BAR are the option foo-bar.

As in uWSGI 2.0.21, names become lower case with dashes for underscores, and unknown names can be used as placeholders.
Unknown UWSGI_ names are ignored without a warning, since uWSGI passes some to the programs that it starts.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastpty.configuration.language.setting import Setting

OURS = "FASTPTY_"
_PREFIXES = ("UWSGI_", OURS)

# Set by uWSGI itself, and used for building and testing this program.
_NOT_OPTIONS = frozenset(
    f"UWSGI_{name}"
    for name in (
        *("RELOADS", "VASSALS_DIR", "EMPEROR_FD", "BROODLORD_NUM", "EMPEROR_FD_CONFIG", "EMPEROR_PROXY"),
        *("JAIL_PID", "ORIGINAL_PROC_NAME"),
    )
) | {"FASTPTY_BUILD", "FASTPTY_REQUIRE_PEERS"}
_NOT_OPTIONS_FROM = "FASTPTY_TEST_"


def settings(environ: Mapping[str, str]) -> list[Setting]:
    """The settings in the environment. FASTPTY_ names come last, so that they win."""
    return [
        Setting(variable.removeprefix(prefix).lower().replace("_", "-"), value, f"${variable}")
        for prefix in _PREFIXES
        for variable, value in environ.items()
        if variable.startswith(prefix) and variable not in _NOT_OPTIONS and not variable.startswith(_NOT_OPTIONS_FROM)
    ]
