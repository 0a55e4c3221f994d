#!/bin/sh
# Fuzzes for $1 seconds, a fifth of them the parser, beginning with the inputs in tests/fuzz/corpus. Inputs that reach
# more code than these stay in build/fuzz/new-*. To keep them:
#     build/fuzz/session -merge=1 tests/fuzz/corpus/session build/fuzz/new-session
# An input that fails is left as build/fuzz/crash-*. To see what happens:
#     FASTPTY_FUZZ_TRACE=1 build/fuzz/session build/fuzz/crash-*
set -eu
cd "$(dirname "$0")/../.."
seconds=$1
for fuzzer in frames session; do
    share=$((seconds / 5))
    [ "$fuzzer" = frames ] || share=$((seconds - seconds / 5))
    mkdir -p "build/fuzz/new-$fuzzer"
    build/fuzz/$fuzzer -max_total_time="$share" -max_len=1024 -timeout=10 -artifact_prefix=build/fuzz/ \
        "build/fuzz/new-$fuzzer" "tests/fuzz/corpus/$fuzzer" >build/fuzz/$fuzzer.log 2>&1 || {
        tail -40 build/fuzz/$fuzzer.log
        exit 1
    }
    tail -1 build/fuzz/$fuzzer.log
done
