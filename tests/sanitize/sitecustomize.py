"""Makes tests start routers with the Python that SANITIZED_EXECUTABLE names: one of the scripts beside this file.

Programs that a sanitized router starts run without the sanitizer. A router that executes itself again keeps it.
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
