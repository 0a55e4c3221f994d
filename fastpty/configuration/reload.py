"""What a running router needs to read its configuration again. reread.py does it, in another process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.net.address import TcpAddress, why
from fastpty.records import replace


def reader(argv: Sequence[str]) -> Callable[[Config], Config]:
    """Returns a function from the present configuration to the one that the same command line gives when it is called.

    The function keeps what a reload cannot change and logs a warning for it. It raises FastptyError if the new
    configuration is wrong, cannot be read, or has a change that needs a restart. Relative file names and environment
    variables mean what they meant at the start. It loads much, so call it in another process.
    """
    start = os.getcwd()
    environ = dict(os.environ)

    def read(present: Config) -> Config:
        if present.changes_root:
            raise FastptyError(
                "the jail has another root (chroot, pivot-root, setns), whose files may belong to somebody else, so "
                "nothing is read there: restart the router"
            )
        from fastpty.configuration import reread

        return reread.reader(argv, start, environ)(present)

    return read


def read_to_be_sent(read: Callable[[Config], Config], present: Config) -> Config:
    """In another process: the result of `read` in a form that can be pickled, for received(). Raises FastptyError.

    Host names are resolved here, where that may take its time.
    """
    config = read(present)
    for address in config.addresses:
        if isinstance(address, TcpAddress) and address not in present.addresses:
            _resolve(address)
    return replace(config, hooks=())


def received(sent: Config, present: Config) -> Config:
    """Completes the result of read_to_be_sent(): its hooks are functions and cannot be pickled, nor can they change."""
    return replace(sent, hooks=present.hooks)


def _resolve(address: TcpAddress) -> None:
    try:
        address.resolve()
    except OSError as error:
        raise FastptyError(f"cannot listen on {address.text}: {why(error, {})}") from error
