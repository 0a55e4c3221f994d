"""Builds the load generator and the program on the pty, in place. Not part of the wheel."""

import os
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

here = Path(__file__).resolve().parent

extensions = cythonize(
    [Extension("bench._load", [str(here / "_load.pyx")], extra_compile_args=["-O2", "-Wall"])],
    build_dir=str(here.parent / "build" / "cython"),
    compiler_directives={"language_level": 3, "cdivision": True},
)
program = here / "ptyload"
subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-static", "-o", program, program.with_suffix(".c")], check=True)
os.chdir(here)  # setuptools would read pyproject.toml, which belongs to fastpty itself
setup(
    name="fastpty-bench",
    packages=[],
    ext_modules=extensions,
    script_args=["-q", "build_ext", "--build-lib", str(here.parent), "--build-temp", str(here.parent / "build")],
)
