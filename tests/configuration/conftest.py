"""Fixtures for tests of the configuration language."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.configuration.language import loader
from fastpty.configuration.language.loader import Loaded
from fastpty.configuration.language.setting import Setting

Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """A function that writes lines to the [uwsgi] section of x.ini in the working directory, and reads that file."""
    monkeypatch.chdir(tmp_path)

    def run(lines: str, *flags: Setting, **environ: str) -> Loaded:
        Path("x.ini").write_text(f"[uwsgi]\n{lines}\n")
        return loader.load([*flags, Setting("ini", "x.ini")], environ)

    return run


def values(loaded: Loaded, name: str) -> list[str | None]:
    """The values of all settings with this name."""
    return [setting.value for setting in loaded.settings if setting.name == name]
