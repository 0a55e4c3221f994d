"""Finds the file that a command runs, as execvp(3) does."""

from __future__ import annotations

import errno
import os

from fastpty.system.names import shown


def find(name: str, path: str | None) -> str:
    """Returns the file that `name` runs. A name without a slash is looked up in `path`; None means the default path.

    Raises OSError: EACCES if a file was found that this process may not execute, otherwise ENOENT.
    """
    if "/" in name:
        places = [name]
    else:
        folders = (path if path is not None else os.confstr("CS_PATH") or os.defpath).split(os.pathsep)
        places = [os.path.join(folder or ".", name) for folder in folders]
    failure = errno.ENOENT
    for place in places:
        if os.path.isfile(place):
            if os.access(place, os.X_OK, effective_ids=True):
                return place
            failure = errno.EACCES
        elif os.path.isdir(place) and len(places) == 1:
            failure = errno.EACCES
    raise OSError(failure, os.strerror(failure), name)


def why_not(name: str, path: str | None) -> str | None:
    """Why `name` cannot be executed, in words; None if it can."""
    try:
        find(name, path)
    except OSError as error:
        if error.errno == errno.EACCES:
            return f"cannot execute {name!r}: permission denied"
        if "/" in name:
            return f"cannot execute {name!r}: there is no such file"
        return f"cannot execute {name!r}: it is not in PATH ({shown(path or 'unset')}): give its full path"
    return None
