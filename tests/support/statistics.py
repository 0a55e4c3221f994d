"""Reads the statistics that a router serves."""

from __future__ import annotations

import json
from typing import Any

from tests.support.harness import Client


def ask(path: str, words: bytes = b"") -> bytes:
    """The whole answer to a client that sends `words` first."""
    with Client(path) as client:
        if words:  # the router may have answered and closed before an empty send
            client.send(words)
        return client.read_to_end()


def read_statistics(path: str) -> dict[str, Any]:
    """The statistics, parsed."""
    answer: dict[str, Any] = json.loads(ask(path))
    return answer
