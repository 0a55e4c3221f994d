"""Builds the harness, runs the benchmarks and renders the report: `python -m bench [--quick] [PYTEST-ARGUMENT]...`.

--quick: small sizes and few rounds, to see that it works; its report is printed and docs/ is left as it is.
BENCH_MIB (128) scales the transfers, BENCH_ROUNDS (7) is how often the contestants take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULT = HERE / "result.json"


def main() -> int:
    arguments = sys.argv[1:]
    environment = dict(os.environ)
    quick = "--quick" in arguments
    if quick:
        arguments.remove("--quick")
        environment = {"BENCH_MIB": "8", "BENCH_ROUNDS": "2", **environment}
    subprocess.run([sys.executable, HERE / "setup.py"], cwd=HERE.parent, check=True)
    argv = [sys.executable, "-m", "pytest", "-o", "addopts=", "-o", "timeout=0", f"--benchmark-json={RESULT}", "-q"]
    argv += arguments or [str(HERE)]
    status = subprocess.run(argv, cwd=HERE.parent, env=environment, check=False).returncode
    if RESULT.exists():
        from bench import report  # it needs what was built just now

        report.main(RESULT, publish=not quick)
    return status


if __name__ == "__main__":
    sys.exit(main())
