"""Several routers with one `session-cgroup` directory do not disturb each other."""
# ruff: noqa: F811

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.sessions import cgroup_base
from tests.sessions.test_session_cgroup import above, begin, cgroups  # noqa: F401 - above is a fixture
from tests.support.harness import Client, Router, eventually
from tests.support.reloads import echoes, greeted


def base_of(above: Path, router: Router) -> Path:
    return above / f"fastpty-{router.process.pid}"


def bases_of(above: Path, router: Router) -> list[Path]:
    """Its second name has a number: it leaves a cgroup that another router, which starts now, has just locked."""
    return [base_of(above, router), *above.glob(f"fastpty-{router.process.pid}.*")]


def test_a_router_leaves_the_cgroup_of_another_one_alone(
    above: Path,
    start_router: Callable[..., Router],
    directory: Path,
) -> None:
    """Even if the other has no session yet."""
    options = (f"--session-cgroup={above}", "--forkptyrouter-command", "stty -echo; echo hi; exec cat")
    first = start_router(f"{directory}/first", *options)
    second = start_router(f"{directory}/second", *options)
    assert base_of(above, first).exists()
    for path in ("first", "second"):
        with greeted(f"{directory}/{path}", "hi") as client:
            echoes(client)
    assert second.end() == 0
    assert not base_of(above, second).exists()
    with greeted(f"{directory}/first", "hi") as client:
        echoes(client)


def test_routers_that_start_together_all_have_a_cgroup(
    above: Path,
    start_router: Callable[..., Router],
    directory: Path,
) -> None:
    options = (f"--session-cgroup={above}", "--forkptyrouter-command", "echo hi; exec cat")
    routers = [Router(f"{directory}/{number}", *options) for number in range(6)]
    try:
        for number, router in enumerate(routers):
            router.wait_until_listening()
            assert any(base.exists() for base in bases_of(above, router))
            greeted(f"{directory}/{number}", "hi").socket.close()
        assert [router.end() for router in routers] == [0] * 6
    finally:
        for router in routers:
            router.destroy()


def test_only_cgroups_of_killed_routers_are_removed(
    above: Path,
    start_router: Callable[..., Router],
    directory: Path,
) -> None:
    options = (f"--session-cgroup={above}", "--forkptyrouter-command", "echo hi; exec cat")
    living, killed = (start_router(f"{directory}/{name}", *options) for name in ("living", "killed"))
    workers = killed.workers
    killed.kill_supervisor()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "its workers have ended")
    assert base_of(above, killed).exists()
    start_router(f"{directory}/third", *options)
    assert not base_of(above, killed).exists()
    assert base_of(above, living).exists()


@pytest.mark.parametrize("comes_first", ["removed", "locked"])
def test_a_cgroup_that_is_swept_before_it_is_locked_is_made_again(
    above: Path,
    monkeypatch: pytest.MonkeyPatch,
    comes_first: str,
) -> None:
    """A router that starts at the same moment may do that."""
    real, swept = cgroup_base.lock, []

    def late(name: str | Path, directory: int | None = None) -> int | None:
        if not swept:
            swept.append(name)
            other = real(name, directory)
            assert other is not None
            if comes_first == "locked":
                killer = real(name, directory)
                os.close(other)
                return killer
            mine = os.open(f"{name}/cgroup.kill", os.O_WRONLY, dir_fd=directory)
            os.rmdir(name, dir_fd=directory)
            os.close(other)
            return mine
        return real(name, directory)

    monkeypatch.setattr(cgroup_base, "lock", late)
    descriptor = os.open(above, os.O_RDONLY)
    name, killer = cgroup_base.make(descriptor)
    os.close(descriptor)
    assert swept
    assert os.path.samestat(os.stat(above / name / "cgroup.kill"), os.fstat(killer))
    assert real(above / name) is None
    os.close(killer)


def test_a_cgroup_that_another_program_has_removed_is_made_again(
    above: Path,
    start_router: Callable[..., Router],
    directory: Path,
) -> None:
    """Processes of sessions in the new cgroup end with their worker, too."""
    router, client = begin(start_router, directory, f"--session-cgroup={above}", "--forkptyrouter-workers=2")
    with client:
        client.half_close()
    router.wait_for_log("session 1: end")
    base = base_of(above, router)

    def remove() -> bool:
        try:
            for cgroup in base.glob("*/"):
                cgroup.rmdir()
            base.rmdir()
        except OSError:
            return False
        return True

    eventually(remove, "it is empty, and removed")
    clients = [Client(f"{directory}/s") for _ in range(4)]
    for each in clients:
        each.read_until(b"READY")
    assert len(cgroups(above)) == 4
    victim = router.workers[0]
    daemons = [
        int(pid) for cgroup in base.glob(f"{victim}-*/") for pid in (cgroup / "cgroup.procs").read_text().split()
    ]
    assert daemons
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in daemons), "all that it has started is gone")
    for each in clients:
        each.socket.close()
    assert router.end() == 0
    assert not base.exists()
