"""Control groups of a test's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.harness import eventually


@contextmanager
def control_group(parent: Path) -> Iterator[Path]:
    """A new control group in `parent`. At the end it is removed with all that is below it.

    A killed process leaves its group only when it has ended. So the removal waits, and fails if a process stays. No
    other test uses the same name, so such a failure remains the only one.
    """
    group = _made(parent)
    try:
        yield group
    finally:
        remove(group)


def remove(group: Path) -> None:
    """Removes a group, if there is one, with all that is below it. Waits for the end of its processes."""
    eventually(lambda: _removed(group), f"no process is left in {group}")


def _made(parent: Path) -> Path:
    for number in itertools.count():
        group = parent / f"fastpty-test-{number}"
        try:
            group.mkdir()
        except FileExistsError:
            continue
        return group
    raise AssertionError


def _removed(group: Path) -> bool:
    try:
        for left in sorted(group.glob("**/"), reverse=True):
            left.rmdir()
    except OSError:
        return False
    return True
