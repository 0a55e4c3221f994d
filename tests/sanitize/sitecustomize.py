"""Chooses the Python that tests start routers with: SANITIZED_EXECUTABLE, one of the scripts beside this file.

What a sanitized Python starts gets no sanitizer: the programs in the terminals are as always. A router that executes
itself anew is sanitized again.
"""

import os
import sys

sys.executable = os.environ.get("SANITIZED_EXECUTABLE", sys.executable)
if (before := os.environ.pop("UNSANITIZED_PRELOAD", None)) is not None:
    sanitized = {"UNSANITIZED_PRELOAD": before, "LD_PRELOAD": os.environ.pop("LD_PRELOAD")}
    if before:
        os.environ["LD_PRELOAD"] = before
    execve = os.execve

    def execve_sanitized(path, argv, env):
        anew = isinstance(path, int) or path == os.readlink("/proc/self/exe")
        execve(path, argv, {**env, **sanitized} if anew else env)

    os.execve = execve_sanitized
