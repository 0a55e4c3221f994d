"""What the router loads at its first use is loaded earlier if its files could then be out of reach."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpty.jail import imports

ROOT = Path(__file__).resolve().parent.parent.parent

# They run before the jail, in the child that reads the configuration, or in the client.
_ELSEWHERE = ("fastpty/__init__.py", "fastpty/__main__.py", "fastpty/cli.py", "fastpty/jail/reexecute.py",
              "fastpty/jail/preflight.py", "fastpty/configuration/", "fastpty/client/")  # fmt: skip


def loaded_late(path: Path) -> Iterator[str]:
    """The modules that the functions of a file import."""
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                for name in node.names:
                    inner = f"{node.module}.{name.name}"
                    yield inner if Path(ROOT, inner.replace(".", "/") + ".py").exists() else str(node.module)


FILES = [
    path
    for path in sorted(ROOT.glob("fastpty/**/*.py"))
    if not str(path.relative_to(ROOT)).startswith(_ELSEWHERE) and any(loaded_late(path))
]


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The modules that every router has loaded when it enters the jail, or that jail/imports.py loads."""
    show = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import fastpty.router; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", show]  # `site` may load modules for an editable installation
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    of_some = (*imports._LATER_FOR_TLS, *imports._LATER_FOR_CLIENT, "fastpty.client.attach", "fastpty.client.link")
    return {*loaded, *imports._LATER, *of_some, "importlib.machinery"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_loaded_at_its_first_use_is_loaded_before_the_files_are_out_of_reach(
    path: Path, known: set[str]
) -> None:
    assert sorted({*loaded_late(path)} - known) == []
