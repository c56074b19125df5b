#!/usr/bin/env bash
# Whole cells on a GPU of which only the runtime, cuBLASLt and the hardware are stand-ins
# (engine/cuda/emulated_runtime.h): steps are recorded and replayed, and everything enqueued runs as late as
# it may. Then GPUs that fail, which no real one does when it is asked to.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
. tests/check.sh
streams=(out err)

# ---- properties of every model, decoding token by token among them
check 'models' 0 ' passed, 0 failed' "$longhaul" check model/ --device cuda-emulated --quiet

# ---- training: what reads host memory too early or writes it too late, an argument that was recorded and
# should change, memory let go of before backward reads it. Weights and data are bit-equal on both devices.
small=(width=8 layers=2 batch=4 budget=6step evaluations=2 dropout=0.2 validation_samples=8 test_samples=8 lr=2e-3)
mqar='task=mqar vocabulary=32 length=16 pairs=2'
loss() { # DEVICE key=value ...
    local device=$1
    shift
    rm -rf "$work/cell"
    "$longhaul" train "${small[@]}" "$@" --device "$device" --results "$work/cell" --quiet >"$work/out" 2>&1 ||
        cat "$work/out" >&2
    grep -rhoE '"test_loss": *[0-9.e+-]+' "$work/cell" --include=result.json | grep -oE '[0-9][0-9.e+-]*$'
}
# Six steps of rounding leave losses within 1e-5 of each other (measured: 2e-7, and 2e-6 where inputs are
# rounded to bf16; five times the rate takes CKConv to 6e-6); a seed that is recorded instead of read anew
# changes them by 1e-5 to 4e-3.
compare() { # "key=value ..."
    local on_cpu emulated settings
    read -ra settings <<<"$1"
    on_cpu=$(loss cpu "${settings[@]}")
    emulated=$(loss cuda-emulated "${settings[@]}")
    awk -v a="$on_cpu" -v b="$emulated" 'BEGIN { d = a - b; exit !(a > 0 && d < 1e-5 * a && -d < 1e-5 * a) }' ||
        complain "$1: test loss '$on_cpu' on the CPU, '$emulated' emulated"
}
for model in $("$longhaul" list models | awk '{ print $1 }'); do compare "$mqar model=$model"; done
for settings in 'transformer products=bf16' 'transformer products=bf16 positions=rotary' 's4d products=bf16' \
    'lstm norm=batch' 'mamba micro_batch=1 recompute=yes' 'transformer dropout_tied=yes' \
    'lstm schedule=plateau plateau_patience=0 evaluations=5'; do
    compare "$mqar model=$settings"
done
compare 'task=lm_synthetic model=transformer_xl length=16' # memory from window to window
compare 'task=formal language=parity model=mamba shortest=4 longest=16 test_shortest=20 test_longest=1100' # lengths
# The other extreme, where everything runs at once and nothing is recorded: the same bits.
for model in transformer lstm; do
    read -ra settings <<<"$mqar model=$model"
    late=$(loss cuda-emulated "${settings[@]}")
    at_once=$(CUDA_LAUNCH_BLOCKING=1 loss cuda-emulated "${settings[@]}")
    expect "$model at once: $at_once, late: $late" test "$late" = "$at_once"
done

# ---- GPUs that cannot be used, and memory that there is not
cell=("$longhaul" train task=mqar model=lstm width=8 layers=1 vocabulary=32 length=16 pairs=2 batch=4 budget=8step
    evaluations=2 validation_samples=8 test_samples=8 --device cuda-emulated --quiet)
failing() { # COUNT ERROR NAME, then words of a command
    LONGHAUL_EMULATED_FAILURE="$1 $2 $3" "${@:4}"
}
# Forty steps are two launches each, and neither wait nor allocate: fewer than twenty calls, all of them
# before the first step, at the evaluation or at the end.
steps=("${cell[@]}" budget=40step evaluations=1)
check 'launches of recordings' 74 'launching a recorded step' failing 70 999 cudaGraphLaunch "${steps[@]}" --results "$work/launches"
for function in cudaStreamSynchronize cudaMalloc cudaMallocHost cudaEventCreate cudaGraphInstantiate; do
    check "calls of $function" 0 '' failing 20 999 $function "${steps[@]}" --results "$work/$function"
