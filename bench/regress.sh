#!/usr/bin/env bash
# Has the working tree become slower than a revision? Builds both, runs their kernel benchmarks in
# turn (A B A B ...) and compares. Exit 0: no kernel is slower; 3: at least one is; 2: usage;
# 4: a side does not build or does not measure.
set -eu

usage() {
    cat <<'TEXT'
bench/regress.sh REV [PART OF A CASE NAME] [--rounds N] [--threshold X] [--seconds S]
                 [--threads N] [--device NAME] [--products NAME] [--keep FOLDER] [--force]

  REV            the base: any revision that git knows, such as HEAD or origin/main
  --rounds N     runs of each side, in turn (5)
  --threshold X  relative change of time that counts (0.05)
  --seconds S    to spend on each case in each run (0.1)
  --threads N    threads of both sides (1)
  --device NAME  cpu, or cuda on a machine with a GPU and nvcc (cpu)
  --products P   what matrix products round their inputs to: float, tf32 or bf16 (float)
  --keep FOLDER  keep the samples of every run there
  --force        compare also cases whose work changed under the same name
TEXT
}
say() { echo "regress: $*" >&2; }
wrong() {
    say "$*"
    usage >&2
    exit 2
}

revision='' filter='' rounds=5 threshold=0.05 seconds=0.1 threads=1 device=cpu products=float keep='' force=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --force) force=(--force) ;;
    --rounds | --threshold | --seconds | --threads | --device | --products | --keep)
        [ $# -ge 2 ] || wrong "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    -*) wrong "unknown flag $1" ;;
    *)
        if [ -z "$revision" ]; then
            revision=$1
        elif [ -z "$filter" ]; then
            filter=$1
        else
            wrong "'$1' is one argument too many"
        fi
        ;;
    esac
    shift
done
[ -n "$revision" ] || wrong "no base revision given"
if ! [[ $rounds =~ ^[1-9][0-9]?$ ]] || [ "$rounds" -gt 64 ]; then
    wrong "--rounds $rounds: expected a whole number from 1 to 64"
fi

if [ -n "$keep" ]; then
    mkdir -p "$keep" || exit 74
    keep=$(cd "$keep" && pwd)
fi
cd "$(dirname "$0")/.."
commit=$(git rev-parse --quiet --verify "$revision^{commit}") || {
    say "'$revision' is no revision of this repository; in a shallow copy, fetch it first" \
        "(git fetch --unshallow)"
    exit 2
}

work=$(mktemp -d) || exit 74
# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    git worktree remove --force "$work/base" >/dev/null 2>&1 || true
    rm -rf "$work"
    git worktree prune >/dev/null 2>&1 || true
}
trap clean_up EXIT
# A signal ends the script by way of exit, so that the trap above runs.
trap 'exit 130' INT
trap 'exit 143' TERM

build() { # NAME FOLDER BUILD_FOLDER: its program becomes $work/NAME/longhaul
    local log=$work/$1.log from=$3 targets=("$3/longhaul")
    say "building $1"
    case $device in
    cpu) ;;
    cuda-emulated) targets+=(emulated) ;;
    *) targets+=(all) ;;
    esac
    if ! make -s -C "$2" -j"$(nproc)" BUILD="$3" "${targets[@]}" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "$1 does not build; last lines above"
        exit 4
    fi
    # A copy, with the libraries that the program looks for beside it: building again while this
    # runs must not exchange what is measured.
    [[ $3 == /* ]] || from=$2/$3
    mkdir "$work/$1"
    cp "$from/longhaul" "$work/$1/"
    [ "$device" = cpu ] || cp "$from"/liblonghaul_cuda*.so "$work/$1/" 2>/dev/null || {
        say "$1 was built without CUDA: $device needs nvcc on the path or NVCC=, see docs/cuda.md"
        exit 4
    }
}
git worktree add --quiet --detach "$work/base" "$commit" >&2
build 'base-program' "$work/base" build
build 'new-program' . "${BUILD:-build}"

samples=${keep:-$work}
files=()
measure() { # NAME FILE
    local words=(kernels --threads "$threads" --seconds "$seconds" --device "$device" \
        --products "$products" --output "$2")
    [ -z "$filter" ] || words+=("$filter")
    "$work/$1/longhaul" "${words[@]}" >"$work/log" 2>&1 || {
        local status=$?
        tail -n 5 "$work/log" >&2
        say "$1 does not measure: its \`longhaul ${words[*]}\` ended with exit $status"
        [ "$status" -eq 2 ] || status=4
        exit "$status"
    }
    grep '^warning' "$work/log" >>"$work/warnings" || true
    files+=("$2")
}
for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    measure base-program "$samples/base-$round.json"
    measure new-program "$samples/new-$round.json"
done

echo "base ${commit:0:12} ($revision), new: the working tree; $rounds rounds"
if [ -s "$work/warnings" ]; then
    say "the $((2 * rounds)) runs warned of (times, what):"
    cut -d: -f1 "$work/warnings" | sort | uniq -c >&2
    say "last: $(tail -n 1 "$work/warnings")"
fi
status=0
"$work/new-program/longhaul" compare "${files[@]}" --threshold "$threshold" "${force[@]}" || status=$?
exit "$status"
