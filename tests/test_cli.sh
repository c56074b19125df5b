#!/usr/bin/env bash
# Whole commands: exit codes, messages, faults, signals. Cells are tiny: a few steps each.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'kill $(jobs -p) 2>/dev/null; chmod -R u+w "$work"; rm -rf "$work"' EXIT
export LONGHAUL_RESULTS=$work/results
. tests/check.sh
contains() { grep -qF -- "$2" "$1"; }

cell=(task=mqar model=lstm width=8 layers=1 vocabulary=32 length=16 pairs=2 batch=4
    budget=6step evaluations=2 validation_samples=8 test_samples=8)

# ---- usage
check 'no command' 2 'no command given' "$longhaul"
check 'unknown command' 2 "did you mean 'sweep'" "$longhaul" swep mqar
check 'unknown flag' 2 "did you mean 'jobs'" "$longhaul" sweep mqar --jbos 2
check 'short flag' 2 'flags are words' "$longhaul" sweep mqar -j 2
check 'flag without value' 2 '--jobs needs a value' "$longhaul" sweep mqar --jobs
check 'flag of wrong type' 2 'expected a whole number' "$longhaul" sweep mqar --jobs two
check 'environment twin of wrong type' 2 'environment variable LONGHAUL_JOBS' \
    env LONGHAUL_JOBS=two "$longhaul" sweep mqar
check 'missing argument' 2 'an argument is missing' "$longhaul" sweep
check 'argument too many' 2 'one argument too many' "$longhaul" sweep mqar copy
check 'unknown suite' 2 "did you mean 'mqar'" "$longhaul" sweep mqra
check 'missing suite file' 2 "$work/none.yaml" "$longhaul" sweep "$work/none.yaml"
check 'empty selection' 2 'selects none' "$longhaul" sweep mqar --model 'x*'
check 'misspelt model' 2 "did you mean 'mamba'" "$longhaul" sweep mqar --model lstm,mabma
check 'unknown key' 2 "did you mean 'width'" "$longhaul" train "${cell[@]}" widht=4
check 'several values' 2 'longhaul sweep takes lists' "$longhaul" train "${cell[@]}" lr=1e-4,1e-3
check 'several models' 2 'longhaul sweep takes lists' "$longhaul" train task=mqar model=lstm,mamba
check 'not a number' 2 'finite number' "$longhaul" train "${cell[@]}" lr=nan
check 'batch 0' 2 'out of range' "$longhaul" train "${cell[@]}" batch=0
check 'budget without unit' 2 'no unit' "$longhaul" train "${cell[@]}" budget=10
check 'small vocabulary' 2 'vocabulary' "$longhaul" train "${cell[@]}" vocabulary=4
check 'heads do not divide width' 2 'heads' "$longhaul" train "${cell[@]}" model=transformer heads=3
check 'more memory than there is' 2 'are available; nothing was started' \
    "$longhaul" train "${cell[@]}" width=65536 layers=64 --results "$work/large"

# ---- what the program says of itself
check 'version' 0 '' "$longhaul" --version
for word in version compiler instruction_set openblas fftw libyaml devices; do
    expect "version names $word" contains "$work/out" "$word:"
done
check 'help' 0 '' "$longhaul" help
commands=$(awk '/^  [a-z]/ {print $1}' "$work/out")
expect 'help lists sweep' contains "$work/out" '  sweep '
for command in $commands; do
    check "help $command" 0 '' "$longhaul" help "$command"
    cp "$work/out" "$work/help"
    check "$command --help" 0 '' "$longhaul" "$command" --help
    expect "$command --help is help $command" cmp -s "$work/out" "$work/help"
    # Every flag that help shows is known to the parser: what it refuses is the flag after it.
    for flag in $(awk '/^  --/ {print $1}' "$work/help"); do
        "$longhaul" "$command" "$flag=x" --no-such-flag 2>"$work/err" >/dev/null </dev/null
        expect "$command refuses the rest" test $? -eq 2
        expect "$command knows $flag" grep -q -e 'no flag --no-such-flag' -e 'expected' "$work/err"
    done
done
check 'manual' 0 '' "$longhaul" manual
for command in $commands; do
    expect "manual has $command" contains "$work/out" ".B longhaul $command"
