from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.client.escape import DISCONNECT, HELP, SHOW_CONNECTION, SUSPEND, EscapeFilter

TYPED = st.lists(st.sampled_from([b"~", b".", b"?", b"#", b"\x1a", b"a", b"\r", b"\n", b"~~", b"text"])).map(b"".join)
ANY_BYTES = st.binary() | TYPED


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def passed(character: bytes | None, pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    """All output, and the keys of all commands."""
    filtered = EscapeFilter(character)
    output, commands = b"", []
    for piece in pieces:
        fed = filtered.feed(piece)
        output += fed.output
        commands += fed.commands
        if DISCONNECT in fed.commands:
            return output, commands
    return output + filtered.flush(), commands


def model(data: bytes) -> tuple[bytes, list[bytes]]:
    output, start, commands, at = b"", True, list[bytes](), 0
    while at < len(data):
        pair = data[at : at + 2]
        if start and pair in (b"~.", b"~?", b"~#", b"~\x1a"):
            commands.append(pair[1:])
            if pair == b"~.":
                return output, commands
            at += 2
            continue
        if start and pair[:1] == b"~":
            taken = 2
            sent = b"~" if pair == b"~~" else pair
            start = pair[1:] in (b"\r", b"\n")
        else:
            taken, sent = 1, pair[:1]
            start = sent in (b"\r", b"\n")
        output, at = output + sent, at + taken
    return output, commands


@given(ANY_BYTES, st.lists(st.integers(0, 1000)))
def test_without_an_escape_character_every_key_is_sent_as_typed(data: bytes, cuts: list[int]) -> None:
    assert passed(None, split(data, cuts)) == (data, [])


@given(ANY_BYTES, st.lists(st.integers(0, 1000)))
def test_tildes_inside_a_line_are_sent_as_typed(data: bytes, cuts: list[int]) -> None:
    data = b"x" + data.replace(b"\r~", b"\rx~").replace(b"\n~", b"\nx~")
    assert passed(b"~", split(data, cuts)) == (data, [])


@given(TYPED, st.lists(st.integers(0, 1000)))
def test_escapes_mean_the_same_however_the_input_is_split(data: bytes, cuts: list[int]) -> None:
    assert passed(b"~", split(data, cuts)) == model(data)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (b"~~.\r", b"~.\r"),
        (b"ls\r~~x", b"ls\r~x"),
        (b"~a~.", b"~a~."),
        (b"~\r~", b"~\r~"),
        (b"~", b"~"),
        (b"\n~/bin\n", b"\n~/bin\n"),
    ],
)
def test_a_tilde_before_an_unknown_command_is_sent_as_typed(typed: bytes, sent: bytes) -> None:
    assert passed(b"~", [typed]) == (sent, [])


def test_escape_commands_keep_their_order_and_the_keys_after_them_are_sent() -> None:
    assert passed(b"~", [b"~#~\x1a", b"~?ls\r"]) == (b"ls\r", [SHOW_CONNECTION, SUSPEND, HELP])


@pytest.mark.parametrize("typed", [b"~.", b"x\r~.", b"x\n~.", b"~?~.", b"ls\r~.more"])
def test_a_tilde_and_a_dot_on_a_new_line_disconnect(typed: bytes) -> None:
    output, commands = passed(b"~", [typed])
    assert commands[-1] == DISCONNECT
    assert b"~" not in output
    assert b"more" not in output


def test_the_escape_character_can_be_changed() -> None:
    assert passed(b"%", [b"~.\r%."]) == (b"~.\r", [DISCONNECT])
    assert b"%." in EscapeFilter(b"%").help_text()


@pytest.mark.parametrize("character", [b"", b"ab", b"\r", b"\n"])
def test_a_line_end_or_two_bytes_cannot_be_the_escape_character(character: bytes) -> None:
    with pytest.raises(ValueError, match="escape character"):
        EscapeFilter(character)
