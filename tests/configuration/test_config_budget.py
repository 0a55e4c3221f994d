"""Reading a configuration is bounded in time, bytes and settings, and waits for nothing."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastpty.configuration.language import loader
from fastpty.configuration.language.budget import Budget
from fastpty.configuration.language.loader import Loaded
from fastpty.configuration.language.setting import Setting
from fastpty.configuration.options import BY_NAME
from fastpty.errors import UsageError
from tests.support.harness import eventually, processes


def patient() -> Budget:
    """A budget with enough time for a busy machine, but less than the time limit of a test."""
    return Budget(seconds=50)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(name: str, content: str, budget: Budget | None = None) -> Loaded:
    Path(name).write_text(content)
    return loader.load([Setting(name.rpartition(".")[2], name)], {"PATH": os.environ["PATH"]}, budget=budget)


WAYS = ["print = @(odd)", "for-readline = odd\nprint = %(_)\nendfor", "ini = odd", "inherit = odd.ini"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
def test_only_regular_files_are_read_and_opening_others_does_not_wait(way: str, kind: str) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "FIFO":
            os.mkfifo("odd")
        elif kind == "socket":
            bound.bind("odd")
        else:
            os.symlink("/dev/zero", "odd")
        os.symlink("odd", "odd.ini")
        with pytest.raises(UsageError, match=rf"^x\.ini:2: .*odd.*: it is a {kind}, not a regular file"):
            read("x.ini", f"[uwsgi]\n{way}\n")


@pytest.mark.parametrize("command", ["sleep 1000", "sleep 1000 & exit", "exec >&-; sleep 1000", "sleep 1000 | cat"])
def test_a_slow_command_is_killed_with_all_its_processes(command: str) -> None:
    lines = f"[uwsgi]\nprint = @(exec://echo $$ >pid; {command})\n"
    with pytest.raises(UsageError, match=r"reading the configuration takes longer than 1 s: is a command slow"):
        read("x.ini", lines, Budget(seconds=1))
    group = int(Path("pid").read_text())
    eventually(lambda: is_gone(group), "the command's processes have ended")


def test_a_slow_command_is_killed_in_a_thread_as_well() -> None:
    """A thread other than the main one cannot use an alarm."""
    lines = "[uwsgi]\nprint = @(exec://sleep 30)\n"
    with ThreadPoolExecutor() as threads, pytest.raises(UsageError, match="takes longer than 1 s"):
        threads.submit(read, "x.ini", lines, Budget(seconds=1)).result(timeout=60)


def is_gone(group: int) -> bool:
    """Whether all processes of a group have ended; zombies count as ended."""
    return all(fields[0] == "Z" for _, fields in processes() if fields[2] == str(group))


@pytest.mark.parametrize("command", ["cat /dev/zero", "yes", "cat /dev/zero | cat"])
def test_a_command_with_endless_output_is_killed(command: str) -> None:
    with pytest.raises(UsageError, match=r"^x\.ini:2: print: @\(exec://.*\): it is longer than 1 MiB$"):
        read("x.ini", f"[uwsgi]\nprint = @(exec://{command})\n", patient())


def test_a_computation_ends_at_the_deadline() -> None:
    """Even inside a library that has no time limit."""
    # From 3.14 on, Python allows no more parts of a key than its recursion limit.
    deep = "".join(f"a{number}.{'.'.join('b' * 900)} = 1\n" for number in range(500))
    with pytest.raises(UsageError, match=r"takes longer than 1 s"):
        read("x.toml", f"[fastpty]\n{deep}", Budget(seconds=1))


def test_a_timer_of_the_caller_keeps_running() -> None:
    rung = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    before = signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        read("x.ini", "[uwsgi]\nuid = 0\n")
        eventually(lambda: bool(rung), "the timer has rung")
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def test_yaml_aliases_count_as_settings() -> None:
    items = ", ".join("x" for _ in range(5000))
    keys = "".join(f"  k{number}: *a\n" for number in range(5000))
    with pytest.raises(UsageError, match=r"^x\.yaml:2: k1\d: more than 100000 settings"):
        read("x.yaml", f"uwsgi:\n  k: &a [{items}]\n{keys}", patient())


def test_files_that_read_each_other_twice_are_an_error() -> None:
    for number in range(1, 31):
        Path(f"{number}.ini").write_text(f"[uwsgi]\nini = {number + 1}.ini\nini = {number + 1}.ini\n")
    Path("31.ini").write_text("[uwsgi]\nuid = 0\n")
    with pytest.raises(UsageError, match=r"all files and values together hold more than 16 MiB$"):
        read("x.ini", "[uwsgi]\nini = 1.ini\n", patient())


def test_values_that_grow_are_counted_together() -> None:
    Path("big").write_text("x" * (1 << 19))
    lines = "\n".join(f"a{number} = %(a)%(a)" for number in range(50))
    with pytest.raises(UsageError, match=r"^x\.ini:\d+: a\d+: all files and values together hold more than 16 MiB$"):
        read("x.ini", f"[uwsgi]\na = @(big)\n{lines}\n", patient())


def test_a_file_of_more_than_a_mebibyte_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^x\.ini: cannot read this file: it is longer than 1 MiB$"):
        read("x.ini", "[uwsgi]\n" + "#" * (1 << 20))


@pytest.mark.parametrize("name", ["x.json", "x.toml"])
def test_the_lines_of_many_keys_are_found_in_one_pass(name: str) -> None:
    """Searching the file again for each of 20,000 keys would take far too long."""
    start = {"x.json": '{"uwsgi": {\n', "x.toml": "[fastpty]\n"}[name]
    end = {"x.json": '\n"z": 1}}', "x.toml": ""}[name]
    form = {"x.json": '"k{0}": {0},\n', "x.toml": "k{0} = {0}\n"}[name]
    content = start + "".join(form.format(number) for number in range(20_000)) + end
    settings = read(name, content, Budget(seconds=60)).settings
    assert [setting.origin for setting in settings[:20_000]] == [f"{name}:{number + 2}" for number in range(20_000)]


@pytest.mark.parametrize("name", sorted({"listen", "uid", "forkptyrouter-timeout", "pty-scrollback", "setns-pid"}))
def test_a_number_of_a_megabyte_is_refused_in_a_short_line(name: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the texts differ
        BY_NAME[name].parse("9" * (1 << 20))
    assert len(str(refused.value)) < 400