done
check 'completion' 0 '' "$longhaul" completion bash
expect 'completion is a script' bash -n "$work/out"
completed=$(bash -c "source '$work/out'; PATH='$(dirname "$longhaul"):$PATH'
    COMP_WORDS=(longhaul sweep --retry-f); COMP_CWORD=2; _longhaul 2>/dev/null
    echo \"\${COMPREPLY[*]}\"")
expect 'completion completes' test "$completed" = --retry-failed
for shell in fish zsh; do # whose own check of the grammar runs where they are installed
    check "completion $shell" 0 '' "$longhaul" completion "$shell"
    expect "$shell has a command" grep -q 'sweep' "$work/out"
    expect "$shell has a choice" grep -q 'cpu cuda cuda-emulated' "$work/out"
    [ -z "$(command -v "$shell")" ] || expect "$shell reads it" "$shell" -n "$work/out"
done
check 'completion of no shell' 2 'expected bash|fish|zsh' "$longhaul" completion csh
for what in models tasks ops suites figures settings; do
    check "list $what" 0 '' "$longhaul" list "$what"
    expect "list $what says something" test -s "$work/out"
done
check 'list nonsense' 2 "did you mean 'models'" "$longhaul" list model

# ---- data sets
mkdir "$work/data"
check 'data list' 0 "data folder: $work/data" "$longhaul" data list data.dir="$work/data"
expect 'data list says what is missing' grep -q '^imdb  *missing ' "$work/out"
check 'data, unknown word' 2 "did you mean 'verify'" "$longhaul" data verfy
check 'data, unknown set' 2 "did you mean 'imdb'" "$longhaul" data fetch imbd
check 'data fetch without a name' 2 'name the sets' "$longhaul" data fetch
check 'data verify of nothing' 4 'no data set in' "$longhaul" data verify data.dir="$work/data"
check 'data verify of a missing set' 4 'longhaul data fetch text8' \
    "$longhaul" data verify text8 data.dir="$work/data"
check 'data fetch without curl' 4 "'curl' is needed" \
    env PATH=/nonexistent "$longhaul" data fetch text8 data.dir="$work/data"
expect 'and without leftovers' test -z "$(find "$work/data" -type f)"
check 'a task without its data' 4 'longhaul data fetch imdb' \
    "$longhaul" train "${cell[@]:1:3}" task=text budget=1step data.dir="$work/data" \
    --results "$work/elsewhere"
check 'a suite without its data' 4 'longhaul data fetch mnist' \
    "$longhaul" sweep mnist data.dir="$work/data" --results "$work/elsewhere"
expect 'and no cell counts as failed' test -z "$(find "$work/elsewhere/mnist" -name 'fail*' 2>/dev/null)"

# ---- samples
check 'samples as text' 0 '' "$longhaul" generate mqar length=16 pairs=2 vocabulary=32 --n 2
expect 'two samples' test "$(grep -c 'positions, 2 labelled' "$work/out")" -eq 2
check 'samples as a text file' 0 '2 samples' \
    "$longhaul" generate mqar length=16 pairs=2 vocabulary=32 --n 2 --output "$work/s.txt"
expect 'text file' grep -q 'positions, 2 labelled' "$work/s.txt"
check 'samples as arrays' 0 '3 samples' \
    "$longhaul" generate nns --n 3 --output "$work/s.safetensors"
check 'samples of no known kind' 2 'expected NAME.safetensors' \
    "$longhaul" generate nns --output "$work/s.bin"
check 'a sheet of pictures' 0 'pathfinder.png: 4 samples' \
    "$longhaul" generate pathfinder --n 4 --show --plots "$work/sheets"
expect 'a PNG' test "$(head -c 4 "$work/sheets/pathfinder.png" | tail -c 3)" = PNG
check 'no pictures' 2 'has no pictures' "$longhaul" generate mqar --show --plots "$work/sheets"
check 'samples a second' 0 '' "$longhaul" generate 'nn*' length=8 --time --seconds 0.001
expect 'a row of samples a second' grep -qE '^nns +8 ' "$work/out"
check 'nothing to time' 2 'fits 0 tasks' "$longhaul" generate 'xyz*' --time

