"""What a running router needs to read its configuration again. reload_child.py does it, in a child process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.net.address import TcpAddress, why
from fastpty.system.records import replace


def reader(argv: Sequence[str]) -> Callable[[Config], Config]:
    """Returns a function that reads the same command line again, given the present configuration.

    That function returns the new one. It keeps what a reload cannot change, and logs a warning for it. It raises
    FastptyError if the new configuration is wrong, cannot be read, or has a change that needs a restart. Relative file
    names and environment variables mean what they meant at the start. It loads much: call it in a child process.
    """
    start = os.getcwd()
    environ = dict(os.environ)

    def read_again(present: Config) -> Config:
        if present.changes_root:
            raise FastptyError(
                "the jail has another root (chroot, pivot-root, setns), whose files may belong to somebody else, so "
                "nothing is read there: restart the router"
            )
        try:
            from fastpty.configuration import reload_child
        except Exception as error:  # such as newer files that do not fit, after an upgrade
            raise FastptyError(f"cannot load the program's files ({error}): restart the router") from error
        return reload_child.reader(argv, start, environ)(present)

    return read_again


def read_to_be_sent(read: Callable[[Config], Config], present: Config) -> Config:
    """In a child process: returns the result of `read` without its hooks, which cannot be pickled. Raises FastptyError.

    Host names are resolved here, where a slow answer delays nobody.
    """
    config = read(present)
    for address in config.addresses:
        if isinstance(address, TcpAddress) and address not in present.addresses:
            _resolve(address)
    return replace(config, hooks=())


def received(sent: Config, present: Config) -> Config:
    """Puts the hooks back into the result of read_to_be_sent(). A reload cannot change them."""
    return replace(sent, hooks=present.hooks)


def _resolve(address: TcpAddress) -> None:
    try:
        address.resolve()
    except OSError as error:
        raise FastptyError(f"cannot listen on {address.text}: {why(error, {})}") from error
