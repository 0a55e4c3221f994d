"""Data from outside is never expanded: variables, files, names of files, hosts and users, items of loops."""

from __future__ import annotations

import os
import pwd
import socket
from collections import namedtuple
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpty.configuration.language import loader
from fastpty.configuration.language.loader import Loaded
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError

COMMAND = "@(exec://touch ran)"
# Markup, complete and in halves that could meet in a value.
PIECES = [
    COMMAND,
    "@(file)",
    "$(A)",
    "%(word)",
    "%(_)",
    "%n",
    "%%",
    "@",
    "(",
    ")",
    "$",
    "%",
    "exec:",
    "//",
    "; touch ran",
    " ",
]
ODD = st.lists(st.sampled_from([*PIECES, "x", "'", '"']), max_size=5).map("".join)
# Valid names for a directory.
NAMES = ODD.map(lambda text: text.replace("/", "_")).filter(
    lambda text: text not in ("", ".", "..") and len(text) < 80
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(lines: str, path: str = "x.ini", **environ: str) -> Loaded:
    Path(path).write_text(f"[uwsgi]\n{lines}\nword = expanded\n")
    return loader.load([Setting("ini", path)], environ)


@pytest.mark.parametrize("value", [COMMAND, "@(x.ini)", "%(word)", "$(B)", "x%(word)", "@", "exec://touch ran"])
def test_the_value_of_a_variable_is_not_expanded(value: str) -> None:
    lines = "print = $(A)\nprint = <$(A)(exec://touch ran)>\nif-env = A\nprint = %(_)\nendif"
    loaded = read(lines, A=value, B="b")
    assert loaded.printed == [value, f"<{value}(exec://touch ran)>", value]
    assert loaded.warnings == []
    assert not Path("ran").exists()


@pytest.mark.parametrize("value", ["x; touch ran", "$(touch ran)", "`touch ran`", "--option", "x\ntouch ran", "A=1"])
def test_a_variable_with_more_than_a_plain_word_cannot_be_part_of_a_command(value: str) -> None:
    with pytest.raises(UsageError, match=r"^x\.ini:2: print: @\(exec://.*: exec:// is refused with data in it"):
        read("print = @(exec://echo $(A))", A=value)
    assert not Path("ran").exists()


def test_a_variable_with_a_plain_word_can_be_part_of_a_command_as_in_uwsgi() -> None:
    for word in ("a/b_c.d", ":0", "localhost:10.0", "a-b+c,d"):
        assert read("print = @(exec://echo $(A))", A=word, PATH=os.environ["PATH"]).printed == [word]


@pytest.mark.parametrize(("value", "rest"), [("exec:", "//"), ("exec:/", "/"), ("exec://", ""), ("exec://touch", "")])
def test_a_variable_cannot_turn_a_file_name_into_a_command(value: str, rest: str) -> None:
    with pytest.raises(UsageError, match=r"^x\.ini:2: print: @\(exec://touch.*: exec:// is refused with data in it"):
        read(f"print = @($(A){rest}{'' if 'touch' in value else 'touch'} ran)", A=value)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("value", "place"), [("exec", "$(A)://"), ("//", "exec:$(A)"), ("/", "exec:$(A)/"), ("e", "$(A)xec://")]
)
def test_a_plain_word_cannot_turn_a_file_name_into_a_command(value: str, place: str) -> None:
    with pytest.raises(
        UsageError, match=r"^x\.ini:2: print: @\(exec://touch ran\): exec:// is refused with data in it"
    ):
        read(f"print = @({place}touch ran)", A=value)
    assert not Path("ran").exists()


def test_the_shell_s_own_variables_can_be_used_in_a_command() -> None:
    assert read('print = @(exec://echo "$A")', A=COMMAND, PATH=os.environ["PATH"]).printed == [COMMAND]


def test_references_in_the_content_of_a_file_are_not_expanded() -> None:
    Path("file").write_text("%(word) $(A) @(x.ini)\n")
    assert read("print = @(file)\nset = y=@(file)\nprint = %(y)", A="a").printed == ["%(word) $(A) @(x.ini)"] * 2


def test_data_stays_data_when_a_name_refers_to_it() -> None:
    assert read("a = $(A)%(word)\nset-ph = b=%(a)\nprint = %(a)-%(b)", A="%(word)").printed == [
        "%(word)expanded-%(word)expanded"
    ]


def test_thousands_of_references_to_nothing_stay_as_they_are() -> None:
    value = "$(no) %(no) " * 2000 + "$(A)"
    [printed] = read(f"print = {value}", A="a").printed
    assert printed == "$(no) %(no) " * 2000 + "a"


def test_a_chain_of_names_is_followed_up_to_a_depth() -> None:
    chain = "\n".join(f"a{number} = %(a{number + 1})" for number in range(90))
    assert read(f"{chain}\na90 = end\nprint = %(a0)").printed == ["end"]
    chain = "\n".join(f"a{number} = %(a{number + 1})" for number in range(5000))
    with pytest.raises(UsageError, match=r"more than 100 deep$"):
        read(f"print = %(a0)\n{chain}")