check 'data make' 0 '' "$longhaul" data make retrieval-synthetic --samples 20 data.dir="$work/data"
expect 'data make makes' test -s "$work/data/retrieval-synthetic/tsv_data/new_aan_pairs.train.tsv"
check 'data make again' 2 'is there already' \
    "$longhaul" data make retrieval-synthetic data.dir="$work/data"
check 'data make of a real set' 2 'no generated stand-in' "$longhaul" data make imdb
check 'data make without a name' 2 'name the stand-in' "$longhaul" data make
check 'data with a setting' 2 "unknown setting 'length'" "$longhaul" data list length=3
check 'data.dir of nothing' 2 'names no folder' "$longhaul" data list data.dir=

# ---- standard output that does not take anything
if [ -w /dev/full ]; then
    "$longhaul" list models >/dev/full 2>"$work/err"
    expect 'full output' test $? -eq 74
    expect 'full output is named' contains "$work/err" 'standard output'
fi
"$longhaul" list models >&- 2>"$work/err"
expect 'closed output' test $? -eq 74
(trap '' PIPE; "$longhaul" list settings; echo $? >"$work/status") | true
expect 'closed pipe ends well' grep -qx -e 0 -e 74 "$work/status"

# ---- one cell
check 'dry run' 0 '' "$longhaul" train "${cell[@]}" --dry-run
expect 'dry run trains nothing' test ! -e "$work/results"
check 'sources' 0 '' env LONGHAUL_BUDGET=7step "$longhaul" train "${cell[@]}" --dry-run
expect 'source: command line' grep -qE '^width +8 +command line$' "$work/out"
expect 'source: default' grep -qE '^beta1 .* default$' "$work/out"
expect 'source: environment' grep -qE '^budget +7step +environment LONGHAUL_BUDGET$' "$work/out"
check 'train' 0 '' "$longhaul" train "${cell[@]}"
folder=$(dirname "$(find "$work/results" -name result.json)")
expect 'train leaves a configuration' test -s "$folder/config.yaml"
expect 'source of a setting' contains "$folder/config.yaml" "width: {value: 8, source: 'command line'}"
cp "$folder/result.json" "$work/first.json"
check 'train again shows the result' 0 '' "$longhaul" train "${cell[@]}"
expect 'and does not train' cmp -s "$folder/result.json" "$work/first.json"
check 'train from its configuration' 0 '' "$longhaul" train --config "$folder/config.yaml"
expect 'is the same cell' test "$(find "$work/results" -name result.json | wc -l)" -eq 1
check 'check of the run' 0 '' "$longhaul" check "$folder"
expect 'all four of its parts' contains "$work/out" '4 passed, 0 failed, 0 exempt'
expect 'its checksum is the documented one' contains "$folder/result.json" \
    "\"sha256\": \"$(head -c -$((64 + 18)) "$folder/result.json" | sha256sum | cut -c1-64)\""
cp -r "$(dirname "$folder")" "$work/damage"
for part in 'log:log.jsonl:s/"step":3/"step":4/' 'configuration:config.yaml:s/^width: {value: 8/width: {value: 9/' \
    'result:result.json:s/"steps": 6/"steps": 7/' 'checkpoint:checkpoint.json:s/"step": 6/"step": 5/'; do
    IFS=: read -r what file change <<<"$part"
    sed -i "$change" "$work/damage/$(basename "$folder")/$file"
    check "check of a changed $file" 4 'checks failed' "$longhaul" check "$work/damage"
    expect "and $what is named" grep -q "^FAIL run/.*/$what: " "$work/out"
    cp "$folder/$file" "$work/damage/$(basename "$folder")/$file"
done
check 'check of nothing' 4 'has no cells' "$longhaul" check "$work/results"
sed -i 's/"test_metric": [0-9.]*/"test_metric": 0.999/' "$folder/result.json"
check 'changed result' 4 "$folder/result.json" "$longhaul" train "${cell[@]}"
check 'changed result, forced' 0 '' "$longhaul" train "${cell[@]}" --force
check 'another rate' 0 '' "$longhaul" train "${cell[@]}" lr=2e-3
check 'diff' 0 '' "$longhaul" diff "$folder" \
    "$(dirname "$(find "$work/results" -name result.json -newer "$folder/result.json")")"
