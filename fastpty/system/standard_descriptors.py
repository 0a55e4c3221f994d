"""Descriptors 0, 1 and 2."""

from __future__ import annotations

import os


def open_standard_descriptors(flags: int) -> None:
    """Opens /dev/null for those of 0, 1 and 2 that are closed.

    Otherwise a socket could get the number, and output meant for a standard descriptor would go to it.
    """
    while (fd := os.open(os.devnull, flags)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
