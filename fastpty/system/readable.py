"""Waits until descriptors can be read."""

from __future__ import annotations

import select

from fastpty.system.records import Protocol


class HasDescriptor(Protocol):
    """An object with a descriptor, such as a socket."""

    def fileno(self) -> int:
        """The descriptor."""


def readable(*sources: int | HasDescriptor, seconds: float | None = None) -> list[int]:
    """Waits until a source has something to read, has ended or has failed. Returns the descriptors of those that have.

    Returns an empty list after `seconds`; None waits forever. Unlike select(2), this also takes descriptors from 1024
    on, which a busy worker has.
    """
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    found = poll.poll(None if seconds is None else max(0.0, seconds * 1000))
    return [descriptor for descriptor, _ in found]
