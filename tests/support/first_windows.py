"""Starts sessions with windows of different sizes: `python -m tests.support.first_windows ADDRESS FIRST STARTS`.

Each session runs `stty size`, which asks for the window first of all. Prints one line for each wrong answer.
"""

from __future__ import annotations

import sys

from tests.support.extension_client import ExtensionClient


def wrong_windows(address: str, first: int, starts: int) -> list[str]:
    """Starts this many sessions one after the other. Each has a size of its own, which begins at `first`."""
    wrong = []
    for number in range(first, first + starts):
        with ExtensionClient(address) as client:
            client.start(["stty", "size"], window=(number, 10_000 + number))
            status = client.status()
            if (status.code, client.output) != (0, b"%d %d\r\n" % (number, 10_000 + number)):
                wrong.append(f"{number}: status {status.code}, {client.output!r}")
    return wrong


if __name__ == "__main__":
    print("\n".join(wrong_windows(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), end="")
