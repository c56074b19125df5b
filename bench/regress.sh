#!/usr/bin/env bash
# Has a kernel become slower since REVISION? Builds that revision in a temporary folder and the
# working tree in build/, measures both in turn (A B A B ...), and compares.
#
#   bench/regress.sh REVISION [PART OF A NAME] [--rounds N] [--seconds X] [--threads N]
#                    [--threshold X]
#
# Exit: 0 nothing became slower, 3 something did, 2 usage, 74 a build failed, 75 interrupted. The
# temporary folder is gone afterwards in every case. CC and CFLAGS hold for both builds.
set -u
cd "$(dirname "$0")/.." || exit 74
build=${BUILD:-build}
revision='' filter='' rounds=5 seconds=0.1 threads=1 threshold=0.05

usage() {
    echo "bench/regress.sh: $1; expected: bench/regress.sh REVISION [PART OF A NAME] [--rounds N]" \
        "[--seconds X] [--threads N] [--threshold X]" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --rounds | --seconds | --threads | --threshold)
        [ $# -gt 1 ] || usage "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    -*) usage "unknown flag $1" ;;
    *)
        if [ -z "$revision" ]; then
            revision=$1
        elif [ -z "$filter" ]; then
            filter=$1
        else
            usage "'$1' is one argument too many"
        fi
        ;;
    esac
    shift
done
[ -n "$revision" ] || usage 'no revision given'
[[ $rounds =~ ^[1-9][0-9]?$ ]] || usage "--rounds $rounds: a whole number from 1 to 99"
commit=$(git rev-parse --quiet --verify "$revision^{commit}") ||
    usage "'$revision' is no revision of this repository (a shallow clone? git fetch --unshallow)"

# Children run in the background, so that a signal is acted upon at once; they are ended first, then
# the folder goes. An archive, not a worktree: nothing of it is noted in .git.
child=''
work=$(mktemp -d) || exit 74
finish() {
    trap '' INT TERM HUP
    if [ -n "$child" ]; then
        kill -TERM -- "-$child" 2>/dev/null
        wait "$child" 2>/dev/null
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 75' INT TERM HUP
set -m # a process group for each child: make has children of its own
run() {
    "$@" </dev/null &
    child=$!
    wait "$child"
    local status=$?
    child=''
    return $status
}

jobs=$(getconf _NPROCESSORS_ONLN)
mkdir "$work/base"
git archive "$commit" | tar -x -C "$work/base" || exit 74
echo "building $revision and the working tree" >&2
for tree in "$work/base" .; do
    target=build
    [ "$tree" = . ] && target=$build
    run make -s -j"$jobs" -C "$tree" BUILD="$target" "$target/longhaul" >"$work/log" 2>&1 || {
        echo "bench/regress.sh: the build failed in $tree:" >&2
        tail -n 20 "$work/log" >&2
        exit 74
    }
done

files=()
for round in $(seq "$rounds"); do
    for side in base new; do
        longhaul=$work/base/build/longhaul
        [ "$side" = new ] && longhaul=$build/longhaul
        echo "round $round of $rounds: $side" >&2
        files+=("$work/$side.$round.json")
        run "$longhaul" kernels ${filter:+"$filter"} --seconds "$seconds" --threads "$threads" \
            --output "$work/$side.$round.json" >/dev/null 2>"$work/log" || {
            status=$?
            cat "$work/log" >&2
            exit "$status"
        }
    done
done
run "$build/longhaul" compare "${files[@]}" --threshold "$threshold"
