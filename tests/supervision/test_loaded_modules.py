"""A router loads only the modules that it needs: they are most of the memory of supervisor and worker."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fastpty.errors import FastptyError
from fastpty.supervision.child_task import ChildTask
from tests.support.extension_client import ExtensionClient
from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually
from tests.support.peers import need_root

ROOT = Path(__file__).resolve().parent.parent.parent

# What only TLS, clients, files in other formats, messages about mistakes, and hooks need.
_NEEDLESS = re.compile(
    r"(ssl|_hashlib|hashlib|hmac|secrets|random|tempfile|shutil|bz2|lzma|difflib|tomllib|xml|pyexpat|yaml|email|http"
    r"|asyncio|multiprocessing|dataclasses|inspect|ast|dis|logging|fastpty\.(client|cli|net\.tls|gateways\.tls_connections))(\..*)?"
)

# What only reads configurations, and what a router loads when it needs it.
_OF_THE_READER = re.compile(
    r"(argparse|typing|pathlib|subprocess|locale|urllib|ipaddress|pickle|traceback|threading"
    r"|fastpty\.configuration\.(values|options?|build|command_line|reload_child|language)|fastpty\.hooks\.actions"
    r"|fastpty\.sessions\.cgroups|fastpty\.jail\.(namespaces|join|terminals))(\..*)?"
)

# Runs the router from the files in a directory, without `site`, which loads modules for an editable installation.
_RUN = """
import sys
sys.path.insert(0, {!r})
from fastpty.router import main
status = main(sys.argv[1:])
print("loaded:", *sys.modules, file=sys.stderr)
sys.exit(status)
"""


def from_files_in(place: Path) -> tuple[str, ...]:
    """The arguments of Python for start_router."""
    return "-I", "-S", "-c", _RUN.format(str(place))


def test_a_plain_router_loads_no_module_that_it_does_not_need(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", program=("-X", "importtime", "-m", "fastpty.router"))
    with Client(f"{directory}/s") as client:
        client.send(b"exit\n")
        client.read_to_end()
    assert router.end() == 0
    loaded = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", router.log, re.M))
    assert "fastpty.supervision.worker" in loaded
    assert sorted(name for name in loaded if _NEEDLESS.fullmatch(name)) == []


def test_a_supervisor_keeps_no_module_that_only_reads_configurations(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", program=from_files_in(ROOT))
    assert router.end() == 0
    [loaded] = re.findall(r"^loaded: (.*)$", router.log, re.M)
    assert "fastpty.supervision.worker" in loaded.split()
    assert sorted(name for name in loaded.split() if _OF_THE_READER.fullmatch(name)) == []


def test_a_router_that_gives_up_root_reloads_although_only_root_may_read_its_modules(
    start_router: Callable[..., Router], directory: Path, tmp_path: Path
) -> None:
    need_root()
    tmp_path.chmod(0o700)
    shutil.copytree(ROOT / "fastpty", tmp_path / "fastpty")
    router = start_router(f"{directory}/s", "--uid", "65534", "--gid", "65534", program=from_files_in(tmp_path))
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reloaded; command")


def test_a_running_router_goes_on_after_its_files_are_gone(
    start_router: Callable[..., Router], directory: Path, tmp_path: Path
) -> None:
    """As in an upgrade. Only a reload needs them."""
    shutil.copytree(ROOT / "fastpty", tmp_path / "fastpty")
    router = start_router(
        f"{directory}/s", "--stats", f"{directory}/stats", "--pty-socket", f"{directory}/pty", "--pty-log",
        "--exec-as-user-atexit", "echo AT THE END >&2", program=from_files_in(tmp_path), sockets=3,
    )  # fmt: skip
    shutil.rmtree(tmp_path / "fastpty")
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reload refused, .*: cannot load the program's files .*: restart the router")
    os.kill(router.pid, signal.SIGKILL)
    router.wait_for_log("ready$", 2)
    with ExtensionClient(f"{directory}/s") as client:
        client.execute("echo", "out")
        assert client.status().code == 0
        assert client.output == b"out\n"
    with ExtensionClient(f"{directory}/s") as client:
        client.start(["sh", "-c", "echo begun; exec sleep 1000"])
        client.read_output_until(b"begun")
    router.wait_for_log("end: .*killed by SIGHUP")
    with Client(f"{directory}/stats") as statistics:
        assert json.loads(statistics.read_to_end())["workers"][0]["sessions"]
    assert router.end() == 0
    assert "AT THE END" in router.log
    assert "Traceback" not in router.log


def test_a_supervisor_survives_an_answer_that_only_newer_files_know() -> None:
    def read() -> object:
        newer = sys.modules["newer"] = ModuleType("newer")
        made = vars(newer)["Address"] = type("Address", (), {"__module__": "newer"})
        return made()

    reading = ChildTask(read, PATIENCE_SECONDS)
    eventually(reading.has_returned, "it is read")
    with pytest.raises(FastptyError, match=r"cannot use what was read .*: restart the router"):
        reading.result()
    reading.end()
    os.waitpid(reading._pid, 0)
