"""Where both commands begin: ^C ends them without a traceback, also while their modules are still being loaded."""

from __future__ import annotations

import signal


def end_quietly_on_interrupt() -> None:
    """Gives SIGINT its default action in place of Python's KeyboardInterrupt. One that is ignored stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


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
