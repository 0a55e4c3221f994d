"""Building a Config from settings."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from fastpty.configuration.build import build
from fastpty.configuration.config import Config
from fastpty.configuration.language import loader
from fastpty.configuration.language.setting import Setting
from fastpty.configuration.options import BY_NAME
from fastpty.errors import UsageError
from fastpty.sessions.program import command_argv

SOCKET = Setting("forkpty-router", "/tmp/x.socket")


def built(*settings: tuple[str, str | None]) -> Config:
    return build([SOCKET, *(Setting(name, value) for name, value in settings)])[0]


def from_file(folder: Path, lines: str) -> tuple[Config, list[str]]:
    (folder / "x.ini").write_text(f"[uwsgi]\nforkpty-router = {folder}/s\n{lines}\n")
    return build(loader.load([Setting("ini", str(folder / "x.ini"))], {}).settings)


def test_nothing_but_a_socket_gives_the_defaults() -> None:
    wanted = built()
    assert [address.text for address in wanted.raw_addresses] == ["/tmp/x.socket"]
    assert (wanted.command, wanted.rows, wanted.cols, wanted.socket_mode) == ("/bin/sh", 24, 80, 0o600)
    assert (wanted.idle_timeout_seconds, wanted.stop_timeout_seconds, wanted.splice) == (None, 10, True)
    assert (wanted.uid, wanted.gid, wanted.unshare, wanted.backlog) == (None, None, (), 100)


def test_a_complete_configuration_of_a_jail_is_understood(tmp_path: Path) -> None:
    user = pwd.getpwnam("daemon")
    wanted, warnings = from_file(
        tmp_path,
        f"""master = true
