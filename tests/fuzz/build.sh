#!/bin/sh
# Builds two fuzzers into build/fuzz: session (the relay on the simulated machine) and frames (the frame parser alone).
# Cython makes the C as for a release. libpython is linked for the modules around it, whose Python code never runs.
set -eu
cd "$(dirname "$0")/../.."
out=build/fuzz
flags="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE"
warnings="-Wall -Wextra -Wno-unused-parameter"
mkdir -p "$out"

# door NAME [FLAG]...: compiles tests/fuzz/NAME.pyx to build/fuzz/NAME.o
door() {
    name=$1
    shift
    cython -3 -X cdivision=True -I. "tests/fuzz/$name.pyx" -o "$out/$name.c"
    clang $flags -w -fsanitize=fuzzer-no-link -DFASTPTY_CHECKED -Itests/fuzz "$@" $(python3-config --includes) \
        -c "$out/$name.c" -o "$out/$name.o"
}

# fuzzer NAME SOURCE...: links build/fuzz/NAME
fuzzer() {
    name=$1
    shift
    clang $flags $warnings -fsanitize=fuzzer "$@" $(python3-config --embed --ldflags) -o "$out/$name"
}

door parser_door
fuzzer frames tests/fuzz/frames.c "$out/parser_door.o"
door door -DFASTPTY_SIMULATED -include tests/fuzz/kernel.h
fuzzer session tests/fuzz/kernel.c tests/fuzz/world.c tests/fuzz/extension.c tests/fuzz/streams.c tests/fuzz/play.c "$out/door.o"
