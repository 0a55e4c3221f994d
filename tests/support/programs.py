"""Programs for sessions."""

from __future__ import annotations

from pathlib import Path


def broken_program(directory: Path, interpreter: str = "/no/such/interpreter") -> str:
    """The path of a script that passes the checks of a start and cannot be executed, because of its interpreter."""
    path = directory / "broken"
    path.write_text(f"#!{interpreter}\n")
    path.chmod(0o755)
    return str(path)
