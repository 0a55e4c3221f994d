"""The directory that a router is started in, which a reload reads the configuration from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.jail.test_namespaces import NOBODY
from tests.support.client_harness import ROOT
from tests.support.configured import reload
from tests.support.harness import Router
from tests.support.peers import need_root


def test_a_reload_works_where_the_account_cannot_enter_the_start_directory(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """As of a service that root starts from /root."""
    need_root()
    closed = directory / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)
    router = start_router(
        f"{directory}/s", "--uid", str(NOBODY), "--gid", str(NOBODY),
        preexec=lambda: os.chdir(closed / "below"), env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    reload(router, 1)
