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

# A program of whose operations one hangs and one dies: the others are checked and timed all the same.
mkdir "$work/bin"
cat >"$work/bin/longhaul" <<'TEXT'
#!/usr/bin/env bash
case $*" " in
"list ops "*) printf '%s\n' fine slow broken 'both  what it does; obeys products=' ;;
"list models "*) printf 'model  A model\n' ;;
"check op/slow/ "* | "kernels slow/ "*) exec sleep 60 ;;
"check op/broken/ "* | "kernels broken/ "* | "kernels --"*) exit 74 ;;
"check "*) echo "3 passed, 0 failed, 0 exempt" ;;
"kernels fine/ "*) echo "| fine |" ;;
esac
TEXT
chmod +x "$work/bin/longhaul"
BUILD=$work/bin bench/gpu.sh check kernels --limit 1 --keep "$work/keep" >"$work/out" 2>&1
[ $? -eq 1 ] || complain "an operation that hangs: not exit 1"
for line in 'FAILED: op/slow/ in float: hangs' 'FAILED: op/broken/ in float: exit code 74' \
    '| float | 9 passed, 0 failed |' '| bf16 | 3 passed, 0 failed |' 'FAILED: kernels in bf16: exit code 74' \
    'FAILED: kernels of slow in float: hangs' '| fine |'; do
    grep -qF "$line" "$work/out" || complain "no '$line': $(cat "$work/out")"
done
exit $((failures > 0))
