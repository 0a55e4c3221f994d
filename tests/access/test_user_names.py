"""User names for the log, from /etc/passwd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastpty.access import user_names
from fastpty.access.user_names import UserNames


@pytest.fixture
def passwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "passwd"
    file.write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:\nalias:x:1000:1000::/:\n")
    monkeypatch.setattr(user_names, "_PATH", str(file))
    monkeypatch.setattr(user_names, "_CHECK_SECONDS", 0.0)
    return file


@pytest.mark.usefixtures("passwd")
def test_the_first_entry_with_a_uid_gives_its_name() -> None:
    names = UserNames()
    assert [names.find(uid) for uid in (0, 1000, 1001)] == ["root", "alice", None]


def test_a_changed_file_is_read_again(passwd: Path) -> None:
    names = UserNames()
    assert names.find(1001) is None
    passwd.write_text("bob:x:1001:1001::/:\n")
    assert (names.find(1001), names.find(1000)) == ("bob", None)


def test_a_file_that_is_gone_or_a_pipe_gives_no_name_and_delays_nobody(passwd: Path) -> None:
    passwd.unlink()
    assert UserNames().find(0) is None
    os.mkfifo(passwd)
    assert UserNames().find(0) is None


def test_in_a_foreign_root_no_file_is_read_for_names() -> None:
    """It could be on a file system that never answers."""
    code = (
        "from fastpty.access.user_names import UserNames; from fastpty.system import foreign_root\n"
        "foreign_root.enter(); print(UserNames().find(0))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "None\n"
