"""The parser of the extension's frames against a short model, for random streams that are split at random places."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.probes import frame_probe


def model(stream: bytes) -> list[list[object]]:
    """Number, size field, payload, end of the message and breach of a message, of each frame in the stream."""
    found: list[list[object]] = []
    unfinished = 0
    while len(stream) >= 4:
        flags, value, number = struct.unpack_from("<BHB", stream)
        has_payload = number == 0 or number >= 130
        goes_on = bool(has_payload and flags & 1)
        size = value if has_payload else 0
        payload, stream = stream[4 : 4 + size], stream[4 + size :]
        found.append([number, value, payload, len(payload) == size and not goes_on, unfinished not in (0, number)])
        unfinished = number if goes_on else 0
    return found


numbers = st.one_of(st.sampled_from([0, 2, 64, 100, 101, 129, 130, 131, 138, 255]), st.integers(0, 255))
frames = st.builds(
    lambda flags, number, payload: struct.pack("<BHB", flags, len(payload), number) + payload,
    st.sampled_from([0, 1, 2, 255]),
    numbers,
    st.binary(max_size=300),
)
streams = st.one_of(st.binary(max_size=600), st.lists(frames, max_size=30).map(b"".join))


def split(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(streams, st.lists(st.integers(0, 10_000), max_size=40))
@settings(max_examples=500, deadline=None)
def test_the_parser_agrees_with_its_model_wherever_the_stream_is_split(stream: bytes, places: list[int]) -> None:
    assert frame_probe.parse_extension(split(stream, places)) == model(stream)


@given(streams)
@settings(max_examples=200, deadline=None)
def test_a_stream_that_arrives_byte_by_byte_means_the_same(stream: bytes) -> None:
    assert frame_probe.parse_extension([bytes([byte]) for byte in stream]) == model(stream)
