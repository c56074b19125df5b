#!/usr/bin/env bash
# longhaul kernels and speed by whole commands: formats, figures, refusals. No time is judged.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
cd "$(dirname "$0")/.." || exit 74
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
export LONGHAUL_PLOTS=$work/plots LONGHAUL_SECONDS=0.001
. tests/check.sh
streams=(out err)

# ---- kernels
check 'kernels' 0 'bound by' "$longhaul" kernels norm --output "$work/base.json"
expect 'few samples are named with advice' grep -q '^warning \[few-samples\]: .*--seconds' "$work/err"
check 'csv' 0 'roof_fraction' "$longhaul" kernels norm/layer2048 --csv
expect 'csv has as many fields in each line' \
    test "$(awk -F, '{print NF}' "$work/out" | sort -u | wc -l)" -eq 1
check 'json' 0 '"schema": 1' "$longhaul" kernels norm/layer2048 --json
cp "$work/out" "$work/printed.json"
check 'json on standard output is the file' 0 '' \
    "$longhaul" compare "$work/printed.json" "$work/printed.json" --threshold 1000
check 'figures' 0 "$work/plots/kernels/roofline.svg" "$longhaul" kernels norm --plot
for figure in roofline fraction; do
    expect "$figure.svg" grep -q '<svg' "$work/plots/kernels/$figure.svg"
done
expect 'points of the roofline' grep -q '; points$' "$work/plots/kernels/roofline.dat"
expect 'roofs of the roofline' test "$(grep -c '; roof$' "$work/plots/kernels/roofline.dat")" -eq 5
check 'figures as text' 0 'per cent of the attainable roof' \
    env PATH=/nowhere "$longhaul" kernels norm --ascii
check 'portable kernels' 0 'portable kernels' "$longhaul" kernels norm/layer2048 --isa portable \
    --output "$work/portable.json"
check 'other instruction sets do not compare' 2 'different machines' \
    "$longhaul" compare "$work/base.json" "$work/portable.json" --threshold 1000
check 'nothing of that name' 2 "did you mean 'norm'" "$longhaul" kernels nrom
check 'unknown format' 2 'console, csv or json' "$longhaul" kernels norm --format tex

# ---- speed
tiny=("$longhaul" speed width=8 length=16,64 pairs=4 vocabulary=32 batch=2)
check 'speed' 0 'costs less than with transformer' "${tiny[@]}" --output "$work/speed.json"
check 'speed compares with itself' 0 'lstm/width8/length64/decode' \
    "$longhaul" compare "$work/speed.json" "$work/speed.json" --threshold 1000
check 'but not with kernels' 2 'do not compare' \
    "$longhaul" compare "$work/speed.json" "$work/base.json" --force
"${tiny[@]}" batch=4 --output "$work/other.json" >/dev/null
check 'nor with another batch' 2 'other work' "$longhaul" compare "$work/speed.json" "$work/other.json"
check 'speed figures' 0 "$work/plots/speed/time.svg" "${tiny[@]}" --plot
check 'speed figures as text' 0 'microseconds a token' env PATH=/nowhere "${tiny[@]}" --ascii
check 'speed csv' 0 'train_crossover' "${tiny[@]}" --csv
check 'a skipped case has its reason' 0 'skipped: task mqar: pairs=4' \
    "$longhaul" speed width=8 length=8,64 pairs=4 --model lstm
check 'all skipped is an error' 2 'no case could be measured' \
    "$longhaul" speed width=8 length=8 pairs=4 --model lstm
check 'a task of one length' 0 'lstm' \
    "$longhaul" speed task=listops longest=100 shortest=50 width=8 batch=2 --model lstm
check 'unknown model' 2 '--against' "$longhaul" speed --against nobody

[ "$failures" -eq 0 ]
