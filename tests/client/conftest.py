"""Fixtures of routers that a test scripts itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client_harness import ScriptedRouter, scripted_router


@pytest.fixture
def router(tmp_path: Path) -> Iterator[ScriptedRouter]:
    with scripted_router(tmp_path) as scripted:
        yield scripted


@pytest.fixture
def tcp_router(tmp_path: Path) -> Iterator[ScriptedRouter]:
    with scripted_router(tmp_path, tcp=True) as scripted:
        yield scripted