plugins = corerouter,forkptyrouter
unshare = uts
exec-as-root = hostname iaminajail
exec-as-root = true
uid = daemon
gid = daemon
forkpty-urouter = {tmp_path}/u
forkptyrouter-command= /bin/zsh""",
    )
    assert warnings == []
    assert [hook.what for hook in wanted.hooks] == ["exec-as-root 'hostname iaminajail'", "exec-as-root 'true'"]
    assert (wanted.unshare, wanted.uid, wanted.gid) == (("uts",), user.pw_uid, user.pw_gid)
    assert [address.text for address in wanted.uwsgi_addresses] == [f"{tmp_path}/u"]
    assert (wanted.command, wanted.master) == ("/bin/zsh", True)


@pytest.mark.parametrize("name", ["forkptyrouter-cmd", "forkpty-router-command", "forkpty-router-cmd"])
def test_an_alias_is_the_option(name: str) -> None:
    assert built((name, "zsh")).command == "zsh"


def test_the_last_value_of_an_option_counts_and_a_repeatable_option_keeps_all() -> None:
    wanted = built(
        ("forkptyrouter-rows", "1"), ("forkptyrouter-rows", "2"), ("unshare", "uts,ipc"), ("unshare", "net")
    )
    assert (wanted.rows, wanted.unshare) == (2, ("uts", "ipc", "net"))


def test_chmod_socket_without_a_value_means_0666() -> None:
    assert built(("chmod-socket", None)).socket_mode == 0o666


def test_an_option_that_needs_a_value_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.ini:3: uid needs a value: USER"):
        from_file(tmp_path, "uid")


def test_a_bad_value_names_file_line_option_and_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.ini:4: forkptyrouter-rows: '70000' is not a whole number"):
        from_file(tmp_path, "master\nforkptyrouter-rows = 70000")


def test_a_bad_flag_is_named_as_a_flag() -> None:
    with pytest.raises(UsageError, match=r"^--uid: no user 'daemno' here \(did you mean 'daemon'\?\)"):
        built(("uid", "daemno"))


def test_an_unknown_key_names_file_line_and_nearest_option(tmp_path: Path) -> None:
    _, warnings = from_file(tmp_path, "exec-root = x\nprocesses = 2")
    assert warnings == [
        f"{tmp_path}/x.ini:3: unknown option 'exec-root' (did you mean 'exec-as-root'?); ignored",
        f"{tmp_path}/x.ini:4: unknown option 'processes'; ignored",
    ]


@pytest.mark.parametrize("lines", ["strict = true\nbogus = 1", "bogus = 1\nstrict"])
def test_under_strict_an_unknown_key_is_an_error_even_before_strict(tmp_path: Path, lines: str) -> None:
    with pytest.raises(UsageError, match=r"x\.ini:[34]: unknown option 'bogus'"):
        from_file(tmp_path, lines)


@pytest.mark.parametrize(
    "line", ["seccomp = x", "cgroup = x", "ns = /x", "call-as-root = f", "if-moon = full", "cgroup"]
)
def test_an_unsupported_key_that_confines_is_an_error_even_without_strict(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match=r"x\.ini:3: [a-z-]+ is not supported"):
        from_file(tmp_path, line)


def test_keys_without_effect_are_ignored_silently(tmp_path: Path) -> None:
    assert from_file(tmp_path, "vacuum = true\ndie-on-term\nplugin = pty\nneed-plugin=corerouter")[1] == []


def test_an_unknown_plugin_is_a_warning(tmp_path: Path) -> None:
    assert from_file(tmp_path, "plugins = pty,python")[1] == [
        f"{tmp_path}/x.ini:3: plugins: fastpty has no plugin 'python'; ignored"
    ]


def test_an_unknown_key_used_as_a_placeholder_is_an_error_only_under_strict(tmp_path: Path) -> None:
    lines = "shell = /bin/dash\nforkptyrouter-command = %(shell)"
    wanted, warnings = from_file(tmp_path, lines)
    assert (wanted.command, warnings) == ("/bin/dash", [])
    with pytest.raises(UsageError, match=r"x\.ini:3: unknown option 'shell'"):
        from_file(tmp_path, f"{lines}\nstrict")


def test_without_a_socket_the_error_shows_how_to_give_one() -> None:
    with pytest.raises(UsageError, match="nothing to listen on: give a socket"):
        build([])


def test_one_socket_for_both_protocols_is_refused() -> None:
    with pytest.raises(UsageError, match=r"/tmp/x\.socket is given twice"):
        built(("forkpty-urouter", "/tmp/x.socket"))


@pytest.mark.parametrize("name", ["forkpty-router", "forkpty-urouter"])
@pytest.mark.parametrize("address", ["0.0.0.0:7777", ":7777", "192.0.2.1:7777", "[::]:7777"])
def test_an_address_open_to_the_network_needs_insecure_tcp(name: str, address: str) -> None:
    with pytest.raises(UsageError, match=r"open to the network.*insecure-tcp"):
        built((name, address))
    assert built((name, address), ("insecure-tcp", None)).insecure_tcp


def test_tls_does_not_open_the_statistics_to_the_network() -> None:
    """Statistics are always sent unencrypted."""
    tls = [("tls-cert", "c"), ("tls-key", "k"), ("tls-ca", "a"), ("forkpty-router", "0.0.0.0:7777")]
    with pytest.raises(
        UsageError, match=r"0\.0\.0\.0:7778 is open to the network.* use a socket file, 127\.0\.0\.1 or"
    ):
        built(*tls, ("forkptyrouter-stats", "0.0.0.0:7778"))
    assert built(*tls, ("forkptyrouter-stats", "127.0.0.1:7778")).stats_addresses


@pytest.mark.parametrize("address", ["127.0.0.1:7777", "[::1]:7777", "@name", "relative.socket"])
def test_an_address_of_this_machine_is_accepted(address: str) -> None:
    assert len(built(("forkpty-router", address)).raw_addresses) == 2


def test_a_bad_address_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.ini:3: forkpty-router: "):
        from_file(tmp_path, "forkpty-router = host:port:what")


def test_uid_without_gid_takes_the_users_own_group_not_that_of_root() -> None:
    games = pwd.getpwnam("games")
    assert games.pw_uid != games.pw_gid
    assert built(("uid", "games")).gid == games.pw_gid
    assert built(("uid", str(games.pw_uid))).gid == games.pw_gid
    assert built(("uid", "games"), ("gid", "0")).gid == 0


def test_a_uid_without_an_account_needs_a_gid() -> None:
    with pytest.raises(UsageError, match=r"uid 3999999 has no account.*set gid"):
        built(("uid", "3999999"))
    assert built(("uid", "3999999"), ("gid", "5")).gid == 5


def test_environment_settings_apply_in_their_order() -> None:
    wanted = built(("env", "A=1"), ("unenv", "A"), ("unenv", "B"), ("env", "B=2"), ("unenv", "HOME"))
    base = {"HOME": "/root", "TERM": "vt100"}
    assert wanted.environ(base) == {"TERM": "vt100", "B": "2"}
    assert base == {"HOME": "/root", "TERM": "vt100"}


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("/bin/zsh", ["/bin/zsh"]),
        ("echo hi", ["/bin/sh", "-c", "echo hi"]),
        ("echo\thi", ["/bin/sh", "-c", "echo\thi"]),
    ],
)
def test_a_command_with_a_blank_goes_through_the_shell(command: str, argv: list[str]) -> None:
    assert command_argv(command) == argv


def test_every_option_that_fills_a_field_can_stand_in_a_file() -> None:
    assert all(option.in_files for option in BY_NAME.values() if option.field)


def test_a_path_may_hold_any_bytes() -> None:
    name = os.fsdecode(b"/tmp/\xff")
    assert built(("chdir", name)).chdir == name


SHARED = Setting("pty-socket", "/tmp/shared.socket")


def test_a_shared_terminal_runs_its_own_command_or_the_default_one() -> None:
    wanted, warnings = build([SHARED, Setting("forkptyrouter-command", "/bin/bash")])
    assert (wanted.shared_command, wanted.pty_scrollback_bytes, warnings) == ("/bin/bash", 65_536, [])
    assert build([SHARED, Setting("pty-exec", "top")])[0].shared_command == "top"


def test_an_option_of_a_shared_terminal_without_one_is_a_warning() -> None:
    _, warnings = build([SOCKET, Setting("pty-exec", "top"), Setting("pty-log", None)])
    assert warnings == ["pty-exec has no effect without pty-socket", "pty-log has no effect without pty-socket"]


@pytest.mark.parametrize("option", ["pty-socket", "pty-uwsgi-socket", "pty-viewer-socket"])
def test_each_socket_of_a_shared_terminal_can_be_the_only_one(option: str) -> None:
    only = Setting(option, "/tmp/one.socket")
    config, warnings = build([only, Setting("pty-exec", "top"), Setting("pty-size", "40x120")])
    assert (config.commands, config.pty_size, warnings) == ([("pty-exec", "top")], (40, 120), [])
    with pytest.raises(UsageError, match=f"run-as peer and {option} exclude each other"):
        build([only, Setting("run-as", "peer")])


@pytest.mark.parametrize("value", ["x", "40", "40x", "0x80", "40x70000", "largest"])
def test_a_value_that_is_no_window_size_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="pty-size"):
        build([SHARED, Setting("pty-size", value)])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Setting("daemonize", "/tmp/log"), "pty-input needs the terminal that the router was started on"),
        (Setting("run-as", "peer"), "exclude each other: a shared terminal runs as one account"),
    ],
)
def test_an_option_that_contradicts_a_shared_terminal_is_an_error(setting: Setting, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build([SHARED, Setting("pty-input", None), setting])


@pytest.mark.parametrize("other", [SOCKET, SHARED, Setting("pty-uconnect", "/tmp/u")])
def test_a_client_has_one_address_and_listens_nowhere(other: Setting) -> None:
    assert build([Setting("pty-connect", "/tmp/x")])[0].is_client
    with pytest.raises(UsageError, match="connect to one address"):
        build([Setting("pty-connect", "/tmp/x"), other])


def test_an_unused_shared_socket_is_a_warning() -> None:
    sockets = [Setting("shared-socket", "/tmp/first"), Setting("shared-socket", "/tmp/second")]
    config, warnings = build([*sockets, Setting("forkpty-router", "=1")])
    assert [address.text for address in config.raw_addresses] == ["/tmp/second"]
    assert warnings == ["shared-socket /tmp/first is not used: no address names it as =0"]
