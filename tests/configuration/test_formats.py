"""JSON, YAML and TOML files: their settings with lines, and what is refused. test_language.py compares with uWSGI."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpty.configuration.command_line import parse
from fastpty.configuration.language import loader
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError

JSON = """{"note": {"forkpty-router": "no"},
  "uwsgi": {
    "forkpty-router": ["/tmp/a", "/tmp/b"],
    "forkptyrouter-rows" :
      30, "master": true, "env": "A=%n",
    "uid": 0
  },
  "other": {"splice": false}
}
"""
YAML = """# a comment
uwsgi:
  forkpty-router:
    - /tmp/a
    - /tmp/b
  forkptyrouter-rows: 30

  master: yes
  chmod-socket: 0660
  env: "A=%n"
  strict:
  insecure-tcp: ""
note: [1, {}]
"""
TOML = """note = 1
[fastpty]
forkpty-router = [
  "/tmp/a", "/tmp/b",
]
forkptyrouter-rows = 30
master = true
stop-timeout = 1.50
"env" = "A=%n"
'chmod-socket' = '0660'
[other]
master = false
splice = false
"""


def read(folder: Path, name: str, content: str, option: str | None = None) -> list[tuple[str, str | None, str]]:
    (folder / name).write_text(content)
    [flag] = parse([str(folder / name)])
    loaded = loader.load([Setting(option or flag.name, flag.value)], {})
    assert loaded.warnings == []
    return [(s.name, s.value, s.origin.removeprefix(f"{folder}/")) for s in loaded.settings]


def test_json_gives_settings_with_their_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "x.json", JSON) == [
        ("forkpty-router", "/tmp/a", "x.json:3"),
        ("forkpty-router", "/tmp/b", "x.json:3"),
        ("forkptyrouter-rows", "30", "x.json:5"),
        ("master", "1", "x.json:5"),
        ("env", "A=x", "x.json:5"),
        ("uid", "0", "x.json:6"),
    ]


@pytest.mark.parametrize("name", ["x.yaml", "x.yml"])
def test_yaml_gives_settings_with_their_lines(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, YAML) == [
        ("forkpty-router", "/tmp/a", f"{name}:4"),
        ("forkpty-router", "/tmp/b", f"{name}:5"),
        ("forkptyrouter-rows", "30", f"{name}:6"),
        ("master", "yes", f"{name}:8"),
        ("chmod-socket", "0660", f"{name}:9"),
        ("env", "A=x", f"{name}:10"),
        ("strict", None, f"{name}:11"),
        ("insecure-tcp", "", f"{name}:12"),
    ]


def test_toml_gives_settings_with_their_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "x.toml", TOML) == [
        ("forkpty-router", "/tmp/a", "x.toml:3"),
        ("forkpty-router", "/tmp/b", "x.toml:3"),
        ("forkptyrouter-rows", "30", "x.toml:6"),
        ("master", "1", "x.toml:7"),
        ("stop-timeout", "1.50", "x.toml:8"),
        ("env", "A=x", "x.toml:9"),
        ("chmod-socket", "0660", "x.toml:10"),
    ]


def test_an_inline_table_is_on_the_line_of_its_file(tmp_path: Path) -> None:
    assert read(tmp_path, "x.toml", "fastpty = {uid = 0}\n") == [("uid", "0", "x.toml:1")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", '{"jail": {"uid": 0}, "uwsgi": 1}'),
        ("x.yaml", "jail:\n  uid: 0\nuwsgi: 1\n"),
        ("x.toml", "uwsgi = 1\n[jail]\nuid = 0\n"),
    ],
)
def test_another_object_can_be_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    [flag] = parse([f"{tmp_path}/{name}:jail"])
    assert [(s.name, s.value) for s in loader.load([flag], {}).settings] == [("uid", "0")]


@pytest.mark.parametrize("option", ["json", "js", "yaml", "yml", "toml"])
def test_the_option_decides_the_format_whatever_the_file_is_called(tmp_path: Path, option: str) -> None:
    content = "[uwsgi]\nuid = 0\n" if option == "toml" else '{"uwsgi": {"uid": 0}}'
    (tmp_path / "settings.conf").write_text(content)
    for argv in ([f"--{option}", f"{tmp_path}/settings.conf"], [f"--{option}={tmp_path}/settings.conf"]):
        assert [s.value for s in loader.load(parse(argv), {}).settings] == ["0"]


def test_logic_and_includes_work_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.ini").write_text("[uwsgi]\ninclude = x.toml\n")
    Path("x.toml").write_text('[fastpty]\nif-env = "A"\nyaml = "x.yaml"\nendif = ""\n')
    Path("x.yaml").write_text("uwsgi:\n  for: a b\n  env: X=%(_)\n  endfor:\n  json: x.json\n")
    Path("x.json").write_text('{"uwsgi": {"uid": "$(A)"}}')
    found = loader.load([Setting("ini", "x.ini")], {"A": "7"})
    assert [(s.value, s.origin) for s in found.settings] == [
        *(("X=a", "x.yaml:3"), ("X=b", "x.yaml:3"), ("7", "x.json:1")),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.json", '{"uwsgi": {\n"a" 1}}', r":2: this is not JSON: Expecting ':' delimiter \(column 5\)"),
        ("x.json", "", ":1: this is not JSON"),
        ("x.json", "[" * 100_000, ": this JSON is nested too deeply"),
        ("x.json", '["uwsgi"]', ":1: expected an object"),
        ("x.json", '{\n"uwsgi": [1]}', ":2: expected an object"),
        ("x.json", '{"x": {}}', r": there is no \[fastpty\] or \[uwsgi\] section"),
        ("x.json", '{"uwsgi":\n{"a": null}}', ":2: a should be a text, a number"),
        ("x.json", '{"uwsgi":\n{"a": {"b": 1}}}', ":2: a should be a text, a number"),
        ("x.json", '{"uwsgi":\n{"a": [["b"]]}}', ":2: a should be a text, a number"),
        ("x.json", '{"uwsgi":\n{"a": NaN}}', ":2: a should be a text, a number"),
        ("x.json", '{"uwsgi":\n{"a": "\\u0000"}}', ":2: 'a' holds a NUL byte"),
        ("x.json", '{"uwsgi":\n{"a": "50%"}}', ":2: '50%' ends with a single %"),
        ("x.yaml", "uwsgi:\n  a: 'x\n", r":\d: this is not YAML"),
        ("x.yaml", "uwsgi:\n  a: \x01\n", ": this is not YAML"),
        ("x.yaml", "- uwsgi\n", ":1: expected a mapping"),
        ("x.yaml", "", ":1: expected a mapping"),
        ("x.yaml", "uwsgi:\n  - a: 1\n", ":1: expected a mapping"),
        ("x.yaml", "x: {}\n", r": there is no \[fastpty\] or \[uwsgi\] section"),
        ("x.yaml", "uwsgi:\n  a:\n    b: 1\n", ":3: a should be a text or a list of texts"),
        ("x.yaml", "uwsgi:\n  ? [a]\n  : 1\n", ":1: a name should be a text"),
        ("x.toml", "[uwsgi]\na = \n", r":2: this is not TOML: Invalid value \(column 5\)"),
        ("x.toml", "a = " + "[" * 100_000, ": this TOML is nested too deeply"),
        ("x.toml", "a = " + "9" * 5000, ": this is not TOML"),
        ("x.yaml", "a: " + "[" * 5000, ": this YAML is nested too deeply"),
        ("x.toml", "[x]\n", r": there is no \[fastpty\] or \[uwsgi\] section"),
        ("x.toml", "uwsgi = 1\n", ":1: expected an object"),
        ("x.toml", "[uwsgi]\n\n[uwsgi.a]\nb = 1\n", ":1: a should be a text, a number"),
        ("x.toml", "[uwsgi]\nchmod-socket = 0o660\n", ":2: chmod-socket: put this number in quotes"),
        ("x.toml", "[uwsgi]\na = 2026-11-24\n", ":2: a should be a text, a number"),
    ],
)
def test_a_malformed_file_is_an_error_with_file_and_line(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=f"^{tmp_path}/{name}{reason}"):
        read(tmp_path, name, content)


def test_yaml_without_pyyaml_is_an_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(YAML)
    program = (
        "import sys; sys.modules['yaml'] = None; "
        "from fastpty.configuration.command_line import configure; configure(sys.argv[1:])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, f"{tmp_path}/x.yaml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"fastpty-router: {tmp_path}/x.yaml: YAML needs PyYAML: "
        "pip install 'fastpty[yaml]' or apt-get install python3-yaml\n"
    )


PIECES = [
    "[uwsgi]",
    "[",
    "]",
    "{",
    "}",
    "uwsgi",
    ":",
    "=",
    ",",
    '"',
    "'",
    "\n",
    "- ",
    "  ",
    "a",
    "1",
    "true",
    "#",
    "%",
    "(",
    "$(A)",
]
PIECES += ["if-env = A", "endif", "for = a b", "set = a=b", "%(a)", "@(x)", "\0", "\\", "\ud800", "&a ", "*a", "0x1"]


@pytest.mark.parametrize("name", ["x.ini", "x.json", "x.yaml", "x.toml"])
@given(content=st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map("".join)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_either_read_or_refused(tmp_path: Path, name: str, content: bytes | str) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (tmp_path / name).write_bytes(data)
    with contextlib.suppress(UsageError):
        loader.load(parse([f"{tmp_path}/{name}"]), {"A": "x"})
