"""Chooses the Python that tests start routers with: SANITIZED_EXECUTABLE, one of the scripts beside this file.

What a sanitized Python starts gets no sanitizer of its own accord: the programs in the terminals are as always.
"""

import os
import sys

sys.executable = os.environ.get("SANITIZED_EXECUTABLE", sys.executable)
if (before := os.environ.pop("UNSANITIZED_PRELOAD", None)) is not None:
    os.environ.pop("LD_PRELOAD")
    if before:
        os.environ["LD_PRELOAD"] = before
