#!/usr/bin/env bash
# Runs test programs and test scripts one after the other: tests/run.sh FILE...
# A line for each; the output of those that fail; last line "N passed, N failed".
# Scripts find the build folder in $BUILD. A test over LONGHAUL_TEST_SECONDS (600) has failed.
set -u
limit=${LONGHAUL_TEST_SECONDS:-600}
passed=0 failed=0
log=$(mktemp) || exit 74
trap 'rm -f "$log"' EXIT
export BUILD=${BUILD:-build}

for test in "$@"; do
    start=$(date +%s%N)
    case $test in
    */*) path=$test ;;
    *) path=./$test ;;
    esac
    timeout -k 10 "$limit" "$path" >"$log" 2>&1 </dev/null
    status=$?
    milliseconds=$((($(date +%s%N) - start) / 1000000))
    name=$(basename "$test")
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        verdict=ok
    else
        failed=$((failed + 1))
        verdict=FAILED
        [ "$status" -eq 124 ] && echo "longer than $limit s" >>"$log"
    fi
    printf '%-6s %-32s %4d.%02d s\n' "$verdict" "$name" \
        $((milliseconds / 1000)) $((milliseconds % 1000 / 10))
    [ "$status" -eq 0 ] || sed 's/^/    /' "$log"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
