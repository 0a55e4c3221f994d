"""One terminal for all clients of a pty-socket: everybody sees, everybody types, and nobody makes the others wait."""

from __future__ import annotations

import datetime
import hashlib
import os
import random
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty._relay import Relay
from tests.support.client_harness import terminal_client
from tests.support.harness import RAW_CAT, Client, Router, children, descriptors, eventually, process_gone
from tests.support.peers import need

CHUNK_BYTES = 65_536
RING_BYTES = 1 << 20


class Shared:
    """A router with a pty-socket."""

    def __init__(self, router: Router, path: str) -> None:
        self.router = router
        self.path = path

    def join(self) -> Client:
        return Client(self.path)

    @property
    def program(self) -> int:
        """The process on the shared terminal that was started last."""
        return int(self.router.wait_for_log(r"the shared terminal: process (\d+)")[-1][1])


@pytest.fixture
def share(start_router: Callable[..., Router], directory: Path) -> Callable[..., Shared]:
    def start(*arguments: str, command: str | None = None) -> Shared:
        chosen = ["--pty-exec", command] if command else []
        path = f"{directory}/shared"
        return Shared(start_router("--pty-socket", path, "--env", "PS1=prompt:", *chosen, *arguments), path)

    return start


def test_everybody_sees_and_everybody_types(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as one, shared.join() as two, shared.join() as three:
        for number, typist in enumerate((one, two, three, one)):
            typist.send(b"echo $((%d+1000))\n" % number)
            for client in (one, two, three):
                client.read_until(b"echo $((%d+1000))\r\n" % number, b"%d\r\n" % (number + 1000))


def test_it_runs_before_anybody_has_joined_and_goes_on_when_all_have_left(share: Callable[..., Shared]) -> None:
    shared = share()
    program = shared.program
    for _ in range(3):
        with shared.join() as client:
            client.send(b"echo $$\n")
            client.read_until(b"%d\r\n" % program)
    shared.router.wait_for_log("session .* end: client left, no process", 3)
    assert not process_gone(program)


def test_the_default_command_runs_on_it(share: Callable[..., Shared]) -> None:
    shared = share("--forkptyrouter-command", "/bin/cat")
    with shared.join() as client:
        client.send(b"hello\n")
        client.read_until(b"hello\r\nhello\r\n")


def test_a_late_comer_sees_what_was_before(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as early:
        early.send(b"echo ear''ly\n")
        early.read_until(b"early\r\nprompt:")
        with shared.join() as late:
            late.read_until(b"early\r\nprompt:")


def test_a_late_comer_sees_so_much_and_from_a_line_s_start(share: Callable[..., Shared]) -> None:
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


def test_without_scroll_back_a_late_comer_sees_only_what_comes(share: Callable[..., Shared]) -> None:
    shared = share("--pty-scrollback", "0", command=RAW_CAT)
    with shared.join() as early:
        eventually(lambda: Path(f"/proc/{shared.program}/comm").read_text() == "cat\n", "the terminal is raw")
        early.send(b"before")
        early.read_until(b"before")
        with shared.join() as late:
            late.send(b"after")
            assert late.read_until(b"after") == b"after"


def paced_output(directory: Path) -> tuple[bytes, str]:
    """8 MiB, and a command that writes another 64 KiB of them for each byte of input."""
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


def test_who_keeps_up_gets_every_byte_beside_one_who_does_not_read(
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
        # The slow one has what its socket holds, and then the last that the ring holds.
        reader.send(b"..")
        reader.read_to_end()
        seen = slow.read_to_end()
        assert seen.startswith(b"READY" + data[: CHUNK_BYTES // 8])
        assert seen.endswith(data[-(RING_BYTES - CHUNK_BYTES) :])
        assert len(seen) < len(data)
    end = shared.router.wait_for_log(r"session \d+: end: .*, (\d+) bytes out, (\d+) bytes lagged")
    assert int(end[0][1]) == len(seen)
    assert int(end[0][1]) + int(end[0][2]) == len(data) + len(b"READY")
    assert sum("lagged" in line for line in shared.router.lines) == 1


def test_a_viewer_that_does_not_read_does_not_stop_a_flood(share: Callable[..., Shared], directory: Path) -> None:
    shared = share(command=f"head -c 30000000 /dev/zero; touch {directory}/done; exec sleep 1000")
    with shared.join():
        eventually((directory / "done").exists, "the program has written all")


def test_a_half_closed_viewer_goes_on_seeing_and_ends_nothing(share: Callable[..., Shared]) -> None:
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


def test_anybody_s_interrupt_goes_to_the_program(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as one, shared.join() as two:
        one.send(b"sh -c 'echo sta\"\"rted; exec sleep 1000'\n")
        two.read_until(b"started\r\n")
        two.send(b"\x03")
        one.read_until(b"^C", b"prompt:")


def test_what_was_typed_before_leaving_arrives(share: Callable[..., Shared]) -> None:
    shared = share(command=RAW_CAT)
    with shared.join() as viewer:
        viewer.read_until(b"READY")
        for number in range(50):
            with shared.join() as passer_by:
                passer_by.send(b"%04d." % number)
            viewer.read_until(b"%04d." % number)


def test_a_flood_from_one_does_not_keep_out_another_s_key(share: Callable[..., Shared]) -> None:
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


def test_keys_of_several_wait_for_room_in_turn(share: Callable[..., Shared], directory: Path) -> None:
    """The terminal is full; what several have sent meanwhile comes whole when the program reads again."""
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


def test_viewers_stay_when_the_program_ends_and_see_the_next(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as one, shared.join() as two:
        # What is typed before the first prompt is echoed before it, and that prompt would be taken for the next one's.
        two.read_until(b"prompt:")
        for number in (3, 4):
            one.send(b"exit %d\n" % number)
            two.read_until(b"exit %d\r\n" % number, b"prompt:")
        two.send(b"echo $((6*7))\n")
        one.read_until(b"\r\n42\r\n")
    for number in (3, 4):
        shared.router.wait_for_log(f"end: exit, exit status {number}")
    shared.router.wait_for_log("start: the shared terminal", 3)


def test_a_program_that_always_ends_at_once_is_started_ever_more_slowly(share: Callable[..., Shared]) -> None:
    shared = share(command="/bin/true")
    lines = shared.router.wait_for_log(r"^(\S+)Z .* start: the shared terminal", 6)
    moments = [datetime.datetime.fromisoformat(line[1]) for line in lines]
    # Timers may be late, but never early: 20, 40, 80, 160 and 320 ms, and the log cuts a millisecond off.
    assert (moments[-1] - moments[0]).total_seconds() > 0.6


def test_a_command_that_cannot_run_is_told_to_the_viewers(share: Callable[..., Shared]) -> None:
    shared = share(command="/no/such/program")
    with shared.join() as client:
        client.read_until(b"fastpty: cannot execute /no/such/program: No such file or directory\r\n")
    shared.router.wait_for_log("refused the shared terminal: cannot execute /no/such/program", 2)


def test_once_the_end_is_everybody_s_end(share: Callable[..., Shared]) -> None:
    shared = share("--pty-once")
    with shared.join() as one, shared.join() as two:
        one.send(b"echo l''ast; exit 3\n")
        for client in (one, two):
            assert client.read_to_end().endswith(b"last\r\n")
    with shared.join() as late:
        assert late.read_to_end().endswith(b"last\r\n")
    shared.router.wait_for_log("end: exit, exit status 3")
    assert len(shared.router.wait_for_log("start: the shared terminal")) == 1


def test_once_a_stalled_viewer_still_gets_all_that_the_ring_holds(share: Callable[..., Shared]) -> None:
    command = "stty raw; head -c 1; head -c 900000 /dev/zero | tr '\\0' x; echo END"
    shared = share("--pty-once", "--pty-scrollback", "1M", command=command)
    with shared.join() as stalled:
        stalled.send(b"g")
        shared.router.wait_for_log("end: exit, exit status 0")
        assert stalled.read_to_end().endswith(900_000 * b"x" + b"END\n")


def test_the_output_goes_to_the_log_too(share: Callable[..., Shared]) -> None:
    shared = share(
        "--pty-log", "--pty-once", command="printf 'one\\033[31m two\\nthr'; printf 'ee\\nrest'; read line"
    )
    shared.router.wait_for_log("terminal: one\\\\x1b\\[31m two$")
    shared.router.wait_for_log("terminal: three$")
    with shared.join() as client:
        client.send(b"\n")
        client.read_to_end()
    shared.router.wait_for_log("end: exit, exit status 0")
    shared.router.end()
    assert "terminal: rest" in shared.router.log


def test_the_router_s_own_terminal_is_a_client(directory: Path) -> None:
    path = f"{directory}/shared"
    command = [sys.executable, "-m", "fastpty.router", "--pty-socket", path, "--pty-input", "--env", "PS1=prompt:"]
    with terminal_client(command=command) as own:
        own.read_until(b"prompt:")
        eventually(lambda: own.is_raw, "the terminal is in raw mode")
        own.type(b"echo $((6*7))\r")
        own.read_until(b"\r\n42\r\n")
        with Client(path) as other:
            other.read_until(b"\r\n42\r\n")
            other.send(b"echo fr''om other\n")
            own.read_until(b"from other\r\n")
            own.type(b"\x03\r~.")
            own.read_until(b"disconnected; the shared terminal goes on")
            eventually(lambda: own.modes_are_as_before, "the terminal has its modes back")
            other.send(b"echo sti''ll\n")
            other.read_until(b"still\r\n")
        eventually(lambda: len(children(own.pid)) == 1, "the client's process is reaped, the program runs")
        own.type(b"\x03")
        assert own.wait() == 0


def test_a_stop_gives_the_router_s_own_terminal_its_modes_back(directory: Path) -> None:
    command = [sys.executable, "-m", "fastpty.router", "--pty-socket", f"{directory}/shared", "--pty-input"]
    with terminal_client(command=command) as own:
        own.read_until(b"start: the shared terminal")
        eventually(lambda: own.is_raw, "the terminal is in raw mode")
        own.signal(signal.SIGTERM)
        assert own.wait() == 0
        assert own.modes_are_as_before


def test_a_stop_hangs_the_program_up_and_ends_all(share: Callable[..., Shared]) -> None:
    shared = share(command="trap 'echo hung'' up; exit 5' HUP; sleep 1000 & echo READY; wait")
    with shared.join() as one, shared.join() as two:
        for client in (one, two):
            client.read_until(b"READY")
        shared.router.process.send_signal(signal.SIGTERM)
        for client in (one, two):
            assert client.read_to_end().endswith(b"hung up\r\n")
    assert shared.router.process.wait(30) == 0
    shared.router.wait_for_log("end: exit, exit status 5")
    assert len(shared.router.wait_for_log("start: the shared terminal")) == 1


def test_a_stop_does_not_wait_for_who_has_left(share: Callable[..., Shared]) -> None:
    """Though what it typed before was not taken yet."""
    shared = share(command="stty raw -echo; printf READY; exec sleep 1000")
    with shared.join() as stayer:
        with shared.join() as client:
            client.read_until(b"READY")
            client.socket.setblocking(False)
            while select.select([], [client.socket], [], 0.2)[1]:
                client.socket.send(bytes(65_536))
        shared.router.process.send_signal(signal.SIGTERM)
        stayer.read_to_end()
    assert shared.router.process.wait(30) == 0
    shared.router.wait_for_log("session 3: end: client left, no process")


def test_a_stop_while_no_program_runs_is_no_different(share: Callable[..., Shared]) -> None:
    shared = share(command="/bin/false")
    with shared.join() as client:
        shared.router.wait_for_log("end: exit, exit status 1", 5)
        shared.router.process.send_signal(signal.SIGTERM)
        client.read_to_end()
    assert shared.router.process.wait(30) == 0


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
            # Each time: a router that logs more than a slow reader takes loses lines, and says so.
            shared.router.wait_for_log("session .* end: client left", 10 * (number + 1))
        assert descriptors(shared.router.pid) == before
        assert children(shared.router.pid) == [shared.program]


@pytest.mark.parametrize(
    ("option", "ending"), [("--forkptyrouter-timeout", "idle"), ("--session-lifetime", "lifetime over")]
)
def test_idle_timeout_and_lifetime_are_for_private_sessions(
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


def test_private_sessions_beside_it_are_private(share: Callable[..., Shared], directory: Path) -> None:
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


def test_of_several_workers_one_has_it_and_is_followed_by_one(share: Callable[..., Shared]) -> None:
    shared = share("--forkptyrouter-processes", "3", command=RAW_CAT)
    shared.router.wait_for_log("ready$", 3)
    clients = [shared.join() for _ in range(6)]
    clients[0].send(b"hello")
    for client in clients:
        client.read_until(b"READY", b"hello")
    owner = next(worker for worker in shared.router.workers if children(worker))
    os.kill(owner, signal.SIGKILL)
    for client in clients:
        client.socket.close()
    shared.router.wait_for_log("start: the shared terminal", 2)
    with shared.join() as one, shared.join() as two:
        two.send(b"again")
        one.read_until(b"READY", b"again")


def test_uwsgi_s_client_shares_it_with_ours(share: Callable[..., Shared]) -> None:
    shared = share()
    uwsgi = [need("uwsgi"), "--plugins", "pty", "--pty-no-isig", "--pty-connect", shared.path]
    ours = [sys.executable, "-m", "fastpty", "--pty-connect", shared.path]
    router = [sys.executable, "-m", "fastpty.router", "--pty-no-isig", "--pty-connect", shared.path]
    with (
        terminal_client(command=uwsgi) as one,
        terminal_client(command=ours) as two,
        terminal_client(command=router) as three,
    ):
        clients = (one, two, three)
        for number, typist in enumerate(clients):
            typist.type(b"echo $((%d+1000))\r" % number)
            for client in clients:
                client.read_until(b"\r\n%d\r\n" % (number + 1000))
        one.type(b"sh -c 'echo sta\"\"rted; exec sleep 1000'\r")
        three.read_until(b"started\r\n")
        three.type(b"\x03")
        one.read_until(b"^C")


def test_the_router_as_a_client_has_the_client_s_exit_status(directory: Path) -> None:
    command = [sys.executable, "-m", "fastpty.router", "--pty-connect", f"{directory}/nothing"]
    with terminal_client(command=command) as client:
        client.read_until(b"no such socket: is the router running?")
        assert client.wait() == 255


def test_the_router_as_a_client_speaks_the_uwsgi_protocol(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router("--forkpty-urouter", f"{directory}/u", "--env", "PS1=prompt:")
    command = [sys.executable, "-m", "fastpty.router", "--pty-uconnect", f"{directory}/u"]
    with terminal_client(command=command, rows=43, columns=132) as client:
        client.read_until(b"prompt:")
        client.type(b"stty size; exit\r")
        client.read_until(b"43 132\r\n")
        assert client.wait() == 0


def test_nobody_joins_what_is_not_shared() -> None:
    with pytest.raises(ValueError, match="no shared terminal"):
        Relay(None).join(0)  # type: ignore[arg-type]


def test_a_reload_begins_a_new_terminal_and_leaves_the_old_one_to_those_who_look_at_it(
    share: Callable[..., Shared],
) -> None:
    shared = share(command=RAW_CAT)
    with shared.join() as old:
        old.read_until(b"READY")
        shared.router.process.send_signal(signal.SIGHUP)
        shared.router.wait_for_log("reloaded")
        old.send(b"old")
        old.read_until(b"old")
        with shared.join() as new:
            new.send(b"new")
            new.read_until(b"READY", b"new")
            assert b"old" not in new.seen
    eventually(lambda: len(shared.router.workers) == 1, "nobody looks at the old one any more, so it has ended")


def test_a_reload_ends_a_terminal_that_nobody_looks_at(share: Callable[..., Shared]) -> None:
    shared = share(command=RAW_CAT)
    shared.router.process.send_signal(signal.SIGHUP)
    shared.router.wait_for_log("end: exit, killed by SIGHUP")
    eventually(lambda: len(shared.router.workers) == 1, "the old worker has ended")
