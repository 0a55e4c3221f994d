"""The syntax of ini files, on its own and compared with real uWSGI. test_language.py is about the language in them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from fastpty.configuration.language import loader
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError
from tests.support.peers import need

ODDITIES = """\
; a comment
   # an indented comment
[uwsgi]
  indented = yes
nokey
quoted = "x y"
single = 'q'
hash = a # b
semi = a ; b
eq = a=b=c
empty =
colon: value
cont = one \\
two
   tail = spaces   \t
MiXed = Case
key with spaces = v
again = 1
[other]
ignored = 1
not even a setting
[uwsgi]
again = 2
"""


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "x.ini"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(path: str) -> list[Setting]:
    return loader.load([Setting("ini", path)], {}).settings


def pairs(path: str) -> list[tuple[str, str | None]]:
    return [(setting.name, setting.value) for setting in read(path)]


def as_uwsgi_reads(path: str) -> list[tuple[str, str]]:
    """The output of `uwsgi --show-config`, without the two lines for the arguments of this test."""
    # uWSGI exits soon after the listing, because it has no socket; with `--exit` it would exit before.
    shown = subprocess.run(
        [need("uwsgi"), "--ini", path, "--show-config"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    output = shown.stdout + shown.stderr
    listing = output.partition(";uWSGI instance configuration\n[uwsgi]\n")[2].partition(";end of")[0]
    lines = [line.partition(" = ")[::2] for line in listing.splitlines()]
    return [(key, value) for key, value in lines if key not in ("ini", "show-config")]


@pytest.mark.parametrize("content", [ODDITIES, ODDITIES.replace("\n", "\r\n"), ODDITIES.rstrip("\n")])
def test_it_reads_what_uwsgi_reads(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    expected = as_uwsgi_reads(path)
    assert len(expected) > 10
    assert [(name, value or "") for name, value in pairs(path)] == expected


def test_values_are_verbatim_and_order_and_repetition_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "[uwsgi]\nb = 1 ; x # y\na = '2'\nb = 3\\\n")
    assert pairs(path) == [("b", "1 ; x # y"), ("a", "'2'"), ("b", "3\\")]


def test_each_setting_knows_its_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "# first\n[uwsgi]\n\na = 1\n")
    assert [setting.origin for setting in read(path)] == [f"{path}:4"]


def test_a_key_alone_has_no_value_and_a_key_with_equals_has_an_empty_one(
    tmp_path: Path,
) -> None:
    assert pairs(write(tmp_path, "[uwsgi]\nbare\nempty =\n")) == [("bare", None), ("empty", "")]


@pytest.mark.parametrize("name", ["fastpty", "uwsgi"])
def test_a_section_of_either_name_is_read_and_others_are_not(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"[{name}]\na = 1\n[emperor]\nb = 2\n[{name}]\nc = 3\n")
    assert pairs(path) == [("a", "1"), ("c", "3")]


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(tmp_path: Path) -> None:
    assert pairs(write(tmp_path, b"\xef\xbb\xbf[uwsgi]\r\na = 1\r\n")) == [("a", "1")]


def test_bytes_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    [(_, value)] = pairs(write(tmp_path, b"[uwsgi]\na = /tmp/\xff\xfe\n"))
    assert value is not None
    assert os.fsencode(value) == b"/tmp/\xff\xfe"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("chroot = /x\n[uwsgi]\n", 1, "before the first section: put .fastpty. above it"),
        ("<uwsgi>\n<master/>\n</uwsgi>\n", 1, "this looks like XML, not like an ini file: name the file with --xml"),
        ('{"uwsgi": {}}', 1, "this looks like JSON, not like an ini file: name the file with --json"),
        ("[uwsgi]\n[unclosed\n", 2, "not a section"),
        ("[uwsgi]\n= value\n", 2, "no option before the ="),
        ("[uwsgi]\na = b\0c\n", 2, "NUL"),
    ],
)
def test_a_meaningless_line_is_an_error_with_file_and_line(
    tmp_path: Path, content: str, line: int, reason: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError, match=f"^{re.escape(path)}:{line}: .*{reason}"):
        read(path)


def test_a_file_without_the_section_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "[other]\na = 1\n")
    with pytest.raises(UsageError, match=r"x\.ini: there is no \[fastpty\] or \[uwsgi\] section"):
        read(path)


def test_a_file_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read(str(tmp_path / "missing.ini"))
    with pytest.raises(UsageError, match="Is a directory"):
        read(str(tmp_path))
    with pytest.raises(UsageError, match="'ini' holds a NUL byte"):
        read("a\0b.ini")
