"""A randomised torture run against one real router: `python -m tests.soak --seconds 60 [--seed N]`, or `make soak`.

Sessions of many kinds run while faults are injected. Each session is a thread that plays one function of PARTS; all
its choices come from the seed and the session's number. Checked are: every byte arrives where both ends lived; at the
end the router has no zombie and no more descriptors, ptys, sessions and memory than after its warm-up; the log has one
start and one end for each session. A failure names the seed and the session.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import select
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.harness import Client, Router, children, descriptors, eventually, frame

SESSIONS_AT_ONCE = 24
FAULT_EVERY_SECONDS = 0.5
WARM_UP_SESSIONS = 150
MEMORY_GAIN_KIB_MOST = 2048  # for spare buffers and the interpreter
UNSERVED = b"fastpty: "  # how a refusal begins

# The first line of input is the command to run. The terminal is raw before it is read.
COMMAND = 'stty raw -echo; printf READY; IFS= read -r part; eval "$part"'


class RefusedError(Exception):
    """The router refused the session with a line."""


class Session:
    """One client with a random generator of its own."""

    def __init__(self, path: str, framed: bool, dice: random.Random) -> None:
        self.framed = framed
        self.dice = dice
        self.client = Client(path)

    def begin(self, program: str) -> None:
        """Waits for the shell and has it run `program` on the raw terminal; raises RefusedError."""
        try:
            first = self.client.read_exactly(5)
        except (AssertionError, ConnectionError) as error:
            raise RefusedError from error
        if first != b"READY":
            assert UNSERVED.startswith(first), first
            raise RefusedError
        self.send(program.encode() + b"\n")

    def send(self, data: bytes) -> None:
        for piece in self.wire(data):
            self.client.send(piece)

    def wire(self, data: bytes) -> list[bytes]:
        """`data` in the pieces to send. The uwsgi protocol adds window changes and unknown frames between them."""
        pieces = []
        while data:
            size = self.dice.choice([1, 7, 100, 4092, 20_000, 65_535])
            payload, data = data[:size], data[size:]
            pieces.append(frame(0, payload=payload) if self.framed else payload)
            if self.framed and self.dice.random() < 0.2:
                pieces.append(frame(self.dice.choice([100, 101, 200]), self.dice.randrange(1, 500)))
        return pieces


def paste(session: Session) -> None:
    """Pastes into cat: all of it comes back."""
    session.begin("printf GO; exec cat")
    assert session.client.read_exactly(2) == b"GO"
    data = session.dice.randbytes(session.dice.randrange(1, 400_000))
    wire = b"".join(session.wire(data))
    session.client.socket.setblocking(False)
    sent, echoed = 0, bytearray()
    while len(echoed) < len(data):
        writers = [session.client.socket] if sent < len(wire) else []
        readable, writable, _ = select.select([session.client.socket], writers, [], 60)
        assert readable or writable, f"no progress: {sent} of {len(wire)} sent, {len(echoed)} of {len(data)} back"
        if writable:
            with suppress(BlockingIOError):
                sent += session.client.socket.send(wire[sent : sent + 50_000])
        if readable:
            more = session.client.socket.recv(65_536)
            assert more, f"ended after {len(echoed)} of {len(data)} bytes"
            echoed += more
    assert echoed == data


def output(session: Session) -> None:
    """A program that prints and exits: all its output arrives, then the end."""
    count = session.dice.randrange(1, 60_000)
    session.begin(f"seq 1 {count}; exit 3")
    if session.dice.random() < 0.3:
        time.sleep(0.05)  # read late
    expected = b"".join(b"%d\n" % number for number in range(1, count + 1))
    assert session.client.read_to_end() == expected


def half_close(session: Session) -> None:
    """Ends the input and receives an answer that is longer than any buffer."""
    session.begin("stty icanon; printf GO; cat >/dev/null; seq 1 30000")
    assert session.client.read_exactly(2) == b"GO"
    session.send(b"some line\n")
    session.client.half_close()
    assert session.client.read_to_end() == b"".join(b"%d\n" % number for number in range(1, 30_001))


def vanish(session: Session) -> None:
    """Leaves in the middle of a flood of output."""
    session.begin("exec cat /dev/zero")
    session.client.read_exactly(session.dice.randrange(1, 200_000))


def stall(session: Session) -> None:
    """Does not read for a while, then leaves or interrupts the program."""
    session.begin("stty isig; exec yes flood")
    session.client.read_exactly(10)
    time.sleep(session.dice.random() * 0.3)
    if session.dice.random() < 0.5:
        session.send(b"\x03")
        session.client.read_to_end()


def flood(session: Session) -> None:
    """Sends as much input as the router takes to a program that does not read."""
    session.begin("printf GO; exec sleep 1000")
    assert session.client.read_exactly(2) == b"GO"
    session.client.socket.setblocking(False)
    piece = frame(0, payload=bytes(60_000)) if session.framed else bytes(60_000)
    sent = 0
    for _ in range(session.dice.randrange(1, 40)):
        with suppress(BlockingIOError):
            sent += session.client.socket.send(piece[sent % len(piece) :])


def killed(session: Session) -> None:
    """A program that is killed: its output arrives, then the end."""
    session.begin("seq 1 2000; kill -9 $$")
    assert session.client.read_to_end() == b"".join(b"%d\n" % number for number in range(1, 2001))


def signalled(session: Session) -> None:
    """Sends a window change and a signal as frames; a raw client types ^C."""
    session.begin("trap 'printf GOT; exit' INT; stty isig; printf GO; while :; do sleep 0.02; done")
    assert session.client.read_exactly(2) == b"GO"
    if session.framed:
        session.client.send(frame(100, 10) + frame(101, 20) + frame(2))
    else:
        session.send(b"\x03")
    assert session.client.read_to_end().endswith(b"GOT")


def noise(session: Session) -> None:
    """Sends random bytes and leaves."""
    session.client.send(session.dice.randbytes(session.dice.randrange(1, 3000)))


PARTS: list[Callable[[Session], None]] = [
    paste, paste, output, output, half_close, vanish, stall, flood, killed, signalled, noise,
]  # fmt: skip


class Soak:
    def __init__(self, seed: int, router: Router, paths: list[tuple[str, bool]]) -> None:
        self.seed = seed
        self.router = router
        self.paths = paths
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._next = 0
        self._lock = threading.Lock()
        self._files = resource.prlimit(router.pid, resource.RLIMIT_NOFILE)

    def play_one(self) -> None:
        with self._lock:
            number = self._next = self._next + 1
        dice = random.Random(f"{self.seed} {number}")
        part = dice.choice(PARTS)
        path, framed = dice.choice(self.paths)
        outcome = part.__name__
        try:
            session = Session(path, framed, dice)
            with session.client:
                part(session)
        except RefusedError:
            outcome = "refused"
        except Exception as error:
            # Random bytes may end the session early. All others must not.
            if part is not noise:
                self.failures.append(f"seed {self.seed}, session {number}, {part.__name__}: {error!r}"[:500])
        with self._lock:
            self.counts[outcome] += 1

    def play(self, more: Callable[[], bool]) -> None:
        """Plays SESSIONS_AT_ONCE sessions at a time until `more` returns false or one has failed."""

        def player() -> None:
            while more() and not self.failures:
                self.play_one()

        players = [threading.Thread(target=player) for _ in range(SESSIONS_AT_ONCE)]
        for thread in players:
            thread.start()
        for thread in players:
            thread.join()

    def inject_faults(self, ended: threading.Event) -> None:
        dice = random.Random(self.seed)
        while not ended.wait(FAULT_EVERY_SECONDS * dice.uniform(0.5, 1.5)):
            fault = dice.choice([self.stop_the_router_for, self.exhaust_descriptors])
            fault(dice.uniform(0.02, 0.3))
            self.counts[f"({fault.__name__})"] += 1

    def stop_the_router_for(self, seconds: float) -> None:
        self.router.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.router.process.send_signal(signal.SIGCONT)

    def exhaust_descriptors(self, seconds: float) -> None:
        few = len(descriptors(self.router.pid)) + 2
        resource.prlimit(self.router.pid, resource.RLIMIT_NOFILE, (few, self._files[1]))
        time.sleep(seconds)
        resource.prlimit(self.router.pid, resource.RLIMIT_NOFILE, self._files)

    def wait_until_idle(self) -> None:
        eventually(lambda: not children(self.router.pid), "no child is left", 60)
        eventually(
            lambda: self.counts_of_log()["start"] == self.counts_of_log()["end"], "all sessions have ended", 60
        )

    def counts_of_log(self) -> Counter[str]:
        return Counter(re.findall(r"session \d+: (start|end|refused)", self.router.log))

    def begun(self) -> int:
        """The number of sessions and of refused clients. A refused client has only one line in the log."""
        return self.counts_of_log()["start"] + self.counts_of_log()["refused"]

    def footprint(self) -> tuple[int, int]:
        """The number of descriptors, without pipes, which may be spare ones, and private memory in KiB."""
        files = [what for what in descriptors(self.router.pid).values() if not what.startswith("pipe:")]
        rollup = Path(f"/proc/{self.router.pid}/smaps_rollup").read_text()
        return len(files), int(re.findall(r"Private_Dirty:\s+(\d+)", rollup)[0])

    def check_log(self) -> None:
        """Checks that each session number has one start and one end, or one refusal."""
        begun = Counter(re.findall(r"session (\d+): start", self.router.log))
        ended = Counter(re.findall(r"session (\d+): end", self.router.log))
        refused = Counter(re.findall(r"session (\d+): refused", self.router.log))
        assert set((begun + refused).values()) <= {1}, "a session starts twice in the log"
        assert begun == ended, (
            f"a start without an end, or an end without a start: {sorted((begun - ended) + (ended - begun))}"
        )
        for word in ("Traceback", "internal error", "lines lost"):
            assert word not in self.router.log, word


def run(seconds: float, seed: int, directory: str) -> None:
    paths = [(f"{directory}/raw", False), (f"{directory}/uwsgi", True)]
    router = Router(
        "--forkpty-router", paths[0][0], "--forkpty-urouter", paths[1][0], "--stop-timeout", "1",
        "--splice", random.Random(seed).choice(["on", "off"]), "--forkptyrouter-command", COMMAND,
    )  # fmt: skip
    router.wait_until_listening(2)
    soak = Soak(seed, router, paths)
    try:
        warm_up = iter(range(WARM_UP_SESSIONS))
        soak.play(lambda: next(warm_up, None) is not None)
        soak.wait_until_idle()
        before = soak.footprint()
        deadline = time.monotonic() + seconds
        ended = threading.Event()
        faults = threading.Thread(target=soak.inject_faults, args=(ended,))
        faults.start()
        soak.play(lambda: time.monotonic() < deadline)
        ended.set()
        faults.join()
        assert not soak.failures, "\n".join(soak.failures)
        soak.wait_until_idle()
        eventually(lambda: soak.footprint()[0] <= before[0], f"descriptors are given back: {descriptors(router.pid)}")
        after = soak.footprint()
        assert after[1] - before[1] <= MEMORY_GAIN_KIB_MOST, f"KiB before and after: {before[1]}, {after[1]}"
        print(f"memory {before[1]} KiB after the warm-up, {after[1]} KiB at the end")
        assert router.end() == 0
        soak.check_log()
    finally:
        router.process.send_signal(signal.SIGCONT)
        router.end(signal.SIGKILL)
    print(", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
    print(f"{soak.begun()} sessions, nothing lost")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if chosen.seed is None else chosen.seed
    print(f"seed {seed}: repeat with  python -m tests.soak --seed {seed} --seconds {chosen.seconds:g}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        run(chosen.seconds, seed, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
