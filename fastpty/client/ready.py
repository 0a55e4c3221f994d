"""Asks poll(2) whether a descriptor is ready, also while the kernel is short of memory."""

from __future__ import annotations

import errno
import select
import time

SHORT_OF_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})
"""Errors of system calls that succeed when they are tried again later."""

PAUSE_SECONDS = 0.05
"""How long to wait before a call that failed for lack of memory is tried again."""


def is_ready(fd: int, events: int, milliseconds: float = 0) -> bool:
    """True if poll(2) reports one of `events` within this time. With 0 as `events`: True if `fd` is hung up."""
    poll = select.poll()
    poll.register(fd, events)
    while True:
        try:
            return bool(poll.poll(milliseconds))
        except OSError as error:
            if error.errno not in SHORT_OF_MEMORY:
                raise
            time.sleep(PAUSE_SECONDS)
