"""The table of options and the functions that parse values."""

from __future__ import annotations

import grp
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from fastpty.configuration import uwsgi_keys
from fastpty.configuration.config import Config
from fastpty.configuration.language import blocks
from fastpty.configuration.options import BY_NAME, OPTIONS
from fastpty.configuration.uwsgi_keys import IGNORED, WITHOUT_MEANING, is_confining
from fastpty.configuration.values import harakiri_seconds, positive_seconds, seconds
from fastpty.hooks.waits import Wait
from tests.support.peers import need
from tools import options_doc

TIMES = [option.name for option in OPTIONS if option.parse in (seconds, positive_seconds, harakiri_seconds)]


def test_the_fields_of_the_table_are_those_of_config() -> None:
    others = {"pidfile_origins", "entered", "terminals", "command_files"}
    fields = Config.__dataclass_fields__.keys() - others
    assert {option.field for option in OPTIONS} - {None} == fields


def test_no_name_belongs_to_two_options() -> None:
    names = [name for option in OPTIONS for name in option.names]
    assert sorted(names) == sorted(set(names))
    assert not set(names) & IGNORED
    assert not [name for name in names if is_confining(name)]
    assert not set(names) & blocks.WORDS


def test_every_default_is_a_value_that_its_option_accepts() -> None:
    defaults = {option.name: option.default_value() for option in OPTIONS}
    assert defaults["chmod-socket"] == 0o600
    assert (defaults["rows"], defaults["cols"]) == (24, 80)
    assert (defaults["exec-as-root"], defaults["strict"], defaults["uid"]) == ((), False, None)


