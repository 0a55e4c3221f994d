"""fastpty: a small pseudo-terminal server, and the client that attaches to it."""

import _signal  # type: ignore[import-not-found]  # built in; `signal` would first have to be loaded from a file

__version__ = "0.1.0"

__all__ = ["FastptyError", "Session", "SessionError", "UsageError", "run"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.client.interface import Session
    from fastpty.client.running import run
    from fastpty.errors import FastptyError, SessionError, UsageError


def __getattr__(name: str) -> object:
    """Loads a part of the Python interface when it is used: the commands start faster without it."""
    if name == "Session":
        from fastpty.client.interface import Session

        return Session
    if name == "run":
        from fastpty.client.running import run

        return run
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastpty import errors

    return getattr(errors, name)


def end_quietly_on_interrupt() -> None:
    """Gives SIGINT its default action in place of Python's KeyboardInterrupt. One that is ignored stays ignored.

    It is here, in the first file of the package that is loaded, so that it holds while the others are loaded.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
