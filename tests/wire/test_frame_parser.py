"""The parser of uwsgi frames against a short model, for random streams that are split at random places."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.probes import frame_probe
from tests.support.harness import frame

Event = tuple[str, object]


def model(stream: bytes) -> list[Event]:
    """The events that the stream means."""
    events: list[Event] = []
    while len(stream) >= 4:
        size, kind, stream = int.from_bytes(stream[1:3], "little"), stream[3], stream[4:]
        if kind == 0:
            joined = events.pop()[1] if events and events[-1][0] == "stdin" else b""
            events.append(("stdin", joined + stream[:size]))  # type: ignore[operator]
            stream = stream[size:]
        else:
            name = "signal" if kind <= 64 else {100: "rows", 101: "columns"}.get(kind, "ignored")
            events.append((name, size if kind in (100, 101) else kind))
    return events


def normal(events: Iterable[Event]) -> list[Event]:
    """Without empty stdin events: they have no effect."""
    return [event for event in events if event != ("stdin", b"")]


modifiers = st.one_of(st.just(0), st.sampled_from([1, 9, 64, 65, 99, 100, 101, 102, 255]), st.integers(0, 255))
frames = st.builds(
    lambda kind, payload, value: frame(0, payload=payload) if kind == 0 else frame(kind, value),
    modifiers,
    st.binary(max_size=300),
    st.integers(0, 65_535),
)
streams = st.one_of(st.binary(max_size=600), st.lists(frames, max_size=30).map(b"".join))


def split(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(streams, st.lists(st.integers(0, 10_000), max_size=40))
@settings(max_examples=500, deadline=None)
def test_the_parser_agrees_with_its_model_wherever_the_stream_is_split(stream: bytes, places: list[int]) -> None:
    assert normal(frame_probe.parse(split(stream, places))) == normal(model(stream))


@given(streams)
@settings(max_examples=200, deadline=None)
def test_a_stream_that_arrives_byte_by_byte_means_the_same(stream: bytes) -> None:
    assert normal(frame_probe.parse([bytes([byte]) for byte in stream])) == normal(model(stream))


def test_a_payload_of_65535_bytes_is_parsed_whole() -> None:
    payload = bytes(range(256)) * 256
    wire = frame(0, payload=payload[:65_535]) + frame(100, 65_535)
    assert frame_probe.parse([wire]) == [("stdin", payload[:65_535]), ("rows", 65_535)]


def test_modifier1_is_ignored() -> None:
    assert frame_probe.parse([b"\x05\x02\x00\x00ab"]) == [("stdin", b"ab")]
