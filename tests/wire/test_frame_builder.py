from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.wire import uwsgi


def parsed(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Size field, modifier2 and payload of each frame; only stdin frames have one."""
    frames = []
    while stream:
        modifier1, size, modifier2 = struct.unpack("<BHB", stream[:4])
        assert modifier1 == 0
        end = 4 + (size if modifier2 == 0 else 0)
        assert len(stream) >= end
        frames.append((size, modifier2, stream[4:end]))
        stream = stream[end:]
    return frames


@given(st.binary(max_size=20000))
def test_stdin_comes_out_of_its_frames_as_it_went_in(data: bytes) -> None:
    frames = parsed(uwsgi.stdin_frames(data))
    assert b"".join(payload for _, _, payload in frames) == data
    assert {modifier2 for _, modifier2, _ in frames} <= {uwsgi.STDIN}


@pytest.mark.parametrize("size", [0, 1, 4091, 4092, 4093, 8184, 8185, 65536])
def test_no_frame_is_larger_than_uwsgis_router_takes_and_none_is_empty(size: int) -> None:
    sizes = [size for size, _, _ in parsed(uwsgi.stdin_frames(b"x" * size))]
    assert all(1 <= size <= 4092 for size in sizes)
    assert sum(sizes) == size


def test_the_window_frames_are_those_of_uwsgis_client() -> None:
    assert uwsgi.window_frames(43, 132) == b"\x00+\x00d\x00\x84\x00e"


def test_a_window_edge_can_have_any_value_of_an_unsigned_short() -> None:
    assert parsed(uwsgi.window_frames(0, 65535)) == [(0, 100, b""), (65535, 101, b"")]
