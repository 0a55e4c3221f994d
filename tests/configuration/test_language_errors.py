"""Errors of the configuration language: each names its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastpty.configuration.language import loader
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError
from tests.configuration.conftest import Read, values


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("if-env = A\nif-env = B", r"x\.ini:3: if-env stands inside x\.ini:2: if-env: blocks cannot be nested"),
        ("for = a\nfor = b", r"x\.ini:3: for stands inside x\.ini:2: for"),
        ("if-env =", r"x\.ini:2: if-env needs a value"),
        ("for-glob", r"x\.ini:2: for-glob needs a value"),
        ("for-times = x\nuid = 1", r"x\.ini:2: for-times: x: 'x' is not a whole number"),
        ("for-times = 1000000\nuid = %(_)", r"x\.ini:3: uid: more than 100000 settings"),
        ("for-readline = nope\nuid = 1", r"x\.ini:2: for-readline: nope: No such file"),
        ("if-hostname-match = (\nuid = 1", r"x\.ini:2: if-hostname-match: '\(' is not a regular expression"),
        ("for = a\nelse", r"x\.ini:3: else without an if"),
        ("else", r"x\.ini:2: else without an if"),
        ("if-env = A\nelse\nelse", r"x\.ini:4: else without an if"),
        ("set = abc", r"x\.ini:2: set: 'abc' is not NAME=VALUE"),
        ("set-ph = =1", r"x\.ini:2: set-ph: '=1' is not NAME=VALUE"),
        ("set = set=a=b", r"x\.ini:2: set: set cannot be set"),
        ("set = if-env=A", r"x\.ini:2: set: if-env cannot be set"),
        ("set-ph = uid=1", r"x\.ini:2: uid is an option and cannot be a placeholder"),
        ("set-ph = chroot=1", r"x\.ini:2: chroot is an option"),
        ("include =", r"x\.ini:2: include needs a value: FILE"),
        ("ini = nope.ini", r"x\.ini:2: ini: nope\.ini: cannot read this file: No such file"),
        (
            "include = nope",
            r"x\.ini:2: include: nope: the format of this file is unknown: its name must end with one of \.ini, ",
        ),
        ("ini = http://x/y.ini", r"x\.ini:2: ini: http://x/y\.ini: http is not supported"),
        ("ini = x.ini:nope", r"x\.ini:2: ini: x\.ini: there is no \[nope\] section"),
        ("ini = a\0b", r"x\.ini:2: 'ini' holds a NUL byte"),
        ("print = 50%", r"x\.ini:2: '50%' ends with a single %: write %% for a %"),
        ("print = @(nope)", r"x\.ini:2: print: @\(nope\): No such file"),
        ("print = @(.)", r"x\.ini:2: print: @\(\.\): Is a directory"),
        ("print = @(/dev/zero)", r"x\.ini:2: print: @\(/dev/zero\): it is a device, not a regular file"),
        ("print = @(http://x)", r"x\.ini:2: print: @\(http://x\): http is not supported"),
        ("print = @(exec://exit 3)", r"x\.ini:2: print: @\(exec://exit 3\): the command exited with status 3"),
        ("print = @(exec://kill -9 $$)", r"x\.ini:2: print: .*: the command died of signal 9"),
        (r"print = @(exec://printf '\0')", r"x\.ini:2: print: the value of @\(…\) holds a NUL byte"),
        ("a = x%(a)", r"x\.ini:2: a: %\(a\) refers to itself"),
        ("a = x%(b)\nb = y%(a)", r"x\.ini:2: a: %\(a\) refers to itself"),
        ("show-config = maybe", r"x\.ini:2: show-config: 'maybe' is neither true nor false"),
    ],
)
def test_an_error_names_file_and_line(read: Read, lines: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^{reason}"):
        read(lines)


def test_a_value_of_more_than_a_mebibyte_is_an_error(read: Read) -> None:
    Path("big").write_text("x" * (1 << 19))
    assert len(read("print = @(big)@(big)").printed[0]) == 1 << 20
    with pytest.raises(UsageError, match=r"^x\.ini:3: print becomes longer than 1 MiB$"):
        read("a = @(big)\nprint = %(a)-%(a)")


def test_an_expansion_that_doubles_again_and_again_is_an_error(read: Read) -> None:
    lines = [f"a{number} = %(a{number + 1})%(a{number + 1})" for number in range(30)]
    with pytest.raises(UsageError, match=r"^x\.ini:\d+: a\d+ becomes longer than 1 MiB$"):
        read("\n".join([*lines, "a30 = x"]))


def test_a_circle_of_files_is_an_error_that_names_them_all(read: Read) -> None:
    Path("y.ini").write_text("[uwsgi]\n\nif-env = A\nini = z.ini\nendif\n")
    Path("z.ini").write_text("[uwsgi]\ninclude = ./x.ini\n")
    assert values(read("include = y.ini\nuid = 1"), "uid") == ["1"]
    with pytest.raises(
        UsageError,
        match=r"^z\.ini:2: include: these files read each other in a circle: x\.ini:2 -> y\.ini:4 -> z\.ini:2$",
    ):
        read("include = y.ini", A="1")


def test_a_section_that_reads_itself_is_an_error(read: Read) -> None:
    with pytest.raises(UsageError, match=r"^x\.ini:4: ini: these files read each other in a circle"):
        read("ini = :other\n[other]\nini = :other")


def test_files_nest_up_to_a_depth(read: Read) -> None:
    for number in range(1, 40):
        Path(f"{number}.ini").write_text(f"[uwsgi]\nini = {number + 1}.ini\n")
    with pytest.raises(
        UsageError, match=r"^31\.ini:2: ini: files are nested more than 32 deep: x\.ini:2 -> 1\.ini:2"
    ):
        read("ini = 1.ini")


def test_a_word_of_the_language_in_the_environment_is_an_error(read: Read) -> None:
    with pytest.raises(UsageError, match=r"^\$FASTPTY_IF_ENV: if-env works in configuration files only"):
        read("", FASTPTY_IF_ENV="A")


def test_a_section_alone_needs_a_file_before_it() -> None:
    with pytest.raises(UsageError, match=r"^--ini: :x: no file has been read yet"):
        loader.load([Setting("ini", ":x")], {})
