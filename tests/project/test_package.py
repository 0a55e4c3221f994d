"""The source distribution and the wheel."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.timeout(300)  # a compiler takes its time beside other tests
# Files that git, builds and tools make.
NOT_SOURCE = (".git", ".venv", "build", "*.egg-info", "*.so", "__pycache__", ".*_cache", ".hypothesis", ".benchmarks")


def build(tree: Path, kind: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import setuptools.build_meta as backend; backend.build_{kind}('given')"
    environment = {**os.environ, "FASTPTY_BUILD": "release", **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=tree, env=environment, capture_output=True, text=True)


def built(tree: Path, kind: str) -> Path:
    ended = build(tree, kind)
    assert ended.returncode == 0, ended.stderr
    (archive,) = (tree / "given").iterdir()
    return archive


def files(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the checkout without built files, except the C code that Cython makes."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    if (ROOT / "build" / "cython").exists():
        shutil.copytree(ROOT / "build" / "cython", copy / "build" / "cython")
    return copy


@pytest.fixture
def unpacked(tree: Path, tmp_path: Path) -> Path:
    """The unpacked source distribution."""
    subprocess.run(["tar", "-xf", built(tree, "sdist")], cwd=tmp_path, check=True)
    (place,) = tmp_path.glob("fastpty-*/")
    return place


def test_the_source_distribution_is_the_whole_checkout(tree: Path, unpacked: Path) -> None:
    shutil.rmtree(tree / "build", ignore_errors=True)
    source = {name for name in files(tree) if not re.match(r"given/|[^/]+\.egg-info/", name)}
    assert source - files(unpacked) == set()


def test_the_source_distribution_can_test_itself(unpacked: Path) -> None:
    """It has the same tests, and its Makefile can run them. The compiled modules are copied from the checkout."""
    planned = subprocess.run(["make", "-n", "test"], cwd=unpacked, capture_output=True, text=True, check=True)
    assert "pytest" in planned.stdout
    for folder in ("fastpty", "tests/probes"):
        for module in (ROOT / folder).glob("*.so"):
            shutil.copy(module, unpacked / folder)
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(collect, cwd=unpacked, capture_output=True, text=True, check=True).stdout
    there = {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/*/test_*.py")}
    assert set(re.findall(r"^(tests/\w+/test_\w+\.py)::", found, re.M)) == there


def test_the_wheel_is_small_and_its_metadata_leads_somewhere(tree: Path) -> None:
    """Its modules are stripped, its metadata names authors and addresses, and the README has no relative link."""
    with zipfile.ZipFile(built(tree, "wheel")) as wheel:
        modules = {name.split(".")[0]: wheel.read(name) for name in wheel.namelist() if name.endswith(".so")}
        (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    assert set(modules) == {"fastpty/_relay", "fastpty/_spawn"}
    assert not [name for name, content in modules.items() if b".symtab\0" in content or b".debug_info\0" in content]
    assert metadata["Author"] == "the fastpty authors"
    assert {line.split(",")[0] for line in metadata.get_all("Project-URL", [])} >= {"Source", "Documentation"}
    links = re.findall(r"\]\(([^)]*)\)", metadata.get_payload())
    assert len(links) >= len(re.findall(r"\]\(", (ROOT / "README.md").read_text())) > 0
    assert [link for link in links if not link.startswith("https://")] == []


def test_a_build_without_a_compiler_says_what_to_install(tree: Path) -> None:
    ended = build(tree, "wheel", CC="no-such-compiler")
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1] == (
        "fastpty: missing system packages; this installs them:  apt-get install gcc libc6-dev"
    )


def test_a_build_without_python_s_headers_says_what_to_install(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sysconfig\nfound = sysconfig.get_paths\n"
        "sysconfig.get_paths = lambda *args, **named: {**found(*args, **named), 'include': '/nowhere'}\n"
    )
    ended = build(tree, "wheel", PYTHONPATH=str(tmp_path))
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1] == (
        "fastpty: missing system packages; this installs them:  apt-get install python3-dev"
    )
