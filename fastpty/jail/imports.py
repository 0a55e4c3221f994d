"""No imports any more: in a root of somebody else's, what Python finds under the names of its modules is theirs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys

from fastpty.configuration.config import Config

# What Python, or this program, would import at the moment when it is needed first.
_LATER = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "linecache", "tokenize", "traceback", "warnings")
_LATER_FOR_TLS = ("fastpty.net.tls", "fastpty.gateways.tls_connections")


def stop(config: Config) -> None:
    """Loads what may be needed later; from then on nothing is imported from files."""
    for name in (*_LATER, *(_LATER_FOR_TLS if config.tls_identity or config.is_client else ())):
        with contextlib.suppress(ImportError):  # a user who may not read it now could not do so later
            importlib.import_module(name)
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]
