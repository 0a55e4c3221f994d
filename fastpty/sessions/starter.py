"""Starts the programs of sessions on new terminals."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial

from fastpty._spawn import Command, Spawner
from fastpty.access.limits import Limits
from fastpty.configuration.config import Config
from fastpty.errors import RefusedError
from fastpty.sessions.outcomes import Outcome, Outcomes
from fastpty.sessions.program import Program
from fastpty.system import at_start, child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.sessions.cgroups import SessionCgroups

Window = tuple[int, int, int, int]
"""Rows, columns, and the width and height in pixels."""


class Starter:
    """Starts programs in the cgroups and the root of the configuration. `outcomes`: of programs with `complete`."""

    def __init__(self, config: Config, limits: Limits, cgroups: SessionCgroups | None) -> None:
        self.outcomes = Outcomes()
        self._leaders: dict[int, int] = {}  # the pids of sessions' first processes, by session
        self._children: set[int] = set()  # the same pids
        self._readers = limits.readers
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
        if self._cgroups is None:
            return self._spawn(number, program, window, report, -1)
        cgroup = self._cgroups.begin(number)
        try:
            return self._spawn(number, program, window, report, cgroup)
        except OSError:
            self._cgroups.end(number)
            raise
        finally:
            os.close(cgroup)

    def start_reported(self, number: int, program: Program, window: Window) -> tuple[int, int, int, int]:
        """As start, but does not wait for the child. Returns its report's pipe, too (fastpty/spawn/report.pxd)."""
        report, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return (*self.start(number, program, window, writer), report)
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(writer)

    def forget(self, number: int) -> None:
        """Forgets the process of a session that has ended, and reaps children that programs have made the worker's."""
        self._children.discard(self._leaders.pop(number, 0))
        child.reap_unknown(self._children)

    def _spawn(self, number: int, program: Program, window: Window, report: int, cgroup: int) -> tuple[int, int, int]:
        complete = None
        if program.complete is not None:
            complete = partial(self._complete, number, program.complete, (cgroup, report))
        started = self._spawner.spawn(program.command, window, cgroup=cgroup, report=report, complete=complete)
        self._leaders[number] = started[1]
        self._children.add(started[1])
        return started

    def _complete(
        self, number: int, complete: Callable[[], Program], needed: tuple[int, ...], terminal: int
    ) -> Command:
        """In a session's first process: completes its program. Tells the client and raises if it is refused.

        It closes what belongs to other sessions first, because it may wait here.
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
        return program.command