class Outside(NamedTuple):
    """Texts that a configuration takes from outside of its file."""

    variable: str
    content: str
    line: str
    found: str
    folder: str
    host: str
    account: str


@given(
    outside=st.builds(Outside, variable=ODD, content=ODD, line=ODD, found=NAMES, folder=NAMES, host=ODD, account=ODD)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_from_outside_is_ever_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: Outside
) -> None:
    variable, content, line, found, folder, host, account = outside
    home = tmp_path / "home" / folder
    for path in (home, tmp_path / "found"):
        path.mkdir(parents=True, exist_ok=True)
    for old in (tmp_path / "found").iterdir():
        old.unlink()
    (tmp_path / "found" / found).touch()
    Path("file").write_text(content)
    Path("lines").write_text(line + "\n")
    account_entry = namedtuple("account_entry", "pw_name")(account)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account_entry)
    lines = (
        f"v = <$(A)@({tmp_path}/file)%h%U%d>\nprint = %(v)\nprint = @$(A)<(%h)\nset-ph = p=%U\nprint = %(p)%(v)\n"
        f"for-readline = {tmp_path}/lines\nprint = %(_)\nendfor\nfor-glob = {tmp_path}/found/*\nprint = %(_)\nendfor\n"
        "if-env = A\nprint = %(_)%(_)\nendif"
    )
    loaded = read(lines, str(home / "x.ini"), A=variable)
    v = f"<{variable}{content}{host}{account}{home}/>"
    assert loaded.printed == [
        *(v, f"@{variable}<({host})", account + v),
        *(line, f"{tmp_path}/found/{found}", variable * 2),
    ]
    assert not list(tmp_path.rglob("ran"))


def test_the_name_of_a_directory_is_not_a_pattern() -> None:
    folder = Path("a[b]*")
    folder.mkdir()
    (folder / "one").touch()
    loaded = read("for-glob = %dw/../o*\nprint = %(_)\nendfor", f"{folder}/x.ini")
    assert loaded.printed == [f"{Path.cwd()}/{folder}/w/../o*"]
    (folder / "w").mkdir()
    loaded = read("for-glob = %dw/../o*\nprint = %(_)\nendfor", f"{folder}/x.ini")
    assert loaded.printed == [f"{Path.cwd()}/{folder}/w/../one"]


# Names and values that the kernel cannot take


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("x.json", '{"uwsgi": {\n"env": "A=\\ud800"}}', "x.json:2: 'env' holds half a surrogate pair"),
        ("x.json", '{"uwsgi": {\n"env": ["A", "A=\\udc80"]}}', "x.json:2: 'env' holds half a surrogate pair"),
        ("x.json", '{"uwsgi": {\n"a\\ud800": "x"}}', r"x.json:2: 'a\ud800' holds half a surrogate pair"),
        ("x.json", '{"uwsgi": {\n"a\\u0000": "x"}}', r"x.json:2: 'a\x00' holds a NUL byte"),
        ("x.yaml", 'uwsgi:\n  env: "A=\\ud800"\n', "x.yaml:2: 'env' holds half a surrogate pair"),
        ("x.yaml", 'uwsgi:\n  "a\\ud800": x\n', r"x.yaml:2: 'a\ud800' holds half a surrogate pair"),
        ("x.yaml", 'uwsgi:\n  env: "A=\\0"\n', "x.yaml:2: 'env' holds a NUL byte"),
        ("x.toml", '[fastpty]\nenv = "A=\\u0000"\n', "x.toml:2: 'env' holds a NUL byte"),
        ("x.ini", "[uwsgi]\nenv = A=\0\n", "x.ini:2: 'env' holds a NUL byte"),
        ("x.ini", "[uwsgi]\na\0b = A\n", r"x.ini:2: 'a\x00b' holds a NUL byte"),
        ("x.ini", "[uwsgi]\nfor-readline = nul\nenv = %(_)\n", "x.ini:3: 'env' holds a NUL byte"),
    ],
)
def test_a_name_or_value_that_the_kernel_cannot_take_is_refused_with_file_and_line(
    name: str, content: str, where: str
) -> None:
    Path("nul").write_text("A=\0\n")
    Path(name).write_text(content)
    with pytest.raises(UsageError) as refused:
        loader.load([Setting(name.rpartition(".")[2], name)], {})
    assert str(refused.value) == where


def test_json_keeps_invalid_utf8_and_whole_surrogate_pairs() -> None:
    Path("x.json").write_bytes(b'{"uwsgi": {"env": "A=\\ud83d\\ude00\xff\xe2\x82\xac"}}')
    [setting] = loader.load([Setting("json", "x.json")], {}).settings
    assert os.fsencode(setting.value or "") == b"A=\xf0\x9f\x98\x80\xff\xe2\x82\xac"
