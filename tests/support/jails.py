"""Makes changed roots, and looks at a jail from inside, from a session or a forked child."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastpty.errors import FastptyError
from tests import ROOT
from tests.support.harness import PATIENCE_SECONDS, Client, Router
from tests.support.peers import need

NOBODY = 65534


def in_child(act: Callable[[], Any]) -> Any:
    """What `act` returns in a forked child, through JSON; a FastptyError comes back as an exception."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = {"value": act()}
        except FastptyError as error:
            result = {"error": str(error)}
        except BaseException:
            result = {"crash": traceback.format_exc()}
        os.write(write_end, json.dumps(result).encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    if "error" in answer:
        raise FastptyError(answer["error"])
    assert "crash" not in answer, answer["crash"]
    return answer["value"]


# The modules are imported first, because an ordinary user may not be able to read them. A process that changes its user
# cannot write to its own files in /proc (PR_SET_DUMPABLE); one that has executed a program as that user can.
AS_NOBODY = (
    "-c",
    f"""import ctypes, encodings.utf_8_sig, os, shutil, sys
from fastpty.configuration import reload_child
from fastpty.jail import imports, preflight
from fastpty.router import main
for name in imports._LATER:
    __import__(name)
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
sys.exit(main(sys.argv[1:]))""",
)


def said(path: str, command: str) -> list[str]:
    """The words that a command prints in a session."""
    with Client(path) as client:
        client.send(b'stty -echo; PS1=; echo BEG""IN-\n')
        client.read_until(b"BEGIN-\r\n")
        begin = len(client.seen)
        client.send(command.encode() + b"; exit\n")
        return client.read_to_end()[begin:].decode().split()


def small_root(where: Path) -> None:
    """Makes the directories of a root, for the mounts of binds()."""
    for name in ("bin", "usr", "lib", "lib64", "dev", "proc", "old"):
        (where / name).mkdir(parents=True, exist_ok=True)


def binds(root: Path) -> list[str]:
    """Options that mount the host's directories in a small root."""
    found = [f"--hook-post-jail=mount:none {root} {root} bind"]
    for name in ("bin", "usr", "lib", "lib64", "dev"):
        found.append(f"--mount-post-jail=none /{name} {root}/{name} bind,rec")
    return found


@contextlib.contextmanager
def stuck_files(directory: Path, pid: int | None = None, *, silent: bool = True) -> Iterator[None]:
    """Mounts a file system that never answers (tests/support/fuse.py), in the mount namespace of `pid` if it is given.

    silent: False for one where only reads and writes never end.
    """
    enter = [] if pid is None else [need("nsenter"), "--mount", "--target", str(pid)]
    argv = [*enter, sys.executable, "-m", "tests.support.fuse", str(directory), *(["--silent"] if silent else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"mounted\n"
            yield
        finally:
            server.kill()
            if pid is None:
                subprocess.run(["umount", "--lazy", str(directory)], check=True)


def refused(*options: str) -> str:
    """Starts a router that must fail, and returns its log."""
    router = Router(*options)
    try:
        assert router.process.wait(PATIENCE_SECONDS) == 1
        router.end()
        return router.log
    finally:
        router.destroy()
