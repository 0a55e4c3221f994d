"""Calls a function, and then executes a program in the same process: `start_with.py FUNCTION PROGRAM ARGUMENT...`.

For use in place of Popen(preexec_fn=...), with which Python forks: if another thread holds a lock of a sanitizer then,
the lock stays locked in the child, which waits for ever. Without preexec_fn Python uses vfork(2).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def start_with(function: Callable[[], object], argv: Sequence[str]) -> list[str]:
    """The command line of a program whose process calls `function` before it executes `argv`.

    The function must be one that pickle can name: a partial of a function of the standard library or of first_steps.py.
    Python runs without site-packages, and therefore cannot import the tests.
    """
    interpreter = os.readlink("/proc/self/exe")  # sys.executable may be a script that starts a sanitizer
    return [interpreter, "-I", "-S", __file__, pickle.dumps(function).hex(), *argv]


def main() -> None:
    _, function, *argv = sys.argv
    # Python may have added LC_CTYPE to os.environ.
    variables = Path("/proc/self/environ").read_bytes().split(b"\0")
    environment = dict(variable.split(b"=", 1) for variable in variables if variable)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, as Popen's child does not
        signal.signal(number, signal.SIG_DFL)
    pickle.loads(bytes.fromhex(function))()
    os.execve(argv[0], argv, environment)


if __name__ == "__main__":
    main()
