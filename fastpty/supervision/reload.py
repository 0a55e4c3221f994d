"""A reload in steps, between which the supervisor goes on with its other work.

    read (in a child, with a deadline) → listen on new addresses → start workers → one is ready → drain the old ones

The old configuration stays in force until the last step. If an earlier step fails, it stays in force for good.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Collection
from functools import partial

from fastpty import log
from fastpty.configuration.config import Config
from fastpty.configuration.reload import read_to_be_sent, received
from fastpty.errors import FastptyError
from fastpty.listening.places import Listeners
from fastpty.log import logger
from fastpty.supervision.child_task import ChildTask
from fastpty.supervision.control import Answer
from fastpty.supervision.forked_worker import Worker
from fastpty.system.records import Protocol, dataclass, field

# Reading may include slow commands and account databases, but nothing slower than this.
READ_SECONDS = 60.0


@dataclass
class _Trial:
    """A new configuration and the workers that run it. It comes into force when one of them is ready."""

    config: Config
    listeners: Listeners
    workers: set[Worker] = field(default_factory=set)


class Supervisor(Protocol):
    """What a reload needs of the supervisor."""

    config: Config
    listeners: Listeners

    @property
    def has_no_workers(self) -> bool:
        """True while no worker runs until a client connects."""

    def start(
        self, config: Config, listeners: Listeners, *, has_shared_terminal: bool, on_trial: bool = False
    ) -> Worker:
        """Starts a worker; raises OSError."""

    def change_to(
        self, config: Config, listeners: Listeners, workers: Collection[Worker], answers: Collection[Answer]
    ) -> None:
        """Puts the configuration of these workers into force, and answers when the old one is no longer used."""


class Reload:
    """The reloads of a supervisor, one at a time.

    read: returns the new configuration, given the present one; raises FastptyError.
    """

    def __init__(
        self, supervisor: Supervisor, selector: selectors.BaseSelector, read: Callable[[Config], Config]
    ) -> None:
        self._supervisor = supervisor
        self._selector = selector
        self._read = read
        self._reading: ChildTask | None = None
        self._trial: _Trial | None = None
        self._answers: list[Answer] = []  # for the reload that is under way
        self._next_answers: list[Answer] = []
        self._wanted_again = False

    def begin(self, answer: Answer | None = None) -> None:
        """Starts a reload, or another one after the present one has ended. answer: called with the outcome."""
        log.reopen()
        if answer is not None:
            self._next_answers.append(answer)
        if self._reading is not None or self._trial is not None:
            self._wanted_again = True
            return
        self._answers, self._next_answers = self._next_answers, []
        present = self._supervisor.config
        try:
            self._reading = ChildTask(partial(read_to_be_sent, self._read, present), READ_SECONDS)
        except OSError as error:
            self._refuse(f"no process can start: {error.strerror}")
            return
        self._selector.register(self._reading, selectors.EVENT_READ, self._read_news)

    def cancel(self) -> None:
        """Ends a reload that is under way, for a stop. Its workers are stopped like all others."""
        self._wanted_again = False
        self._end_reading()
        if self._trial is not None:
            self._trial.listeners.close(keep=self._supervisor.listeners)
            self._trial = None
        for answer in (*self._answers, *self._next_answers):
            answer("reload refused: the router is stopping")
        self._answers, self._next_answers = [], []

    def close_copies(self) -> None:
        """In a forked worker: closes this process's copies."""
        if self._reading is not None:
            self._reading.close()

    def worker_ready(self, worker: Worker) -> None:
        """Takes note that a worker serves. If it is on trial, its configuration comes into force."""
        if self._trial is not None and worker in self._trial.workers:
            passed, self._trial = self._trial, None
            answers, self._answers = self._answers, []
            self._supervisor.change_to(passed.config, passed.listeners, passed.workers, answers)
            self._begin_next()

    def worker_ended(self, worker: Worker, how: str) -> None:
        """Takes note that a worker has ended. If it was the last one on trial, the reload is refused."""
        if self._trial is not None and worker in self._trial.workers:
            self._trial.workers.discard(worker)
            if not self._trial.workers:
                self._fail(f"no worker could start with the new one ({how})")

    def check_deadline(self) -> None:
        """Refuses a configuration that takes too long to read. Workers have a deadline of their own."""
        if self._reading is not None and time.monotonic() >= self._reading.until:
            self._end_reading()
            self._refuse(
                f"the new one was not read within {READ_SECONDS:g} s: is a file, a command or a name service slow?"
            )

    def timeout(self) -> float | None:
        """The seconds until check_deadline() has something to do; None: no deadline."""
        return None if self._reading is None else max(0.0, self._reading.until - time.monotonic())

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._selector.unregister(self._reading)
            self._reading.end()
            self._reading = None

    def _read_news(self) -> None:
        reading = self._reading
        if reading is None or not reading.has_returned():
            return
        self._selector.unregister(reading)
        self._reading = None
        try:
            config = received(reading.result(), self._supervisor.config)
            listeners = Listeners(config, self._supervisor.listeners)
        except FastptyError as error:
            reading.end()
            self._refuse(str(error))
        else:
            reading.close()
            self._try(config, listeners)

    def _try(self, config: Config, listeners: Listeners) -> None:
        """Starts the new workers: only one, to try the configuration, while no worker is wanted."""
        self._trial = _Trial(config, listeners)
        has_no_workers = self._supervisor.has_no_workers
        try:
            for index in range(1 if has_no_workers else config.processes):
                started = self._supervisor.start(
                    config, listeners, on_trial=True, has_shared_terminal=index == 0 and not has_no_workers
                )
                self._trial.workers.add(started)
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
        error = f"reload refused, keeping the old configuration: {why}"
        logger.error("%s", error)
        answers, self._answers = self._answers, []
        for answer in answers:
            answer(error)
        self._begin_next()

    def _begin_next(self) -> None:
        if self._wanted_again:
            self._wanted_again = False
            self.begin()


@dataclass
class _Finished:
    """A reload whose configuration is in force. draining: old workers that may still accept a connection."""

    config: Config
    draining: set[Worker]
    answers: Collection[Answer]


class FinishedReloads:
    """Logs and answers each reload once no new connection can get an older configuration."""

    def __init__(self) -> None:
        self._reloads: list[_Finished] = []

    def add(self, config: Config, draining: Collection[Worker], answers: Collection[Answer]) -> None:
        """Adds a reload whose configuration is in force. draining: the workers of the configuration before."""
        self._reloads.append(_Finished(config, set(draining), answers))
        self._log()

    def stopped_accepting(self, worker: Worker) -> None:
        """Takes note that a worker has drained or ended."""
        for each in self._reloads:
            each.draining.discard(worker)
        self._log()

    def abandon(self, error: str) -> None:
        """Answers the waiting requests with an error. Their reloads are still logged."""
        for each in self._reloads:
            for answer in each.answers:
                answer(error)
            each.answers = ()

    def _log(self) -> None:
        while self._reloads and not self._reloads[0].draining:
            finished = self._reloads.pop(0)
            logger.info("reloaded; command: %s", finished.config.command)
            for answer in finished.answers:
                answer(None)
