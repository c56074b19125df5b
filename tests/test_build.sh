#!/usr/bin/env bash
# The build and the test runner themselves: what nobody runs twice by hand.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
    echo "FAILED: $*"
    exit 1
}

# The runner counts, shows the output of a failure, and its exit status is the verdict.
printf '#!/bin/sh\nexit 0\n' >"$folder/good"
printf '#!/bin/sh\necho reason; exit 3\n' >"$folder/bad"
printf '#!/bin/sh\nsleep 5\n' >"$folder/slow"
chmod +x "$folder/good" "$folder/bad" "$folder/slow"
"$top/tests/run.sh" "$folder/good" "$folder/good" >"$folder/log" || fail "two good tests fail"
[ "$(tail -n 1 "$folder/log")" = "2 passed, 0 failed" ] || fail "summary of two good tests"
if "$top/tests/run.sh" "$folder/good" "$folder/bad" >"$folder/log"; then
    fail "a failing test is not seen"
fi
[ "$(tail -n 1 "$folder/log")" = "1 passed, 1 failed" ] || fail "summary with a failing test"
grep -q '^    reason$' "$folder/log" || fail "output of the failing test is not shown"
printf '#!/bin/sh\necho no such machine; exit 77\n' >"$folder/absent"
chmod +x "$folder/absent"
"$top/tests/run.sh" "$folder/good" "$folder/absent" >"$folder/log" || fail "a skipped test counts as failed"
[ "$(tail -n 2 "$folder/log" | tr "\n" ";")" = "1 skipped;1 passed, 0 failed;" ] || fail "summary with a skipped test"
grep -q '^    no such machine$' "$folder/log" || fail "the reason of a skipped test is not shown"
if LONGHAUL_TEST_SECONDS=1 "$top/tests/run.sh" "$folder/slow" >"$folder/log"; then
    fail "a test that hangs is not seen"
fi

# nvcc, where there is one, compiles engine/cuda/*.cu and engine/ops/*/*.cu into one library; without it there is none.
# A stand-in compiler writes down what it is asked and makes the file that it is asked for.
mkdir -p "$folder/tree/engine/ops/add" "$folder/tree/engine/cuda"
cp "$top/Makefile" "$folder/tree"
touch "$folder/tree/engine/ops/add/add.cu" "$folder/tree/engine/cuda/library.cu"
cat >"$folder/nvcc" <<'STANDIN'
#!/bin/sh
echo "$@" >>"$(dirname "$0")/calls"
while [ $# -gt 1 ]; do
    [ "$1" = -o ] && touch "$2"
    shift
done
STANDIN
chmod +x "$folder/nvcc"
unset MAKEFLAGS MAKELEVEL CUDA_UNITS
(cd "$folder/tree" && make -s NVCC="$folder/nvcc" build/liblonghaul_cuda.so) >"$folder/log" 2>&1 ||
    fail "CUDA library with a stand-in nvcc: $(cat "$folder/log")"
[ "$(grep -c -- ' -c ' "$folder/calls")" = 2 ] || fail "each .cu file is compiled once"
grep -q 'code=sm_90' "$folder/calls" || fail "no architecture is passed to nvcc"
grep -q -- '-shared .*add.cu.o' "$folder/calls" || fail "the library lacks an object"
# Made again for other GPUs, and for the same ones not.
(cd "$folder/tree" && make -s NVCC="$folder/nvcc" CUDA_ARCHITECTURES=80 build/liblonghaul_cuda.so)
[ "$(grep -c -- ' -c ' "$folder/calls")" = 4 ] || fail "other architectures do not compile again"
(cd "$folder/tree" && make -s NVCC="$folder/nvcc" CUDA_ARCHITECTURES=80 build/liblonghaul_cuda.so)
[ "$(grep -c -- ' -c ' "$folder/calls")" = 4 ] || fail "nothing has changed and it compiles again"
# In units: two operations in one, each in a namespace, and nothing of what they share in either.
cp "$top/engine/cuda/unit.sh" "$folder/tree/engine/cuda"
mkdir "$folder/tree/engine/ops/sub"
for name in add sub; do
    printf '#include "engine/op.h"\n#include "engine/ops/%s/%s.cuh"\n' $name $name >"$folder/tree/engine/ops/$name/$name.cu"
done
(cd "$folder/tree" && make -s NVCC="$folder/nvcc" CUDA_ARCHITECTURES=80 CUDA_UNITS=1 build/liblonghaul_cuda.so)
[ "$(grep -c -- ' -c ' "$folder/calls")" = 6 ] || fail "a library of one unit is not compiled in two calls"
[ "$(tr '\n' ' ' <"$folder/tree/build/cuda_unit1.cu")" = '#include "engine/op.h" namespace cuda_add {'\
' #include "engine/ops/add/add.cu" } namespace cuda_sub { #include "engine/ops/sub/sub.cu" } ' ] ||
    fail "a unit: $(cat "$folder/tree/build/cuda_unit1.cu")"
# Another number of units shares the files out anew.
(cd "$folder/tree" && make -s NVCC="$folder/nvcc" CUDA_ARCHITECTURES=80 CUDA_UNITS=2 build/liblonghaul_cuda.so)
[ "$(grep -ho 'ops/.*cu"' "$folder/tree/build/cuda_unit"[12].cu | tr '\n' ' ')" = 'ops/add/add.cu" ops/sub/sub.cu" ' ] ||
    fail "two units: $(cat "$folder/tree/build/cuda_unit"[12].cu)"
# Files of one folder do not meet in a unit: too few units are refused and leave nothing behind.
echo '#include "engine/op.h"' >"$folder/tree/engine/ops/add/add_step.cu"
if (cd "$folder/tree" && make -s NVCC="$folder/nvcc" CUDA_ARCHITECTURES=80 CUDA_UNITS=1 build/liblonghaul_cuda.so) \
    >"$folder/log" 2>&1; then fail "one unit for a folder of two files"; fi
grep -q '1 units are fewer than the files of engine/ops/add: use a larger CUDA_UNITS' "$folder/log" ||
    fail "one unit for a folder of two files: $(cat "$folder/log")"
[ ! -e "$folder/tree/build/cuda_unit1.cu" ] || fail "a unit that failed is left behind"
rm "$folder/tree/engine/ops/add/add_step.cu"
with=$(make -C "$folder/tree" -pn NVCC="$folder/nvcc" all 2>/dev/null || true)
grep -q '^CUDA_LIBRARY := build/liblonghaul_cuda.so' <<<"$with" || fail "nvcc is not used"
without=$(make -C "$folder/tree" -pn NVCC= all 2>/dev/null || true)
if grep -q '^CUDA_LIBRARY' <<<"$without"; then fail "a CUDA library without nvcc"; fi

# The MPI half likewise, by what pkg-config knows; MPI_PACKAGE= does without.
cat >"$folder/pkg-config" <<'STANDIN'
#!/bin/sh
case "$*" in
*--exists*) [ "${2-}" = mpich ] ;;
*) echo standin ;;
esac
STANDIN
chmod +x "$folder/pkg-config"
with=$(make -C "$folder/tree" -pn NVCC= PKG_CONFIG="$folder/pkg-config" all 2>/dev/null || true)
grep -q '^MPI_LIBRARY := build/liblonghaul_mpi.so' <<<"$with" || fail "MPI is not used"
for without in MPI_PACKAGE= PKG_CONFIG=false; do
    without=$(make -C "$folder/tree" -pn NVCC= PKG_CONFIG="$folder/pkg-config" $without all 2>/dev/null || true)
    if grep -q '^MPI_LIBRARY' <<<"$without"; then fail "an MPI half without MPI"; fi