expect 'diff shows the rate' grep -qE '^lr +0.001 +0.002$' "$work/out"
expect 'diff shows nothing else' test "$(sed '/^$/,$d' "$work/out" | wc -l)" -eq 1
other=$work/other
mkdir "$other"
sed -e 's/"task_version": 1/"task_version": 9/' -e 's/"revision": "[^"]*"/"revision": "another"/' \
    -e '/"sha256"/,$d' "$folder/result.json" | sed '$ s/,$//' >"$other/body"
printf ',\n "sha256": "%s"\n}\n' "$(head -c -1 "$other/body" | sha256sum | cut -c1-64)" >"$other/tail"
head -c -1 "$other/body" | cat - "$other/tail" >"$other/result.json"
check 'diff of versions' 0 '' "$longhaul" diff "$folder" "$other"
expect 'diff has the task version' grep -qE '^task version +1 +9$' "$work/out"
expect 'diff has the revision' grep -qE '^revision .* another$' "$work/out"
expect 'and says what that means' contains "$work/out" 'cannot be compared'
printf 'task: mqar\nmodel: lstm\nwidth: 9\n' >"$work/nine.yaml"
check 'diff of a configuration' 0 '' "$longhaul" diff "$folder/config.yaml" "$work/nine.yaml"
expect 'diff of a configuration knows defaults' test -z "$(grep -e '^lr ' -e '^beta1 ' "$work/out")"
expect 'diff of a configuration has the width' grep -qE '^width +8 +9$' "$work/out"
expect 'and no results' test -z "$(grep 'test metric' "$work/out")"
check 'diff of nothing' 4 "$work/none" "$longhaul" diff "$folder" "$work/none"

# ---- trained weights, evaluated again and exported
field() { # FILE KEY: its value in a JSON file, digit by digit
    sed -n "s/^ *\"$2\": \([^,]*\),*$/\1/p" "$1" | head -1
}
same() { [ -n "$1" ] && [ "$1" = "$2" ]; }
trained() { # NAME SETTINGS...: trains a cell of its own and says where it is
    "$longhaul" train "${cell[@]}" "${@:2}" --results "$work/$1" >/dev/null 2>&1
    dirname "$(find "$work/$1" -name result.json)"
}
cp "$folder/result.json" "$work/before.json"
check 'eval' 0 '' "$longhaul" eval "$folder" --json
expect 'eval repeats the test' same "$(field "$work/out" loss)" "$(field "$folder/result.json" test_loss)"
expect 'and its metric' same "$(field "$work/out" value)" "$(field "$folder/result.json" test_metric)"
check 'eval of the validation' 0 '' "$longhaul" eval "$folder" --split validation --json --threads 2
expect 'eval repeats the validation' \
    same "$(field "$work/out" loss)" "$(field "$folder/result.json" validation_loss)"
check 'eval longer' 0 '' "$longhaul" eval "$folder" length=32 pairs=4 batch=3 micro_batch=3 seed=9
expect 'eval says what changed' grep -q '^length  *32 (trained with 16)$' "$work/out"
expect 'eval has a metric' grep -qE '^accuracy +[0-9]' "$work/out"
expect 'eval leaves the result' cmp -s "$folder/result.json" "$work/before.json"
check 'eval of other weights' 0 '' "$longhaul" eval "${cell[@]}" --json \
    --weights "$(find "$folder" -name 'checkpoint.*.safetensors')"
expect 'which are the same' same "$(field "$work/out" loss)" "$(field "$folder/result.json" test_loss)"
check 'eval changes a weight' 2 "width=16: weight 'embedding.table' was trained with shape (32, 8)" \
    "$longhaul" eval "$folder" length=32 width=16
check 'eval adds a weight' 2 'layers=2: weight' "$longhaul" eval "$folder" layers=2
check 'eval of another model' 2 'of model lstm' "$longhaul" eval "$folder" model=gla
check 'eval, no such key' 2 "did you mean 'length'" "$longhaul" eval "$folder" lenght=32
for setting in lr=1 dropout=0.5 init=chrono budget=9step checkpoint_every=3; do
    check "eval of $setting" 2 "$setting has no part in an evaluation" \
        "$longhaul" eval "$folder" "$setting"
done
check 'eval of the training samples' 2 'expected test or validation' \
    "$longhaul" eval "$folder" --split train
