from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import HealthCheck, settings

from tests.support.harness import Client, Router, children, descriptors, eventually
from tests.support.peers import need_root
from tests.support.tls_harness import Authority

# A machine that is busy may take long for anything.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """Resets signals that the starter of the tests ignored, as nohup(1) and a shell's & do, and the umask.

    PYTHONUNBUFFERED would hide that a process ends without writing its buffers.
    """
    os.umask(0o022)
    os.environ.pop("PYTHONUNBUFFERED", None)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


_LOCK_SECONDS = 900.0


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lets tests run in parallel (pytest-xdist), except those marked `whole_machine`, which run alone.

    It wraps the whole test, so that the wait for the others does not count into the test's time limit.

    The lock files are ones that every account may open, even in a container. Each pid namespace has its own /proc, so
    tests in a fresh system (tests/fresh) use those of the machine.
    """
    alone = item.get_closest_marker("whole_machine") is not None
    locks = os.environ.get("FASTPTY_TEST_LOCKS", "/proc/sys/kernel/pty")
    with open(f"{locks}/reserve") as turnstile, open(f"{locks}/max") as lock:
        take(turnstile, fcntl.LOCK_EX)  # tests that start later wait behind one that will run alone
        take(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        yield


def take(lock: TextIO, kind: int) -> None:
    """Takes a lock. Ends the test run if that is impossible: a process of an earlier test may hold it for ever."""

    def is_taken() -> bool:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        eventually(is_taken, "the lock is free", _LOCK_SECONDS)
    except AssertionError:
        pytest.exit(
            f"{lock.name} is locked for more than {_LOCK_SECONDS:.0f} s: see /proc/locks, and end the process"
        )


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """Not below tmp_path: another pytest of the same user makes that directory private when it starts."""
    with tempfile.TemporaryDirectory(prefix="fastpty-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def directory(open_directory: Path) -> Path:
    """A directory that every account may enter, for sockets."""
    made = Path(tempfile.mkdtemp(dir=open_directory))
    made.chmod(0o755)
    return made


@pytest.fixture
def shared(directory: Path) -> Path:
    """A directory with the mode of /tmp."""
    need_root()
    place = directory / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    return place


@pytest.fixture
def start_router() -> Iterator[Callable[..., Router]]:
    """Starts routers. At the end of the test each must stop cleanly, without a process left or an internal error."""
    routers: list[Router] = []

    def start(*arguments: str, sockets: int = 1, **keywords: object) -> Router:
        routers.append(Router(*arguments, **keywords))  # type: ignore[arg-type]
        return routers[-1].wait_until_listening(sockets)

    yield start
    try:
        for router in routers:
            expect_a_clean_end(router)
    finally:
        for router in routers:
            router.destroy()


def expect_a_clean_end(router: Router) -> None:
    if router.process.poll() is None:
        left_alone = [pid for worker in router.workers for pid in (worker, *children(worker))]
        assert router.end() == 0, router.log
        assert all(not Path(f"/proc/{pid}").exists() for pid in left_alone), router.log
    router.end(signal.SIGKILL)
    assert "Traceback" not in router.log
    assert "internal error" not in router.log


@pytest.fixture(params=["raw", "raw without splice", "uwsgi"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Each way in which a router relays bytes."""
    return str(request.param)


class Service:
    """A router with one socket, for tests that run with every protocol."""

    def __init__(self, start: Callable[..., Router], protocol: str, directory: Path, *arguments: str):
        self.framed = protocol == "uwsgi"
        self.path = str(directory / "socket")
        option = "--forkpty-urouter" if self.framed else "--forkpty-router"
        splice = "off" if "without" in protocol else "on"
        self.router = start(option, self.path, "--splice", splice, *arguments)
        self._idle_descriptors = len(descriptors(self.router.pid))

    def connect(self) -> Client:
        return Client(self.path)

    def wait_until_idle(self) -> None:
        """Waits until no session is left, nor any process and descriptor of one. Spare pipes may remain."""
        eventually(lambda: not children(self.router.pid), "no child is left")
        eventually(
            lambda: (
                len([1 for what in descriptors(self.router.pid).values() if not what.startswith("pipe:")])
                <= self._idle_descriptors
            ),
            f"descriptors are given back: {descriptors(self.router.pid)}",
        )


@pytest.fixture
def serve(start_router: Callable[..., Router], protocol: str, directory: Path) -> Callable[..., Service]:
    def start(*arguments: str, command: str | None = None) -> Service:
        chosen = ["--forkptyrouter-command", command] if command else []
        return Service(start_router, protocol, directory, *chosen, *arguments)

    return start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture
def tls_router(start_router: Callable[..., Router], authority: Authority) -> Callable[..., tuple[Router, int]]:
    """Starts a router with TLS; returns it and its port."""

    def start(*arguments: str, framed: bool = False, **keywords: object) -> tuple[Router, int]:
        option = "--forkpty-urouter" if framed else "--forkpty-router"
        router = start_router(option, "127.0.0.1:0", *authority.options("server"), *arguments, **keywords)
        return router, int(router.wait_for_log(r"listening on 127.0.0.1:(\d+) \((raw|uwsgi) over TLS\)")[0][1])

    return start
