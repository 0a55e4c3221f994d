"""The variables that hooks and sessions inherit, and their HOME."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fastpty.access import accounts
from fastpty.errors import RefusedError
from fastpty.jail import inherited
from tests.sessions.test_session_start import ask
from tests.support.harness import Client, Router, children
from tests.support.jails import binds, small_root
from tests.support.nss_module import with_hostile_module
from tests.support.peers import need_root
from tests.support.programs import broken_program

Start = Callable[..., Router]

OF_THE_ROUTER = {
    **{"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "1"},
    **{"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    **{"INVOCATION_ID": "0123", "JOURNAL_STREAM": "8:1", "SYSTEMD_EXEC_PID": "1", "MAINPID": "1", "FDSTORE": "1"},
    **{"MEMORY_PRESSURE_WATCH": "/sys/fs/cgroup/memory.pressure", "MEMORY_PRESSURE_WRITE": "c29tZQ=="},
    **{"UWSGI_FORKPTYROUTER_ROWS": "43", "FASTPTY_FORKPTYROUTER_COLS": "132", "UWSGI_RELOADS": "1"},
}
NEAR = ("LISTENER", "WATCHDOG", "UWSGI", "FASTPTY", "MY_UWSGI_ROWS", "notify_socket", "JOURNAL_STREAMS")
OF_OTHERS = {
    **dict.fromkeys(NEAR, "near"),
    **{"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8", "PYTHONSAFEPATH": "1", "SUDO_USER": "somebody", "EMPTY": ""},
    **{"STATE_DIRECTORY": "/var/lib/x", "TZ": "UTC", "SSH_AUTH_SOCK": "/tmp/agent", "NOT_ASCII": "\udcff\u00e4"},
}


def environment(data: bytes) -> dict[str, str]:
    """Parses /proc/PID/environ or the output of `env -0`."""
    entries = [os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if entry]
    return {name: value for name, _, value in entries}


def session_environment(router: Router, path: Path | str) -> dict[str, str]:
    """The environment of a session of a router whose command is /bin/cat, so that no shell has changed it."""
    with Client(str(path)) as client:
        client.send(b"x\n")
        client.read_until(b"x\r\nx\r\n")
        (program,) = children(router.pid)
        return environment(Path(f"/proc/{program}/environ").read_bytes())


def test_hooks_and_sessions_inherit_all_variables_but_those_about_the_router(
    start_router: Start, directory: Path
) -> None:
    phases = (
        "asap",
        "pre-jail",
        "in-jail",
        *(("as-root",) if os.geteuid() == 0 else ()),
        "as-user",
        "as-user-atexit",
    )
    hooks = [word for phase in phases for word in (f"--exec-{phase}", f"env -0 > {directory}/{phase}")]
    given = {**os.environ, **OF_OTHERS}
    path = directory / "s"
    router = start_router(
        *hooks, "--forkptyrouter-command", "/bin/cat", str(path), env={**OF_OTHERS, **OF_THE_ROUTER}
    )
    expected = {name: value for name, value in given.items() if not name.startswith(("FASTPTY_", "UWSGI_"))}
    assert session_environment(router, path) == {"TERM": "xterm-256color", **expected}
    assert router.end() == 0
    for phase in phases:
        of_hook = environment((directory / phase).read_bytes())
        assert OF_OTHERS.items() <= of_hook.items()
        assert not OF_THE_ROUTER.keys() & of_hook.keys()


def test_a_variable_that_env_sets_reaches_the_session(start_router: Start, directory: Path) -> None:
    path = f"{directory}/s"
    start_router("--env", "NOTIFY_SOCKET=$(NOTIFY_SOCKET)", path, env={"NOTIFY_SOCKET": "@here"})
    assert ask(path, "echo $NOTIFY_SOCKET") == "@here\n"


def test_clear_env_leaves_no_variable_of_the_router_and_no_home(start_router: Start, directory: Path) -> None:
    path = directory / "s"
    user = ("--uid", "daemon") if os.geteuid() == 0 else ()
    router = start_router("--clear-env", *user, "--forkptyrouter-command", "/bin/cat", str(path), env=OF_OTHERS)
    assert session_environment(router, path).keys() == {"PATH", "TERM"}


@pytest.mark.parametrize("given", [None, "C.UTF-8"])
def test_a_locale_that_the_interpreter_has_set_for_itself_is_not_handed_on(
    start_router: Start, directory: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """PEP 538: LC_CTYPE would override a LANG that the configuration sets for sessions."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONCOERCECLOCALE"):
        monkeypatch.delenv(name, raising=False)
    path = directory / "s"
    arguments = ("--env", "LANG=en_US.ISO-8859-1", "--forkptyrouter-command", "/bin/cat", str(path))
    router = start_router(*arguments, env={} if given is None else {"LC_CTYPE": given})
    found = session_environment(router, path)
    assert (found["LANG"], found.get("LC_CTYPE")) == ("en_US.ISO-8859-1", given)


def test_python_variables_that_the_starter_has_set_stay() -> None:
    environ = {"PYTHONPATH": "/given", "PYTHONHOME": "/ours", "LC_CTYPE": "C.UTF-8", "SET_LATER": "1"}
    assert inherited.without_interpreter_variables(environ, {"PYTHONPATH"}) == {
        "PYTHONPATH": "/given",
        "SET_LATER": "1",
    }
    assert inherited.without_interpreter_variables(environ, None) == environ