check 'eval of nothing' 2 'no weights to evaluate' "$longhaul" eval "${cell[@]}"
check 'eval of no folder' 4 "$work/none/config.yaml" "$longhaul" eval "$work/none"
cp -r "$folder" "$work/changed"
sed -i 's/^lr: {value: [0-9.]*/lr: {value: 0.5/' "$work/changed/config.yaml"
check 'eval of another cell' 4 '--force takes the weights' "$longhaul" eval "$work/changed"
check 'eval of another cell, forced' 0 '' "$longhaul" eval "$work/changed" --force
truncate -s -4 "$work"/changed/checkpoint.*.safetensors
check 'eval of damaged weights' 4 'does not fit the checksum' "$longhaul" eval "$work/changed" --force

run=$(trained parts replicas=2)
check 'eval of a run in parts' 0 '' "$longhaul" eval "$run" --json
expect 'in parts as well' same "$(field "$work/out" loss)" "$(field "$run/result.json" test_loss)"
run=$(trained s4 model=s4)
check 'eval of filters, shorter' 0 '' "$longhaul" eval "$run" length=8 pairs=1
check 'eval of filters, longer' 2 'trained for 16 positions at most' "$longhaul" eval "$run" length=40
run=$(trained learned model=transformer heads=2 positions=learned)
check 'eval of learned positions' 2 "length=40: weight 'positions'" "$longhaul" eval "$run" length=40
xl=(model=transformer_xl heads=2 init_deviation=1 segment=8 memory=2) # larger weights tell more
run=$(trained xl "${xl[@]}")
check 'eval with another memory' 0 '' "$longhaul" eval "$run" segment=3 memory=9 --json
loss=$(field "$work/out" loss)
expect 'another memory tells' test "$loss" != "$(field "$run/result.json" test_loss)"
check 'the same by its own settings' 0 '' \
    "$longhaul" eval "$run" evaluation_segment=3 evaluation_memory=9 --json
expect 'the same memory' same "$(field "$work/out" loss)" "$loss"
other=$(trained xl2 "${xl[@]}" evaluation_segment=3 evaluation_memory=9)
expect 'training with it' same "$(field "$other/result.json" test_loss)" "$loss"
check 'eval of a clamp' 0 '' "$longhaul" eval "$other" evaluation_clamp=2 --json
clamped=$(field "$work/out" loss)
expect 'a clamp tells' test "$clamped" != "$loss"
run=$(trained xl3 "${xl[@]}" evaluation_segment=3 evaluation_memory=9 \
    evaluation_clamp=2)
expect 'training with a clamp' same "$(field "$run/result.json" test_loss)" "$clamped"
check 'eval without the clamp' 0 '' "$longhaul" eval "$run" evaluation_clamp=0 --json
expect 'a clamp can be lifted' same "$(field "$work/out" loss)" "$loss"
seq 400 >"$work/numbers.txt"
"$longhaul" train task=lm model=lstm corpus=file data="$work/numbers.txt" length=16 "${cell[@]:2:2}" \
    batch=4 budget=2step evaluations=1 test_samples=8 --results "$work/text" >/dev/null 2>&1
run=$(dirname "$(find "$work/text" -name result.json)")
check 'eval of text' 0 '' "$longhaul" eval "$run" evaluation_length=32 stride=8
expect 'text has bits' grep -qE '^bits/byte +[0-9]' "$work/out"
check 'rotary biases of longer tests' 0 '' "$longhaul" train task=lm model=mega bias=rotary corpus=file \
    data="$work/numbers.txt" length=16 evaluation_length=24 width=8 layers=1 batch=4 budget=1step test_samples=8 --results "$work/text"

check 'export of a run' 0 '' "$longhaul" export "$folder" --output "$work/run.safetensors"
check 'export of its files' 0 '' "$longhaul" export --config "$folder/config.yaml" \
    --weights "$(find "$folder" -name 'checkpoint.*.safetensors')" --output "$work/files.safetensors"
expect 'is the same' cmp -s "$work/run.safetensors" "$work/files.safetensors"
check 'export of the start' 0 '' \
    "$longhaul" export --config "$folder/config.yaml" --output "$work/start.safetensors"
