"""Skips and build errors say what is missing and how to install it."""

from __future__ import annotations

import re

import pytest

from tests import ROOT
from tests.support.peers import need


@pytest.mark.parametrize(("tool", "package"), [("no-such-tool", "no-such-tool"), ("uwsgi", "uwsgi-core")])
def test_a_skip_says_what_to_install(tool: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("FASTPTY_REQUIRE_PEERS", "0")
    with pytest.raises(pytest.skip.Exception, match=rf"^needs {tool}: apt-get install {package}$"):
        need(tool)


def test_the_readme_names_every_package_that_a_build_may_ask_for() -> None:
    readme = re.search(r"^    apt-get install (.*)$", (ROOT / "README.md").read_text(), re.M)
    assert readme
    asked = re.findall(r'missing="(?:\$missing )?(.*?)"', (ROOT / "tools" / "preflight.sh").read_text())
    assert {"make", *" ".join(asked).split()} == set(readme[1].split())
