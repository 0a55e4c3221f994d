"""What is given away: the source distribution."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


def test_the_source_distribution_has_all_that_it_is_built_from(tmp_path: Path) -> None:
    for name in NEEDED:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "fastpty", tmp_path / "fastpty", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    code = "import setuptools.build_meta as backend; backend.build_sdist('given')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (archive,) = (tmp_path / "given").iterdir()
    with tarfile.open(archive) as given:
        names = {"/".join(Path(name).parts[1:]) for name in given.getnames()}
    sources = {f"fastpty/{path.name}" for path in (ROOT / "fastpty").glob("*.p[xy]*") if path.suffix != ".pyc"}
    assert sources <= names, sorted(sources - names)
    assert {"setup.py", "pyproject.toml"} <= names
