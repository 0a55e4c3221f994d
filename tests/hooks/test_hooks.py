"""Hooks: their order compared with real uWSGI, each action, and failures."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.errors import FastptyError
from fastpty.hooks import actions as hooks
from fastpty.hooks.actions import PHASES
from fastpty.hooks.waits import Wait
from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually
from tests.support.jails import AS_NOBODY, in_child
from tests.support.peers import need, need_root

Start = Callable[..., Router]


def act(text: str) -> None:
    """Runs one action of a `hook-` option."""
    hooks.parse("hook", "asap")(text)[0]()


def every_hook(folder: Path) -> str:
    """Lines of an ini file with two hooks of every kind and phase, in random order, that write to one file."""
    note = folder / "note"
    lines = []
    for phase in PHASES:
        lines += [
            f"hook-{phase} = appendn:{note} {phase} hook",
            f"hook-{phase} = exec:echo {phase} exec hook >> {note}",
        ]
        lines += [f"exec-{phase} = echo {phase} exec {n} as $(id -u) umask $(umask) $FOO >> {note}" for n in (1, 2)]
        if "user" not in phase:
            # The umount hook of the same phase removes the mount before the exec hook counts it.
            place = folder / f"mount-{phase}"
            place.mkdir()
            lines += [f"mount-{phase} = tmpfs none {place}", f"umount-{phase} = {place}"]
            lines.append(f"exec-{phase} = grep -c {place} /proc/self/mounts >> {note} || :")
    random.Random(4).shuffle(lines)
    return "\n".join(lines)


def test_hooks_run_in_the_order_of_real_uwsgi(start_router: Start, directory: Path) -> None:
    need_root()
    written = {}
    for name in ("uwsgi", "fastpty"):
        folder = directory / name
        folder.mkdir()
        note, ini = folder / "note", folder / "jail.ini"
        note.touch()
        note.chmod(0o666)
        ini.write_text(
            f"[uwsgi]\n{every_hook(folder)}\nenv = FOO=bar\numask = 027\nunshare = uts,fs\nuid = daemon\n"
            f"master = true\ndie-on-term = true\nplugins = corerouter,forkptyrouter\nforkpty-router = @{folder}\n"
        )
        if name == "uwsgi":
            with subprocess.Popen([need("uwsgi"), str(ini)], stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                assert any("spawned uWSGI forkptyrouter" in line for line in process.stderr)
                process.send_signal(signal.SIGTERM)
                process.stderr.read()
        else:
            router = start_router(str(ini), sockets=1)
            assert router.end() == 0
        written[name] = note.read_text().replace(str(folder), "FOLDER").splitlines()
    assert len(written["uwsgi"]) == len(PHASES) * 4 + 5
    assert written["fastpty"] == written["uwsgi"]


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "as-user-atexit"])
@pytest.mark.parametrize("kind", ["hook", "exec"])
def test_a_failing_command_stops_the_start_in_every_phase_and_its_exit_code_is_shown(
    kind: str, phase: str, tmp_path: Path
) -> None:
    need_root()
    after = tmp_path / "after"
    prefix = "exec:" if kind == "hook" else ""
    router = Router(
        *(f"--{kind}-{phase}", f"{prefix}exit 3", f"--{kind}-{phase}", f"{prefix}touch {after}"),
        *("--unshare", "uts", str(tmp_path / "socket")),
    )
    assert router.process.wait(30) == 1
    router.end()
    assert f"fastpty-router: {kind}-{phase} '{prefix}exit 3' failed with exit status 3" in router.log
    assert not after.exists()
    assert not (tmp_path / "socket").exists()


@pytest.mark.parametrize("phase", ["asap", "pre-jail", "in-jail", "post-jail", "as-root"])
@pytest.mark.parametrize(("kind", "value"), [("mount", "tmpfs none /nonexistent"), ("umount", "/nonexistent")])
def test_a_failing_mount_stops_the_start_and_the_error_names_it(
    kind: str, value: str, phase: str, tmp_path: Path
) -> None:
    need_root()
    router = Router(f"--{kind}-{phase}", value, "--unshare", "mount", str(tmp_path / "socket"))
    assert router.process.wait(30) == 1
    router.end()
    assert f"{kind}-{phase} '{value}': No such file or directory" in router.log


def test_a_failing_hook_at_exit_is_reported_and_the_others_run(start_router: Start, tmp_path: Path) -> None:
    note = tmp_path / "note"
    at_exit = ("--exec-as-user-atexit", "exit 3", "--exec-as-user-atexit", f"id -u > {note}")
    router = start_router(*at_exit, str(tmp_path / "socket"))
    assert router.end() == 0
    assert "exec-as-user-atexit 'exit 3' failed with exit status 3" in router.log
    assert note.read_text() == f"{os.getuid()}\n"


def test_an_asap_hook_can_make_the_directory_of_the_socket(start_router: Start, directory: Path) -> None:
    place = directory / "new"
    start_router("--hook-asap", f"mkdir:{place}", str(place / "socket"))
    assert stat.S_ISSOCK((place / "socket").stat().st_mode)


def test_post_jail_hooks_without_unshare_are_skipped_with_a_warning(start_router: Start, tmp_path: Path) -> None:
    note = tmp_path / "note"
    arguments = ("--hook-post-jail", f"create:{note}", str(tmp_path / "socket"))
    router = start_router(*arguments)
    assert f"hook-post-jail 'create:{note}' does not run without unshare" in router.log
    assert not note.exists()
    router.end()
    start_router("--jailed", *arguments)
    assert note.exists()


def test_the_value_of_a_private_hook_is_not_logged(tmp_path: Path) -> None:
    router = Router("--hook-asap", "!write:/nonexistent/file secret", str(tmp_path / "socket"))
    assert router.process.wait(30) == 1
    router.end()
    assert "hook-asap !: No such file or directory" in router.log
    assert "secret" not in router.log


def test_a_variable_set_by_a_hook_reaches_sessions_and_wins(start_router: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    hook = ("--hook-pre-jail", "putenv:COLOUR=blue sky", "--hook-pre-jail", "putenv:FRESH=1")
    start_router("--env", "COLOUR=red", "--env", "KEPT=2", "--unenv", "TERM", *hook, path)
    with Client(path) as client:
        client.send(b'echo "<$COLOUR|$FRESH|$KEPT|$TERM>"\n')
        client.read_until(b"<blue sky|1|2|>")


def test_the_exit_action_ends_the_start_with_its_status(tmp_path: Path) -> None:
    for text, status in (("exit:7", 7), ("exit:", 0)):
        router = Router("--hook-asap", text, str(tmp_path / "socket"))
        assert router.process.wait(30) == status
        router.end()


def test_hooks_can_write_create_change_and_remove_files(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    act(f"write:{file} one two")
    assert file.read_text() == "one two"
    act(f"append:{file} three")
    act(f"appendn:{file} four")
    act(f"appendn:{file}")
    assert file.read_text() == "one twothreefour\n\n"
    act(f"writen:{file} five")
    assert file.read_text() == "five\n"
    act(f"creat:{file}")
    assert file.read_text() == ""
    act(f"chmod:{file} 640")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    act(f"mkdir:{folder}")
    act(f"sticky:{folder}")
    assert folder.stat().st_mode & stat.S_ISVTX
    act(f"unlink:{file}")
    assert not file.exists()
    with pytest.raises(FastptyError, match=r"hook-asap 'unlink:.*': No such file or directory"):
        act(f"unlink:{file}")


def test_hooks_can_change_owners(tmp_path: Path) -> None:
    need_root()
    file = tmp_path / "a file"
    file.touch()
    act(f"chown:{file} daemon games")
    assert (file.stat().st_uid, file.stat().st_gid) == (1, 60)
    act(f"chown2:{file} 7 8")
    assert (file.stat().st_uid, file.stat().st_gid) == (7, 8)


def test_writing_to_a_fifo_without_a_reader_has_no_effect(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    act(f"writefifo:{fifo} nobody hears")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    act(f"writefifo:{fifo} hello you")
    assert os.read(reader, 100) == b"hello you"
    os.close(reader)


def test_hooks_can_change_the_process(tmp_path: Path) -> None:
    need_root()

    def all_of_them() -> list[str]:
        for text in (f"cd:{tmp_path}", "putenv:A=b c", "safeexec:exit 3", "wait_for_dir:/", "print:hello"):
            act(text)
        return [os.getcwd(), os.environ["A"]]

    assert in_child(all_of_them) == [str(tmp_path), "b c"]


def test_a_host_name_is_set_in_the_namespace(start_router: Start, tmp_path: Path) -> None:
    need_root()
    path = str(tmp_path / "socket")
    start_router("--unshare", "uts", "--hook-as-root", "hostname:boxed", path)
    with Client(path) as client:
        client.send(b"hostname\n")
        client.read_until(b"boxed\r\n")
    assert socket.gethostname() != "boxed"


def test_a_read_only_bind_mount_is_read_only_and_umount_rec_unmounts_all_below(
    start_router: Start, tmp_path: Path
) -> None:
    need_root()
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "tree").mkdir()
    router = start_router(
        *("--unshare", "mount", "--mount-post-jail", f"none {tmp_path}/from {tmp_path}/to bind,ro,nosuid"),
        *("--mount-post-jail", f"tmpfs none {tmp_path}/tree defaults size=64k,mode=700"),
        *("--hook-as-root", f"mkdir:{tmp_path}/tree/below"),
        *("--hook-as-root", f"mount:tmpfs none {tmp_path}/tree/below"),
        *("--exec-as-root", f"grep -c {tmp_path}/tree /proc/self/mounts > {tmp_path}/count || :"),
        *("--hook-as-user", f"umount:{tmp_path}/tree rec"),
        str(tmp_path / "socket"),
    )
    assert (tmp_path / "count").read_text() == "2\n"
    mounts = [line.split() for line in Path(f"/proc/{router.pid}/mounts").read_text().splitlines()]
    assert [options.split(",")[:2] for _, place, _, options, *_ in mounts if str(tmp_path) in place] == [
        ["ro", "nosuid"]
    ]


@pytest.mark.parametrize("kind", ["file", "fs", "dir", "mountpoint", "interface", "socket"])
def test_a_wait_that_times_out_stops_the_start(kind: str, tmp_path: Path) -> None:
    option = f"wait-for-{kind if kind in ('interface', 'socket') else 'fs'}-timeout"
    router = Router(f"--wait-for-{kind}", "/usr/x", f"--{option}", "0.1", str(tmp_path / "socket"))
    assert router.process.wait(30) == 1
    router.end()
    assert f"wait-for-{kind}: /usr/x does not exist after 0.1 s" in router.log


def test_the_start_continues_when_the_awaited_file_appears(tmp_path: Path) -> None:
    file, path = tmp_path / "file", tmp_path / "socket"
    router = Router(
        "--wait-for-file", str(file), "--hook-in-jail", "print:before", "--hook-as-user", "print:after", str(path)
    )
    try:
        router.wait_for_log("before")
        eventually(path.exists, "the socket is bound")
        assert "after" not in router.log
        file.touch()
        router.wait_for_log("after")
        router.wait_until_listening()
    finally:
        router.end()


def test_the_start_waits_for_a_socket_as_the_user(tmp_path: Path) -> None:
    awaited, path = tmp_path / "awaited", tmp_path / "socket"
    router = Router("--wait-for-socket", str(awaited), "--hook-as-user", "print:before", str(path))
    try:
        router.wait_for_log("before")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(awaited))
            assert "ready" not in router.log
            server.settimeout(PATIENCE_SECONDS)
            server.listen()
            server.accept()[0].close()
            router.wait_until_listening()
    finally:
        router.end()


def test_a_hook_waits_until_a_socket_accepts_connections(tmp_path: Path) -> None:
    awaited, path = tmp_path / "awaited", tmp_path / "socket"
    router = Router(
        *("--hook-as-root", "print:before", "--hook-as-root", f"wait_for_socket:{awaited}") if os.geteuid() == 0 else
        ("--hook-as-user", "print:before", "--hook-as-user", f"wait_for_socket:{awaited}"),
        *("--hook-as-user", "print:after", str(path)),
    )  # fmt: skip
    try:
        router.wait_for_log("before")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(awaited))  # it exists now, but nobody listens
            eventually(path.exists, "the router's socket is bound")
            assert "after" not in router.log
            server.listen()
            router.wait_for_log("after")
            router.wait_until_listening()
    finally:
        router.end()


@pytest.mark.parametrize("text", ["", "fd://3", "=0", "host:port"])
def test_a_hook_cannot_wait_for_something_else_than_an_address(text: str) -> None:
    with pytest.raises((ValueError, FastptyError)):
        hooks.parse("hook", "asap")(f"wait_for_socket:{text}")


@pytest.mark.parametrize(
    ("kind", "there", "absent"),
    [
        ("interface", "lo", "nosuch0"),
        ("fs", "/dev/null", "/none"),
        ("file", "/etc/passwd", "/etc"),
        ("dir", "/etc", "/etc/passwd"),
        ("mountpoint", "/proc", "/usr/bin"),
    ],
)
def test_each_kind_of_wait_ends_only_for_its_own_kind_of_file(kind: str, there: str, absent: str) -> None:
    Wait(kind, there).run(0)
    with pytest.raises(FastptyError, match="does not exist after 0 s"):
        Wait(kind, absent).run(0)


def test_without_root_as_root_hooks_are_an_error(tmp_path: Path) -> None:
    need_root()
    for option in ("hook-as-root", "exec-as-root", "mount-as-root"):
        value = {"hook": "print:x", "exec": "true", "mount": "tmpfs none /x"}[option.split("-")[0]]
        router = Router(f"--{option}", value, str(tmp_path / "socket"), program=AS_NOBODY)
        assert router.process.wait(30) == 1
        router.end()
        assert f"{option} needs root: start as root, add unshare = user" in router.log
