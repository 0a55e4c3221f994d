"""Runs the examples of docs/configuration.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import ROOT

DOCUMENT = ROOT / "docs" / "configuration.md"


def test_the_examples_give_what_the_document_shows(tmp_path: Path) -> None:
    text = DOCUMENT.read_text()
    files = re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(files) == 3
    for name, content in files:
        (tmp_path / name).write_text(content)
    examples = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for command, shown in examples:
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
