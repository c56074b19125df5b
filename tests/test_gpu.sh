#!/usr/bin/env bash
# bench/gpu.sh on the emulated GPU: what it reports of runs that agree, and of ones that cannot run.
set -u
cd "$(dirname "$0")/.." || exit 74
export BUILD
BUILD=$(realpath "${BUILD:-build}")
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
. tests/check.sh
small=(width=8 layers=1 vocabulary=32 length=16 pairs=2 batch=4 validation_samples=8 test_samples=8)

bench/gpu.sh same resume --device cuda-emulated --steps 24 --models lstm,transformer --keep "$work" \
    -- "${small[@]}" >"$work/out" 2>&1 || complain "bench/gpu.sh: $(cat "$work/out")"
for model in lstm transformer; do
    grep -qE "^\| $model \| 24 \| equal \| equal \|\$" "$work/out" || complain "resume: $(cat "$work/out")"
done
grep -qE '\| transformer \| [0-9.]+ \| [0-9.]+ \| [0-9.e+-]+ \|' "$work/out" || complain "same: $(cat "$work/out")"

bench/gpu.sh same --device cuda-emulated --keep "$work" -- width=-1 >"$work/out" 2>&1
[ $? -eq 1 ] || complain "cells that are refused: not exit 1"
grep -q 'FAILED: lstm on cpu: .*width' "$work/out" || complain "refused cells: $(cat "$work/out")"
bench/gpu.sh some 2>"$work/err"
[ $? -eq 2 ] || complain "unknown part: not exit 2"
grep -q "unknown part or flag 'some'" "$work/err" || complain "unknown part: $(cat "$work/err")"
exit $((failures > 0))
