"""^C before there is anything to clean up. Nothing is loaded for it, so it holds from the start on."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; `signal` would first have to be loaded from a file


def end_quietly_on_interrupt() -> None:
    """Gives SIGINT its default action in place of Python's KeyboardInterrupt. One that is ignored stays ignored."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
