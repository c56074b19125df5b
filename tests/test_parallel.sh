#!/usr/bin/env bash
# One cell on several processes of a launcher: the same bits, stops, kills, refusals. What the program
# makes of a launcher's environment is tested everywhere; the rest where there is MPI, else it is
# skipped (tests/test_team.c has the same on threads).
# Runs alone: it counts the processes of launchers.
set -u
build=$(realpath "${BUILD:-build}")
longhaul=$build/longhaul
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
export LONGHAUL_RESULTS=$work/results
. tests/check.sh

cell=(task=mqar model=transformer width=16 layers=1 vocabulary=32 length=16 pairs=2 batch=8 replicas=4
    dropout=0.1 budget=4000step evaluations=4 stop_when_solved=no validation_samples=21 test_samples=21
    checkpoint_every=100)
short=("${cell[@]}" budget=6step)
open_mpi=(OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0) pmi=(PMI_SIZE=2 PMI_RANK=0)

# ---- the environment of a launcher
mkdir "$work/bin"
cp "$longhaul" "$work/bin"
for variables in "${open_mpi[*]}" "${pmi[*]}" 'SLURM_STEP_NUM_TASKS=2 PMIX_RANK=0'; do
    # shellcheck disable=SC2086  # a list of words
    check "no MPI half ($variables)" 2 'no liblonghaul_mpi.so' env $variables "$work/bin/longhaul" train "${short[@]}"
done
expect 'and nothing was started' test ! -e "$work/results"
expect '--version says so' grep -q '^mpi: not built' <("$work/bin/longhaul" --version)
echo 'no library at all' >"$work/bin/liblonghaul_mpi.so"
check 'broken MPI half' 2 'cannot be loaded' env "${pmi[@]}" "$work/bin/longhaul" train "${short[@]}"
# A batch script has Slurm's variables whatever it starts, and a size without a rank is no start.
for variables in 'SLURM_NTASKS=8 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=8' 'PMI_SIZE=8' \
    'OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0'; do
    # shellcheck disable=SC2086
    check "one process ($variables)" 0 '' env $variables "$work/bin/longhaul" train "${short[@]}" --results "$work/one"
done
cat >"$work/tiny.yaml" <<'Y'
title: Tiny
task: mqar
set: {layers: 1, width: 8, vocabulary: 32, length: 16, pairs: 2, batch: 4, budget: 2step,
      evaluations: 1, validation_samples: 8, test_samples: 8}
models: [transformer, lstm]
presets: {quick: {seeds: [1]}}
Y
check 'sweep' 2 'only train can use' env "${open_mpi[@]}" "$longhaul" sweep "$work/tiny.yaml"
check 'sweep of a shard' 0 '[2/2]' env "${open_mpi[@]}" "$longhaul" sweep "$work/tiny.yaml" --shard 1/1
check 'replicas that do not divide' 2 'replicas=3 does not divide batch=8' "$longhaul" train "${short[@]}" replicas=3

# ---- MPI
launcher=mpirun foreign=("${pmi[@]}")
case $(cat "$build/mpi" 2>/dev/null) in
ompi-c) command -v mpirun.openmpi >/dev/null && launcher=mpirun.openmpi ;;
mpich)
    foreign=("${open_mpi[@]}")
    command -v mpirun.mpich >/dev/null && launcher=mpirun.mpich
    ;;
esac
if [ "$failures" -eq 0 ] && { [ ! -e "$build/liblonghaul_mpi.so" ] || ! command -v $launcher >/dev/null; }; then
    echo "no MPI here (Debian: libopenmpi-dev, openmpi-bin)"
    exit 77
