"""A root with a module for account look-ups (nsswitch.conf(5)) that leaves a trace when the C library loads it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.first_steps import use_nsswitch
from tests.support.peers import need

MODULE = """
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("/loaded", O_CREAT, 0600); }
"""


def with_hostile_module(root: Path) -> Callable[[], None]:
    """Puts the module into this root. Returns a function for Router(first=...) that makes the C library ask it."""
    nsswitch = root.parent / "nsswitch.conf"
    (root / "etc").mkdir(exist_ok=True)
    for file in (nsswitch, root / "etc/nsswitch.conf"):  # read before or after the change of root
        file.write_text("passwd: files fastpty\ngroup: files fastpty\n")
    (root.parent / "module.c").write_text(MODULE)
    for place in (root / "lib", root / "lib64"):
        command = [need("cc"), "-shared", "-fPIC", "-o", f"{place}/libnss_fastpty.so.2", "module.c"]
        subprocess.run(command, cwd=root.parent, check=True)
    return partial(use_nsswitch, nsswitch)
