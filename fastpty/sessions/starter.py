"""Starts the programs of sessions, on new terminals or with streams."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial

from fastpty._spawn import Command, Spawner
from fastpty.access.limits import Limits
from fastpty.configuration.config import Config
from fastpty.errors import RefusedError
from fastpty.relay.upcalls import Streams
from fastpty.sessions.outcomes import Outcome, Outcomes
from fastpty.sessions.program import Program
from fastpty.sessions.streams import ProgramStreams
from fastpty.system import at_start, child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.sessions.cgroups import SessionCgroups

    Completed = tuple[Command, Callable[[], int] | None]
    """A command, and what the process calls in its place, if that is not None."""

Window = tuple[int, int, int, int]
"""Rows, columns, and the width and height in pixels."""


class Starter:
    """Starts programs in the configured cgroups and root. `outcomes`: the reports of programs with `complete`."""

    def __init__(self, config: Config, limits: Limits, cgroups: SessionCgroups | None) -> None:
        self.outcomes = Outcomes()
        self._leaders: dict[int, int] = {}  # the pids of sessions' first processes, by session
        self._children: set[int] = set()  # the same pids
        self._readers = limits.readers
        self._is_foreign = config.changes_root
        self._cgroups = cgroups
        self._joins = config.entered.cgroups if config.entered else ()
        self._spawner = Spawner(
            at_start.FILES,
            no_new_privs=config.no_new_privs,
            apart=config.changes_root,
            joins=self._joins,
            terminals=config.terminals,
        )

    def start(self, number: int, program: Program, window: Window, report: int = -1) -> tuple[int, int, int]:
        """Returns the pty master, the pid and the pidfd. report: as for Spawner.spawn."""

        def spawn(cgroup: int) -> tuple[int, int, int]:
            complete = self._completed(number, program, (cgroup, report))
            return self._spawner.spawn(program.command, window, cgroup=cgroup, report=report, complete=complete)

        return self._in_cgroup(number, spawn)

    def _in_cgroup(self, number: int, spawn: Callable[[int], tuple[int, int, int]]) -> tuple[int, int, int]:
        """Starts a program in the session's cgroup, if there is one, and remembers its process."""
        if self._cgroups is None:
            return self._remember(number, spawn(-1))
        cgroup = self._cgroups.begin(number)
        try:
            return self._remember(number, spawn(cgroup))
        except OSError:
            self._cgroups.end(number)
            raise
        finally:
            os.close(cgroup)

    def start_reported(self, number: int, program: Program, window: Window) -> tuple[int, int, int, int]:
        """As start, but does not wait for the child. Also returns the pipe of its report (fastpty/spawn/report.pxd)."""
        report, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return (*self.start(number, program, window, writer), report)
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(writer)

    def start_on_streams(self, number: int, program: Program, *, merges: bool, drain_ms: int | None) -> Streams:
        """Starts a program without a terminal, and does not wait for the child."""
        streams = ProgramStreams(merges=merges, apart=self._is_foreign or program.uid is not None)

        def spawn(cgroup: int) -> tuple[int, int, int]:
            complete = self._completed(number, program, (cgroup, writer, *streams.program))
            return -1, *self._spawner.spawn_on_streams(
                program.command, streams.program, cgroup=cgroup, report=writer, complete=complete
            )

        try:
            report, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                _, pid, pidfd = self._in_cgroup(number, spawn)
            except BaseException:
                os.close(report)
                raise
            finally:
                os.close(writer)
        except BaseException:
            streams.close()
            raise
        streams.close_program()
        return Streams(streams.own, pid, pidfd, program.uid, report, drain_ms)

    def forget(self, number: int) -> None:
        """Forgets the process of an ended session. Reaps processes that programs have made children of the worker."""
        self._children.discard(self._leaders.pop(number, 0))
        child.reap_unknown(self._children)

    def _completed(self, number: int, program: Program, needed: tuple[int, ...]) -> Callable[[int], Completed] | None:
        """Returns the call that completes the program in its process, or None. `needed`: descriptors to keep there."""
        return None if program.complete is None else partial(self._complete, number, program.complete, needed)

    def _remember(self, number: int, started: tuple[int, int, int]) -> tuple[int, int, int]:
        self._leaders[number] = started[1]
        self._children.add(started[1])
        return started

    def _complete(
        self, number: int, complete: Callable[[], Program], needed: tuple[int, ...], terminal: int
    ) -> Completed:
        """In a session's first process: returns its complete command, and the work in its place.

        If the client is refused, tells it and raises. First closes the descriptors of other sessions: this process may
        block, and would keep them open.
        """
        needed = (*needed, terminal, self.outcomes.writer, self._readers.fileno(), *self._joins)
        child.keep_only([0, 1, 2, *(descriptor for descriptor in needed if descriptor >= 0)])
        try:
            program = complete()
        except RefusedError as error:
            with contextlib.suppress(OSError):  # nobody has the terminal's other side any longer
                os.write(terminal, os.fsencode(f"fastpty: refused: {error}\n"))
            self.outcomes.report(Outcome(number, str(error), is_refusal=True))
            raise
        self.outcomes.report(Outcome(number, program.text, is_refusal=False))
        return program.command, program.work