fi
# Containers: root, fewer cores than processes, no reading of each other's memory.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe OMP_WAIT_POLICY=passive
on() { # PROCESSES ARGUMENTS...
    local count=$1
    shift
    $launcher -n "$count" "$longhaul" "$@"
}
numbers() { # RESULTS: all that must be equal, weights and moments included
    grep -hE '"(identity|test_loss|train_loss|validation_loss|steps|flops|best_step|data_hash)"' \
        "$1"/runs/*/result.json
    cat "$1"/runs/*/checkpoint.?.safetensors "$1"/runs/*/optimizer.?.safetensors | sha256sum
}

check 'alone' 0 '' "$longhaul" train "${cell[@]}" --results "$work/1"
numbers "$work/1" >"$work/expected"
expect 'numbers to compare with' test "$(wc -l <"$work/expected")" -gt 10
for count in 2 4; do
    check "$count processes" 0 '' on $count train "${cell[@]}" --results "$work/$count"
    expect "$count processes, the same bits" cmp <(numbers "$work/$count") "$work/expected"
    expect "$count processes, counted" grep -q "\"processes\": $count" "$work/$count"/runs/*/result.json
    expect "$count processes, one result" test "$(grep -c 'result.json' "$work/out")" -eq 1
done
check 'a finished cell' 0 '' on 2 train "${cell[@]}" --results "$work/2"
expect 'is shown once' test "$(grep -c 'result.json' "$work/out")" -eq 1
check 'seconds' 0 '' on 2 train "${cell[@]}" budget=0.3s --results "$work/seconds"

# ---- stops and kills, continued on another number of processes
await() { # FILE...
    local deadline=$((SECONDS + 60))
    until [ -n "$(find "$@" -print -quit 2>/dev/null)" ]; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}
members() { # the processes that the launcher $1 has started
    local stat pid parent
    for stat in /proc/[0-9]*/stat; do # pid (name) state parent ...
        read -r pid _ _ parent _ <"$stat" && [ "$parent" = "$1" ] && echo "$pid"
    done 2>/dev/null
}
cut=("${cell[@]}" --results "$work/cut")
$launcher -n 2 "$longhaul" train "${cut[@]}" >"$work/out" 2>"$work/err" &
team=$!
expect 'a cell to interrupt' await "$work/cut" -name checkpoint.json
check 'a second start' 75 'being worked on by' "$longhaul" train "${cut[@]}"
kill -TERM "$(members $team | tail -1)" # one of the two
wait $team
status=$?
expect "interrupted with 75 ($status)" test $status -eq 75
expect 'all at one step, said once' test "$(grep -c 'interrupted after [0-9]* steps and saved' "$work/err")" -eq 1
rm -f "$work"/cut/runs/*/log.jsonl # each checkpoint writes it anew
$launcher -n 4 "$longhaul" train "${cut[@]}" >"$work/out" 2>"$work/err" &
team=$!
expect 'a cell to kill' await "$work/cut" -name log.jsonl
ranks=$(members $team)
kill -KILL "$(tail -1 <<<"$ranks")"
wait $team
status=$?
expect "killed is no success ($status)" test $status -ne 0
gone() { # PID...: within a minute; the launcher need not wait for those that it ends
    local pid deadline=$((SECONDS + 60))
    for pid; do
        while kill -0 "$pid" 2>/dev/null; do
            [ "$SECONDS" -lt "$deadline" ] || return 1
            sleep 0.02
        done
    done
}
# shellcheck disable=SC2086  # a list of numbers
expect 'all have gone' gone $ranks
check 'continued alone' 0 '' "$longhaul" train "${cut[@]}"
expect 'after stop and kill, the same bits' cmp <(numbers "$work/cut") "$work/expected"
expect 'in three sessions' grep -q '"sessions": 3' "$work"/cut/runs/*/result.json

# ---- refusals
check '3 processes' 2 'expected number of processes: 1, 2, 4' on 3 train "${short[@]}" --results "$work/3"
check 'replicas=1' 2 'set replicas=2' on 2 train "${short[@]}" replicas=1 --results "$work/3"
check 'a sweep' 2 'only train can use' on 2 sweep "$work/tiny.yaml" --results "$work/3"
check 'a bad setting' 2 "did you mean 'width'" on 2 train "${short[@]}" widht=4 --results "$work/3"
expect 'is said once' test "$(grep -c 'did you mean' "$work/err")" -eq 1
if [ -e "$build/liblonghaul_cuda_emulated.so" ]; then
    check 'a GPU' 2 'trains in one' on 2 train "${short[@]}" replicas=1 --device cuda-emulated --results "$work/3"
    check 'replicas on a GPU' 2 'is for CPUs' "$longhaul" train "${short[@]}" --device cuda-emulated --results "$work/3"
fi
check "another MPI's launcher" 2 'of which MPI sees 1' env "${foreign[@]}" "$longhaul" train "${short[@]}" --results "$work/3"
expect 'nothing was trained' test -z "$(find "$work/3" -name 'result.json' 2>/dev/null)"
check 'two cells' 2 'would train cell' $launcher -n 1 "$longhaul" train "${short[@]}" --results "$work/4" : \
    -n 1 "$longhaul" train "${short[@]}" seed=2 --results "$work/4"
check 'two folders' 74 'file system that all machines share' \
    $launcher -n 1 "$longhaul" train "${cell[@]}" --results "$work/5" : \
    -n 1 "$longhaul" train "${cell[@]}" --results "$work/1"

[ "$failures" -eq 0 ] || echo "$failures checks failed"
[ "$failures" -eq 0 ]
