"""Whether the directory of a socket file can be trusted: whoever may write to it may put another socket in its place.

As sshd's StrictModes has it for a user's keys, the directories above count too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from fastpty.errors import FastptyError


def doubts(path: str, trusted: Collection[int]) -> Iterator[str]:
    """Warnings about the directories on the way to `path`; `trusted` are the uids that may own them, besides root.

    Raises FastptyError for one in which everybody may replace files: writable by others and not sticky, as /tmp is.
    A directory that is not there is left to the attempt to listen.
    """
    directory = Path(os.path.realpath(os.path.dirname(path) or "."))
    for place in (directory, *directory.parents):
        try:
            found = place.stat()
        except OSError:
            return
        # In a sticky one only a file's owner and the directory's may replace the file.
        writers = 0 if found.st_mode & stat.S_ISVTX else found.st_mode
        if writers & stat.S_IWOTH:
            raise FastptyError(
                f"cannot listen on {path}: everybody may write to {place} and put another socket there: "
                f"chmod o-w {place}, or choose another directory"
            )
        if writers & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
            yield f"{path}: group {found.st_gid} may write to {place} and put another socket there"
        if found.st_uid not in (0, *trusted):
            yield f"{path}: {place} belongs to uid {found.st_uid}, who may put another socket there"
