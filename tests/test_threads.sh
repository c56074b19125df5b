#!/usr/bin/env bash
# What the environment and --threads say about threads: odd values, more than there are cores, fewer than
# were asked for. The result is the same, number for number.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
. tests/check.sh

cell=(task=mqar model=mamba length=32 pairs=4 vocabulary=64 width=16 layers=1 batch=8 budget=6step evaluations=2
    validation_samples=16 test_samples=16 lr=3e-3)
metrics() { grep -hE '"(test_loss|train_loss|validation_loss|steps|data_hash)"' "$1"/runs/*/result.json; }
# trains NAME THREADS [VARIABLE=VALUE]...
trains() {
    local name=$1 threads=$2
    shift 2
    check "$name" 0 '' env "$@" "$longhaul" train "${cell[@]}" --threads "$threads" --results "$work/$name" --quiet
    metrics "$work/$name" >"$work/$name.metrics"
    expect "same numbers: $name" cmp "$work/$name.metrics" "$work/alone.metrics"
}

trains alone 1
expect 'there are numbers to compare' [ "$(wc -l <"$work/alone.metrics")" -ge 4 ]
trains zero 2 OMP_NUM_THREADS=0
trains letters 2 OMP_NUM_THREADS=abc
trains negative 2 OMP_NUM_THREADS=-4
trains many 2 OMP_NUM_THREADS=100
trains limited 4 OMP_THREAD_LIMIT=1
trains dynamic 4 OMP_DYNAMIC=true
trains cores $(($(nproc) * 2 + 3)) OMP_WAIT_POLICY=passive

[ "$failures" -eq 0 ]
