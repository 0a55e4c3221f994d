"""All contestants of one command, started together.

BENCH_TREES=NAME=DIRECTORY,… adds other checkouts of fastpty, built in place, to every comparison.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from bench import peers
from bench.peers import Bare, MissingPeerError, Peer

TREES = dict(entry.split("=", 1) for entry in os.environ.get("BENCH_TREES", "").split(",") if entry)


class Field:
    """The contestants that serve sessions of one command. `missing` names those that are not installed."""

    def __init__(self, contestants: Iterable[Peer] = ()):
        self.all: dict[str, Peer] = {peer.name: peer for peer in contestants}
        self.missing: list[str] = []

    @classmethod
    def started(cls, folder: Path, command: str, processes: int = 1) -> Field:
        """Starts every contestant that this machine has."""
        field = cls()
        try:
            field._start(folder, command, processes)
        except BaseException:
            field.end()
            raise
        return field

    def _start(self, folder: Path, command: str, processes: int) -> None:
        self._add(lambda: peers.fastpty(folder, command, processes=processes))
        for name, tree in TREES.items():
            self._add(partial(peers.fastpty, folder, command, name, tree=Path(tree)))
        if processes == 1:
            self._add(lambda: peers.fastpty(folder, command, "fastpty (no splice)", splice="off"))
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
        """The contestants of these names, in this order, then those of the other source trees under comparison."""
        return {name: self.all[name] for name in (*names, *TREES) if name in self.all}

    def end(self) -> None:
        for peer in self.all.values():
            peer.end()
