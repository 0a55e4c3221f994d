"""The plain names of options: in every place where an option can stand, and beside uWSGI's own names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastpty.configuration.build import build
from fastpty.configuration.command_line import configure, parse
from fastpty.configuration.config import Config
from fastpty.configuration.language import loader
from fastpty.configuration.options import OPTIONS
from fastpty.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(*argv: str, **environ: str) -> tuple[Config, list[str]]:
    loaded = loader.load(parse(argv), environ)
    config, warnings = build(loaded.settings)
    return config, loaded.warnings + warnings


PLAIN = {
    "listen-raw": "/tmp/raw", "listen-uwsgi": "/tmp/uwsgi", "command": "top", "rows": "30", "cols": "100",
    "idle-timeout": "5m", "workers": "2", "stats": "/tmp/stats", "backlog": "7",
}  # fmt: skip
FILES = {
    "x.ini": ("[fastpty]\n", "{} = {}\n", ""),
    "x.json": ('{{"fastpty": {{\n', '"{}": "{}",\n', '"master": true}}}}'),
    "x.yaml": ("fastpty:\n", "  {}: {}\n", ""),
    "x.toml": ("[fastpty]\n", '{} = "{}"\n', ""),
    "x.xml": ("<fastpty>\n", "<{0}>{1}</{0}>\n", "</fastpty>"),
}


def check(config: Config) -> None:
    assert [address.text for address in config.addresses] == ["/tmp/raw", "/tmp/uwsgi", "/tmp/stats"]
    assert (config.command, config.rows, config.cols, config.idle_timeout_seconds) == ("top", 30, 100, 300)
    assert (config.processes, config.backlog) == (2, 7)


@pytest.mark.parametrize("name", list(FILES))
def test_a_plain_name_is_the_option_in_every_format(name: str) -> None:
    start, line, end = FILES[name]
    Path(name).write_text(start.format() + "".join(line.format(*pair) for pair in PLAIN.items()) + end.format())
    check(built(name)[0])


def test_a_plain_name_is_the_option_on_the_command_line_and_in_the_environment() -> None:
    check(built(*(f"--{name}={value}" for name, value in PLAIN.items()))[0])
    check(built(**{f"FASTPTY_{name.upper().replace('-', '_')}": value for name, value in PLAIN.items()})[0])


def test_every_option_of_uwsgi_s_routers_has_a_plain_name_first() -> None:
    assert [option.name for option in OPTIONS if option.name.startswith("forkpty")] == []


@pytest.mark.parametrize(
    ("name", "instead"), [("workers", "forkptyrouter-workers"), ("stats", "forkptyrouter-stats")]
)
def test_a_name_that_uwsgi_has_for_something_else_stays_uwsgi_s_where_uwsgi_reads_it(name: str, instead: str) -> None:
    Path("x.ini").write_text(f"[uwsgi]\nforkpty-router = s\n{name} = 4\n")
    line = f"is uWSGI's own option here (the router's is {instead}); ignored"
    config, warnings = built("x.ini")
    assert (config.processes, config.stats_addresses, warnings) == (1, (), [f"x.ini:3: {name} {line}"])
    Path("x.xml").write_text(f"<uwsgi><forkpty-router>s</forkpty-router>\n<{name}>4</{name}></uwsgi>")
    assert built("x.xml")[1] == [f"x.xml:2: {name} {line}"]
    assert built("s", **{f"UWSGI_{name.upper()}": "4"})[0].processes == 1
    Path("x.ini").write_text(f"[fastpty]\nlisten-raw = s\n{name} = 4\n")
    config, warnings = built("x.ini")
    assert warnings == []
    assert (config.processes, len(config.stats_addresses)) == ((4, 0) if name == "workers" else (1, 1))


def test_a_file_for_uwsgi_may_use_a_plain_name_as_a_placeholder() -> None:
    lines = "forkpty-router = s\nset-ph = rows=50\nforkptyrouter-rows = %(rows)\n"
    Path("x.ini").write_text(f"[uwsgi]\n{lines}")
    assert built("x.ini")[0].rows == 50
    Path("x.ini").write_text(f"[fastpty]\n{lines}")
    with pytest.raises(UsageError, match=r"^x\.ini:3: rows is an option and cannot be a placeholder: choose another"):
        built("x.ini")


# [fastpty] and [uwsgi] in one file

BOTH = {
    "x.ini": "[uwsgi]\nlisten-raw = u\nuid = 0\n[fastpty]\nlisten-raw = f\n",
    "x.json": '{"uwsgi": {"listen-raw": "u", "uid": 0},\n"fastpty": {"listen-raw": "f"}}',
    "x.yaml": "uwsgi:\n  listen-raw: u\n  uid: 0\nfastpty:\n  listen-raw: f\n",
    "x.toml": '[uwsgi]\nlisten-raw = "u"\nuid = 0\n[fastpty]\nlisten-raw = "f"\n',
    "x.xml": "<both><uwsgi><listen-raw>u</listen-raw><uid>0</uid></uwsgi>\n"
    "<fastpty><listen-raw>f</listen-raw></fastpty></both>",
}


@pytest.mark.parametrize("name", list(BOTH))
def test_a_fastpty_section_wins_and_a_warning_names_the_ignored_uwsgi_section(name: str) -> None:
    Path(name).write_text(BOTH[name])
    config, warnings = built(name)
    assert ([address.text for address in config.raw_addresses], config.uid) == (["f"], None)
    assert warnings == [f"{name}:1: [uwsgi] is ignored beside [fastpty] (include = :uwsgi reads it too)"]
    assert [address.text for address in built(f"{name}:uwsgi")[0].raw_addresses] == ["u"]


def test_a_fastpty_section_can_read_the_uwsgi_section_too() -> None:
    Path("x.ini").write_text("[uwsgi]\nuid = 0\nlisten-raw = u\n[fastpty]\ninclude = :uwsgi\nlisten-uwsgi = f\n")
    config = built("x.ini")[0]
    assert ([address.text for address in config.addresses], config.uid) == (["u", "f"], 0)


# Values as people write them


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('rows = "30"', "the quotes are part of the value: remove them"),
        ("rows = '30'", "the quotes are part of the value: remove them"),
        ("rows = 30 # lines", "the comment is part of the value: put it on a line of its own"),
        ("idle-timeout = 5m ; minutes", "the comment is part of the value: put it on a line of its own"),
    ],
)
def test_a_quote_or_comment_that_spoils_a_value_gets_a_hint(line: str, hint: str) -> None:
    Path("x.ini").write_text(f"[fastpty]\nlisten-raw = s\n{line}\n")
    with pytest.raises(UsageError, match=rf"^x\.ini:3: {line.split()[0]}: .* \({hint}\)$"):
        built("x.ini")


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        ('chdir = "/tmp"', True),
        ("chdir = /tmp # here", True),
        ('command = "bash -l"', True),
        ("command = bash -l # a shell reads this", False),
        ("command = sh -c 'a' 'b'", False),
        ("env = COLOR=#fff", False),
        ("strict", False),
    ],
)
def test_a_quote_or_comment_that_may_be_a_mistake_is_a_warning(line: str, *, warned: bool) -> None:
    Path("x.ini").write_text(f"[fastpty]\nlisten-raw = s\n{line}\n")
    warnings = built("x.ini")[1]
    assert len(warnings) == warned
    assert all(warning.startswith(f"x.ini:3: {line.split()[0]}: the ") for warning in warnings)


def test_a_format_with_quotes_of_its_own_and_the_command_line_get_no_hint() -> None:
    Path("x.toml").write_text("[fastpty]\nlisten-raw = 's'\nchdir = '\"/tmp\"'\n")
    assert built("x.toml")[1] == []
    assert configure(["s", "--chdir", '"/tmp"'])[1] == []


def test_an_error_of_toml_syntax_names_its_line() -> None:
    for content, line in (
        ("[fastpty]\nrows = \n", 2),
        ("[fastpty]\nrows = [1,\n\n", 2),
        ("[fastpty]\n\nrows 5\n", 3),
    ):
        Path("x.toml").write_text(content)
        with pytest.raises(UsageError, match=rf"^x\.toml:{line}: this is not TOML: [^()]+ \((column|at the end)"):
            built("x.toml")
