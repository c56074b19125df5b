#!/usr/bin/env bash
# What this revision does on a GPU, for the tables of docs/cuda.md: prints Markdown, keeps everything
# behind it in a folder. Exit 0: all that was asked held; 1: something did not; 2: usage.
set -u

usage() {
    cat <<'TEXT'
bench/gpu.sh [PART ...] [--device cuda] [--seconds S] [--keep FOLDER] [-- key=value ...]

PART (all of them when none is named):
  check     every kernel against the references, and every model; float, and tf32 and bf16 where something
            multiplies
  same      each model, 30 steps of MQAR here and on the CPU: difference of the test loss
  resume    each model, killed twice with kill -9 and run again, beside a run left alone: SHA-256 of
            weights and moments
  kernels   every kernel against the roof, float32 and bf16
  standard  MQAR at its standard preset, seed 1, in bf16 (long: it goes on where it was stopped)

  --device NAME   cuda, or cuda-emulated to try the script itself
  --seconds S     for each kernel (0.1)
  --limit S       most that the checks of one operation or model, one cell, or the kernels of one kind of
                  products may take before they count as hanging (120; the kernels five times that)
  --models A,B    of same and resume (all)
  --steps N       of resume (1500)
  --keep FOLDER   where files go (build/gpu)
  key=value       settings of the cells of same and resume
TEXT
}
wrong() {
    echo "bench/gpu.sh: $*" >&2
    usage >&2
    exit 2
}

top=$(cd "$(dirname "$0")/.." && pwd)
program=${BUILD:-$top/build}/longhaul
device=cuda seconds=0.1 limit=120 steps=1500 models='' keep=$top/build/gpu parts=() settings=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --device | --seconds | --limit | --steps | --models | --keep)
        [ $# -ge 2 ] || wrong "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    --)
        shift
        settings=("$@")
        break
        ;;
    check | same | resume | kernels | standard) parts+=("$1") ;;
    *) wrong "unknown part or flag '$1'" ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(check same resume kernels standard)
[ -x "$program" ] || wrong "$program is missing: run make first"
mkdir -p "$keep" || exit 2
failures=0
failed() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}
value() { sed -nE "s/.*\"$1\": *\"?([^\",]+)\"?,?$/\1/p" "$2" | head -n 1; } # KEY FILE
models=${models//,/ }
[ -n "$models" ] || models=$("$program" list models | cut -d' ' -f1)

# A kernel that waits for what never comes ends with its process, and takes nothing else with it.
within() { # SECONDS COMMAND ...
    timeout -k 10 "$@"
}
why() { # STATUS
    case $1 in
    124 | 137) echo "hangs, or takes more than its limit" ;;
    *) echo "exit code $1" ;;
    esac
}

check_one() { # PRODUCTS/NAME, where a NAME is op/X/ or model/X/
    local products=${1%%/*} name=${1#*/} log=$keep/check/${1//\//+}.txt status
    within "$limit" "$program" check "$name" --device "$device" --products "$products" --quiet >"$log" 2>&1
    status=$?
    [ $status -eq 0 ] || echo "FAILED: $name in $products: $(why $status); $log"
}
export -f check_one within why

check() {
    local products
    rm -rf "$keep/check"
    mkdir -p "$keep/check"
    export program device limit keep
    {
        "$program" list ops | cut -d' ' -f1 | sed 's|.*|float/op/&/|'
        "$program" list models | cut -d' ' -f1 | sed 's|.*|float/model/&/|'
        "$program" list ops | sed -n 's/ .*; obeys products=$//p' | sed 's|.*|tf32/op/&/\nbf16/op/&/|'
    } | xargs -P "$(nproc)" -I '{}' bash -c 'check_one {}' | tee "$keep/check/failed"
    failures=$((failures + $(wc -l <"$keep/check/failed")))
    echo
    echo '| products | checks |'
    echo '|---|---|'
    for products in float tf32 bf16; do
        cat "$keep/check/$products"+*.txt | awk -v products=$products '/ passed, / { passed += $1; failed += $3 }
            END { printf "| %s | %d passed, %d failed |\n", products, passed, failed
                  exit !passed }' || failed "nothing was checked in $products"
    done
}

# Sets `command`: a process of its own, which can be killed.
cell() { # MODEL DEVICE FOLDER key=value ...
    local model=$1 on=$2 folder=$3
    shift 3
    command=("$program" train task=mqar model="$model" width=64 length=128 pairs=8 batch=32 vocabulary=512 lr=1e-3 \
        seed=1 validation_samples=512 test_samples=512 "$@" "${settings[@]}" --device "$on" --results "$folder" --quiet)
}

same() {
    echo '| model | test loss, CPU | here | relative difference |'
    echo '|---|---|---|---|'
    local model on file losses
    for model in $models; do
        losses=()
        for on in cpu "$device"; do
            rm -rf "$keep/same/$model-$on"
            cell "$model" "$on" "$keep/same/$model-$on" budget=30step
            within "$limit" "${command[@]}" >"$keep/same.txt" 2>&1 ||
                failed "$model on $on: $(why $?): $(tail -n 1 "$keep/same.txt")"
            file=$(find "$keep/same/$model-$on" -name result.json | head -n 1)
            losses+=("$([ -z "$file" ] || value test_loss "$file")")
        done
        # float32 in another order of sums, over 30 steps that still follow each other
        awk -v model="$model" -v a="${losses[0]}" -v b="${losses[1]}" 'BEGIN {
            d = a > 0 ? (a - b) / a : 1
            printf "| %s | %s | %s | %.1e |\n", model, a, b, d < 0 ? -d : d
            exit !(a > 0 && b > 0 && d < 1e-5 && d > -1e-5) }' || failed "$model: losses differ"
    done
}

