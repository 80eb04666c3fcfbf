#!/bin/sh
# The compiler, asked to count which edges of our own crates are taken: what libFuzzer steers by. Cargo runs it in place of
# rustc for the crates of this workspace only (RUSTC_WORKSPACE_WRAPPER), so dependencies are built once for all. The pass
# is LLVM's own and needs no nightly; the flags are those of cargo-fuzz without a sanitizer.
for argument in "$@"; do
    case "$argument" in
    build_script_*) exec "$@" ;; # runs while building, where nothing counts
    esac
done
exec "$@" -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Copt-level=1 -Cdebug-assertions