def test_a_reload_reads_the_environment_that_the_router_was_started_with(
    start_router: Start, directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    router = start_router(
        "--uid", "daemon", "--chdir", "$(HOME)", path,
        env={"HOME": "/tmp", "UWSGI_FORKPTYROUTER_ROWS": "43"}, first=partial(os.chdir, directory),
    )  # fmt: skip
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reloaded; command: ")
    assert ask(path, "stty size") == "43 80\n"


# -- HOME --

SHOW = 'echo "$(id -u) ${HOME-none} ${USER-none} ${LOGNAME-none} ${SHELL-none} ${MAIL-none}"'
ROOT = {name: f"root's {name}" for name in ("HOME", "USER", "LOGNAME", "SHELL", "MAIL")}


def of_account(name: str) -> str:
    entry = pwd.getpwnam(name)
    return f"{entry.pw_uid} {entry.pw_dir} {name} {name} {entry.pw_shell} /var/mail/{name}\n"


@pytest.mark.parametrize("option", ["--uid", "--immediate-uid"])
def test_with_uid_sessions_and_its_hooks_have_the_account_s_home(
    start_router: Start, directory: Path, option: str
) -> None:
    """Hooks that run as root keep root's HOME: otherwise they would read files that the account has written."""
    need_root()
    directory.chmod(0o1777)
    path, note, last = directory / "s", directory / "note", directory / "last"
    first = () if option == "--immediate-uid" else ("--exec-as-root", f"{SHOW} > {note}; chmod 666 {note}")
    router = start_router(
        *first, "--exec-as-user", f"{SHOW} >> {note}", "--exec-as-user-atexit", f"{SHOW} > {last}",
        option, "daemon", str(path), env=ROOT,
    )  # fmt: skip
    user = of_account("daemon")
    assert ask(str(path), SHOW) == user
    root = "0 " + " ".join(ROOT.values()) + "\n"
    assert note.read_text() == (f"{root}{user}" if first else user)
    router.end()
    assert last.read_text() == user


def test_without_uid_home_is_that_of_the_router_s_starter(start_router: Start, directory: Path) -> None:
    start_router(f"{directory}/s", env=ROOT)
    assert ask(f"{directory}/s", SHOW) == f"{os.geteuid()} " + " ".join(ROOT.values()) + "\n"


def test_a_home_that_the_configuration_or_a_hook_sets_wins_over_the_account_s(
    start_router: Start, directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    start_router(
        "--env", "HOME=/srv", "--unenv", "MAIL", "--hook-as-root", "putenv:SHELL=/bin/zsh", "--uid", "daemon",
        path, env=ROOT,
    )  # fmt: skip
    assert ask(path, SHOW) == "1 /srv daemon daemon /bin/zsh none\n"


def test_a_uid_without_an_account_has_the_root_directory_as_home_and_no_name(
    start_router: Start, directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    start_router("--uid", "54321", "--gid", "54321", path, env=ROOT)
    assert ask(path, SHOW) == "54321 / none none /bin/sh none\n"


@pytest.mark.parametrize("has_account", [True, False])
def test_in_a_changed_root_the_home_is_that_of_the_account_there(
    start_router: Start, directory: Path, has_account: bool
) -> None:
    need_root()
    root = directory / "root"
    small_root(root)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("inside:x:1:1::/usr:/bin/dash\n" if has_account else "")
    path = f"{directory}/s"
    jail = ("--unshare", "mount", *binds(root), "--chroot", str(root))
    start_router(*jail, "--uid", "daemon", path, env=ROOT)
    found = "1 /usr inside inside /bin/dash /var/mail/inside" if has_account else "1 / none none /bin/sh none"
    assert ask(path, SHOW) == f"{found}\n"


def test_no_library_of_a_changed_root_is_loaded_for_its_user_s_home(start_router: Start, directory: Path) -> None:
    """The router is still root when it looks up HOME."""
    need_root()
    root = directory / "root"
    small_root(root)
    start_router(
        *("--unshare", "mount", "--mount-post-jail", f"none /dev {root}/dev bind,rec", "--chroot", str(root)),
        *("--uid", "daemon", "--no-initgroups", "--command", f"/{Path(broken_program(root)).name}", f"{directory}/s"),
        first=with_hostile_module(root),
    )
    assert not (root / "loaded").exists()


@pytest.mark.parametrize(
    ("passwd", "refusal"),
    [
        ("a:x:7:4294967295::/:/bin/sh\n", "no account"),  # this gid means "no change"
        ("a:x:7:" + "9" * 5000 + "::/:/bin/sh\n", "no account"),
        ("a:x:7:7::/a\0b:/bin/sh\n", "no account"),
        ("+a:x:7:7::/:/bin/sh\n", "no account"),
        ("#" * (1 << 20) + "\n", "longer than 1 MiB"),
    ],
)
def test_an_invalid_account_of_a_changed_root_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passwd: str, refusal: str
) -> None:
    need_root()
    opened = os.open
    (tmp_path / "passwd").write_text(passwd)
    monkeypatch.setattr(accounts.os, "open", lambda path, flags, *_: opened(str(tmp_path / Path(path).name), flags))
    with pytest.raises(RefusedError, match=refusal):
        accounts._account_in_files(7)