expect 'is another' test -z "$(cmp "$work/run.safetensors" "$work/start.safetensors" >/dev/null && echo same)"
check 'export of two' 2 'settings come from one of them' \
    "$longhaul" export "$folder" --config "$folder/config.yaml" --output "$work/two.safetensors"

mkdir "$work/locked" && chmod a-w "$work/locked"
locked=$work/locked
[ "$(id -u)" -ne 0 ] || locked=/proc # takes no folders, from root either
check 'read-only folder' 74 "$locked" "$longhaul" train "${cell[@]}" --results "$locked/r"
touch "$work/file"
check 'results is a file' 74 "$work/file" "$longhaul" train "${cell[@]}" --results "$work/file/r"

# ---- a full disk: files may grow to 0 bytes (the signal is ignored, so that write gives an error);
# the message goes through a pipe, because a file could not take it
(
    trap '' XFSZ
    ulimit -f 0
    "$longhaul" train "${cell[@]}" seed=7 2>&1 >/dev/null
    printf 'status %s\n' $?
) | cat >"$work/err"
status=$(sed -n 's/^status //p' "$work/err")
expect 'full disk names the file' grep -q 'writing .*/results/.*' "$work/err"
expect "full disk is an input/output error ($status)" test "$status" -eq 74
expect 'full disk leaves no result' test "$(find "$work/results" -name result.json | wc -l)" -eq 2

# ---- suites
cat >"$work/tiny.yaml" <<'Y'
title: Tiny
task: mqar
set: {layers: 1, width: 8, vocabulary: 32, length: 16, pairs: 2, batch: 4, budget: 6step,
      evaluations: 2, validation_samples: 8, test_samples: 8}
models: [transformer, lstm]
presets:
  quick:
    tune: {lr: [1e-3, 1e-2]}
    seeds: [1, 2]
Y
tiny=("$longhaul" sweep "$work/tiny.yaml" --jobs 2)
check 'plan' 0 '' "$longhaul" plan "$work/tiny.yaml"
expect 'plan counts' contains "$work/out" '6 cells: 2 models'
check 'plan of a part' 0 '' "$longhaul" plan "$work/tiny.yaml" --shard 2/2
expect 'a part counts' contains "$work/out" 'part 2 of 2, 3 of the 6 cells: 1 models'
expect 'a part is a model' test "$(grep -c '^transformer' "$work/out")" -eq 0
check 'a crowd' 0 'warning [crowded]' "${tiny[@]}" --jobs 1 --threads $(($(nproc) + 1)) --model lstm lr=1e-3 --results "$work/crowd"
check 'plan of no part' 2 'expected part/parts' "$longhaul" plan "$work/tiny.yaml" --shard 3/2
check 'plan of a part beyond counting' 2 'expected part/parts' \
    "$longhaul" plan "$work/tiny.yaml" --shard 4294967297/4294967298
check 'plan of a part that Slurm does not number' 2 'from the Slurm array' \
    env SLURM_ARRAY_TASK_ID=x SLURM_ARRAY_TASK_COUNT=2 "$longhaul" plan "$work/tiny.yaml"
check 'sweep, dry' 0 '' "${tiny[@]}" --dry-run
expect 'dry sweep trains nothing' test ! -e "$work/results/tiny"
check 'sweep' 0 '[6/6]' "${tiny[@]}"
expect 'sweep is done' contains "$work/out" '6 of 6 cells done, 0 failed'
begin=$(date +%s%N)
check 'sweep again' 0 '' "${tiny[@]}"
took=$((($(date +%s%N) - begin) / 1000000))
expect "sweep again takes under a second ($took ms)" test "$took" -lt 1000
victim=$(find "$work/results/tiny" -name result.json | head -1)
mv "$victim" "$work/kept"
check 'plan of what is left' 0 '' "$longhaul" plan "$work/tiny.yaml"
expect 'what is left has a time' contains "$work/out" 'left at the speed of the finished cells'
check 'status' 0 '' "$longhaul" status "$work/tiny.yaml"
expect 'status counts' contains "$work/out" '5 of 6 cells done'
expect 'status has the begun one' grep -qE '^begun +1 ' "$work/out"
expect 'status has a time' contains "$work/out" 'left at the speed of the finished cells'
expect 'status has the command' grep -qx "the rest: longhaul sweep $work/tiny.yaml --results $work/results" "$work/out"
mv "$work/kept" "$victim"
check 'status of all' 0 '' "$longhaul" status "$work/tiny.yaml" --json
expect 'all are done' grep -q '"command": null' "$work/out"
check 'plan of nothing' 0 '' "$longhaul" plan "$work/tiny.yaml"
expect 'nothing is left' test -z "$(grep 'left at' "$work/out")"
truncate -s 100 "$victim"
check 'truncated result' 1 '' "${tiny[@]}"
expect 'truncated result is named' contains "$work/out" "$victim"
check 'retried' 0 '' "${tiny[@]}" --retry-failed
expect 'retried is done' contains "$work/out" '6 of 6 cells done, 0 failed'

