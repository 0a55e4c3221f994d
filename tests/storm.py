"""A storm of hostile clients against one router: `python -m tests.storm --seconds 60`, or `make storm`.

Each client plays one random session: frames in random pieces, half-closes, urgent data, passed descriptors, resets,
slow reads or none. The router has two workers, the smallest buffers, unix and TCP sockets, and both protocols.
Meanwhile canaries, well-behaved clients, type and wait for the echo. Checked are: an echo arrives within a second; no
session sees a byte of another (each prints a marker of its own); at the end no session, process or descriptor is left.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from tests.support.harness import Client, Router, children, descriptors, eventually, frame

CLIENTS_AT_ONCE = 24
ECHO_SECONDS_MOST = 1.0
CANARY_PAUSE_SECONDS = 0.02
WARM_UP_SECONDS = 3.0
QUIET_SECONDS = 30.0

MARKER = re.compile(rb"<(\d+)>")
CANARY = "printf GO; exec cat"
PROGRAMS = (
    CANARY,
    "exec cat",
    "exec sleep 1000",
    "while :; do printf '<%s>' $$; done",
    "trap '' HUP; while :; do printf '<%s>' $$; sleep 0.01; done",
    "stty icanon echo; exec cat",
    "(trap '' HUP; sleep 0.2; printf '<%s>' $$) & printf '<%s>' $$",
)

# The first line of input is the number of a program, not a command: random bytes must not run as commands. A session's
# marker is its process id.
CASES = "".join(f"{number}) {program};; " for number, program in enumerate(PROGRAMS))
COMMAND = f"stty raw -echo; printf READY; IFS= read -r part; case $part in {CASES}esac"

Place = tuple[str | tuple[str, int], bool]


class Storm:
    def __init__(self, seed: int, router: Router, places: list[Place], patience: float) -> None:
        self.seed = seed
        self.router = router
        self.places = places
        self.patience = patience
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest = 0.0
        self._next = 0
        self._lock = threading.Lock()

    def play(self, until: float) -> None:
        """Runs clients and canaries until the time `until`, or until one has failed."""
        threads = [threading.Thread(target=self._clients, args=(until,)) for _ in range(CLIENTS_AT_ONCE)]
        threads += [threading.Thread(target=self._canary, args=(until, place)) for place in self.places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _clients(self, until: float) -> None:
        while time.monotonic() < until and not self.failures:
            with self._lock:
                number = self._next = self._next + 1
            dice = random.Random(f"{self.seed} {number}")
            try:
                Attack(dice, *dice.choice(self.places)).play(self.counts)
            except AssertionError as error:
                self.failures.append(f"seed {self.seed}, client {number}: {error}")
            except OSError:
                self.counts["(ended by the router)"] += 1  # random bytes may end a session

    def _canary(self, until: float, place: Place) -> None:
        """One well-behaved session, whose echoes must not be delayed."""
        try:
            where, framed = place
            with Client(where) as client:
                client.read_until(b"READY")
                client.send(wire(b"%d\n" % PROGRAMS.index(CANARY), framed))
                client.read_until(b"GO")
                while time.monotonic() < until and not self.failures:
                    began = time.monotonic()
                    client.send(wire(b"%d " % self.counts["echo"], framed))
                    text = client.read_exactly(1)
                    while not text.endswith(b" "):
                        text += client.read_exactly(1)
                    assert text.strip().isdigit(), f"{where}: a canary's echo is {text!r}"
                    took = time.monotonic() - began
                    with self._lock:
                        self.slowest = max(self.slowest, took)
                        self.counts["echo"] += 1
                    assert took < self.patience, f"{where}: a canary waited {took:.3f} s for its echo"
                    time.sleep(CANARY_PAUSE_SECONDS)
        except (AssertionError, OSError) as error:
            self.failures.append(f"seed {self.seed}, canary: {error!r}")


def wire(data: bytes, framed: bool) -> bytes:
    return frame(0, payload=data) if framed else data


class Attack:
    """One hostile client."""

    def __init__(self, dice: random.Random, where: str | tuple[str, int], framed: bool) -> None:
        self.dice = dice
        self.framed = framed
        self.client = Client(where)
        self.seen = b""

    def play(self, counts: Counter[str]) -> None:
        acts: list[Callable[[], None]] = [
            self.type, self.frames, self.noise, self.urgent, self.pass_descriptors, self.read, self.read, self.wait,
        ]  # fmt: skip
        with self.client:
            if self.dice.random() < 0.9:
                self.client.read_until(b"READY")
                self.client.send(wire(b"%d\n" % self.dice.randrange(len(PROGRAMS)), self.framed))
            self.client.socket.setblocking(False)
            for _ in range(self.dice.randrange(12)):
                act = self.dice.choice(acts)
                act()
                counts[act.__name__] += 1
            end = self.dice.choice([self.close, self.reset, self.half_close])
            end()
            counts[end.__name__] += 1

    def send(self, data: bytes) -> None:
        while data:
            size = self.dice.choice([1, 3, 100, 5000])
            with suppress(BlockingIOError):
                self.client.socket.send(data[:size])
            data = data[size:]

    def type(self) -> None:
        self.send(wire(self.dice.randbytes(self.dice.randrange(1, 20_000)), self.framed))

    def frames(self) -> None:
        for _ in range(self.dice.randrange(1, 50)):
            # No signal that stops a process: a stopped one that ignores SIGHUP would stay for the whole grace time.
            self.send(frame(self.dice.choice([0, 1, 2, 28, 100, 101, 200, 255]), self.dice.randrange(300)))

    def noise(self) -> None:
        self.send(self.dice.randbytes(self.dice.randrange(1, 500)))

    def urgent(self) -> None:
        with suppress(BlockingIOError):
            self.client.socket.send(b"!", socket.MSG_OOB)

    def pass_descriptors(self) -> None:
        """Passes its own socket, too."""
        if self.client.socket.family == socket.AF_UNIX:
            with suppress(BlockingIOError, PermissionError), open(os.devnull) as file:
                passed = [file.fileno(), self.client.socket.fileno()]
                socket.send_fds(self.client.socket, [b"x"], passed, socket.MSG_DONTWAIT)

    def read(self) -> None:
        if select.select([self.client.socket], [], [], self.dice.random() * 0.05)[0]:
            self.seen += self.client.socket.recv(self.dice.choice([1, 100, 65_536]))
        markers = set(MARKER.findall(self.seen))
        assert len(markers) <= 1, f"a session received bytes of another: {markers}"

    def wait(self) -> None:
        time.sleep(self.dice.random() * 0.1)

    def close(self) -> None:
        pass

    def reset(self) -> None:
        self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def half_close(self) -> None:
        self.client.half_close()
        self.wait()
        self.read()


def footprint(router: Router) -> int:
    """The number of descriptors of all workers, without pipes, which may be spare ones."""
    return sum(not what.startswith("pipe:") for worker in router.workers for what in descriptors(worker).values())


def wait_until_nothing_is_left(router: Router, before: int) -> None:
    """Waits until each session in the log has ended, no program is left, and no more descriptors than before."""

    def unended() -> list[int]:
        begun, ended = (len(re.findall(rf"session \d+: {word}", router.log)) for word in ("start", "end"))
        return [0] * (begun - ended) + [pid for worker in router.workers for pid in children(worker)]

    eventually(lambda: not unended(), "every session ends", QUIET_SECONDS)
    eventually(lambda: footprint(router) <= before, f"no more than {before} descriptors are left", QUIET_SECONDS)
    for word in ("Traceback", "internal error"):
        assert word not in router.log, router.log[-2000:]


def run(seconds: float, seed: int, patience: float, directory: str) -> None:
    router = Router(
        "--forkptyrouter-processes", "2", "--session-buffer", "4096", "--stop-timeout", "1",
        "--forkptyrouter-command", COMMAND,
        "--forkpty-router", f"{directory}/raw", "--forkpty-urouter", f"{directory}/uwsgi",
        "--forkpty-router", "127.0.0.1:0", "--forkpty-urouter", "127.0.0.2:0",
    )  # fmt: skip
    router.wait_until_listening(4)
    ports = {
        match[2]: int(match[1]) for match in router.wait_for_log(r"listening on 127.0.0.[12]:(\d+) \((\w+)\)", 2)
    }
    places: list[Place] = [
        (f"{directory}/raw", False), (f"{directory}/uwsgi", True),
        (("127.0.0.1", ports["raw"]), False), (("127.0.0.2", ports["uwsgi"]), True),
    ]  # fmt: skip
    storm = Storm(seed, router, places, patience)
    try:
        storm.play(time.monotonic() + min(seconds, WARM_UP_SECONDS))
        wait_until_nothing_is_left(router, sys.maxsize)
        before = footprint(router)
        storm.play(time.monotonic() + seconds)
        assert not storm.failures, "\n".join(storm.failures[:5])
        wait_until_nothing_is_left(router, before)
        left = [pid for worker in router.workers for pid in (worker, *children(worker))]
        assert router.end() == 0
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in left), "no process is left")
    finally:
        router.end(signal.SIGKILL)
    print(", ".join(f"{name} {count}" for name, count in sorted(storm.counts.items())))
    print(f"slowest echo {storm.slowest:.3f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--echo-seconds", type=float, default=ECHO_SECONDS_MOST, help="more, under sanitizers")
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if chosen.seed is None else chosen.seed
    print(f"seed {seed}: repeat with  python -m tests.storm --seed {seed} --seconds {chosen.seconds:g}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        run(chosen.seconds, seed, chosen.echo_seconds, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
