"""The contestants, started once and shared by all benchmarks."""

from __future__ import annotations

import os
import resource
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import peers
from bench.peers import Bare, MissingPeerError, Peer


class Field:
    """All contestants that give sessions of one command, by name; `missing` says who is not there, and why."""

    def __init__(self, folder: Path, command: str, processes: int = 1):
        self.all: dict[str, Peer] = {}
        self.missing: list[str] = []
        try:
            self._start(folder, command, processes)
        except BaseException:
            self.end()
            raise

    def _start(self, folder: Path, command: str, processes: int) -> None:
        self._add(lambda: peers.fastpty(folder, command, processes=processes))
        for entry in filter(None, os.environ.get("BENCH_TREES", "").split(",")):
            name, _, tree = entry.partition("=")
            self._add(lambda name=name, tree=tree: peers.fastpty(folder, command, name, tree=Path(tree)))
        self._add(lambda: peers.fastpty(folder, command, "fastpty (no splice)", splice="off", processes=processes))
        self._add(lambda: peers.uwsgi(folder, command, processes=processes))
        if processes == 1:
            self._add(lambda: peers.socat(folder, command))
            self._add(lambda: [Bare(command)])

    def _add(self, start: Callable[[], list[Peer]]) -> None:
        try:
            self.all.update({peer.name: peer for peer in start()})
        except MissingPeerError as error:
            self.missing.append(str(error))
            warnings.warn(f"left out: {error}", stacklevel=2)

    def select(self, *names: str) -> dict[str, Peer]:
        """Those of these names that are there, in this order, and every other tree under comparison."""
        trees = [entry.partition("=")[0] for entry in os.environ.get("BENCH_TREES", "").split(",")]
        return {name: self.all[name] for name in (*names, *trees) if name in self.all}

    def end(self) -> None:
        for peer in self.all.values():
            peer.end()


@pytest.fixture(scope="session", autouse=True)
def many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _field(command: str, processes: int = 1) -> Callable[[pytest.TempPathFactory], Iterator[Field]]:
    def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
        field = Field(tmp_path_factory.mktemp("sockets"), command, processes)
        yield field
        field.end()

    return start


programs = pytest.fixture(_field(peers.PROGRAM), scope="session", name="programs")
shells = pytest.fixture(_field(peers.SHELL), scope="session", name="shells")
many_workers = pytest.fixture(
    _field(peers.PROGRAM, processes=os.cpu_count() or 1), scope="session", name="many_workers"
)
