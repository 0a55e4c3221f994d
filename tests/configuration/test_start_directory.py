"""A reload reads the configuration from the directory in which the router was started."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.client_harness import ROOT
from tests.support.harness import Router
from tests.support.jails import NOBODY
from tests.support.peers import need_root
from tests.support.reloads import reload


def test_a_reload_works_where_the_account_cannot_enter_the_start_directory(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """For example a service that root starts in /root."""
    need_root()
    closed = directory / "closed"
    (closed / "below").mkdir(parents=True)
    closed.chmod(0o700)
    router = start_router(
        f"{directory}/s", "--uid", str(NOBODY), "--gid", str(NOBODY),
        first=partial(os.chdir, closed / "below"), env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    reload(router, 1)
