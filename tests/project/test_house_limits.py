"""The limits on the size of files and functions in fastpty/, and what its packages must say about themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import ROOT
from tools import structure

FASTPTY = ROOT / "fastpty"
FILE_LINES_MOST = 400
FUNCTION_LINES_MOST = 45
PARAMETERS_MOST = 6
TOP_FILES_MOST = 10  # a .pyx and its .pyi count as one
TABLE = FASTPTY / "configuration" / "options.py"
# Folders of tests without a package of the same name.
OTHER_TESTS = {"field", "project"}


class Function(NamedTuple):
    name: str
    lines: int
    parameters: int


def sources() -> Iterator[Path]:
    return (path for path in sorted(FASTPTY.rglob("*")) if path.suffix in (".py", ".pyx", ".pxd"))


def functions(path: Path) -> Iterator[Function]:
    """The functions of a file, nested ones too."""
    text = path.read_text()
    return python_functions(text) if path.suffix == ".py" else cython_functions(text)


def python_functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            several = (arguments.vararg, arguments.kwarg)
            names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            count = len(set(names) - {"self", "cls"}) + sum(one is not None for one in several)
            yield Function(node.name, (node.end_lineno or node.lineno) - node.lineno + 1, count)


def cython_functions(text: str) -> Iterator[Function]:
    """Reads definitions by their indentation: a line that is indented no deeper than the `def` ends the function."""
    for header in re.finditer(r"^( *)(?:cdef|cpdef|def)\b[^=()\n]*?(\w+)\((?=[^=]|\w+=)", text, re.M):
        closing = closing_bracket(text, header.end())
        ending = re.compile(r"[\w \t*?>.-]*:").match(text, closing + 1)
        if ending is None:
            continue  # a declaration
        rest = text[ending.end() :]
        outside = re.search(rf"^(?! {{{len(header[1]) + 1}}})(?=.*\S)", rest[1:], re.M)
        body = rest[: outside.start() + 1 if outside else None].rstrip()
        lines = text[header.start() : ending.end()].count("\n") + body.count("\n") + 1
        yield Function(header[2], lines, len(cython_parameters(text[header.end() : closing])))


def cython_parameters(between: str) -> list[str]:
    """The parameters in the text between two brackets, without self and a lone star."""
    flat = between
    while (inner := re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", flat)) != flat:
        flat = inner
    parameters = [parameter.strip() for parameter in flat.split(",")]
    return [parameter for parameter in parameters if parameter not in ("", "self", "cls", "*", "/")]


def closing_bracket(text: str, position: int) -> int:
    depth = 1
    while depth:
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
    return position - 1


def test_no_file_has_more_than_400_lines() -> None:
    long = {str(path) for path in sources() if len(path.read_text().splitlines()) > FILE_LINES_MOST}
    assert long - {str(TABLE)} == set()


def test_no_function_has_more_than_45_lines() -> None:
    assert [
        (str(path.relative_to(ROOT)), function.name, function.lines)
        for path in sources()
        for function in functions(path)
        if function.lines > FUNCTION_LINES_MOST
    ] == []


def test_no_function_has_more_than_six_parameters() -> None:
    assert [
        (str(path.relative_to(ROOT)), function.name, function.parameters)
        for path in sources()
        for function in functions(path)
        if function.parameters > PARAMETERS_MOST
    ] == []


def test_at_most_ten_modules_lie_outside_a_package() -> None:
    suffixes = (*structure.SUFFIXES, ".typed")
    names = {path.stem for path in FASTPTY.iterdir() if path.is_file() and path.suffix in suffixes}
    assert len(names) <= TOP_FILES_MOST, sorted(names)


def test_every_package_says_what_belongs_there_and_where_the_rest_is() -> None:
    """Its docstring describes the content and names at least one package that what does not belong here belongs to."""
    packages = {path for path in FASTPTY.rglob("*/") if path.name != "__pycache__" and path != FASTPTY}
    names = {path.name for path in packages} | {path.stem for path in FASTPTY.glob("*.py*")}
    lacking = []
    for package in sorted(packages):
        docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        others = re.findall(r"belongs? to\s+`(\w+)`", docstring)
        if not others or not set(others) <= names - {package.name}:
            lacking.append(str(package.relative_to(ROOT)))
    assert lacking == []


def test_the_folders_of_tests_are_named_like_the_packages() -> None:
    folders = {path.parent.name for path in ROOT.glob("tests/*/test_*.py")}
    assert folders - OTHER_TESTS <= {path.name for path in FASTPTY.iterdir() if path.is_dir()}


def test_functions_of_cython_are_measured() -> None:
    """The reader above sees headers over several lines, methods, and pointers to functions as parameters."""
    text = (
        "cdef extern from *:\n    int call(int one, int two)\n\n"
        "cdef class Door:\n    def open(self, a, *, int b=0,\n             c=(1, 2)):\n        cdef int d = f(a, b)\n"
        "        return d\n\n    cdef int shut(self) except -1:\n        return 0\n\n\n"
        "cdef inline long start(Args *args, int (*child)(void *) noexcept nogil) noexcept nogil:\n    return 0\n"
    )
    assert list(cython_functions(text)) == [Function("open", 4, 3), Function("shut", 2, 0), Function("start", 2, 2)]
