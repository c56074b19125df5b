#!/usr/bin/env bash
# Real data sets, where the machine has some: everything in LONGHAUL_DATA is read and checked, and
# every task that reads what is here trains a step on it. Without LONGHAUL_DATA there is nothing to do.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
if [ ! -d "${LONGHAUL_DATA:-}" ]; then
    echo "LONGHAUL_DATA names no folder: nothing to test"
    exit 0
fi
LONGHAUL_DATA=$(realpath "$LONGHAUL_DATA")
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
export LONGHAUL_DATA LONGHAUL_CACHE=$work/cache
failures=0

"$longhaul" data list >"$work/list" || failures=1
if ! grep -qE '^[^ ]+ +here ' "$work/list"; then
    echo "no whole set in $LONGHAUL_DATA: nothing to test"
    exit "$failures"
fi
before=$(find "$LONGHAUL_DATA" | sort | sha256sum)
"$longhaul" data verify || failures=$((failures + 1))

small=(model=lstm width=8 layers=1 batch=2 budget=1step evaluations=1 validation_samples=2
    test_samples=2)
# NAME ... task TASK SETTINGS; ...
while read -r name settings; do
    # shellcheck disable=SC2086  # a list of words
    "$longhaul" train task=$settings "${small[@]}" --quiet --results "$work/results" \
        >"$work/out" 2>&1 </dev/null || {
        echo "$name: task=$settings does not train:"
        sed 's/^/    /' "$work/out"
        failures=$((failures + 1))
    }
done < <(sed -nE 's/^([^ ]+) +here .*; task ([^;]+); .*/\1 \2/p' "$work/list")

if [ "$(find "$LONGHAUL_DATA" | sort | sha256sum)" != "$before" ]; then
    echo "something was written to the data folder"
    failures=$((failures + 1))
fi
[ "$failures" -eq 0 ]
