"""fastpty: a small pseudo-terminal server, and the client that attaches to it."""

import _signal  # type: ignore[import-not-found]  # built in; `signal` would first have to be loaded from a file

__version__ = "0.1.0"


def end_quietly_on_interrupt() -> None:
    """Gives SIGINT its default action in place of Python's KeyboardInterrupt. One that is ignored stays ignored.

    It is here, in the first file of the package that is loaded, so that it holds while the others are loaded.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
