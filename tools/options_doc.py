"""Writes docs/options.md from the table of options: python tools/options_doc.py. A test fails when it is stale."""

from __future__ import annotations

from pathlib import Path

from fastpty.configuration.options import OPTIONS, Option
from fastpty.configuration.uwsgi_keys import IGNORED

TARGET = Path(__file__).resolve().parent.parent / "docs" / "options.md"

HEAD = """# Options of fastpty-router

Generated from the table in `fastpty/configuration/options.py` by `tools/options_doc.py`; do not edit.

Every option is a flag (`--name VALUE` or `--name=VALUE`) and, unless it says "flag only", a key of the `[uwsgi]` or
`[fastpty]` section of a file (`name = VALUE`) and a variable of the environment (`UWSGI_NAME` or `FASTPTY_NAME`).
Flags win over files, files over the environment; [configuration.md](configuration.md) has the language of the files.
What is not in this table is an error, with the nearest known name. In a `[uwsgi]` section of an ini file, which uWSGI
may read too, it is a warning, unless it looks like a misspelt option, or `strict` is set. A uWSGI option that confines
what it starts and is not supported (`seccomp`, `cgroup`, `namespace` and their kin) is always an error: going on
without it would not be safe.

[jails.md](jails.md) has the order in which the options of a jail and the hooks are applied, the actions of hooks, and
examples.
"""


def spelled(option: Option) -> str:
    value = "" if option.is_flag else f"[={option.metavar}]" if option.bare else f" {option.metavar}"
    return f"`--{option.name}{value}`".replace("|", "\\|")


def notes(option: Option) -> str:
    parts = [option.help.replace("|", "\\|")]
    if option.repeatable:
        parts.append("may be repeated")
    if not option.in_files:
        parts.append("flag only")
    if option.aliases:
        parts.append("also " + ", ".join(f"`{alias}`" for alias in option.aliases))
    return "; ".join(parts)


def document() -> str:
    lines = [HEAD]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines += [f"## {group}", "", "| option | default | meaning |", "|---|---|---|"]
        for option in OPTIONS:
            if option.group == group:
                default = "" if option.default is None else f"`{option.default}`"
                lines.append(f"| {spelled(option)} | {default} | {notes(option)} |")
        lines.append("")
    quiet = ", ".join(f"`{name}`" for name in sorted(IGNORED))
    return "\n".join([*lines, f"Accepted in files without a word, since they change nothing here: {quiet}.", ""])


if __name__ == "__main__":
    TARGET.write_text(document())
