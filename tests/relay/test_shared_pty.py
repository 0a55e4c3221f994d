"""One terminal for all clients of a pty-socket: all see its output, all can type, and none makes the others wait."""

from __future__ import annotations

import hashlib
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty._relay import Relay
from tests.support.harness import RAW_CAT, Client, Router, children, descriptors, eventually
from tests.support.shared_pty import Shared

CHUNK_BYTES = 65_536
RING_BYTES = 1 << 20


def test_all_clients_see_the_output_and_all_can_type(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as one, shared.join() as two, shared.join() as three:
        for number, typist in enumerate((one, two, three, one)):
            typist.send(b"echo $((%d+1000))\n" % number)
            for client in (one, two, three):
                client.read_until(b"echo $((%d+1000))\r\n" % number, b"%d\r\n" % (number + 1000))


def test_a_client_that_joins_late_sees_earlier_output(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as early:
        early.send(b"echo ear''ly\n")
        early.read_until(b"early\r\nprompt:")
        with shared.join() as late:
            late.read_until(b"early\r\nprompt:")


def test_the_scroll_back_is_bounded_and_begins_at_the_start_of_a_line(share: Callable[..., Shared]) -> None:
    shared = share("--pty-scrollback", "1000", command="seq -w 1 5000; exec cat")
    with shared.join() as early:
        early.read_until(b"5000\r\n")
        with shared.join() as late:
            shown = late.read_until(b"5000\r\n")
    assert len(shown) <= 1000
    assert shown == b"".join(b"%04d\r\n" % number for number in range(5001 - len(shown) // 6, 5001))
    assert len(shown) > 1000 - 6


@pytest.mark.parametrize(
    ("pieces", "step"),
    [
        ([*"é€😀x"], 1),
        (["\x1b[38;5;196m", "x", "\x1b(B", "\x1b7", "ü"], 1),
        (["\x1b]0;title\a", "x", "\x1b]8;;file:///\x1b\\", "y"], 1),
        (["\x1bPq" + "~" * 3000 + "\x1b\\", "x"], 500),
    ],
    ids=["characters", "sequences", "strings", "an image"],
)
def test_scroll_back_begins_with_a_whole_character_or_sequence(
    share: Callable[..., Shared], pieces: list[str], step: int
) -> None:
    """Clients join after each `step` bytes of output, so that the limit falls on each place in the pieces."""
    output = b"READY"
    begins = [0]
    while len(output) < 9000:
        for piece in pieces:
            begins.append(len(output))
            output += piece.encode()
    shared = share("--pty-scrollback", "1000", command=RAW_CAT)
    with shared.join() as early:
        early.read_until(b"READY")
        sent = len(b"READY")
        for end in range(4000, 4000 + max(40, 10 * step), step):
            early.send(output[sent:end])
            assert early.read_exactly(end - sent) == output[sent:end]
            sent = end
            start = min((at for at in begins if end - 1000 <= at < end), default=max(at for at in begins if at < end))
            with shared.join() as late:
                assert late.read_exactly(end - start) == output[start:end]


def test_a_sequence_that_is_being_written_is_whole_for_a_late_comer(share: Callable[..., Shared]) -> None:
    shared = share("--pty-scrollback", "0", command=RAW_CAT)
    eventually(lambda: Path(f"/proc/{shared.program}/comm").read_text() == "cat\n", "the terminal is raw")
    with shared.join() as early:
        early.send(b"start")
        early.read_until(b"start")
        for begin, rest in (b"\x1b[3", b"1m"), (b"\x1b]0;ti", b"tle\a"), ("€".encode()[:2], "€".encode()[2:]):
            early.send(begin)
            early.read_exactly(len(begin))
            with shared.join() as late:
                late.read_exactly(len(begin))
                early.send(rest)
                early.read_exactly(len(rest))
                assert late.read_exactly(len(rest)) == rest


def test_a_program_that_closes_the_terminal_and_opens_it_again_goes_on(
    share: Callable[..., Shared], directory: Path
) -> None:
    command = (
        f"trap '' HUP; tty=$(tty); printf before; exec <&- >&- 2>&-; : >{directory}/closed; "
        f"until [ -e {directory}/typed ]; do sleep 0.01; done; exec <>$tty >&0 2>&1; exec cat"
    )
    shared = share("--pty-once", command=command)
    with shared.join() as one, shared.join() as two:
        for client in (one, two):
            client.read_until(b"before")
        eventually((directory / "closed").exists, "the program has closed the terminal")
        one.send(b"one\n")
        (directory / "typed").touch()
        two.read_until(b"one\r\none\r\n")
        two.send(b"two\n")
        one.read_until(b"two\r\ntwo\r\n")


def test_without_scroll_back_a_client_sees_only_later_output(share: Callable[..., Shared]) -> None:
    shared = share("--pty-scrollback", "0", command=RAW_CAT)
    with shared.join() as early:
        eventually(lambda: Path(f"/proc/{shared.program}/comm").read_text() == "cat\n", "the terminal is raw")
        early.send(b"before")
        early.read_until(b"before")
        with shared.join() as late:
            late.send(b"after")
            assert late.read_until(b"after") == b"after"


def paced_output(directory: Path) -> tuple[bytes, str]:
    """Random data of 8 MiB, and a command that writes the next 64 KiB of it for each byte of input."""
    data = random.Random(5).randbytes(128 * CHUNK_BYTES)
    (directory / "data").write_bytes(data)
    program = (
        "import sys, os, tty; tty.setraw(0); os.write(1, b'READY')\n"
        f"with open('{directory}/data', 'rb') as file:\n"
        f"    while os.read(0, 1) and (chunk := file.read({CHUNK_BYTES})): sys.stdout.buffer.write(chunk); "
        "sys.stdout.flush()\n"
        "os.read(0, 1)\n"
    )
    (directory / "program.py").write_text(program)
    return data, f"{sys.executable} {directory}/program.py"


def test_a_viewer_that_keeps_up_receives_every_byte_though_another_does_not_read(
    share: Callable[..., Shared], directory: Path
) -> None:
    data, command = paced_output(directory)
    shared = share("--pty-once", command=command)
    with shared.join() as slow, shared.join() as reader:
        reader.read_until(b"READY")
        digest = hashlib.sha256()
        for _ in range(len(data) // CHUNK_BYTES):
            reader.send(b".")
            digest.update(reader.read_exactly(CHUNK_BYTES))
        assert digest.digest() == hashlib.sha256(data).digest()
        # The slow viewer receives what its socket held, and then the newest bytes, which the ring holds.
        reader.send(b"..")
        reader.read_to_end()
        seen = slow.read_to_end()
        assert seen.startswith(b"READY" + data[: CHUNK_BYTES // 8])
        assert seen.endswith(data[-(RING_BYTES - CHUNK_BYTES) :])
        assert len(seen) < len(data)
    end = shared.router.wait_for_log(r"session \d+: end: .*, (\d+) bytes out, (\d+) bytes missed")
    assert int(end[0][1]) == len(seen)
    assert int(end[0][1]) + int(end[0][2]) == len(data) + len(b"READY")
    assert sum("bytes missed" in line for line in shared.router.lines) == 1


def test_a_viewer_that_does_not_read_does_not_stop_a_flood(share: Callable[..., Shared], directory: Path) -> None:
    shared = share(command=f"head -c 30000000 /dev/zero; touch {directory}/done; exec sleep 1000")
    with shared.join():
        eventually((directory / "done").exists, "the program has written everything")


def test_a_half_closed_viewer_still_sees_output_and_ends_nothing(share: Callable[..., Shared]) -> None:
    shared = share()
    program = shared.program
    with shared.join() as one, shared.join() as two:
        two.send(b"echo fr''om two\n")
        two.half_close()
        one.read_until(b"from two\r\nprompt:")
        one.send(b"echo $((6*7))\n")
        for client in (one, two):
            client.read_until(b"\r\n42\r\n")
    assert shared.program == program


def test_an_interrupt_from_any_client_reaches_the_program(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as one, shared.join() as two:
        one.send(b"sh -c 'echo sta\"\"rted; exec sleep 1000'\n")
        two.read_until(b"started\r\n")
        two.send(b"\x03")
        one.read_until(b"^C", b"prompt:")


def test_input_sent_just_before_leaving_arrives(share: Callable[..., Shared]) -> None:
    shared = share(command=RAW_CAT)
    with shared.join() as viewer:
        viewer.read_until(b"READY")
        for number in range(50):
            with shared.join() as passer_by:
                passer_by.send(b"%04d." % number)
            viewer.read_until(b"%04d." % number)


def test_a_flood_from_one_client_does_not_block_another_client_s_key(share: Callable[..., Shared]) -> None:
    shared = share(command="stty raw -echo isig; printf READY; exec cat > /dev/null")
    with shared.join() as flood, shared.join() as other:
        flood.read_until(b"READY")
        flooding = threading.Event()

        def send() -> None:
            try:
                for count in range(1 << 20):
                    flood.send(bytes(65_536))
                    if count == 64:
                        flooding.set()
            except OSError:
                return

        sender = threading.Thread(target=send)
        sender.start()
        assert flooding.wait(30)
        other.send(b"\x03")
        shared.router.wait_for_log("session .* end: exit, killed by SIGINT")
        flood.socket.shutdown(2)
        sender.join()


def test_clients_that_wait_for_room_in_the_terminal_take_turns(share: Callable[..., Shared], directory: Path) -> None:
    """While the terminal is full four clients send. All their input arrives when the program reads again."""
    command = f"stty raw -echo; printf READY; until [ -e {directory}/go ]; do sleep 0.01; done; exec cat"
    shared = share(command=command)
    texts = [bytes([letter]) * 100_000 for letter in b"abcd"]
    clients = [shared.join() for _ in texts]
    viewer = shared.join()
    viewer.read_until(b"READY")
    senders = [
        threading.Thread(target=client.send, args=(text,)) for client, text in zip(clients, texts, strict=True)
    ]
    for sender in senders:
        sender.start()
    (directory / "go").touch()
    seen = viewer.read_exactly(400_000)
    assert all(seen.count(text[:1]) == len(text) for text in texts)
    for sender, client in zip(senders, clients, strict=True):
        sender.join()
        client.socket.close()
    viewer.socket.close()


def test_a_thousand_joins_and_leaves_leave_nothing_behind(share: Callable[..., Shared]) -> None:
    shared = share(command=RAW_CAT)
    dice = random.Random(11)
    with shared.join() as stayer:
        stayer.read_until(b"READY")
        shared.router.wait_for_log("session 2: join")
        before = descriptors(shared.router.pid)
        for number in range(100):
            clients = [shared.join() for _ in range(10)]
            for client in clients:
                if dice.random() < 0.5:
                    client.send(bytes([dice.randrange(256)]) * dice.randrange(1, 3))
                if dice.random() < 0.5:
                    client.read_until(b"READY")
                if dice.random() < 0.2:
                    client.half_close()
            for client in clients:
                client.socket.close()
            stayer.send(b"<%d>" % number)
            stayer.read_until(b"<%d>" % number)
            # Waiting in each round keeps the log short: a router drops log lines that are not read in time.
            shared.router.wait_for_log("session .* end: client left", 10 * (number + 1))
        assert descriptors(shared.router.pid) == before
        assert children(shared.router.pid) == [shared.program]


@pytest.mark.parametrize(
    ("option", "ending"), [("--forkptyrouter-timeout", "idle"), ("--session-lifetime", "lifetime over")]
)
def test_idle_timeout_and_lifetime_apply_to_private_sessions_only(
    share: Callable[..., Shared], directory: Path, option: str, ending: str
) -> None:
    shared = share(f"{directory}/private", option, "0.2")
    with shared.join() as client:
        client.read_until(b"prompt:")
        with Client(f"{directory}/private") as private:
            private.read_to_end()
        shared.router.wait_for_log(f"end: {ending}")
        client.send(b"echo $((6*7))\n")
        client.read_until(b"\r\n42\r\n")


def test_private_sessions_do_not_show_on_the_shared_terminal(share: Callable[..., Shared], directory: Path) -> None:
    shared = share(f"{directory}/private")
    with shared.join() as client, Client(f"{directory}/private") as private:
        client.read_until(b"prompt:")
        private.send(b"echo $((6*7)); exit\n")
        private.read_to_end()
        client.send(b"echo $((7*7))\n")
        assert b"42" not in client.read_until(b"\r\n49\r\n")


def test_several_sockets_lead_to_the_same_terminal(start_router: Callable[..., Router], directory: Path) -> None:
    start_router("--pty-socket", f"{directory}/a", "--pty-socket", f"{directory}/b", "--pty-exec", RAW_CAT, sockets=2)
    with Client(f"{directory}/a") as one, Client(f"{directory}/b") as two:
        one.read_until(b"READY")
        two.send(b"hello")
        one.read_until(b"hello")


def test_join_fails_without_a_shared_terminal() -> None:
    with pytest.raises(ValueError, match="no shared terminal"):
        Relay(None).join(0)  # type: ignore[arg-type]
