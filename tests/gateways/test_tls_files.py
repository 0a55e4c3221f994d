"""The files for TLS must not be writable by other users, who could then choose who gets a shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT
from tests.support.harness import Router, run
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, attached

OPTIONS = ("tls-cert", "tls-key", "tls-ca")


def make_foreign(path: Path) -> None:
    need_root()
    os.chown(path, 65534, 65534)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another user's": (make_foreign, "it belongs to uid 65534, neither root nor the user who starts this"),
    "the group may write": (lambda path: path.chmod(0o620), "users other than its owner may write to it: chmod go-w"),
    "everybody may write": (lambda path: path.chmod(0o602), "users other than its owner may write to it: chmod go-w"),
    "a fifo": (make_fifo, "it is not a regular file"),
    "a directory": (make_directory, "Is a directory"),
    "huge": (lambda path: os.truncate(path, 1 << 40), "it is larger than 1 MiB"),
    "not there": (Path.unlink, "No such file or directory"),
}


@pytest.fixture
def files(directory: Path) -> dict[str, Path]:
    """Copies of a certificate, its key and the authority's certificate that the test may damage."""
    authority = Authority(directory, "ca")
    certificate, key = authority.give("localhost")
    return dict(zip(OPTIONS, (Path(certificate), Path(key), authority.certificate), strict=True))


def arguments(files: dict[str, Path]) -> list[str]:
    return [word for option, path in files.items() for word in (f"--{option}", str(path))]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_tls_file_that_others_may_write_or_that_is_no_file_is_refused(
    files: dict[str, Path], option: str, fault: str
) -> None:
    spoil, words = FAULTS[fault]
    spoil(files[option])
    expected = f"{option}: {files[option]} cannot be used: {words}"
    router = run(*arguments(files), "127.0.0.1:0")
    assert expected in router.stderr
    assert (router.stderr.count("\n"), router.returncode) == (1, 2)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_client_refuses_a_key_that_others_may_read_or_that_is_no_file(
    tls_router: Callable[..., tuple[Router, int]], files: dict[str, Path], fault: str
) -> None:
    _, port = tls_router()
    spoil, words = FAULTS[fault]
    spoil(files["tls-key"])
    command = [*CLIENT, "connect", *arguments(files), f"localhost:{port}"]
    ended = subprocess.run(command, cwd=ROOT, input="", capture_output=True, text=True, timeout=60)
    assert f"tls-key: {files['tls-key']} cannot be used: {words}" in ended.stderr
    assert (ended.stdout, ended.stderr.count("\n"), ended.returncode) == ("", 1, 2)


def test_a_key_that_every_user_may_read_is_refused(files: dict[str, Path]) -> None:
    files["tls-key"].chmod(0o604)
    ended = run(*arguments(files), "127.0.0.1:0")
    assert f"tls-key: {files['tls-key']} cannot be used: every user may read the key: chmod o-r" in ended.stderr
    assert (ended.stderr.count("\n"), ended.returncode) == (1, 2)


def test_files_behind_links_and_a_key_that_its_group_may_read_are_used(
    start_router: Callable[..., Router], authority: Authority, directory: Path
) -> None:
    """Debian's keys have mode 0640 and group ssl-cert; certbot links to the newest certificate."""
    own = directory / "own"
    own.mkdir()
    certificate, key = authority.give("localhost")
    links = {"tls-cert": Path(certificate), "tls-key": own / "key.pem", "tls-ca": authority.certificate}
    links["tls-key"].write_bytes(Path(key).read_bytes())
    links["tls-key"].chmod(0o640)
    for option, path in links.items():
        (directory / option).symlink_to(path)
    named = {option: directory / option for option in OPTIONS}
    router = start_router(*arguments(named), "127.0.0.1:0", "--forkptyrouter-command", "echo IN")
    port = int(router.wait_for_log(r"listening on .*:(\d+) \(raw over TLS\)")[0][1])
    assert attached(authority, port).stdout == b"IN\r\n"
