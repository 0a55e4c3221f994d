"""Counts the instructions that the frame parsers execute for a frame, with callgrind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# All runs execute the same code: a fixed hash seed, and no first run that compiles modules for the next.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}

_PARSE = """
import struct, sys
from tests.probes import frame_probe
payload_bytes, frames, repeat = map(int, sys.argv[2:])
wire = (struct.pack("<BHB", 0, payload_bytes, 0) + bytes(payload_bytes)) * frames
done = getattr(frame_probe, sys.argv[1])(wire, repeat)
assert done in (frames * repeat, payload_bytes * frames * repeat)
"""


def per_frame(payload_bytes: int, folder: Path, parser: str = "frames_in") -> float:
    """Instructions per stdin frame with this payload, in one piece. Needs valgrind and the probes of `make test`.

    parser: a function of tests/probes/frame_probe.pyx.
    The interpreter's own instructions are the same in two runs that differ only in how often the frames are parsed.
    """
    frames, few, many = 1000, 1, 101
    counts = [_instructions(folder, parser, payload_bytes, frames, repeat) for repeat in (few, many)]
    return (counts[1] - counts[0]) / (frames * (many - few))


def _instructions(folder: Path, parser: str, *numbers: int) -> int:
    tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.out"]
    script = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){_PARSE}"]
    argv = [*tool, *script, parser, *map(str, numbers)]
    done = subprocess.run(argv, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"callgrind: {done.stderr}")
    return int(found[1])
