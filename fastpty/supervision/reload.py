"""A reload, step by step: the supervisor goes on with its work between them, and nothing it waits for can hold it up.

    read (in a child, with a deadline) → listen on what is new → start workers → one is ready → the old ones drain

Until that last step the old configuration is in force, and what fails before leaves it so.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fastpty import log
from fastpty.configuration import reread
from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.listening.places import Listeners
from fastpty.log import logger
from fastpty.supervision.errand import Errand
from fastpty.supervision.forked_worker import Worker

# Commands and account databases that a configuration asks may be slow, but not as slow as this.
READ_SECONDS = 60.0


@dataclass
class _Trial:
    """A new configuration, and the workers of which one has to become ready."""

    config: Config
    listeners: Listeners
    workers: set[Worker] = field(default_factory=set)


class Supervisor(Protocol):
    """What a reload needs of the supervisor."""

    config: Config
    listeners: Listeners

    @property
    def is_asleep(self) -> bool:
        """Whether there is no worker until somebody connects."""

    def start(self, config: Config, listeners: Listeners, *, shares: bool, on_trial: bool = False) -> Worker:
        """A new worker; raises OSError."""

    def change_to(self, config: Config, listeners: Listeners, workers: Collection[Worker]) -> None:
        """Puts the configuration in force that these workers run with."""


class Reload:
    """The reloads of a supervisor, one at a time. `read` gives the new configuration, or raises FastptyError."""

    def __init__(
        self, supervisor: Supervisor, selector: selectors.BaseSelector, read: Callable[[Config], Config]
    ) -> None:
        self._supervisor = supervisor
        self._selector = selector
        self._read = read
        self._reading: Errand | None = None
        self._trial: _Trial | None = None
        self._wanted_again = False

    def begin(self) -> None:
        """Reads the configuration. Where a reload is under way already, that is done once more when it is over."""
        log.reopen()
        if self._reading is not None or self._trial is not None:
            self._wanted_again = True
            return
        present = self._supervisor.config
        try:
            self._reading = Errand(partial(reread.read_to_be_sent, self._read, present), READ_SECONDS)
        except OSError as error:
            self._refuse(f"no process can start: {error.strerror}")
            return
        self._selector.register(self._reading, selectors.EVENT_READ, self._hear)

    def cancel(self) -> None:
        """At a stop: what is not in force yet will not be. The workers on trial are stopped as the others are."""
        self._wanted_again = False
        if self._reading is not None:
            self._selector.unregister(self._reading)
            self._reading.end()
            self._reading = None
        if self._trial is not None:
            self._trial.listeners.close(keep=self._supervisor.listeners)
            self._trial = None

    def let_go(self) -> None:
        """In a forked worker: closes this process's copies."""
        if self._reading is not None:
            self._reading.let_go()

    def is_ready(self, worker: Worker) -> None:
        """A worker serves: if it is on trial, its configuration has passed."""
        if self._trial is not None and worker in self._trial.workers:
            passed, self._trial = self._trial, None
            self._supervisor.change_to(passed.config, passed.listeners, passed.workers)
            self._go_on()

    def has_ended(self, worker: Worker, how: str) -> None:
        """A worker has ended: if it was the last one on trial, its configuration has failed."""
        if self._trial is not None and worker in self._trial.workers:
            self._trial.workers.discard(worker)
            if not self._trial.workers:
                self._fail(f"no worker can start with the new one ({how})")

    def look_at_the_clock(self) -> None:
        """Ends a reading that takes too long. Workers have a deadline of their own."""
        if self._reading is not None and time.monotonic() >= self._reading.until:
            self._selector.unregister(self._reading)
            self._reading.end()
            self._reading = None
            self._refuse(f"it was not read within {READ_SECONDS:g} s: is a file, a command or a name service slow?")

    def patience(self) -> float | None:
        """Until when look_at_the_clock has nothing to do, in seconds from now; None: for ever."""
        return None if self._reading is None else max(0.0, self._reading.until - time.monotonic())

    def _hear(self) -> None:
        reading = self._reading
        if reading is None or not reading.has_returned():
            return
        self._selector.unregister(reading)
        self._reading = None
        try:
            config = reread.received(reading.result(), self._supervisor.config)
            listeners = Listeners(config, self._supervisor.listeners)
        except FastptyError as error:
            reading.end()
            self._refuse(str(error))
        else:
            reading.let_go()
            self._try(config, listeners)

    def _try(self, config: Config, listeners: Listeners) -> None:
        """Starts the new workers. A router that is asleep has none: there one shows that the configuration works."""
        self._trial = _Trial(config, listeners)
        is_asleep = self._supervisor.is_asleep
        try:
            for index in range(1 if is_asleep else config.processes):
                shares = index == 0 and not is_asleep
                self._trial.workers.add(self._supervisor.start(config, listeners, on_trial=True, shares=shares))
        except OSError as error:
            self._fail(f"no process can start: {error.strerror}")

    def _fail(self, why: str) -> None:
        assert self._trial is not None
        failed, self._trial = self._trial, None
        for each in failed.workers:
            each.drain()
        failed.listeners.close(keep=self._supervisor.listeners)
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        logger.error("not reloaded, the old configuration goes on: %s", why)
        self._go_on()

    def _go_on(self) -> None:
        if self._wanted_again:
            self._wanted_again = False
            self.begin()