def test_every_name_that_is_not_marked_as_own_is_uwsgi_s() -> None:
    shown = subprocess.run(
        [need("uwsgi"), "--plugins", "corerouter,forkptyrouter,pty", "--help"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    theirs = set(re.findall(r"--([A-Za-z0-9_-]+)", shown.stdout))
    ours = {name for option in OPTIONS for name in option.uwsgi_names}
    # uWSGI spells most of them without the inner dash only.
    ours = {name.replace("forkpty-router-", "forkptyrouter-") for name in ours}
    assert ours | IGNORED | {name for name in WITHOUT_MEANING if "pty-router" not in name} <= theirs
    plugin = {name for name in theirs if name.startswith("forkpty")}
    assert plugin <= set(BY_NAME) | set(WITHOUT_MEANING)
    confining = set(uwsgi_keys._CONFINING) - {"jail", "jail2", "jail-attach"}  # FreeBSD's
    assert confining - {"namespace-keep-mount", "config"} <= theirs
    assert blocks.WORDS - {"end", "else"} <= theirs  # uWSGI knows the first without listing it, and later the second
    listed = {name for name in theirs if re.fullmatch(r"(if|for|end-?if|end-?for)(-.*)?|if[a-z]+", name)}
    assert listed <= blocks.WORDS


@pytest.mark.parametrize(
    "name",
    [
        *(
            "cgroup",
            "limit-nproc",
            "namespace",
            "ns-net",
            "setns-socket",
            "jail2",
        ),
        *("seccomp-profile", "call-as-root", "mount-as-user", "call-as-user-atexit", "declare-option"),
        *("if-env", "ifenv", "endif", "end-if", "for", "for-glob", "endfor"),
    ],
)
def test_an_unsupported_option_that_confines_is_known_as_such(name: str) -> None:
    assert is_confining(name)


@pytest.mark.parametrize("name", ["socket", "processes", "format", "capable", "exec-as-root", "fork-hook", "forkpty"])
def test_an_option_that_does_not_confine_is_not_taken_for_one_that_does(name: str) -> None:
    assert not is_confining(name)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("forkptyrouter-rows", "1", 1),
        ("forkptyrouter-cols", "65535", 65535),
        ("chmod-socket", "666", 0o666),
        ("chmod-socket", "0660", 0o660),
        ("chmod-socket", "1", 0o666),
        ("forkptyrouter-harakiri", "1", 1.0),
        ("forkptyrouter-timeout", "0.5", 0.5),
        ("stop-timeout", "0", 0.0),
        *(
            ("idle-timeout", *pair)
            for pair in (("30s", 30), ("5m", 300), ("1h", 3600), ("1.5H", 5400), ("2d", 172800))
        ),
        ("session-buffer", "8k", 8192),
        ("splice", "off", False),
        ("uid", "0", 0),
        ("uid", "daemon", pwd.getpwnam("daemon").pw_uid),
        ("gid", "daemon", grp.getgrnam("daemon").gr_gid),
        ("chown-socket", "daemon", (pwd.getpwnam("daemon").pw_uid, -1)),
        ("chown-socket", "daemon:0", (pwd.getpwnam("daemon").pw_uid, 0)),
        ("unshare", "uts,,fs", ("uts", "mount")),
        ("cap", "kill, CAP_NET_RAW", (5, 13)),
        ("umask", "027", 0o027),
        ("pivot_root", "/new /new/old", ("/new", "old")),
        ("procname-prefix-spaced", "x", "x "),
        ("wait-iface", "lo", (Wait("interface", "lo"),)),
        ("env", "A=b=c", (("A", "b=c"),)),
        ("env", "A=", (("A", ""),)),
        ("unenv", "A", (("A", None),)),
        ("listen", "1", 1),
        *(("pty-scrollback", *pair) for pair in (("0", 0), ("100", 100), ("2k", 2048), ("1M", 1 << 20))),
        *(("master", word, True) for word in ("", "true", "Yes", "1", "on")),
        *(("master", word, False) for word in ("false", "NO", "0", "off")),
    ],
)
def test_a_good_value_is_read(name: str, text: str, value: object) -> None:
    assert BY_NAME[name].parse(text) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        *(("forkptyrouter-rows", text, "from 1 to 65535") for text in ("0", "70000", "abc", "-1", "", "1_0", "٣")),
        *(
            ("chmod-socket", text, "octal")
            for text in ("888", "u+x", "", "4755", "00666", "-1", "7", "77", "0", "01")
        ),
        *(
            ("forkptyrouter-timeout", text, "seconds")
            for text in ("0", "-1", "nan", "inf", "x", "", "s", "1e3", "1.2.3", "5 m", "5w", "0s")
        ),
        *(("stop-timeout", text, "seconds") for text in ("-0.1", "x")),
        # Too large for the relay's clock, and so small that it would mean no limit.
        *(
            (name, text, "from 0 to 1000000000 seconds")
            for name in TIMES
            for text in ("10000000000", "9223372030", "9" * 31)
        ),
        *(
            (name, "0.0000000001", "at least 0.001 seconds")
            for name in TIMES
            if BY_NAME[name].parse is positive_seconds
        ),
        ("splice", "auto", "neither true nor false"),
        ("uid", "daemno", "no user 'daemno' here .did you mean 'daemon'"),
        ("gid", "daemno", "no group 'daemno' here .did you mean 'daemon'"),
        ("uid", "", "needs a value"),
        # (uid_t)-1 means "leave unchanged": taken as an id, it would leave root.
        ("uid", "4294967295", "not a whole number"),
        ("gid", "4294967295", "not a whole number"),
        ("uid", "-1", "no user"),
        ("chown-socket", "daemon:", "needs a value"),
        ("chown-socket", "nosuchuser", "no user"),
        ("unshare", "bogus", "known: cgroup, files, fs, ipc, mnt, mount, net, ns, pid, sysvsem, time, user, uts"),
        ("unshare", ",", "needs a value"),
        ("cap", "kil", "'kil' is not a capability .did you mean 'kill'"),
        ("cap", ",", "needs a value"),
        *(("umask", text, "octal") for text in ("888", "1", "22")),
        *(("forkptyrouter-harakiri", text, "at least 1 second") for text in ("0", "0.005", "0.999")),
        ("setns-pid", "0", "whole number from 1"),
        ("setns", "", "needs a value"),
        ("pivot-root", "/new", "is not NEW OLD"),
        ("pivot-root", "/new /old", "/old is not below /new"),
        ("add-gid", "daemno", "no group 'daemno'"),
        ("wait-for-file", "", "needs a value"),
        ("wait-for-fs-timeout", "-1", "seconds"),
        ("hook-asap", "nothing", "is not ACTION:ARGUMENT"),
        ("hook-asap", "bogus:x", "'bogus' is not an action .known: append, appendn,"),
        ("hook-asap", "callret:x", "not supported: fastpty cannot call C functions: use exec:"),
        ("hook-asap", "rpc:x", "not supported.*use exec:"),
        ("hook-asap", "alarm:x y", "not supported.*use exec:"),
        ("hook-asap", "write:/x", "not FILE TEXT"),
        ("hook-asap", "writefifo:/x", "not FIFO TEXT"),
        ("hook-asap", "chmod:/x 999", "octal"),
        ("hook-asap", "chmod:600", "not FILE MODE"),
        ("hook-asap", "chown:/x root", "not FILE USER GROUP"),
        ("hook-asap", "putenv:A", "NAME=VALUE"),
        ("hook-asap", "mkdir:", "needs a value"),
        ("hook-as-root", "mount:proc /proc", "TYPE WHAT WHERE"),
        ("mount-as-root", "tmpfs none /x rw", "'rw' is not a mount flag .known: defaults, bind"),
        ("umount-as-root", "/x lazy", "'lazy' is not a mount flag .known: force, detach"),
        ("umount-as-root", "", "needs a value"),
        ("env", "A", "NAME=VALUE"),
        ("env", "=b", "NAME=VALUE"),
        ("unenv", "A=b", "name of a variable"),
        ("unenv", "", "name of a variable"),
        ("listen", "0", "whole number from 1"),
        ("listen", "2000000000", "net.core.somaxconn"),
        ("exec-as-root", "", "needs a value"),
        ("forkptyrouter-command", "", "needs a value"),
        ("forkpty-router", "", "needs a value"),
        *(("pty-scrollback", text, "number of bytes") for text in ("", "K", "-1", "1.5M", "2048M", "1kk", "1G")),
        ("insecure-tcp", "nope", "neither true nor false"),
    ],
)
def test_a_bad_value_is_refused_with_a_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BY_NAME[name].parse(text)


def test_a_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert BY_NAME["chdir"].parse("x") == str(tmp_path / "x")


def test_the_document_of_options_is_the_table() -> None:
    written = (options_doc.TARGET).read_text()
    assert written == options_doc.document(), "stale: run python tools/options_doc.py"
