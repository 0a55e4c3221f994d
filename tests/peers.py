"""What a test needs from the machine: it skips with a reason where that is not there.

With FASTPTY_REQUIRE_PEERS=1 in the environment it fails instead, so that nothing is left out unseen.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def need(tool: str) -> str:
    """The path of a program that the test runs."""
    path = shutil.which(tool)
    if path is None:
        _missing(f"{tool} is not installed")
    return path


def need_root() -> None:
    """For a test that changes users or namespaces."""
    if os.geteuid() != 0:
        _missing("needs root")


def _missing(reason: str) -> NoReturn:
    if os.environ.get("FASTPTY_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
