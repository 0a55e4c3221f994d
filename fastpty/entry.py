"""Where both commands begin: ^C ends them without a traceback, also while their modules are still being loaded."""

from __future__ import annotations

from fastpty import end_quietly_on_interrupt


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
