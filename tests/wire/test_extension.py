"""The frames of the extension: what is built is read again, however the connection cuts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.wire import extension
from fastpty.wire.extension import STATUS, FrameReader, ProtocolError, frames, items, read_items

messages = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 129), st.just(b"")),
        st.tuples(st.integers(130, 255), st.binary(max_size=200)),
        st.tuples(st.sampled_from(extension.STREAMS), st.binary(max_size=200)),
    ),
    max_size=20,
)


def read(wire: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    """The messages of `wire`, which arrives cut at these places. Consecutive pieces of a stream are joined."""
    reader, found = FrameReader(), list[tuple[int, bytes]]()
    places = sorted({min(cut, len(wire)) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(wire)], strict=True):
        for number, payload in reader.feed(wire[start:end]):
            if found and number in extension.STREAMS and found[-1][0] == number:
                found[-1] = (number, found[-1][1] + payload)
            else:
                found.append((number, payload))
    assert not reader.is_within_a_frame
    return found


@given(messages, st.lists(st.integers(0, 4000), max_size=20))
def test_messages_are_read_as_they_were_built_however_they_are_cut(
    sent: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    wire = b"".join(frames(number, payload) for number, payload in sent)
    expected = list[tuple[int, bytes]]()
    for number, payload in sent:
        if number in extension.STREAMS and not payload:
            continue  # an empty piece of a stream says nothing
        if expected and number in extension.STREAMS and expected[-1][0] == number:
            expected[-1] = (number, expected[-1][1] + payload)
        else:
            expected.append((number, payload))
    assert read(wire, cuts) == expected


@given(st.integers(65_534, 140_000), st.integers(0, 140_000))
def test_a_long_message_goes_on_over_several_frames(size: int, cut: int) -> None:
    payload = bytes(size)
    assert read(frames(STATUS, payload), [cut]) == [(STATUS, payload)]


def test_a_message_without_end_is_a_violation() -> None:
    endless = (b"\x01\xff\xff" + bytes([STATUS]) + bytes(65_535)) * 5
    with pytest.raises(ProtocolError, match="longer than"):
        list(FrameReader().feed(endless))


def test_another_message_within_one_is_a_violation() -> None:
    with pytest.raises(ProtocolError, match="within a message"):
        list(FrameReader().feed(b"\x01\x00\x00" + bytes([STATUS]) + frames(extension.ERROR, b"x")))


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50))))
def test_items_are_read_as_they_were_built(pairs: list[tuple[int, bytes]]) -> None:
    assert read_items(items(pairs)) == pairs


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), min_size=1), st.integers(1, 4))
def test_a_cut_item_is_a_violation(pairs: list[tuple[int, bytes]], missing: int) -> None:
    with pytest.raises(ProtocolError, match="cut"):
        read_items(items(pairs)[:-missing])
