"""Stops imports before the router enters a foreign root, where module files would be the container's."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import linecache
import sys
import traceback
from types import TracebackType

from fastpty.configuration.config import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Modules that Python or this program would otherwise import at their first use.
_LATER = ("difflib", "encodings.ascii", "encodings.idna", "encodings.latin_1", "tokenize", "warnings")
_LATER_FOR_TLS = ("fastpty.net.tls", "fastpty.gateways.tls_connections", "tempfile")
_LATER_FOR_CLIENT = ("fastpty.cli", "fastpty.client.connect", "fastpty.client.help", "fastpty.client.tunnel")


def stop(config: Config) -> None:
    """Loads all modules that may be needed later, then prevents imports from files."""
    of_tls = _LATER_FOR_TLS if config.tls_identity else ()
    of_client = _LATER_FOR_CLIENT if config.is_client else ()
    of_terminal = ("fastpty.client.attach",) if config.pty_input else ()
    for name in (*_LATER, *of_tls, *of_client, *of_terminal):
        with contextlib.suppress(ImportError):  # this user cannot read it, now or later
            importlib.import_module(name)
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]
    # A traceback would read source files from the foreign root. One that is a FIFO would block the router.
    linecache.updatecache = _no_lines
    sys.excepthook = _show


def _no_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    return []


def _show(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Replaces Python's hook, which before 3.13 reads the source without linecache."""
    print("".join(traceback.format_exception(kind, error, where)), end="", file=sys.stderr)
