"""Files that other users can write to: which of them are read, and whether they can run commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpty.configuration.language import budget, files, loader
from fastpty.configuration.language.loader import Loaded
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError
from tests.configuration.conftest import Read
from tests.support.accounts import Login, make_account, remove_account
from tests.support.peers import need_root


@pytest.fixture
def strangers(read: Read) -> Path:
    """The file y.ini of another user."""
    need_root()
    path = Path("y.ini")
    path.write_text("[uwsgi]\nexec-asap = id\n")
    os.chown(path, 1, 1)
    return path


def read_named(*paths: str, **environ: str) -> Loaded:
    """Reads files that are named on the command line."""
    return loader.load([Setting("ini", path) for path in paths], environ)


@pytest.mark.parametrize("text", ["@(exec://touch ran)", "@$(EMPTY)(exec://touch ran)", "(exec://touch ran)@"])
def test_the_items_of_a_loop_cannot_run_commands(read: Read, text: str) -> None:
    """Not even together with a variable or with the text beside the item."""
    Path("data").write_text(f"{text}\n")
    assert read("for-readline = data\nprint = %(_)%(_)\nset = print=%(_)@\nend", EMPTY="").printed == [
        text + text,
        text + "@",
    ]
    Path("sets").write_text(f"print={text}\n")
    assert read("for-readline = sets\nset = %(_)\nend", EMPTY="").printed == [text]
    assert not Path("ran").exists()


def test_the_names_that_a_loop_finds_cannot_read_files(read: Read) -> None:
    Path("@(x.ini)").touch()
    assert read("for-glob = @*\nprint = %(_)\nendfor").printed == ["@(x.ini)"]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("exec://touch ran", "@(%(_))"),
        ("x; touch ran", "@(exec://echo %(_))"),
        ("x) @(exec://touch ran", "@(exec://: %(_))"),
    ],
)
def test_data_cannot_be_part_of_a_command(read: Read, data: str, value: str) -> None:
    Path("data").write_text(f"{data}\n")
    with pytest.raises(
        UsageError, match=r"^x\.ini:3: print: @\(.*: exec:// is refused with data in it, which the shell would run"
    ):
        read(f"for-readline = data\nprint = {value}\nendfor")
    assert not Path("ran").exists()


@pytest.mark.parametrize("text", ["@(exec://touch ran)", "@$(EMPTY)(exec://touch ran)"])
def test_values_from_another_user_s_file_run_no_commands_in_other_files(read: Read, text: str) -> None:
    need_root()
    read("if-opt = a\nprint = %(_)\nset-ph = b=%(_)\nendif\nif-opt = b\nprint = %(_)\nendif")
    Path("theirs.ini").write_text(f"[uwsgi]\nset-ph = a={text}\n")
    os.chown("theirs.ini", 1, 1)
    assert read_named("theirs.ini", "x.ini", EMPTY="").printed == [text, text]
    assert not Path("ran").exists()


@pytest.mark.parametrize("folder", ["@(exec:", "@$(EMPTY)(exec:"])
def test_the_name_of_a_directory_cannot_run_commands(read: Read, tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "touch ran)" / "y.ini"
    path.parent.mkdir(parents=True)
    path.write_text("[uwsgi]\nprint = %o\n")
    path = Path(str(path).replace("touch", "/touch"))
    assert read_named(str(path), EMPTY="").printed == [str(path)]
    assert not Path("ran").exists()


def need_a_shared_group(mode: int) -> None:
    """Skips a mode with group write permission for ordinary users, whose own group may be private."""
    if mode == 0o620:
        need_root()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.usefixtures("read")
def test_a_file_that_others_can_write_to_cannot_run_commands(mode: int) -> None:
    need_a_shared_group(mode)
    Path("y.ini").write_text("[uwsgi]\nprint = @(exec://touch ran)\n")
    Path("y.ini").chmod(mode)
    with pytest.raises(
        UsageError, match=r"^y\.ini:2: print: @\(exec://.*refused in y\.ini: users other .* can write to it"
    ):
        read_named("y.ini")
    assert not Path("ran").exists()


def expect_no_command_of(place: Path, shown: str) -> None:
    place.write_text("[uwsgi]\nprint = @(exec://touch ran)\n")
    with pytest.raises(UsageError, match=rf"^{shown}:2: .*refused in {shown}: it belongs to uid 1, neither root nor"):
        read_named(place.name)
    assert not Path("ran").exists()


def test_another_user_s_file_cannot_run_commands(strangers: Path) -> None:
    expect_no_command_of(strangers, r"y\.ini")


def test_another_user_s_file_cannot_pass_for_an_environment_variable(strangers: Path) -> None:
    expect_no_command_of(strangers.rename("$y.ini"), r"\./\$y\.ini")


@pytest.mark.parametrize("word", ["include", "ini", "inherit"])
def test_another_user_s_file_cannot_be_included(read: Read, strangers: Path, word: str) -> None:
    """Such a file could run any command as any user."""
    refusal = "y.ini: this file is not trusted: it belongs to uid 1, neither root nor the user who starts the router"
    with pytest.raises(UsageError, match=f"^x.ini:2: {word}: {refusal}: chown root and chmod go-w it$"):
        read(f"{word} = y.ini")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_to_cannot_be_included(read: Read, mode: int) -> None:
    need_a_shared_group(mode)
    Path("y.ini").write_text("[uwsgi]\nexec-asap = id\n")
    Path("y.ini").chmod(mode)
    with pytest.raises(
        UsageError, match=r"^x\.ini:2: include: y\.ini: this file is not trusted: users other than its owner"
    ):
        read("include = y.ini")


@pytest.mark.parametrize(("mode", "is_read"), [(0o702, False), (0o777, False), (0o1777, True), (0o755, True)])
def test_a_file_that_others_may_replace_cannot_be_included(read: Read, mode: int, is_read: bool) -> None:
    Path("inner").mkdir()
    Path("inner/y.ini").write_text("[uwsgi]\nexec-asap = id\n")
    Path("inner/y.ini").chmod(0o644)
    Path("inner").chmod(mode)
    if is_read:
        read("include = inner/y.ini")
        return
    with pytest.raises(
        UsageError, match=r"inner/y\.ini: this file is not read: its directory .*/inner is not safe: users other"
    ):
        read("include = inner/y.ini")


@pytest.fixture
def login(read: Read, tmp_path: Path) -> Iterator[Login]:
    """A user with a private group and a second group."""
    made = make_account(f"fastpty-own-{os.getpid()}", tmp_path)  # another pytest process has its own
    yield made
    remove_account(made.name)


def included(login: Login, gid: int) -> list[Setting]:
    """The settings of a user's file that another file of the user includes, if group `gid` can write to it."""
    for name in ("x.ini", "y.ini"):
        Path(name).write_text("[uwsgi]\ninclude = y.ini\n" if name == "x.ini" else "[uwsgi]\numask = 022\n")
        os.chown(name, login.uid, gid)
        Path(name).chmod(0o664)
    return read_named("x.ini").settings