done
start=("${cell[@]}" --results "$work/start")
check 'an old driver' 2 'the driver is too old' failing 1 35 cudaGetDeviceCount "${start[@]}"
check 'no GPU' 2 'the driver finds no GPU' failing 1 100 cudaGetDeviceCount "${start[@]}"
check 'no code for it' 2 'CUDA_ARCHITECTURES=NUMBER' failing 1 209 cudaFuncGetAttributes "${start[@]}"
check 'no cuBLASLt' 2 'cuBLASLt cannot be initialised' failing 1 1 cublasLtCreate "${start[@]}"
check 'a plan too large' 2 'GiB) are available; nothing was started' "${start[@]}" width=4096 batch=65536 micro_batch=65536
check 'memory that others took' 2 'of GPU memory are needed and' failing 6 2 cudaMalloc "${start[@]}"
check 'no pinned memory' 2 'pinned host memory cannot be had' failing 3 2 cudaMallocHost "${start[@]}"

# ---- a GPU that fails while it works: the process begins again to learn where, and names it
kernel='(kept_adjoint_steps<SHARE, SPAN>)'
named='backward of lstm at layers.0.mixer: kernel (kept_adjoint_steps<SHARE, SPAN>): an illegal memory access'
check 'a kernel fails' 74 "model lstm, one of the steps 2 to 3: device cuda-emulated, $named" \
    failing 3 700 "$kernel" "${cell[@]}" --results "$work/kernel"
check 'a product fails' 74 'backward of linear at layers.0.mixer.input: cuBLASLt product (8, 32, 64)' \
    failing 20 700 product "${cell[@]}" --results "$work/product"
check 'the optimiser fails' 74 'kernel update: an illegal memory access' \
    failing 2 700 update "${cell[@]}" --results "$work/update"
check 'a recording fails' 74 'recording a step: out of memory; with every launch waited for it has not come again' \
    failing 1 2 cudaGraphInstantiate "${cell[@]}" --results "$work/recording"
# The kernel fails in step 7; the second look begins behind the checkpoint of step 6 and passes.
check 'the GPU vanishes' 74 'steps 7 to 8: device cuda-emulated: a kernel (CUDA_LAUNCH_BLOCKING=1 names it): unknown error; with' \
    failing 7 999 "$kernel" "${cell[@]}" checkpoint_every=3 --results "$work/vanishes"
check 'it is back' 0 '' "${cell[@]}" checkpoint_every=3 --results "$work/vanishes"
check 'undisturbed' 0 '' "${cell[@]}" checkpoint_every=3 --results "$work/undisturbed"
sums() { find "$1" -name '*.safetensors' -exec sha256sum {} + | cut -c 1-64 | sort; }
expect 'the same weights and moments' test "$(sums "$work/vanishes")" = "$(sums "$work/undisturbed")"

# ---- in a sweep: the others go on in processes of their own
cat >"$work/two.yaml" <<'YAML'
title: Two models
task: mqar
set: {width: 8, layers: 1, vocabulary: 32, length: 16, pairs: 2, batch: 4, budget: 8step, evaluations: 2,
      validation_samples: 8, test_samples: 8}
models: [lstm, s4d]
presets:
  quick: {seeds: [1]}
YAML
sweep=("$longhaul" sweep "$work/two.yaml" --device cuda-emulated --results "$work/sweep" --quiet)
check 'a sweep with a cell that fails' 1 '1 of 2 cells done, 1 failed' failing 3 700 "$kernel" "${sweep[@]}"
expect 'the message names op, model and step' grep -q "$named" "$work/out"
check 'a sweep that tries again' 0 '2 of 2 cells done, 0 failed' "${sweep[@]}" --retry-failed
exit $((failures > 0))
