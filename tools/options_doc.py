"""Writes docs/options.md from the table of options: `python tools/options_doc.py`. A test fails if it is stale."""

from __future__ import annotations

from pathlib import Path

from fastpty.configuration.option import Option
from fastpty.configuration.options import OPTIONS

TARGET = Path(__file__).resolve().parent.parent / "docs" / "options.md"

HEAD = """# Options of fastpty-router

Generated from the table in `fastpty/configuration/options.py` by `tools/options_doc.py`; do not edit.

An option is a flag (`--name VALUE` or `--name=VALUE`) and, unless it says "flag only", a key of a configuration file
(`name = VALUE`) and an environment variable (`FASTPTY_NAME`). Flags win over files, files over the environment.
[configuration.md](configuration.md) explains the files, [jails.md](jails.md) the order in which the options of a jail
and the hooks apply.

- ADDR is a path, `@name`, `HOST:PORT`, `:PORT`, `[IPV6]:PORT`, `fd://N`, or `=N` for `shared-socket` number N, from 0.
- TIME is a number of seconds, or has a unit: `90`, `90s`, `5m`, `1h`, `2d`.
- SIZE is a number of bytes, or has a unit: `65536`, `64K`, `1M`.
- "Also" lists further names of the same option. They are uWSGI's; [uwsgi-compat.md](uwsgi-compat.md) compares the two.
"""


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


def notes(option: Option) -> str:
    parts = [option.help]
    if option.repeatable:
        parts.append("Can be repeated.")
    if not option.in_files:
        parts.append("Flag only.")
    if option.aliases:
        parts.append("Also " + ", ".join(f"`{alias}`" for alias in option.aliases) + ".")
    return escaped(" ".join(parts))


def document() -> str:
    lines = [HEAD]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines += [f"## {group.title}", "", "| option | default | meaning |", "|---|---|---|"]
        for option in OPTIONS:
            if option.group == group:
                default = "" if option.default is None else f"`{option.default}`"
                lines.append(f"| `{escaped(option.spelling)}` | {default} | {notes(option)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(document())
