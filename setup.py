"""Builds the C part. `FASTPTY_BUILD` chooses the flavour: release (default), debug, or sanitize.

The last two check the assertions of fastpty/_check.pxd.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

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


def extension(name: str, source: str) -> Extension:
    return Extension(
        name,
        [source],
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=[*compile_args, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function"],
        extra_link_args=link_args,
    )


extensions = [
    extension("fastpty._relay", "fastpty/_relay.pyx"),
    extension("fastpty._spawn", "fastpty/_spawn.pyx"),
]
if os.environ.get("FASTPTY_TEST_PROBES"):
    # They reach the parts of the relay that have no door of their own, and are never part of a wheel.
    extensions += [extension(f"tests.{name}", f"tests/{name}.pyx") for name in ("channel_probe", "frame_probe")]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "cdivision": True},
    )
)
