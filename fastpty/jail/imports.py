"""No imports any more: in a root of somebody else's, what Python finds under the names of its modules is theirs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import linecache
import sys
import traceback
from types import TracebackType
from typing import Any

from fastpty.configuration.config import Config

# What Python, or this program, would import at the moment when it is needed first.
_LATER = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "tokenize", "warnings")
_LATER_FOR_TLS = ("fastpty.net.tls", "fastpty.gateways.tls_connections")


def stop(config: Config) -> None:
    """Loads what may be needed later; from then on nothing is imported from files."""
    for name in (*_LATER, *(_LATER_FOR_TLS if config.tls_identity or config.is_client else ())):
        with contextlib.suppress(ImportError):  # a user who may not read it now could not do so later
            importlib.import_module(name)
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]
    # A traceback shows lines of the source, which would be read there, too: a FIFO in a file's place never answers.
    linecache.updatecache = _no_lines
    sys.excepthook = _show


def _no_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    return []


def _show(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """As Python's own, which before 3.13 reads the source by itself."""
    print("".join(traceback.format_exception(kind, error, where)), end="", file=sys.stderr)
