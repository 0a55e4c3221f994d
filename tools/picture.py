"""Renders docs/fastpty.svg from a real run, as root: python tools/picture.py (needs pexpect and rich)."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console

TARGET = Path(__file__).resolve().parent.parent / "docs" / "fastpty.svg"

# As in README.md, with a prompt.
JAIL = """\
[fastpty]
forkpty-urouter = /run/jail.socket
unshare = uts,pid,mount
mount-as-root = proc proc /proc
hook-as-root = hostname:iaminajail
uid = nobody
env = PS1=jail>
"""

TYPED = ["hostname", "id -un", "ps ax -o pid,tty,comm", "stty size", "exit"]


def bare_prompt(text: str) -> str:
    return text.replace("\r\n", "\n").replace("jail>", "jail> ")


def main() -> None:
    bin_directory = Path(sys.executable).parent
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as ini:
        ini.write(JAIL)
        ini.flush()
        router = pexpect.spawn(f"{bin_directory}/fastpty-router {ini.name}", encoding="utf-8", dimensions=(24, 200))
        router.expect("listening on")
        seen = io.StringIO()
        client = pexpect.spawn(
            f"{bin_directory}/fastpty connect --uwsgi /run/jail.socket", encoding="utf-8", dimensions=(43, 90)
        )
        client.logfile_read = seen
        for line in TYPED:
            client.expect_exact("jail>")
            client.send(line + "\r")
        client.expect(pexpect.EOF)
        router.terminate()
        router.expect(pexpect.EOF)
    console = Console(record=True, width=76, file=io.StringIO())
    console.print("host$ cat jail.ini", highlight=False, style="bold")
    console.print(JAIL, highlight=False, markup=False)
    console.print("host# fastpty-router jail.ini &", highlight=False, style="bold")
    console.print("host# fastpty connect --uwsgi /run/jail.socket", highlight=False, style="bold")
    console.print(bare_prompt(seen.getvalue()).rstrip(), highlight=False, markup=False)
    svg = console.export_svg(title="fastpty")
    # The viewer's own monospace font does; a picture should fetch nothing.
    TARGET.write_text(re.sub(r"\s*@font-face \{.*?\}(?=\s)", "", svg, flags=re.S))


if __name__ == "__main__":
    main()
