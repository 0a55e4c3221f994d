"""Reads the structure of fastpty/ from its own imports. `python tools/structure.py` draws it: docs/structure.svg.

A room is a package, or a module that lies directly in fastpty/. An arrow means that a file of one room imports or
cimports from another. tests/project/test_layers.py uses the same reading to hold the rooms to their order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "structure.svg"
SUFFIXES = (".py", ".pyi", ".pyx", ".pxd")

# From the top to the bottom: a room imports only from rooms further down in this list.
ORDER = (
    "__main__",
    "router",
    "cli",
    "supervision",
    "gateways",
    "viewers",
    "sessions",
    "listening",
    "errands",
    "jail",
    "access",
    "configuration",
    "service",
    "hooks",
    "client",
    "net",
    "_relay",
    "relay",
    "_spawn",
    "spawn",
    "wire",
    "copying",
    "log",
    "system",
    "logger",
    "errors",
)

_FROM = re.compile(r"^[ \t]*from (fastpty[\w.]*) c?import (\([^)]*\)|[^\n]+)", re.M)
_IMPORT = re.compile(r"^[ \t]*c?import (fastpty[\w.]*)", re.M)


def files(root: Path = ROOT) -> dict[Path, str]:
    """Every source file of fastpty/, and the dotted name of its module."""
    found = {}
    for path in sorted((root / "fastpty").rglob("*")):
        if path.suffix in SUFFIXES:
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[path] = name.removesuffix(".__init__")
    return found


def imports(root: Path = ROOT) -> dict[Path, set[str]]:
    """For each file the modules of fastpty that it imports or cimports, itself left out."""
    named = files(root)
    modules = set(named.values())
    found: dict[Path, set[str]] = {}
    for path, own in named.items():
        text = path.read_text()
        wanted = set(_IMPORT.findall(text))
        for package, names in _FROM.findall(text):
            members = {f"{package}.{name}" for name in re.split(r"[,\s()]+", names) if name}
            wanted |= (members & modules) or {package}
        found[path] = {name for name in wanted if name in modules and name not in (own, "fastpty")}
    return found


def room_of(module: str) -> str:
    """The package that a module belongs to, or its own name if it lies directly in fastpty/."""
    return module.split(".")[1] if "." in module else ""


def arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """For each room the rooms that it imports from."""
    named = files(root)
    found: dict[str, set[str]] = defaultdict(set)
    for path, wanted in imports(root).items():
        room = room_of(named[path])
        if room:
            found[room] |= {room_of(name) for name in wanted} - {room}
    return dict(found)


def circles(root: Path = ROOT) -> list[tuple[str, ...]]:
    """Modules that import each other, directly or by way of others; each circle once."""
    graph: dict[str, set[str]] = defaultdict(set)
    named = files(root)
    for path, wanted in imports(root).items():
        # A .pyi says what a .pyx is; a .pxd and a .py of the same name are different files.
        graph[_node(path, named[path])] |= {node for name in wanted for node in _nodes(name, named)}
    reached = {node: _reach(graph, node) for node in graph}
    return sorted({tuple(sorted(o for o in reached[node] if node in reached.get(o, ()))) for node in graph} - {()})


def _node(path: Path, name: str) -> str:
    return f"{name}:c" if path.suffix in (".pyx", ".pxd") else name


def _nodes(name: str, named: dict[Path, str]) -> set[str]:
    return {_node(path, found) for path, found in named.items() if found == name and path.suffix != ".pyi"}


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for node in graph.get(waiting.pop(), ()):
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return seen


_ROW, _WIDTH, _LEFT, _TOP = 34, 150, 330, 24


def picture(root: Path = ROOT) -> str:
    """The rooms in their order from top to bottom, with an arc to the right for each arrow; SVG."""
    found = arrows(root)
    rooms = [room for room in ORDER if room in found or (root / "fastpty" / room).is_dir()]
    at = {room: _TOP + _ROW * index for index, room in enumerate(rooms)}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{_TOP * 2 + _ROW * len(rooms)}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for room in rooms:
        for other in sorted(found.get(room, ())):
            lines.append(_arc(at[room], at[other]))
    for room in rooms:
        lines.append(
            f'<rect x="{_LEFT - _WIDTH}" y="{at[room] - 11}" width="{_WIDTH}" height="22" rx="4" '
            'fill="#eef3fb" stroke="#7a93b8"/>'
        )
        lines.append(f'<text x="{_LEFT - _WIDTH / 2}" y="{at[room] + 5}" text-anchor="middle">{escape(room)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _arc(start: int, end: int) -> str:
    bulge = _LEFT + 20 + (end - start) * 0.8
    return (
        f'<path d="M {_LEFT} {start} C {bulge} {start}, {bulge} {end}, {_LEFT} {end}" '
        'fill="none" stroke="#7a93b8" stroke-opacity="0.6"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
