"""A router loads only the modules that it needs: they are most of the memory of supervisor and worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.support.harness import Client, Router

# What only TLS, clients, files in other formats, messages about mistakes, and hooks need.
_NEEDLESS = re.compile(
    r"(ssl|_hashlib|hashlib|hmac|secrets|random|tempfile|shutil|bz2|lzma|difflib|tomllib|xml|pyexpat|yaml|email|http"
    r"|asyncio|multiprocessing|fastpty\.(client|cli|net\.tls|gateways\.tls_connections))(\..*)?"
)


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
