"""Reads a whole file. `pathlib` would do, but costs a router with one worker 0.7 MB."""

from __future__ import annotations


def read_text(path: str, errors: str = "strict") -> str:
    """The text of a file; raises OSError, or UnicodeDecodeError as `errors` says."""
    with open(path, encoding="utf-8", errors=errors) as file:
        return file.read()


def read_bytes(path: str) -> bytes:
    """The content of a file; raises OSError."""
    with open(path, "rb") as file:
        return file.read()
