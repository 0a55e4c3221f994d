"""Builds the C part. `FASTPTY_BUILD` chooses the flavour: release (default), debug, or sanitize.

The last two check the assertions of fastpty/system/check.pxd.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent

FLAVOURS = {
    "release": (["-O2"], []),
    "debug": (["-O0", "-g", "-UNDEBUG", "-DFASTPTY_CHECKED"], []),
    "sanitize": (
        ["-O1", "-g", "-UNDEBUG", "-DFASTPTY_CHECKED", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"],
        ["-fsanitize=address,undefined"],
    ),
}

flavour = os.environ.get("FASTPTY_BUILD", "release")
if flavour not in FLAVOURS:
    raise SystemExit(f"FASTPTY_BUILD={flavour}: unknown; one of {', '.join(FLAVOURS)}")
compile_args, link_args = FLAVOURS[flavour]


class Build(build_ext):
    """Says in one line which system packages are missing. Strips the modules of a wheel, not those of a checkout."""

    def run(self) -> None:
        checked = subprocess.run(
            ["sh", str(ROOT / "tools" / "preflight.sh"), "build"],
            env={**os.environ, "PYTHON": sys.executable},
            stderr=subprocess.PIPE,
            text=True,
        )
        if checked.returncode != 0:
            raise SystemExit(f"fastpty: {checked.stderr.strip()}")
        super().run()

    def build_extension(self, ext: Extension) -> None:
        if flavour == "release" and not (self.inplace or self.editable_mode):
            ext.extra_link_args.append("-s")
        super().build_extension(ext)


def extension(name: str, source: str) -> Extension:
    return Extension(
        name,
        [source],
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=[*compile_args, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"],
        extra_link_args=[*link_args],
    )


def readme() -> str:
    """The README for a package index, where a link to another file of this tree leads nowhere: with its address."""
    source = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]

    def absolute(match: re.Match[str]) -> str:
        kind = "raw" if match[1] else "blob"
        return f"{match[1]}[{match[2]}]({source}/{kind}/main/{match[3]})"

    return re.sub(r"(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)]*)\)", absolute, (ROOT / "README.md").read_text())


extensions = [
    extension("fastpty._relay", "fastpty/_relay.pyx"),
    extension("fastpty._spawn", "fastpty/_spawn.pyx"),
]
if os.environ.get("FASTPTY_TEST_PROBES"):
    # They reach the parts of the relay that have no door of their own, and are never part of a wheel.
    extensions += [
        extension(f"tests.probes.{name}", f"tests/probes/{name}.pyx") for name in ("channel_probe", "frame_probe")
    ]

setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    cmdclass={"build_ext": Build},
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "cdivision": True},
    ),
)
