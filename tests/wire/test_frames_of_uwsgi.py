"""Frames that are the header alone: uWSGI's router and ours take the same ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.harness import RAW_CAT, Client, Router, frame
from tests.support.real_uwsgi import RealRouter

HARMLESS_SIGNALS = (18, 23, 28)  # CONT, URG, WINCH: cat lives on
UNKNOWN = (65, 99, 102, 129, 130, 200, 255)


@pytest.fixture(params=["uWSGI", "fastpty"])
def connect(
    request: pytest.FixtureRequest, start_router: Callable[..., Router], directory: Path
) -> Iterator[Callable[[], Client]]:
    """Connects to the uwsgi socket of a router whose sessions run /bin/sh. Call it when earlier clients have left."""
    if request.param == "fastpty":
        start_router("--forkpty-urouter", f"{directory}/u")
        yield lambda: Client(f"{directory}/u")
        return
    real = RealRouter(directory)

    def connected() -> Client:
        real.await_ends()
        return Client(real.framed)

    yield connected
    real.stop()


@pytest.mark.parametrize("writes", ["one write", "two writes"])
def test_only_stdin_frames_have_a_payload_whatever_the_size_field_of_others_holds(
    connect: Callable[[], Client], writes: str
) -> None:
    for modifier2, size in itertools.product([*HARMLESS_SIGNALS, *UNKNOWN], [1, 300, 65_535]):
        with connect() as client:
            client.wait_for_output()  # uWSGI can lose what comes before its shell is ready
            client.frame(0, payload=RAW_CAT.encode() + b"\n")
            client.read_until(b"READY")
            header, stdin = frame(modifier2, size), frame(0, payload=b"typed")
            for part in [header + stdin] if writes == "one write" else [header, stdin]:
                client.send(part)
            client.read_until(b"typed")


def test_window_sizes_are_taken_from_the_size_field(connect: Callable[[], Client]) -> None:
    with connect() as client:
        client.frame(100, 43)
        client.frame(101, 132)
        client.frame(0, payload=b"stty size\n")
        client.read_until(b"43 132\r\n")