# ---- terminals, where script(1) can play one
if [ -n "$(command -v script)" ]; then
    shown() { # TERM COLUMNS: what a terminal gets from a sweep
        script -qc "env TERM=$1 COLUMNS=$2 '$longhaul' sweep '$work/tiny.yaml' --results '$work/term$1'" /dev/null \
            </dev/null | tr -d '\r'
    }
    escape=$(printf '\033')
    shown dumb 80 >"$work/out"
    expect 'a dumb terminal has progress' grep -q '^[0-5] of 6 cells | .* left$' "$work/out"
    expect 'without escapes' test -z "$(grep "$escape" "$work/out")"
    shown vt100 20 >"$work/out"
    sed "s/$escape\[K/\n/g" "$work/out" | grep '^[0-9]* of 6 cells' >"$work/lines"
    expect 'a narrow terminal has progress' test -s "$work/lines"
    expect 'whose lines do not wrap' test -z "$(grep '.\{20\}' "$work/lines")"
fi

# ---- shards cover everything once
rm -rf "$work/results/tiny"
check 'shard 1' 0 '' "${tiny[@]}" --shard 1/2
check 'shard 2 by Slurm' 0 '' \
    env SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_COUNT=2 SLURM_ARRAY_TASK_MIN=0 "${tiny[@]}"
check 'shards are all' 0 '' "${tiny[@]}"
expect 'nothing was left' test ! -s "$work/err"

# ---- parts under other engines, which are played here
mkdir "$work/engines"
cat >"$work/engines/scontrol" <<'S'
#!/bin/sh
echo "$@" >"$(dirname "$0")/called"
S
cat >"$work/engines/parallel" <<'S'
#!/bin/bash
for command; do :; done # the last word
while read -r part; do bash -c "${command//\{\}/$part}" || exit 1; done
S
chmod +x "$work/engines/"*
check 'script of parts' 2 'makes the parts itself' "${tiny[@]}" --script slurm --shard 1/2
check 'script for parallel' 0 '' "${tiny[@]}" --script parallel --results "$work/in 'parts'"
cp "$work/out" "$work/parallel.sh"
check 'parallel' 0 '' env PATH="$work/engines:$PATH" bash "$work/parallel.sh"
check 'all parts' 0 '' "$longhaul" status "$work/tiny.yaml" --results "$work/in 'parts'"
expect 'parallel ran all' contains "$work/out" '6 of 6 cells done'
check 'script for Slurm' 0 '' "${tiny[@]}" --script slurm --jobs 5 --threads 3 \
    budget=4000000step stop_when_solved=no --results "$work/slurm"
cp "$work/out" "$work/slurm.sh"
for line in '#SBATCH --array=1-2%5' '#SBATCH --cpus-per-task=3' '#SBATCH --signal=B:USR1@120'; do
    expect "Slurm: $line" grep -qx -- "$line" "$work/slurm.sh"
done
PATH="$work/engines:$PATH" SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=2 bash "$work/slurm.sh" >/dev/null 2>&1 &
part=$!

