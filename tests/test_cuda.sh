#!/usr/bin/env bash
# The CUDA half without a GPU: what the program says of it, and every kernel there is, emulated on
# the CPU, against the references and case tables that the CPU's kernels are held to.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
folder=$(dirname "$longhaul")
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
failures=0
complain() {
    echo "$*"
    failures=$((failures + 1))
}

# ---- messages; with a GPU at hand the device opens and these do not apply
cell=(task=mqar model=lstm width=8 layers=1 vocabulary=32 length=16 pairs=2 batch=4 budget=2step)
if ! ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1'; then
    "$longhaul" train "${cell[@]}" --device cuda --results "$work/cuda" 2>"$work/err"
    status=$?
    [ $status -eq 2 ] || complain "--device cuda without a GPU: status $status, expected 2"
    if [ -e "$folder/liblonghaul_cuda.so" ]; then
        grep -q 'no NVIDIA driver' "$work/err" || complain "driver: $(cat "$work/err")"
    else
        grep -q 'built without CUDA' "$work/err" || complain "not built: $(cat "$work/err")"
    fi
    # a sweep says it once, and no cell counts as failed
    "$longhaul" sweep mqar --device cuda --results "$work/sweep" >"$work/out" 2>"$work/err"
    status=$?
    [ $status -eq 2 ] || complain "sweep without a GPU: status $status, expected 2"
    [ "$(grep -c 'device cuda\|built without CUDA' "$work/err")" -eq 1 ] || complain "$(cat "$work/err")"
    [ -z "$(find "$work/sweep" -name 'result.json' 2>/dev/null)" ] || complain "cells were started"
fi

# a program that has no library beside it says so, and one of another build is refused
mkdir "$work/bin"
cp "$longhaul" "$work/bin/longhaul"
"$work/bin/longhaul" check op/sine --device cuda 2>"$work/err"
status=$?
[ $status -eq 2 ] || complain "no library: status $status, expected 2"
grep -q 'built without CUDA (make found no nvcc)' "$work/err" || complain "$(cat "$work/err")"
"$work/bin/longhaul" check op/sine --device cuda-emulated 2>"$work/err"
grep -q 'make emulated builds it' "$work/err" || complain "no emulation: $(cat "$work/err")"
echo 'no library at all' >"$work/bin/liblonghaul_cuda_emulated.so"
"$work/bin/longhaul" check op/sine --device cuda-emulated 2>"$work/err"
grep -q 'cannot be loaded' "$work/err" || complain "broken library: $(cat "$work/err")"
"$work/bin/longhaul" --version | grep -q '^cuda: not built' || complain "--version: no word of CUDA"

# ---- an operation without a kernel is an error, never another device
missing=$(for folder in engine/ops/*/; do
    name=$(basename "$folder")
    ls "$folder"*.cu >/dev/null 2>&1 || echo "$name"
done | head -1)
if [ -n "$missing" ]; then
    "$longhaul" check "op/$missing/" --device cuda-emulated >"$work/out" 2>&1
    grep -q "has no kernel for operation $missing" "$work/out" || complain "$missing: no message"
fi

# ---- arithmetic; two orders of blocks and threads must give the same bits. Then products that round
# their inputs, where an operation has some. The longest first, as many at once as there are cores.
mkdir "$work/checks"
check='"$0" check "op/$2/" --device cuda-emulated --products "$3" --quiet >"$1/$2 $3" 2>&1 && rm "$1/$2 $3"'
{
    printf '%s\n' 'attention bf16' 'attention tf32' 'attention float'
    for folder in $(dirname engine/ops/*/*.cu | sort -u); do echo "$(basename "$folder") float"; done
    "$longhaul" list ops | sed -n 's/ .*; obeys products=$//p' | sed 's/.*/& bf16\n& tf32/'
} | awk '!seen[$0]++' | xargs -P "$(nproc)" -L 1 bash -c "$check" "$longhaul" "$work/checks" || failures=1
for left in "$work/checks/"*; do
    [ -e "$left" ] || continue
    complain "$(basename "$left"):"
    head -20 "$left"
done
# ---- timing: marks, emptied caches, ceilings, replays that stay on the device. Numbers of an emulation
# mean nothing; that every row has some is what is asked.
"$longhaul" kernels rms1024x128 --device cuda-emulated --seconds 0.01 --csv >"$work/out" 2>"$work/err" ||
    complain "kernels: $(cat "$work/err")"
awk -F, 'NR > 1 && $2 > 0 && $5 >= 10 && $12 > 0 && $13 > 0 { n++ } END { exit n != 2 }' "$work/out" ||
    complain "kernels: $(cat "$work/out")"
grep -q 'clock-unknown' "$work/err" || complain "kernels: no word about the clock"
"$longhaul" speed --model lstm task=mqar pairs=2 vocabulary=32 batch=4 width=8 length=16 --limit 100 \
    --device cuda-emulated --seconds 0.01 --csv >"$work/out" 2>"$work/err" ||
    complain "speed: $(cat "$work/err")"
awk -F, 'NR == 2 && $5 > 0 && $9 > 0 && $10 > 0 { n++ } END { exit n != 1 }' "$work/out" ||
    complain "speed: $(cat "$work/out")"
[ "$failures" -eq 0 ]
