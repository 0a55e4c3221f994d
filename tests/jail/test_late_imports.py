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

# They run before the jail, or in the child that reads the configuration.
_ELSEWHERE = (
    "fastpty/__init__.py",
    "fastpty/__main__.py",
    "fastpty/configuration/",
    "fastpty/jail/preflight.py",
    "fastpty/jail/reexecute.py",
)
_OF_CLIENT = ("fastpty/cli.py", "fastpty/client/")


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
    name
    for path in sorted(ROOT.glob("fastpty/**/*.py"))
    if not (name := str(path.relative_to(ROOT))).startswith(_ELSEWHERE) and any(loaded_late(path))
]


def loaded_by(*modules: str) -> set[str]:
    """The modules that these modules load at once."""
    show = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", show]  # `site` may load modules for an editable installation
    return {*subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()}


@pytest.mark.parametrize("name", FILES)
def test_what_is_loaded_at_its_first_use_is_loaded_before_the_files_are_out_of_reach(name: str) -> None:
    if name.startswith(_OF_CLIENT):
        known = loaded_by("fastpty.router", *imports._LATER_FOR_CLIENT, *imports._modules_of_client())
    else:
        known = loaded_by("fastpty.router") | {*imports._LATER_FOR_TLS, *imports._LATER_FOR_CLIENT}
        known |= {*imports._LATER_FOR_TERMINAL, "fastpty.client.link"}
    assert sorted({*loaded_late(ROOT / name)} - known - {*imports._LATER, "importlib.machinery", "pkgutil"}) == []
