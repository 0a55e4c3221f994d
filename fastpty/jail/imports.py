"""Loads modules before the router loses access to their files, and stops imports before it enters a foreign root.

In a foreign root, module files would be the container's. The modules listed here serve rare events and steps of the
start, so a router that can still read its files loads them only when they are used. What every running router needs is
loaded at the start, because an upgrade may replace the files.
"""

from __future__ import annotations

import contextlib
import os
import sys

from fastpty.configuration.config import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Any

# Modules that Python or this program would otherwise import at their first use.
_LATER = (
    "difflib",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "fastpty.jail.join",
    "fastpty.jail.namespaces",
    "fastpty.jail.terminals",
    "fastpty.sessions.cgroups",
    "fastpty.viewers.own_terminal",
    "linecache",
    "threading",
    "tokenize",
    "traceback",
    "warnings",
)
_LATER_FOR_TLS = ("fastpty.gateways.tls_gateway", "fastpty.net.tls", "fastpty.gateways.tls_connections", "tempfile")
_LATER_FOR_CLIENT = ("fastpty.cli", "fcntl", "ipaddress", "json", "pwd", "re", "resource", "stat", "struct")
_LATER_FOR_TERMINAL = ("fastpty.client.attach", "fastpty.client.waiting")


def prepare(config: Config) -> None:
    """Loads what may be needed later and is not loaded by all routers. Call it before the first step."""
    if _may_lose_files(config):
        _load(config)
    elif config.pty_log:
        _load_module("fastpty.viewers.own_terminal")  # also for a worker that replaces another


def prepare_reload(config: Config, readers: Iterable[str]) -> None:
    """Loads what a reload needs if the files could then be out of reach. readers: modules that a start needed."""
    if _may_lose_files(config) and not config.changes_root:  # in another root nothing is read again
        for name in (*readers, "fastpty.configuration.reload_child"):
            _load_module(name)


def _may_lose_files(config: Config) -> bool:
    changes_user = any(number for number in (config.uid, config.gid, config.immediate_uid, config.immediate_gid))
    gives_up_root = changes_user or bool(config.cap) or "user" in {*config.unshare, *config.unshare2}
    return config.hides_files or (gives_up_root and os.geteuid() == 0)


def stop(config: Config) -> None:
    """Loads all modules that may be needed later, then prevents imports from files."""
    _load(config)
    import importlib.machinery
    import linecache

    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]
    # A traceback would read source files from the foreign root. One that is a FIFO would block the router.
    linecache.updatecache = _no_lines
    sys.excepthook = _show


def _modules_of_client() -> list[str]:
    """The names of all modules of fastpty.client, which loads most of them at their first use."""
    import pkgutil

    from fastpty import client

    return [module.name for module in pkgutil.iter_modules(client.__path__, "fastpty.client.")]


def _load(config: Config) -> None:
    of_tls = _LATER_FOR_TLS if config.tls_identity else ()
    of_client = (*_LATER_FOR_CLIENT, *_modules_of_client()) if config.is_client else ()
    of_terminal = _LATER_FOR_TERMINAL if config.pty_input else ()
    for name in (*_LATER, *of_tls, *of_client, *of_terminal):
        _load_module(name)


def _load_module(name: str) -> None:
    with contextlib.suppress(ImportError):  # this user cannot read it, now or later
        __import__(name)


def _no_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    return []


def _show(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Replaces Python's hook, which before 3.13 reads the source without linecache."""
    import traceback

    print("".join(traceback.format_exception(kind, error, where)), end="", file=sys.stderr)
