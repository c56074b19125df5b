#!/usr/bin/env bash
# Sabotage of the regression gate with a kernel that really is slower: bench/regress.sh must catch
# 20 % and must not call 1 %. It compiles the program several times and needs a quiet machine, so it
# is no part of the test run: tests/sabotage_regress.sh
set -u
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
failures=0

# A copy with its own history: the tree as it is, committed, is the base.
git ls-files -z | tar -c --null -T - | tar -x -C "$work" || exit 74
cd "$work" || exit 74
git init -q . && git add -A &&
    git -c user.name=sabotage -c user.email=sabotage@localhost commit -qm base || exit 74

# After each call of the operation `linear` (arithmetic is what neighbours disturb least), wait for a
# share of the time that it took.
slow() { # SHARE
    git checkout -q engine/replay.c
    sed -i -e "s|^    if (tape->seconds) tape->seconds\[step->call\] += seconds_now() - start;|\
    const double sabotage_took = seconds_now() - sabotage_start;\n\
    if (call->op->name[0] == 'l' \&\& call->op->name[1] == 'i')\n\
        while (seconds_now() - sabotage_start < sabotage_took * (1 + $1)) continue;\n&|" \
        -e "s|^    const double start = tape->seconds ? seconds_now() : 0;|&\n\
    const double sabotage_start = seconds_now();|" engine/replay.c
    grep -q sabotage_took engine/replay.c || { echo 'engine/replay.c looks different now'; exit 74; }
}
expect() { # NAME EXPECTED_STATUS SHARE
    slow "$3"
    bench/regress.sh HEAD linear/B512I512O512/forward --seconds 0.5 --rounds 11
    local status=$?
    if [ "$status" -ne "$2" ]; then
        echo "$1: status $status, expected $2"
        failures=$((failures + 1))
    fi
}
expect '20 % is caught' 3 0.20
expect '1 % is not called' 0 0.01
[ "$failures" -eq 0 ] && echo 'sabotage was noticed where it should be'
[ "$failures" -eq 0 ]
