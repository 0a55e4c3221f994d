"""Runs the examples of docs/configuration.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import ROOT

_TEXT = (ROOT / "docs" / "configuration.md").read_text()
FILES = re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
SESSIONS = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)


def test_the_examples_give_what_the_document_shows(tmp_path: Path) -> None:
    for name, content in FILES:
        (tmp_path / name).write_text(content)
    for command, shown in SESSIONS:
        assert run(command, tmp_path) == shown


def run(command: str, folder: Path) -> str:
    """The output of a line of shell."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=True,
        cwd=folder,
        env={"PATH": path},
    ).stdout
