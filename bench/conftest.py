"""The contestants, started once and shared by all benchmarks."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator

import pytest

from bench import peers
from bench.field import Field


@pytest.fixture(scope="session", autouse=True)
def end_in_order() -> None:
    """Makes SIGTERM, which timeout(1) sends, end the contestants, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


MANY_FILES = 100_000  # three for each of 20,000 sessions


@pytest.fixture(scope="session", autouse=True)
def many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(ValueError):  # not allowed here
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, MANY_FILES), max(hard, MANY_FILES)))


def _field(command: str, processes: int = 1) -> Callable[[pytest.TempPathFactory], Iterator[Field]]:
    def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
        field = Field.started(tmp_path_factory.mktemp("sockets"), command, processes)
        yield field
        field.end()

    return start


programs = pytest.fixture(_field(peers.PROGRAM), scope="session", name="programs")
shells = pytest.fixture(_field(peers.SHELL), scope="session", name="shells")
workers = pytest.fixture(_field(peers.PROGRAM, os.cpu_count() or 1), scope="session", name="many_workers")
