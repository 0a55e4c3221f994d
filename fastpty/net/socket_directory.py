"""Checks the directory of a socket file: a user who may write to it can replace the socket.

Like sshd's StrictModes for a user's keys, this includes the directories above.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator

from fastpty.errors import FastptyError


def warnings(path: str, trusted: Collection[int]) -> Iterator[str]:
    """Warnings about the directories above `path`. trusted: uids that may own them, besides root.

    Raises FastptyError for a directory in which every user may replace files: one that is writable by others and not
    sticky (/tmp is sticky). A missing directory is reported by the attempt to listen.
    """
    place = ""
    above = os.path.realpath(os.path.dirname(path) or ".")
    while above != place:
        place, above = above, os.path.dirname(above)
        try:
            found = os.stat(place)
        except OSError:
            return
        # In a sticky directory, only the owners of the file and of the directory may replace the file.
        writers = 0 if found.st_mode & stat.S_ISVTX else found.st_mode
        if writers & stat.S_IWOTH:
            raise FastptyError(
                f"cannot listen on {path}: every user may write to {place} and put another socket there: "
                f"chmod o-w {place}, or choose another directory"
            )
        if writers & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
            yield f"{path}: group {found.st_gid} may write to {place} and put another socket there"
        if found.st_uid not in (0, *trusted):
            yield f"{path}: {place} belongs to uid {found.st_uid}, who may put another socket there"