# ---- signals, kills and company; cells long enough to be met in the middle
long=("${tiny[@]}" budget=20000step evaluations=40 stop_when_solved=no --seeds 1)
"${long[@]}" --results "$work/alone" >/dev/null 2>&1
metrics() { # of all cells, without what depends on time
    grep -hE '"(identity|test_loss|train_loss|validation_loss|steps)"' "$1"/tiny/*/result.json
}
metrics "$work/alone" >"$work/expected"
expect 'the long cells ran' test -s "$work/expected"

# Waits until a file of that name is in a results folder: then a cell is in the middle.
await() { # FOLDER NAME
    local deadline=$((SECONDS + 20))
    until [ -n "$(find "$1" -name "$2" -print -quit 2>/dev/null)" ]; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}

expect 'a cell to requeue' await "$work/slurm" claim
kill -USR1 "$part"
wait "$part"
expect 'a part that Slurm warned ends with 75' test $? -eq 75
expect 'and it alone goes back' contains "$work/engines/called" 'requeue 7_2'

for signal in TERM USR1; do
    "${long[@]}" --results "$work/cut$signal" >/dev/null 2>"$work/err" &
    sweep=$!
    expect "a cell to interrupt by $signal" await "$work/cut$signal" claim
    kill "-$signal" "$sweep"
    wait "$sweep"
    status=$?
    expect "sweep interrupted by $signal ends with 75 ($status)" test "$status" -eq 75
done
"$longhaul" train "${cell[@]}" budget=4000000step stop_when_solved=no checkpoint_every=500 \
    --results "$work/warned" >/dev/null 2>"$work/err" &
cell_process=$!
expect 'a cell to warn' await "$work/warned" log.jsonl
kill -USR1 "$cell_process"
wait "$cell_process"
expect 'a warned cell ends with 75' test $? -eq 75
expect 'a warned cell is saved' contains "$work/err" 'steps and saved'
(trap '' HUP; exec "${long[@]}" --results "$work/deaf") >/dev/null 2>&1 &
sweep=$!
expect 'a cell to hang up on' await "$work/deaf" claim
kill -HUP "$sweep"
wait "$sweep"
expect 'a hang-up that nohup ignores' test $? -eq 0

check 'continued' 0 '' "${long[@]}" --results "$work/cutUSR1"
expect 'same results after an interruption' cmp <(metrics "$work/cutUSR1") "$work/expected"

for attempt in 1 2 3; do
    rm -f "$work"/killed/tiny/*/log.jsonl
    "${long[@]}" checkpoint_every=500 --results "$work/killed" >/dev/null 2>&1 &
    sweep=$!
    expect "a checkpoint before kill $attempt" await "$work/killed" log.jsonl
    kill -KILL "$sweep"
    wait "$sweep" 2>/dev/null
done
touch "$work/killed/tiny/$(ls "$work/killed/tiny" | head -1)/checkpoint.b.safetensors.1.partial"
check 'after kills' 0 '' "${long[@]}" checkpoint_every=500 --results "$work/killed"
expect 'no leftovers of what only the owner writes' \
    test -z "$(find "$work/killed" -name '*.partial' ! -name 'config.yaml.*')"
expect 'same results after kills' cmp <(metrics "$work/killed") "$work/expected"

"${long[@]}" --results "$work/two" >"$work/out1" 2>&1 &
sweep=$!
check 'second sweep' 0 '' "${long[@]}" --results "$work/two"
wait "$sweep"
expect 'first sweep' test $? -eq 0
expect 'same results from two sweeps' cmp <(metrics "$work/two") "$work/expected"

# ---- a crash costs one cell
victim=$(find "$work/two/tiny" -name result.json | head -1)
rm "$victim"
"${long[@]}" budget=4000000step --results "$work/crash" --jobs 1 >"$work/out" 2>"$work/err" &
sweep=$!
expect 'a cell to crash' await "$work/crash" claim
for stat in /proc/[0-9]*/stat; do # pid (name) state parent ...
    read -r pid _ _ parent _ <"$stat" && [ "$parent" = "$sweep" ] && kill -KILL "$pid"
done 2>/dev/null
expect 'the crash is noted' await "$work/crash" failure.json
kill -TERM "$sweep"
wait "$sweep"
expect 'a crash is a failed cell' contains "$work/err" 'killed by signal 9'
check 'status of a crash' 0 '' "$longhaul" "status" "${long[@]:2}" budget=4000000step --results "$work/crash"
expect 'the reason is there' grep -q '^  1 x killed by signal 9' "$work/out"
expect 'the command retries' grep -q '^the rest: .*--retry-failed$' "$work/out"

[ "$failures" -eq 0 ] || echo "$failures checks failed"
[ "$failures" -eq 0 ]
