"""A router with a shared terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import Router
from tests.support.shared_pty import Shared


@pytest.fixture
def share(start_router: Callable[..., Router], directory: Path) -> Callable[..., Shared]:
    def start(*arguments: str, command: str | None = None, **keywords: object) -> Shared:
        chosen = ["--pty-exec", command] if command else []
        path = f"{directory}/shared"
        options = ("--pty-socket", path, "--env", "PS1=prompt:", *chosen, *arguments)
        return Shared(start_router(*options, **keywords), path)

    return start
