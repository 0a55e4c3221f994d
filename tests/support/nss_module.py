"""A machine on which the C library looks up accounts with a module that a test has put into its root."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastpty.system import linux
from tests.support.peers import need

MODULE = """
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("/loaded", O_CREAT, 0600); }
"""


def other_nsswitch(file: Path) -> None:
    """In the router's process, before it executes Python: /etc/nsswitch.conf is another file for it."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount(str(file), "/etc/nsswitch.conf", None, linux.MS_BIND)


def hostile_module(root: Path) -> Callable[[], None]:
    """Puts the module into this root; makes, as `preexec` of a router, a machine on which the C library asks it."""
    nsswitch = root.parent / "nsswitch.conf"
    nsswitch.write_text("passwd: files fastpty\ngroup: files fastpty\n")
    (root.parent / "module.c").write_text(MODULE)
    for place in (root / "lib", root / "lib64"):
        command = [need("cc"), "-shared", "-fPIC", "-o", f"{place}/libnss_fastpty.so.2", "module.c"]
        subprocess.run(command, cwd=root.parent, check=True)
    return partial(other_nsswitch, nsswitch)
