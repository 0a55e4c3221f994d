"""Builds the START frame, with which a client of the extension asks for a program."""

from __future__ import annotations

import os
from itertools import islice

from fastpty.errors import UsageError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_OFFERED = (b"LANG", b"COLORTERM", b"NO_COLOR")
_OFFERED_PREFIX = b"LC_"
_OFFERED_MOST = 64  # a router takes no more


def start(
    size: tuple[int, int] | None,
    command: Sequence[str | bytes] = (),
    environment: Iterable[str | bytes] = (),
    directory: str | bytes | None = None,
    local: Mapping[bytes, bytes] = os.environb,
    items: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Returns the START frame. TERM and the language come from `local`, the client's own environment.

    An empty `command` asks for the router's own. `environment` holds NAME=VALUE texts. `items`: STREAMS for a program
    without a terminal, and COPY for a copy, whose paths are the `command`. Raises UsageError if this is more than a
    router takes, or if a text holds a NUL byte.
    """
    pairs = [(extension.ARGUMENT, os.fsencode(word)) for word in command]
    pairs += [(extension.ENVIRONMENT, os.fsencode(variable)) for variable in environment]
    if directory is not None:
        pairs.append((extension.DIRECTORY, os.fsencode(directory)))
    for _, value in pairs:
        if b"\0" in value:
            raise UsageError(f"{os.fsdecode(value)!r}: a program's argument or variable cannot hold a NUL byte")
    pairs += items
    if size is not None:
        pairs.append((extension.WINDOW, extension.window(*size)))
    if local.get(b"TERM") and not items:
        pairs.append((extension.TERM, local[b"TERM"]))
    pairs += [(extension.OFFERED_ENVIRONMENT, variable) for variable in islice(_offered(local), _OFFERED_MOST)]
    if len(pairs) > extension.ITEMS_MOST:
        raise UsageError(
            f"the command and its environment are {len(pairs)} items, and a router takes {extension.ITEMS_MOST}"
        )
    request = extension.items(pairs)
    if len(request) > extension.REQUEST_BYTES:
        raise UsageError(
            f"the command and its environment take {len(request)} bytes, and a router takes {extension.REQUEST_BYTES}"
        )
    return extension.frames(extension.START, request)


def _offered(local: Mapping[bytes, bytes]) -> Iterator[bytes]:
    for name, value in sorted(local.items()):
        if name in _OFFERED or name.startswith(_OFFERED_PREFIX):
            yield name + b"=" + value
