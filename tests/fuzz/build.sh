#!/bin/sh
# Builds the fuzzers into build/fuzz: session (the relay in the simulated kernel) and frames (the parser alone).
# The relay's C comes from Cython as in a release; libpython is linked for the module around it, which never runs.
set -eu
cd "$(dirname "$0")/../.."
out=build/fuzz
flags="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -Itests/fuzz"
warnings="-Wall -Wextra -Wno-unused-parameter"
mkdir -p "$out"
cython -3 -X cdivision=True -I. tests/fuzz/door.pyx -o "$out/door.c"
clang $flags -w -fsanitize=fuzzer-no-link -DFASTPTY_CHECKED -DFASTPTY_SIMULATED -include tests/fuzz/kernel.h \
    $(python3-config --includes) -c "$out/door.c" -o "$out/door.o"
libraries=$(python3-config --embed --ldflags)
clang $flags $warnings -fsanitize=fuzzer tests/fuzz/kernel.c "$out/door.o" $libraries -o "$out/session"
# The parser needs no kernel, but the door refers to one.
clang $flags $warnings -fsanitize=fuzzer-no-link -DLLVMFuzzerTestOneInput=unused_entry -c tests/fuzz/kernel.c -o "$out/kernel.o"
clang $flags $warnings -fsanitize=fuzzer tests/fuzz/frames.c "$out/kernel.o" "$out/door.o" $libraries -o "$out/frames"
