#!/usr/bin/env bash
# From cells to table and figures by whole commands, with what can go wrong in between.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
export LONGHAUL_RESULTS=$work/results LONGHAUL_PLOTS=$work/plots LC_ALL=C.UTF-8
. tests/check.sh
streams=(out err)

cat >"$work/tiny.yaml" <<'YAML'
title: Tiny
published: mqar.csv
task: mqar
set: {width: 8, layers: 1, vocabulary: 32, batch: 4, budget: 6step, evaluations: 2,
      validation_samples: 8, test_samples: 8}
models: [transformer]
presets:
  quick:
    note: "seconds"
    cases:
      - {length: 16, pairs: 2}
      - {length: 64, pairs: 4}
    grid: {width: [8]}
    tune: {lr: [1e-3, 1e-2]}
    seeds: [1, 2]
YAML

# ---- before anything has run
check 'no results yet' 4 'longhaul sweep tiny runs them' "$longhaul" table "$work/tiny.yaml"
expect 'no table from nothing' [ ! -e "$work/results/tiny/table.csv" ]

# ---- table
check sweep 0 '6 of 6 cells done' "$longhaul" sweep "$work/tiny.yaml" --jobs 2
check console 0 'transformer  64' "$longhaul" table "$work/tiny.yaml"
check 'plus-minus' 0 '±' "$longhaul" table "$work/tiny.yaml"
check 'plain characters' 0 '+-' env LC_ALL=C "$longhaul" table "$work/tiny.yaml"
check 'caption' 0 'preset quick: budget 6step a cell, seeds 1 2, 6 of 6 cells finished' \
    "$longhaul" table "$work/tiny.yaml" --format md
for extension in md csv tex json; do
    expect "table.$extension" [ -s "$work/results/tiny/table.$extension" ]
    "$longhaul" table "$work/tiny.yaml" --format $extension --quiet >"$work/printed"
    expect "$extension as saved" cmp -s "$work/printed" "$work/results/tiny/table.$extension"
done
expect 'three cells tried for each of two rows' \
    [ "$(cut -d, -f 11 "$work/results/tiny/table.csv" | tr -d '\r' | tail -n +2 | sort -u)" = 3 ]

# ---- figures
check plot 0 "$work/plots/tiny/accuracy.svg" "$longhaul" plot "$work/tiny.yaml"
for figure in accuracy learning seconds; do
    expect "$figure.dat" [ -s "$work/plots/tiny/$figure.dat" ]
    expect "$figure.svg" grep -q '<svg' "$work/plots/tiny/$figure.svg"
done
expect 'published points' grep -q 'transformer; published' "$work/plots/tiny/accuracy.dat"
check ascii 0 'A transformer' env PATH=/nowhere "$longhaul" plot "$work/tiny.yaml" --ascii
rm -r "$work/plots"
check 'gnuplot missing' 74 'apt-get install gnuplot-nox' env PATH=/nowhere "$longhaul" plot "$work/tiny.yaml"
mkdir "$work/poor" # a gnuplot that can draw nothing
printf '#!/bin/sh\necho " dumb unknown "\n' >"$work/poor/gnuplot"
chmod +x "$work/poor/gnuplot"
check 'poor gnuplot' 74 'no terminal for pictures' \
    env PATH="$work/poor:$PATH" "$longhaul" plot "$work/tiny.yaml" --plots "$work/poor plots"
expect 'points without gnuplot' [ -s "$work/plots/tiny/seconds.dat" ]
check 'table without gnuplot' 0 transformer env PATH=/nowhere "$longhaul" table "$work/tiny.yaml"

# ---- a damaged result is named and left out; the table stands on the others
damaged=$(find "$work/results" -name result.json | sort | head -n 1)
sed -i 's/"test_metric": [0-9.e+-]*/"test_metric": 0.999/' "$damaged"
check 'changed result' 4 "$damaged" "$longhaul" table "$work/tiny.yaml"
expect 'never averaged in' [ "$(grep -c '0[.]999' "$work/results/tiny/table.csv")" -eq 0 ]
expect 'five cells left' grep -q '5 of 6 cells finished' "$work/results/tiny/table.md"

# ---- so is one of another cell that was copied there: no seed counts twice
other=$(find "$work/results" -name result.json ! -path "$damaged" | head -n 1)
cp "$other" "$damaged"
check 'copied result' 4 'a copy?' "$longhaul" table "$work/tiny.yaml"
expect 'still five cells' grep -q '5 of 6 cells finished' "$work/results/tiny/table.md"
check 'sweep, copied result' 1 'a copy?' "$longhaul" sweep "$work/tiny.yaml"

[ "$failures" -eq 0 ]
