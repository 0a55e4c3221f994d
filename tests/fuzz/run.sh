#!/bin/sh
# Replays the corpora and goes on from them for $1 seconds in all, 1/5 of it the parser. New finds stay in build/fuzz; a failing
# input is left as build/fuzz/crash-…, and FASTPTY_FUZZ_TRACE=1 build/fuzz/session build/fuzz/crash-… tells what happens.
# To keep what was found: build/fuzz/session -merge=1 tests/fuzz/corpus/session build/fuzz/new-session
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
