"""Runs on fresh systems may skip only the tests in the list of CONTRIBUTING.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fresh import skips
from tests.support.client_harness import ROOT


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """pytest's output for two skipped tests, one for an unlisted and one for a listed reason."""
    (tmp_path / "test_x.py").write_text(
        "import pytest\ndef test_one():\n    pytest.skip('needs luck: try again')\n"
        "@pytest.mark.skip('needs root: run the tests as root')\ndef test_other():\n    pass\n"
    )
    argv = [sys.executable, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    shown = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    (tmp_path / "log").write_bytes(shown.stdout)
    return tmp_path / "log"


def test_a_skip_that_is_not_listed_fails_the_run(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert skips.main("root", str(log)) == 1
    assert capsys.readouterr().err == "CONTRIBUTING.md does not list this skip: needs luck: try again\n"


def test_a_listed_skip_that_does_not_happen_fails_an_ordinary_user_s_run(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert skips.main("visitor", str(log)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "CONTRIBUTING.md lists a skip that did not happen: needs socat: apt-get install socat" in lines
    assert not [line for line in lines if "needs root" in line or "needs ip" in line]
