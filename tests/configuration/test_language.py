"""The configuration language: compared with real uWSGI value by value, and where it differs. Errors:
test_language_errors.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpty.configuration.build import build
from fastpty.configuration.language import blocks as logic
from fastpty.configuration.language import loader
from fastpty.configuration.language.setting import Setting
from tests.configuration.conftest import Read, values
from tests.support.peers import need

CORPUS = Path(__file__).with_name("corpus")
ENVIRON = {
    "CORPUS": "value",
    "CORPUS_ODD": "a 'b'; <c> & d|e",
    "CORPUS_FOLDER": "more",
    "PATH": os.environ["PATH"],
}


def as_uwsgi_reads(path: str) -> str:
    """The output of `uwsgi --show-config`, without the two lines for the arguments of this test."""
    flag = path.rpartition(".")[2]
    shown = subprocess.run(
        [need("uwsgi"), f"--{flag}", path, "--show-config"], capture_output=True, timeout=60, check=False, env=ENVIRON
    )
    output = os.fsdecode(shown.stdout + shown.stderr)
    listing = output.partition(f";uWSGI instance configuration\n[uwsgi]\n{flag} = {path}\n")[2]
    assert listing, output
    return listing.partition(";end of")[0].replace("show-config = true\n", "", 1)


def as_we_read(path: str) -> str:
    flag = path.rpartition(".")[2]
    loaded = loader.load([Setting(flag, path), Setting("show-config", None)], ENVIRON)
    assert loaded.listing is not None
    ours = [setting for setting in loaded.listing if setting.origin != "command line"]
    return "".join(f"{setting.name} = {setting.value or ''}\n" for setting in ours)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "corpus"
    shutil.copytree(CORPUS, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", sorted(file.name for file in CORPUS.iterdir() if file.is_file()))
def test_a_file_means_what_it_means_to_uwsgi(corpus: Path, name: str) -> None:
    theirs = as_uwsgi_reads(name)
    assert theirs.count("\n") > 8
    assert as_we_read(name) == theirs


@pytest.mark.parametrize(
    "name", ["noending", "two.dots.ini", ".hidden", "dot.d/noending", "a b.ini", "./two.dots.ini"]
)
def test_magic_variables_of_odd_names_are_uwsgis(corpus: Path, name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    shutil.copy("magic.ini", name)
    Path(name).write_text(Path(name).read_text().partition("[%n]")[0])
    loaded = loader.load([Setting("ini", name), Setting("show-config", None)], ENVIRON)
    shown = subprocess.run(
        [need("uwsgi"), "--ini", name, "--show-config"], capture_output=True, text=True, timeout=60, check=False
    )
    theirs = [line for line in (shown.stdout + shown.stderr).splitlines() if line.startswith(("file =", "number ="))]
    assert len(theirs) == 2
    assert [f"{s.name} = {s.value}" for s in loaded.listing or () if s.name in ("file", "number")] == theirs


@pytest.mark.parametrize("name", ["link.ini", "/absolute"])
def test_magic_variables_of_a_link_hold_the_link_s_own_name(corpus: Path, name: str) -> None:
    os.symlink("magic.ini", "link.ini")
    shutil.rmtree("more")
    Path("magic.ini").write_text("[uwsgi]\n" + "file = %n|%s|%e|%p|%d|%c|%i|%j\n" * 9)
    name = name if name == "link.ini" else str(corpus / "link.ini")
    assert as_we_read(name) == as_uwsgi_reads(name)


# Pieces of random values. Two cases are left out: references in the content of variables and files, which only uWSGI
# expands (test_config_data.py), and a second `%(` at the very start of a value, which uWSGI does not see.
PIECES = [
    "$(A)",
    "$(NO)",
    "%(k1)",
    "%(k2)",
    "%(no)",
    "@(more/one.txt)",
    "%n",
    "%%",
    "%e",
    "(",
    ")",
    "$",
    "@x",
    " ",
    "x",
]
VALUES = st.lists(
    st.lists(st.sampled_from(PIECES), max_size=6).map(lambda pieces: "v" + "".join(pieces)), max_size=60
)


@given(values=VALUES)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_of_any_pieces_mean_what_they_mean_to_uwsgi(
    corpus: Path, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRON, "A", "a; b'c")
    lines = [f"v{number} = {value}" for number, value in enumerate(values)]
    Path("random.ini").write_text("\n".join(["[uwsgi]", *lines, "k1 = one", "k2 = <%(k1)>", ""]))
    assert as_we_read("random.ini") == as_uwsgi_reads("random.ini")


OPENERS = [
    "if-env = A",
    "if-env = A=1",
    "if-not-env = NO",
    "if-not-env = A=1",
    "if-opt = x",
    "if-opt = x=x1",
    "if-not-opt = y",
]
OPENERS += [
    "if-exists = more",
    "if-file = more",
    "if-dir = more",
    "for = 1 2",
    "for-times = 2",
    "for-glob = more/i*",
    "for =",
]
LINES = [
    "x = x1",
    "x = x2%(_)",
    "y = %(_)%(x)",
    "set-ph = z=%(_)",
    "set = y=%(z)%(_)",
    "include = more/included.ini",
    "bare",
]
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(["", *OPENERS]),
        st.lists(st.sampled_from(LINES), max_size=4),
        st.sampled_from(sorted(logic.ENDS)),
    ),
    min_size=1,
    max_size=12,
)


@given(blocks=BLOCKS)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_of_any_lines_mean_what_they_mean_to_uwsgi(
    corpus: Path, blocks: list[tuple[str, list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRON, "A", "1")
    lines = [line for opener, body, end in blocks for line in (opener, *body, end)]
    Path("random.ini").write_text("\n".join(["[uwsgi]", *lines, "last = v%(x)-%(y)-%(z)", ""]))
    assert as_we_read("random.ini") == as_uwsgi_reads("random.ini")


# Behaviour without a counterpart in uWSGI


def test_each_setting_keeps_its_origin_through_loops_conditions_sets_and_includes(read: Read) -> None:
    Path("y.ini").write_text("\n\n[uwsgi]\nenv = Y=1\n")
    lines = (
        "for = a b\nenv = %(_)=1\nenv = X=%(_)\nendfor\nif-file = x.ini\ninclude = y.ini\nset = uid=0\nendif\nenv=Z=1"
    )
    assert [(setting.value, setting.origin) for setting in read(lines).settings] == [
        *(("a=1", "x.ini:3"), ("b=1", "x.ini:3"), ("X=a", "x.ini:4"), ("X=b", "x.ini:4")),
        *(("Y=1", "y.ini:4"), ("0", "x.ini:8"), ("Z=1", "x.ini:10")),
    ]


def test_flags_win_over_files_and_files_over_the_environment(read: Read) -> None:
    flag = Setting("forkptyrouter-rows", "3")
    loaded = read("forkptyrouter-rows = 2", flag, UWSGI_FORKPTYROUTER_ROWS="1", FASTPTY_FORKPTYROUTER_ROWS="11")
    assert [(setting.value, setting.origin) for setting in loaded.settings] == [
        *(("1", "$UWSGI_FORKPTYROUTER_ROWS"), ("11", "$FASTPTY_FORKPTYROUTER_ROWS")),
        *(("2", "x.ini:2"), ("3", "command line")),
    ]


def test_placeholders_of_flags_win_over_those_of_files_and_those_over_the_environment(read: Read) -> None:
    lines = "set-ph = a=file\nset-ph = b=file\nset-ph = a=again\nprint = %(a) %(b) %(c)"
    loaded = read(lines, Setting("set-ph", "a=flag"), UWSGI_A="env", UWSGI_B="env", UWSGI_C="env")
    assert loaded.printed == ["flag file env"]


def test_conditions_see_flags_after_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.ini").write_text("[uwsgi]\nif-opt = master\nenv = A=1\nendif\n")
    loaded = loader.load([Setting("ini", "x.ini"), Setting("master", None)], {})
    assert values(loaded, "env") == ["A=1"]


def test_unknown_uwsgi_variables_are_ignored_and_unknown_ones_of_ours_are_warnings(read: Read) -> None:
    ours = {"FASTPTY_TEST_X": "", "FASTPTY_BUILD": "debug", "FASTPTY_REQUIRE_PEERS": "1", "FASTPTY_MELON": "1"}
    loaded = read("", UWSGI_ORIGINAL_PROC_NAME="uwsgi", UWSGI_RELOADS="0", UWSGI_NONSENSE="x", **ours)
    assert loaded.settings == []
    assert loaded.warnings == ["$FASTPTY_MELON: unknown option 'melon'; ignored"]


@pytest.mark.parametrize("variable", ["UWSGI_INI", "UWSGI_INCLUDE", "FASTPTY_INHERIT"])
def test_a_file_that_the_environment_names_is_read(read: Read, variable: str) -> None:
    Path("y.ini").write_text("[uwsgi]\nuid = 0\n")
    assert [setting.origin for setting in read("", **{variable: "y.ini"}).settings] == ["y.ini:2"]


def test_an_option_for_the_command_line_alone_is_unknown_in_a_file(read: Read) -> None:
    assert build(read("check\nforkpty-router = s").settings)[1] == ["x.ini:2: unknown option 'check'; ignored"]


def test_real_uwsgi_takes_the_same_variables(read: Read, tmp_path: Path) -> None:
    read("print = <%(foo-bar)> <%(umask)>")
    environ = {"UWSGI_FOO_BAR": "x", "UWSGI_UMASK": "022", "PATH": os.environ["PATH"]}
    shown = subprocess.run(
        [need("uwsgi"), "--ini", "x.ini"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "<x> <022>\n" in shown.stdout + shown.stderr
    assert loader.load([Setting("ini", "x.ini")], environ).printed == ["<x> <022>"]


def test_else_inverts_the_condition(read: Read) -> None:
    lines = "if-env = A\nenv = X=%(_)\nelse\nenv = X=none\nendif\nif-not-env = A\nenv=Y=1\nelse\nenv = Y=%(_)\nendif"
    assert values(read(lines, A="1"), "env") == ["X=1", "Y=1"]
    assert values(read(lines), "env") == ["X=none", "Y=1"]


def test_if_reload_is_true_in_a_reload_only(read: Read) -> None:
    read("if-reload\nuid = 1\nendif\nif-not-reload\nuid = 2\nendif")
    assert values(loader.load([Setting("ini", "x.ini")], {}), "uid") == ["2"]
    assert values(loader.load([Setting("ini", "x.ini")], {}, is_reload=True), "uid") == ["1"]


def test_if_plugin_is_true_for_the_replaced_plugins(read: Read) -> None:
    assert values(read("if-plugin = forkptyrouter\nuid = 1\nendif\nif-plugin = python\nuid = 2\nendif"), "uid") == [
        "1"
    ]


def test_a_section_can_be_given_wherever_a_file_is_named(read: Read) -> None:
    Path("y.ini").write_text("[uwsgi]\nuid = 1\n[jail]\nuid = 2\n")
    assert values(read("include = y.ini:jail"), "uid") == ["2"]
    assert values(read("inherit = y.ini:jail"), "uid") == ["2"]
    assert values(loader.load([Setting("ini", "y.ini:jail")], {}), "uid") == ["2"]
    assert values(loader.load([Setting("ini", "y.ini:")], {}), "uid") == ["1"]


def test_a_path_with_a_colon_in_a_directory_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "x.ini").write_text("[uwsgi]\nuid = 1\n")
    assert values(loader.load([Setting("ini", f"{folder}/x.ini")], {}), "uid") == ["1"]


def test_the_content_of_a_file_and_the_output_of_a_command_are_not_expanded(read: Read) -> None:
    Path("data").write_text("@(exec://echo pwned) @(x.ini) $(A) %(word)\n")
    assert read("print = [@(data)]\nword = w", A="a").printed == ["[@(exec://echo pwned) @(x.ini) $(A) %(word)]"]
    assert read(r"print = @(exec://printf '\100(data)')").printed == ["@(data)"]


def test_data_can_be_the_name_in_a_reference(read: Read) -> None:
    Path("data").write_text("one\n")
    Path("one").write_text("1\n")
    lines = "for-readline = data\nprint = @(%(_)) $(%(_)) %(%(_)) %(_)\ninclude = %(_).ini\nendfor\none = option"
    Path("one.ini").write_text("[uwsgi]\nuid = 1\n")
    loaded = read(lines, one="variable")
    assert loaded.printed == ["1 variable option one"]
    assert values(loaded, "uid") == ["1"]


def test_a_command_on_the_command_line_runs(read: Read) -> None:
    assert read("", Setting("print", "@(exec://echo hi)")).printed == ["hi"]


def test_a_reference_to_nothing_is_a_warning_if_it_looks_like_one(read: Read) -> None:
    lines = "chdir = /%(naem)\nset-ph = p=$(HOME)\nenv = P=%(p)\nexec-as-root = echo $(date) $HOME %((\n"
    lines += "if-file = %(p)\nendif"
    assert read(lines, HOME="/root").warnings == [
        "x.ini:6: if-file: '%(p)' is taken as written: arguments of blocks are not expanded",
        "x.ini:2: chdir: %(naem) is not defined, so it stays as written",
        "x.ini:4: env: $(HOME) is not defined, so it stays as written",
    ]


def test_an_unknown_magic_variable_is_a_warning(read: Read) -> None:
    assert read("env = A=%q1%q").warnings == ["x.ini:2: '%q' is not a variable and is removed (write %% for a %)"]


def test_blocks_that_are_not_closed_or_not_opened_are_warnings(read: Read) -> None:
    Path("y.ini").write_text("[uwsgi]\nif-env = NOPE\n")
    loaded = read("endif\ninclude = y.ini\nuid = 1\nfor-times = 1\nuid = 2")
    assert values(loaded, "uid") == ["1", "2"]
    assert loaded.warnings == [
        "x.ini:2: endif: there is no block to end here",
        "y.ini:2: if-env has no end: it ends with the file",
        "x.ini:5: for-times has no end: it ends with the file",
    ]