# Runs the command until its checkpoint has come past a step, and kills it.
killed_after() { # STEP FOLDER
    local step=$1 folder=$2 end=$((SECONDS + limit)) file id
    "${command[@]}" >>"$keep/resume.txt" 2>&1 &
    id=$!
    while kill -0 $id 2>/dev/null && [ $SECONDS -lt $end ]; do
        file=$(find "$folder" -name checkpoint.json 2>/dev/null | head -n 1)
        [ -n "$file" ] && [ "$(value step "$file")" -ge "$step" ] 2>/dev/null && break
        sleep 0.02
    done
    kill -9 $id 2>/dev/null || failed "ended before it could be killed: give more --steps"
    wait $id 2>/dev/null
}

resume() {
    echo '| model | steps | killed twice, weights | moments |'
    echo '|---|---|---|---|'
    local model key file folder values
    local -a cut=(budget="${steps}step" checkpoint_every=$((steps / 6)) evaluations=2)
    for model in $models; do
        folder=$keep/resume/$model
        rm -rf "$folder"
        : >"$keep/resume.txt"
        cell "$model" "$device" "$folder/alone" "${cut[@]}"
        within "$limit" "${command[@]}" >>"$keep/resume.txt" 2>&1
        cell "$model" "$device" "$folder/killed" "${cut[@]}"
        killed_after $((steps / 3)) "$folder/killed"
        killed_after $((steps * 2 / 3)) "$folder/killed"
        within "$limit" "${command[@]}" >>"$keep/resume.txt" 2>&1 ||
            failed "$model: $(why $?): $(tail -n 1 "$keep/resume.txt")"
        printf '| %s | %s' "$model" "$steps"
        for key in weights_sha256 moments_sha256; do
            values=$(find "$folder" -name checkpoint.json | while read -r file; do value $key "$file"; done)
            if [ "$(wc -w <<<"$values")" = 2 ] && [ "$(sort -u <<<"$values" | wc -l)" = 1 ]; then
                printf ' | equal'
            else
                printf ' | DIFFERENT'
                failures=$((failures + 1))
            fi
        done
        echo ' |'
    done
}

time_kernels() { # PRODUCTS SECONDS PART
    within "$2" "$program" kernels ${3:+"$3"} --device "$device" --products "$1" --seconds "$seconds" --format md \
        --output "$keep/kernels-$1${3:+-${3%/}}.json" --quiet 2>"$keep/kernels-$1${3:+-${3%/}}.txt"
}

kernels() {
    local products name status
    for products in float bf16; do
        echo "**$products**"
        echo
        time_kernels $products $((5 * limit)) ''
        status=$?
        [ $status -eq 0 ] || failed "kernels in $products: $(why $status): $(tail -n 1 "$keep/kernels-$products.txt")"
        # One hangs, or has ended the process: the others by themselves, each with a roof of its own. Code 2:
        # the operation has no row to be timed.
        if [ $status -gt 2 ]; then
            for name in $("$program" list ops | cut -d' ' -f1); do
                time_kernels $products "$limit" "$name/"
                status=$?
                [ $status -eq 0 ] || [ $status -eq 2 ] || failed "kernels of $name in $products: $(why $status)"
            done
        fi
        echo
    done
}

standard() {
    "$program" sweep mqar --preset standard --seeds 1 --device "$device" --jobs 6 products=bf16 \
        --results "$keep/standard" --quiet >"$keep/standard.txt" 2>&1 ||
        failed "standard: $(tail -n 1 "$keep/standard.txt")"
    "$program" table mqar --preset standard --seeds 1 products=bf16 --results "$keep/standard" --format md
}

echo "Revision $("$program" --version | sed -nE 's/^revision: //p'), $device$(
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1 | sed 's/^/: /')."
for part in "${parts[@]}"; do
    began=$SECONDS
    printf '\n### %s\n\n' "$part"
    "$part"
    printf '\n(%d s)\n' $((SECONDS - began))
done
[ $failures -eq 0 ]
