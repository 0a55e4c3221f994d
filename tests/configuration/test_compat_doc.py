"""docs/uwsgi-compat.md has every option, quotes uWSGI's help correctly, and names tests that exist."""

from __future__ import annotations

import re
import subprocess

import pytest

from fastpty.configuration import uwsgi_keys
from fastpty.configuration.language import blocks
from fastpty.configuration.options import BY_NAME, OPTIONS
from fastpty.hooks.actions import PHASES
from tests import ROOT
from tests.support.peers import need

HEAD = ["option", "real uWSGI 2.0.21", "fastpty", "test"]


def rows() -> list[list[str]]:
    """The cells of each row about an option."""
    text = (ROOT / "docs" / "uwsgi-compat.md").read_text()
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in cells if row != HEAD]


def names() -> list[str]:
    """The options in the first column, with each phase in the place of PHASE."""
    written = [name for row in rows() for name in re.findall(r"`([^`]+)`", row[0])]
    return [name.replace("PHASE", phase) for name in written for phase in (PHASES if "PHASE" in name else [""])]


@pytest.fixture(scope="module")
def uwsgi_help() -> str:
    """The help of real uWSGI for its core and the plugins that fastpty replaces."""
    command = [need("uwsgi"), "--plugins", "corerouter,forkptyrouter,pty", "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_every_option_of_uwsgi_and_every_refused_option_has_a_row() -> None:
    ours = {name for option in OPTIONS for name in option.uwsgi_names}
    refused = uwsgi_keys._CONFINING | set(uwsgi_keys.WITHOUT_MEANING) | uwsgi_keys.IGNORED
    assert sorted((ours | refused | blocks.WORDS) - set(names())) == []


def test_every_option_of_uwsgi_s_plugins_has_a_row(uwsgi_help: str) -> None:
    theirs = set(re.findall(r"--((?:forkpty|pty-)[a-z-]+)", uwsgi_help))
    assert len(theirs) > 25
    assert sorted(theirs - set(names())) == []


def test_every_row_is_about_a_known_option_and_no_option_has_two_rows() -> None:
    known = set(BY_NAME) | set(uwsgi_keys.WITHOUT_MEANING) | uwsgi_keys.IGNORED | blocks.WORDS
    assert [name for name in names() if name not in known and not uwsgi_keys.is_confining(name)] == []
    assert len(names()) == len(set(names()))
    own = {option.name for option in OPTIONS if option.own}
    assert sorted(own & set(names())) == []


def test_every_quotation_stands_in_uwsgi_s_help(uwsgi_help: str) -> None:
    said = " ".join(uwsgi_help.split())
    quoted = [words for row in rows() for words in re.findall(r'"([^"]+)"', row[1])]
    assert len(quoted) > 40
    assert [part for words in quoted for part in words.split("…") if part.strip() not in said] == []


def test_every_test_that_is_named_exists() -> None:
    named = [row[3] for row in rows() if row[3] != "none"]
    assert len(named) > 80
    for cell in named:
        match = re.fullmatch(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`", cell)
        assert match, cell
        assert re.search(rf"^def {match[2]}\(", (ROOT / match[1]).read_text(), re.MULTILINE), cell


def test_every_row_has_four_cells() -> None:
    assert [row for row in rows() if len(row) != len(HEAD)] == []
