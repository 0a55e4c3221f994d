"""XML files: what they give, with which lines, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fastpty.configuration.build import build
from fastpty.configuration.command_line import parse
from fastpty.configuration.language import loader
from fastpty.configuration.language.loader import Loaded
from fastpty.errors import UsageError
from tests.support.peers import need

DOCUMENT = """<?xml version="1.0"?>
<!-- a comment -->
<uwsgi>
  <master/>
  <env>A=%n</env>
  <env> B= x </env>
  <env>C=&lt;1&gt; &#38; 2</env>
  <strict></strict>
  <if-env>WANTED</if-env>
  <env>D=%(_)</env>
  <endif/>
</uwsgi>
"""


def read(folder: Path, content: str, section: str = "", **environ: str) -> Loaded:
    (folder / "x.xml").write_text(content)
    return loader.load(parse([f"{folder}/x.xml{section}"]), environ)


def values(folder: Path, content: str, section: str = "") -> list[str | None]:
    return [setting.value for setting in read(folder, content, section).settings]


def test_each_option_has_its_value_and_line(tmp_path: Path) -> None:
    found = read(tmp_path, DOCUMENT, WANTED="yes").settings
    assert [(s.name, s.value, s.origin.removeprefix(f"{tmp_path}/")) for s in found] == [
        ("master", None, "x.xml:4"),
        ("env", "A=x", "x.xml:5"),
        ("env", " B= x ", "x.xml:6"),
        ("env", "C=<1> & 2", "x.xml:7"),
        ("strict", None, "x.xml:8"),
        ("env", "D=yes", "x.xml:10"),
    ]


@pytest.mark.parametrize(
    ("content", "section"),
    [
        (DOCUMENT, ""),
        ("<vhost><uwsgi id='a'><env>A=a</env></uwsgi><uwsgi id='b'><env>A=b</env></uwsgi></vhost>", ""),
        ("<vhost><uwsgi id='a'><env>A=a</env></uwsgi><uwsgi id='b'><env>A=b</env></uwsgi></vhost>", ":b"),
        ("<uwsgi id='b'><env>A=b</env></uwsgi>", ":b"),
    ],
)
def test_it_reads_what_uwsgi_reads(tmp_path: Path, content: str, section: str) -> None:
    (tmp_path / "x.xml").write_text(content)
    shown = subprocess.run(
        [need("uwsgi"), "--xml", f"{tmp_path}/x.xml{section}", "--show-config"],
        capture_output=True, text=True, timeout=60, check=False, env={"WANTED": "yes"},
    )  # fmt: skip
    listing = (shown.stdout + shown.stderr).partition("[uwsgi]\n")[2].partition(";end of")[0].splitlines()
    theirs = [line for line in listing if line.startswith(("env =", "master ="))]
    assert theirs
    found = read(tmp_path, content, section, WANTED="yes").settings
    ours = [f"{s.name} = {'1' if s.value is None else s.value}" for s in found if s.name != "strict"]
    assert ours == theirs


@pytest.mark.parametrize("argv", [["--xml"], ["--xmlconfig"]])
def test_an_option_names_a_file_with_another_ending(tmp_path: Path, argv: list[str]) -> None:
    (tmp_path / "app.conf").write_text("<uwsgi><uid>0</uid></uwsgi>")
    found = loader.load(parse([*argv, f"{tmp_path}/app.conf"]), {}).settings
    assert [setting.value for setting in found] == ["0"]


def test_an_unknown_option_is_a_warning_in_uwsgi_s_element_and_an_error_in_ours(tmp_path: Path) -> None:
    content = "<{0}>\n<listen-raw>s</listen-raw>\n<processes>4</processes>\n</{0}>"
    assert build(read(tmp_path, content.format("uwsgi")).settings)[1] == [
        f"{tmp_path}/x.xml:3: unknown option 'processes'; ignored"
    ]
    with pytest.raises(UsageError, match=r"x\.xml:3: unknown option 'processes'$"):
        build(read(tmp_path, content.format("fastpty")).settings)


ENTITIES = """<!DOCTYPE uwsgi [
<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>
<uwsgi><env>A=&c;</env></uwsgi>"""
FOREIGN = '<!DOCTYPE uwsgi SYSTEM "file:///etc/passwd"><uwsgi><env>A=1</env></uwsgi>'


@pytest.mark.parametrize("content", [ENTITIES, FOREIGN, "<!DOCTYPE uwsgi><uwsgi/>"])
def test_a_document_type_is_refused(tmp_path: Path, content: str) -> None:
    """It could declare entities that grow without end, or that name other files."""
    with pytest.raises(UsageError, match=r"x\.xml:1: a document type \(<!DOCTYPE\) is not supported$"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", r":1: this is not XML: no element found \(column 1\)"),
        ("<uwsgi>\n<env>A=1</uwsgi>", r":2: this is not XML: mismatched tag \(column \d+\)"),
        ("<uwsgi>\n<env>A=&nope;</env></uwsgi>", ":2: this is not XML: undefined entity"),
        ("<uwsgi>\n<env><sub>1</sub></env></uwsgi>", ":2: sub stands inside another option"),
        ("<uwsgi>\ntext\n<master/></uwsgi>", ":[123]: 'text' stands outside of an option"),
        ("<html><body/></html>", r": there is no \[fastpty\] or \[uwsgi\] section"),
        ("<a><b><uwsgi><uid>0</uid></uwsgi></b></a>", r": there is no \[fastpty\] or \[uwsgi\] section"),
        ("<uwsgi><master/></uwsgi>", r": there is no \[nope\] section"),
        ("<uwsgi>\n<env>50%</env></uwsgi>", ":2: '50%' ends with a single %"),
    ],
)
def test_a_malformed_file_is_an_error_with_file_and_line(tmp_path: Path, content: str, reason: str) -> None:
    section = ":nope" if "nope" in reason else ""
    with pytest.raises(UsageError, match=f"^{tmp_path}/x.xml{reason}"):
        read(tmp_path, content, section)


def test_the_encoding_is_utf8_whatever_the_document_declares(tmp_path: Path) -> None:
    assert values(tmp_path, "<?xml version='1.0' encoding='iso-8859-1'?><uwsgi><env>A=\u20ac</env></uwsgi>") == [
        "A=\u20ac"
    ]


def test_bytes_that_are_not_utf8_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_bytes(b"<uwsgi><env>A=\xff</env></uwsgi>")
    with pytest.raises(UsageError, match=r"x\.xml:1: this is not XML: not well-formed"):
        loader.load(parse([f"{tmp_path}/x.xml"]), {})
