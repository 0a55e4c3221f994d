"""A router loads only the modules that it needs: they are most of the memory of supervisor and worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.support.harness import Client, Router

ROOT = Path(__file__).resolve().parent.parent.parent

# What only TLS, clients, files in other formats, messages about mistakes, and hooks need.
_NEEDLESS = re.compile(
    r"(ssl|_hashlib|hashlib|hmac|secrets|random|tempfile|shutil|bz2|lzma|difflib|tomllib|xml|pyexpat|yaml|email|http"
    r"|asyncio|multiprocessing|dataclasses|inspect|ast|dis|logging|fastpty\.(client|cli|net\.tls|gateways\.tls_connections))(\..*)?"
)

# What only reads configurations, and what few routers need and load later.
_OF_THE_READER = re.compile(
    r"(argparse|typing|pathlib|subprocess|locale|urllib|ipaddress|json|re|pickle|traceback|threading"
    r"|fastpty\.configuration\.(values|options?|build|command_line|reread|language)|fastpty\.hooks\.actions)(\..*)?"
)

_SHOW_MODULES = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from fastpty.router import main
status = main(sys.argv[1:])
print("loaded:", *sys.modules, file=sys.stderr)
sys.exit(status)
"""


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
    """Without `site`, which loads modules for an editable installation."""
    router = start_router(f"{directory}/s", program=("-I", "-S", "-c", _SHOW_MODULES))
    assert router.end() == 0
    [loaded] = re.findall(r"^loaded: (.*)$", router.log, re.M)
    assert "fastpty.supervision.worker" in loaded.split()
    assert sorted(name for name in loaded.split() if _OF_THE_READER.fullmatch(name)) == []
