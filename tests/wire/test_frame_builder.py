"""The frames that our client sends."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.wire import uwsgi


def parsed(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Size field, modifier2 and payload of each frame. Only stdin frames have a payload."""
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
def test_the_payloads_of_stdin_frames_join_to_the_data(data: bytes) -> None:
    frames = parsed(uwsgi.stdin_frames(data))
    assert b"".join(payload for _, _, payload in frames) == data
    assert {modifier2 for _, modifier2, _ in frames} <= {uwsgi.STDIN}


@pytest.mark.parametrize("size", [0, 1, 4091, 4092, 4093, 8184, 8185, 65536])
def test_no_payload_is_empty_or_larger_than_uwsgis_router_accepts(size: int) -> None:
    sizes = [size for size, _, _ in parsed(uwsgi.stdin_frames(b"x" * size))]
    assert all(1 <= size <= 4092 for size in sizes)
    assert sum(sizes) == size


def test_window_frames_are_the_bytes_that_uwsgis_client_sends() -> None:
    assert uwsgi.window_frames(43, 132) == b"\x00+\x00d\x00\x84\x00e"


@given(st.binary(max_size=20000), st.integers(0, 65_535), st.integers(0, 65_535))
def test_no_frame_but_stdin_carries_a_payload(data: bytes, rows: int, columns: int) -> None:
    """uWSGI's router takes what follows another frame's header for the next frame."""
    stream = uwsgi.window_frames(rows, columns) + uwsgi.stdin_frames(data)
    assert {modifier2 for _, modifier2, payload in parsed(stream) if payload} <= {uwsgi.STDIN}
    assert {modifier2 for _, modifier2, _ in parsed(stream)} <= {uwsgi.STDIN, uwsgi.ROWS, uwsgi.COLUMNS}


def test_rows_and_columns_can_be_0_to_65535() -> None:
    assert parsed(uwsgi.window_frames(0, 65535)) == [(0, 100, b""), (65535, 101, b"")]
