"""Shows that the tests can fail: `make mutants`, or `python -m tests.mutants [WORD]...` for mutants with each WORD.

Each mutant is the program, in a copy, without one protection. It must still start a shell for a client, and the test of
that protection must fail.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys

from tests import ROOT
from tests.mutants.mutant import Mutant, StaleMutantError
from tests.mutants.reliability import RELIABILITY
from tests.mutants.security import SECURITY
from tests.support.harness import processes

TREE = ROOT / "build/mutants"
COPIED = (
    *(".ci", ".gitignore", "setup.py", "pyproject.toml", "MANIFEST.in", "Makefile", "README.md", "CONTRIBUTING.md"),
    *("LICENSE", "bin", "docs", "fastpty", "tests", "tools", "bench"),
)
WORKS = "supervision/test_router.py::test_both_protocols_work_on_several_sockets_at_once"
PATIENCE_SECONDS = 10  # most tests of a missing protection wait for an event that does not come
TESTS_FAILED = 1  # pytest's exit status; others mean that the test did not run


def main() -> int:
    words = sys.argv[1:]
    chosen = [mutant for mutant in (*RELIABILITY, *SECURITY) if all(word in str(mutant) for word in words)]
    make_copy()
    survived = [mutant for mutant in chosen if not is_noticed(mutant)]
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutants were noticed")
    return 1 if survived or not chosen else 0


def make_copy() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, TREE / name)
        else:
            shutil.copy(ROOT / name, TREE)


def is_noticed(mutant: Mutant) -> bool:
    """Tries one mutant, prints the verdict, and restores the program."""
    try:
        text = mutant.apply(TREE)
    except StaleMutantError as error:
        verdict = f"is out of date: {error}"
    else:
        verdict = try_out(mutant)
        (TREE / mutant.path).write_text(text)
        for built in ROOT.glob("fastpty/*.so"):
            shutil.copy(built, TREE / "fastpty")
    print(f"{mutant.what}: {verdict or 'noticed'}", flush=True)
    return not verdict


def try_out(mutant: Mutant) -> str:
    """Builds and tests the applied mutant. Returns what is wrong with it or with its test; empty if it was noticed."""
    if not build(mutant):
        return "does not build"
    if pytest(WORKS) != 0:
        return "is no working program"
    status = pytest(mutant.test)
    if status == 0:
        return f"NOT NOTICED by {mutant.test}"
    return "" if status == TESTS_FAILED else f"pytest ended with status {status} for {mutant.test}"


def build(mutant: Mutant) -> bool:
    """Rebuilds the C part if the mutant is in it. Without optimisation, which would take most of the time."""
    if mutant.path.endswith(".py"):
        return True
    argv = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    environment = {**os.environ, "FASTPTY_TEST_PROBES": "1", "CFLAGS": "-O0"}
    return subprocess.run(argv, cwd=TREE, env=environment, check=False, capture_output=True).returncode == 0


def pytest(test: str) -> int:
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-o", "timeout=60", f"tests/{test}"]
    # PYTHONPATH: a process that a test starts in another directory would import the installed fastpty otherwise.
    environment = {**os.environ, "PYTHONPATH": str(TREE), "FASTPTY_TEST_PATIENCE": str(PATIENCE_SECONDS)}
    with subprocess.Popen(
        argv,
        cwd=TREE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return process.wait()
        finally:
            # A router without a protection may outlive its test.
            kill_session(process.pid)


def kill_session(leader: int) -> None:
    """Kills all processes of a session. That hangs up the programs on terminals, which have sessions of their own."""
    for pid, fields in processes():
        if fields[3] == str(leader):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
