"""Where both commands begin: ^C ends them without a traceback, also while their modules are still being loaded."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; `signal` would first have to be loaded from a file


def end_quietly_on_interrupt() -> None:
    """Gives SIGINT its default action in place of Python's KeyboardInterrupt. One that is ignored stays ignored."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def open_standard_descriptors(flags: int) -> None:
    """Opens /dev/null for those of 0, 1 and 2 that are closed.

    Otherwise a socket would get the number, and what is meant for a standard descriptor would be done to it.
    """
    import os

    while (fd := os.open(os.devnull, flags)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def router() -> int:
    """The `fastpty-router` command; its exit status."""
    end_quietly_on_interrupt()
    from fastpty.router import main

    return main()


def client() -> int:
    """The `fastpty` command; its exit status."""
    end_quietly_on_interrupt()
    from fastpty.cli import main

    return main()
