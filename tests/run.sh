#!/usr/bin/env bash
# Runs tests: tests/run.sh FILE... As many at once as there are cores, in the order of the command line;
# then, one after the other, scripts with a line that begins with "# Runs alone", which says why. A line for
# each; the output of those that fail; last line "N passed, N failed". Scripts find the build folder in
# $BUILD. A test over LONGHAUL_TEST_SECONDS (600) has failed. Status 77: this machine lacks what the test
# needs, and its output says what; it is shown and counted as skipped, in a line before the last.
set -u
export limit=${LONGHAUL_TEST_SECONDS:-600} BUILD=${BUILD:-build}
# Threads that wait spin for a while, on the cores of the other tests.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
work=$(mktemp -d) || exit 74
export work
trap 'rm -rf "$work"' EXIT

run() {
    local test=$1 name start status milliseconds verdict=ok out
    name=$(basename "$test")
    out=$work/$name.$BASHPID
    case $test in
    */*) ;;
    *) test=./$test ;;
    esac
    start=$(date +%s%N)
    timeout -k 10 "$limit" "$test" >"$out" 2>&1 </dev/null
    status=$?
    milliseconds=$((($(date +%s%N) - start) / 1000000))
    if [ "$status" -eq 77 ]; then
        verdict=skipped
    elif [ "$status" -ne 0 ]; then
        verdict=FAILED
        [ "$status" -eq 124 ] && echo "longer than $limit s" >>"$out"
    fi
    echo "$name" >>"$work/$verdict"
    {
        printf '%-7s %-32s %4d.%02d s\n' "$verdict" "$name" \
            $((milliseconds / 1000)) $((milliseconds % 1000 / 10))
        [ "$status" -eq 0 ] || sed 's/^/    /' "$out"
    } >"$out.line"
    cat "$out.line" # at once, so that lines of two tests do not mix
}
export -f run

together=() alone=()
for test in "$@"; do
    if [[ $test == *.sh ]] && grep -q '^# Runs alone' "$test" 2>/dev/null; then
        alone+=("$test")
    else
        together+=("$test")
    fi
done
[ "${#together[@]}" -eq 0 ] || printf '%s\0' "${together[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c 'run "$1"' run
for test in "${alone[@]+"${alone[@]}"}"; do run "$test"; done

count() { cat "$work/$1" 2>/dev/null | wc -l; }
[ "$(count skipped)" -eq 0 ] || echo "$(count skipped) skipped"
echo "$(count ok) passed, $(count FAILED) failed"
[ "$(count FAILED)" -eq 0 ] && [ $(($(count ok) + $(count skipped))) -eq $# ]