def test_a_file_that_a_private_group_can_write_to_can_be_included(login: Login) -> None:
    """Debian's umask for users is 002, so all their files are like this."""
    assert [setting.name for setting in included(login, login.gid)] == ["umask"]


def test_a_file_that_a_shared_group_can_write_to_cannot_be_included(login: Login) -> None:
    with pytest.raises(
        UsageError, match=r"y\.ini: this file is not trusted: users other than its owner can write to it"
    ):
        included(login, login.more)


@pytest.mark.parametrize("how", [["-a", "-G"], ["-g"]])
def test_a_user_s_group_with_another_member_is_not_private(login: Login, how: list[str]) -> None:
    other = make_account(f"fastpty-other-{os.getpid()}", login.home)
    try:
        subprocess.run(["usermod", *how, login.name, other.name], check=True)
        with pytest.raises(
            UsageError, match=r"y\.ini: this file is not trusted: users other than its owner can write to it"
        ):
            included(login, login.gid)
    finally:
        remove_account(other.name)


def test_a_named_file_of_another_user_causes_a_warning_and_may_include_its_owner_s_files(strangers: Path) -> None:
    """It may belong to the account of a service. Its own sections do not count as other files."""
    shutil.copy(strangers, "more.ini")
    os.chown("more.ini", 1, 1)
    strangers.write_text("[uwsgi]\nini = :own\ninclude = more.ini\n[own]\numask = 022\n")
    strangers.chmod(0o664)
    loaded = read_named("y.ini")
    assert [(setting.name, setting.origin) for setting in loaded.settings] == [
        ("umask", "y.ini:5"),
        ("exec-asap", "more.ini:2"),
    ]
    assert [line for line in loaded.warnings if line.startswith("y.ini: ")] == [
        "y.ini: it belongs to uid 1, neither root nor the user who starts the router: everyone who can "
        "write to it controls the router"
    ]
    os.chown("more.ini", 2, 1)
    with pytest.raises(
        UsageError, match=r"^y\.ini:3: include: more\.ini: this file is not trusted: it belongs to uid 2"
    ):
        read_named("y.ini")


def test_swapping_in_a_trusted_file_while_another_is_read_gives_no_trust(
    read: Read, strangers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is read and the file whose owner is checked must be the same."""

    @contextlib.contextmanager
    def swapped(path: str) -> Iterator[int]:
        with budget.opened(path) as descriptor:
            if path == str(strangers):
                Path("roots").write_text("[uwsgi]\n")
                os.rename("roots", path)
            yield descriptor

    monkeypatch.setattr(files, "opened", swapped)
    with pytest.raises(
        UsageError, match=r"^x\.ini:2: include: y\.ini: this file is not trusted: it belongs to uid 1"
    ):
        read("include = y.ini")