done

# Libraries of a folder: nothing of pkg-config, and the program looks for them relative to itself.
if make -C "$folder/tree" -n NVCC= LIBRARIES="$folder/none" all >"$folder/log" 2>&1; then
    fail "a folder without libraries is not refused"
fi
grep -q 'make libraries LIBRARIES=' "$folder/log" || fail "no advice for a folder without libraries"
mkdir -p "$folder/tree/libraries" "$folder/tree/bench"
touch "$folder/tree/bench/main.c"
echo -lstandin >"$folder/tree/libraries/names"
link=$(make --no-print-directory -C "$folder/tree" -n NVCC= LIBRARIES=libraries PKG_CONFIG=false build/longhaul)
grep -q -- "-rpath,'\$ORIGIN/../libraries/lib'.* -lstandin" <<<"$link" || fail "folder of libraries: $link"
grep -q 'libraries.sh .taken.$' <<<"$(make -C "$folder/tree" -n NVCC= prefix DIR=taken)" || fail "make prefix DIR="
if "$top/libraries.sh" "$top/tests" 2>"$folder/log"; then fail "libraries.sh overwrites a folder"; fi
grep -q 'holds something else' "$folder/log" || fail "no reason for a refused folder"

# Arrows between rooms go one way: no file includes one of a room below its own in the lists of docs/tour.md,
# and models and tasks do not see each other. bench/mpi is the inside of bench/cell/team.c in a library of its own.
rooms="engine models tasks $(sed -n 's|^\(bench/[a-z]*\)/  .*|\1|p' "$top/docs/tour.md" | tr '\n' ' ')"
[ "$(wc -w <<<"$rooms")" -eq 16 ] || fail "docs/tour.md lists other rooms: $rooms"
wrong=$(cd "$top" && grep -roE '^#include "(engine|models|tasks|bench/[a-z]+)/' engine models tasks bench/*/ --include='*.[ch]' --include='*.cu*' |
    awk -F: -v rooms="$rooms" 'BEGIN { n = split(rooms, list, " "); for (i = 1; i <= n; i++) place[list[i]] = i }
        function room(path) { match(path, /^(bench\/[a-z]+|[a-z]+)/); return substr(path, 1, RLENGTH) }
        { from = room($1); to = $2; sub(/^#include "/, "", to); to = room(to)
          if (from == "bench/mpi" || to == "bench/mpi") next
          if (!(to in place) || place[to] > place[from] || (from == "tasks" && to == "models")) print $1 " includes " to }')
[ -z "$wrong" ] || fail "against the arrows: $wrong"

# `make help` lists every phony target.
help=$(make -s -C "$top" help)
for target in all test emulated races libraries prefix install clean format help; do
    grep -q "make $target " <<<"$help" || fail "make help does not list $target"
done
