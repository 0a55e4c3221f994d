"""Copies files to or from a client, in the session's first process. No program is executed for that."""

from __future__ import annotations

import gc
import os

from fastpty.copying.receiver import receive
from fastpty.copying.sender import send
from fastpty.copying.signals import clean_up_at_signals
from fastpty.errors import CopyError
from fastpty.system import linux
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CAPABILITIES_MOST = 64
_SOME_FAILED = 1


def run(direction: int, paths: Sequence[bytes]) -> int:
    """Sends these files to standard output, or receives files from standard input. Returns the exit status.

    direction: extension.SENDS, or one of RECEIVES. Messages go to standard error. A signal that ends the process has it
    remove the file that is not complete.
    """
    gc.freeze()  # garbage of the worker could close a file whose number is used again
    _leave_capabilities()
    clean_up_at_signals()
    try:
        if direction == extension.SENDS:
            is_complete = send(paths, 1, None)
        else:
            into_directory = direction == extension.RECEIVES_INTO_DIRECTORY
            is_complete = receive(0, paths[0], _say, into_directory=into_directory)
    except CopyError as error:
        _say(str(error))
        return _SOME_FAILED
    except BrokenPipeError:  # the client reads no more
        return _SOME_FAILED
    return 0 if is_complete else _SOME_FAILED


def _say(text: str) -> None:
    try:
        os.write(2, os.fsencode(f"fastpty: {text}\n"))
    except OSError:  # nobody reads it
        return


def _leave_capabilities() -> None:
    """Gives up the capabilities that execve(2) would have taken away (capabilities(7)).

    Root keeps those that the bounding set or the inheritable set allows, anybody else the ambient ones.
    """
    _, permitted, inheritable = linux.capget()
    is_root = os.geteuid() == 0 and not linux.prctl(linux.PR_GET_SECUREBITS) & linux.SECBIT_NOROOT
    allowed = inheritable | _bounding() if is_root else _ambient()
    linux.capset(permitted & allowed, permitted & allowed, inheritable)


def _bounding() -> int:
    return _mask(lambda number: linux.prctl(linux.PR_CAPBSET_READ, number))


def _ambient() -> int:
    return _mask(lambda number: linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_IS_SET, number))


def _mask(is_set: Callable[[int], int]) -> int:
    """Returns the mask of the capabilities in a set."""
    mask = 0
    for number in range(_CAPABILITIES_MOST):
        try:
            mask |= is_set(number) << number
        except OSError:  # the kernel has no more capabilities
            break
    return mask
