#!/usr/bin/env bash
# The regression gate end to end. Times are made up, so that no noise of the machine can fail it; the
# one real measurement is compared with a threshold that no noise reaches.
set -u
longhaul=$(realpath "${BUILD:-build}/longhaul")
cd "$(dirname "$0")/.." || exit 74
regress=$(realpath bench/regress.sh)
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
. tests/check.sh
streams=(out err) parts=-E

# A report with one case of 40 samples: 1 ms times the factor, up to 2 % of noise and now and then a
# sample that lost its processor, from a stream with a fixed seed.
cat >"$work/report" <<'SCRIPT'
#!/usr/bin/env bash
# FACTOR SEED [MACHINE] [THREADS] [CASE] [FLOPS]
LC_ALL=C awk -v factor="$1" -v seed="$2" -v machine="${3:-made up}" -v threads="${4:-1}" \
    -v name="${5:-op/case/forward}" -v flops="${6:-1000}" 'BEGIN {
    printf "{\"schema\": 1, \"kind\": \"kernels\", \"machine\": \"%s\", \"threads\": %d,\n", \
        machine, threads
    printf "\"rows\": [{\"case\": \"%s\", \"flops\": %d, \"specials\": 0, \"bytes_read\": 64, ", \
        name, flops
    printf "\"bytes_written\": 64, \"seconds\": ["
    for (i = 0; i < 40; i++) {
        seed = (seed * 16807) % 2147483647
        seconds = 0.001 * factor * (1 + 0.02 * seed / 2147483647)
        if (seed % 10 == 0) seconds *= 2.5
        printf "%s%.9f", i ? ", " : "", seconds
    }
    printf "]}]}\n"
}'
SCRIPT
chmod +x "$work/report"
for round in 1 2 3; do
    "$work/report" 1 $((100 + round)) >"$work/base$round"
    "$work/report" 1.01 $((200 + round)) >"$work/same$round"
    "$work/report" 1.2 $((300 + round)) >"$work/slow$round"
done

# ---- verdicts of one round and of three
rounds() { # NAME: the files of three rounds, base and NAME in turn
    echo "$work/base1 $work/${1}1 $work/base2 $work/${1}2 $work/base3 $work/${1}3"
}
read -ra slow <<<"$(rounds slow)"
read -ra same <<<"$(rounds same)"
check '20 % slower' 3 'case/forward .* slower$' "$longhaul" compare "$work/base1" "$work/slow1"
check '1 % slower' 0 'case/forward .* same$' "$longhaul" compare "$work/base1" "$work/same1"
check '17 % faster' 0 'case/forward .* faster$' "$longhaul" compare "$work/slow1" "$work/base1"
check '20 % slower, three rounds' 3 '1 of 1 cases are slower' "$longhaul" compare "${slow[@]}"
check '1 % slower, three rounds' 0 ' 1 same' "$longhaul" compare "${same[@]}"

# ---- the threshold is obeyed, both ways
check 'threshold 50 %' 0 'threshold 50 %: 0 faster, 1 same' \
    "$longhaul" compare "$work/base1" "$work/slow1" --threshold 0.5
check 'threshold 50 %, three rounds' 0 ' 1 same' "$longhaul" compare "${slow[@]}" --threshold 0.5
check 'threshold 0.1 %' 3 ' slower$' "$longhaul" compare "${same[@]}" --threshold 0.001

# ---- what does not compare
"$work/report" 1 7 'another one' >"$work/machine"
"$work/report" 1 7 'made up' 2 >"$work/threads"
"$work/report" 1 7 'made up' 1 op/case/forward 2000 >"$work/cost"
"$work/report" 1 7 'made up' 1 op/else/forward >"$work/other"
check 'other machine' 2 'different machines' "$longhaul" compare "$work/base1" "$work/machine"
check 'other threads' 2 'same --threads' "$longhaul" compare "$work/base1" "$work/threads"
check 'other work' 2 'other work .* op/case/forward' "$longhaul" compare "$work/base1" "$work/cost"
for odd in machine threads cost; do
    check "other $odd, forced" 0 '1 same' "$longhaul" compare "$work/base1" "$work/$odd" --force
    check "other $odd in the second round" 2 '--force' \
        "$longhaul" compare "$work/base1" "$work/same1" "$work/base2" "$work/$odd"
done
check 'no common case' 2 'no measured case in common' \
    "$longhaul" compare "$work/base1" "$work/other" --force
check 'three files' 2 'cannot be paired' "$longhaul" compare "${slow[@]:0:3}"
head -c 200 "$work/base1" >"$work/half"
check 'half a file' 4 "$work/half" "$longhaul" compare "$work/base1" "$work/half"
check 'no file' 4 "$work/none" "$longhaul" compare "$work/base1" "$work/none"

# ---- one real case; the threshold is a factor of eleven
for name in first second; do
    check "measure $name" 0 '' "$longhaul" kernels pointwise/add --seconds 0.01 \
        --output "$work/$name"
done
check 'real reports compare' 0 'pointwise/add' \
    "$longhaul" compare "$work/first" "$work/second" --threshold 10

# ---- regress.sh in a repository whose program makes times up: FACTOR is a committed file
unset MAKEFLAGS MAKELEVEL BUILD
repository=$work/repository
mkdir -p "$repository/bench"
cp "$regress" "$repository/bench"
cat >"$repository/Makefile" <<'MAKEFILE'
BUILD ?= build
$(BUILD)/longhaul: program FACTOR
	mkdir -p $(BUILD)
	sed "s/FACTOR/$$(cat FACTOR)/" program >$@
	chmod +x $@
all: $(BUILD)/longhaul
	[ ! -e nvcc ] || touch $(BUILD)/liblonghaul_cuda.so
MAKEFILE
cat >"$repository/program" <<SCRIPT
#!/usr/bin/env bash
[ "\$1" = kernels ] || exec "$longhaul" "\$@"
echo FACTOR "\$@" >>"$work/calls"
[ FACTOR != stop ] || { touch "$work/started"; sleep 30; }
while [ "\$1" != --output ]; do shift; done
"$work/report" FACTOR "\$((1000 * \$(wc -l <"$work/calls")))" >"\$2"
SCRIPT
git_here() { git -C "$repository" -c user.name=t -c user.email=t@localhost "$@" >/dev/null 2>&1; }
git_here init
echo build >"$repository/.gitignore"
echo 1 >"$repository/FACTOR"
git_here add .
git_here commit -m base
gate=$repository/bench/regress.sh
no_leftovers() {
    [ "$(git -C "$repository" worktree list | wc -l)" -eq 1 ] &&
        [ -z "$(find "$work/temporary" -mindepth 1)" ]
}
mkdir "$work/temporary"
export TMPDIR=$work/temporary

echo 1.2 >"$repository/FACTOR" # not committed: the working tree counts
check 'gate: 20 % slower' 3 'case/forward .* slower$' "$gate" HEAD --rounds 3
expect 'gate: in turn' [ "$(cut -d ' ' -f 1 "$work/calls" | tr '\n' ' ')" = '1 1.2 1 1.2 1 1.2 ' ]
expect 'gate: leaves nothing' no_leftovers
check 'gate: threshold' 0 '1 same' "$gate" HEAD --rounds 2 --threshold 0.5
check 'gate: filter and threads' 3 '' "$gate" HEAD part --threads 2 --rounds 1 --keep "$work/kept"
expect 'gate: passes them on' grep -q '^1.2 kernels --threads 2 .* part$' "$work/calls"
expect 'gate: keeps samples' [ -s "$work/kept/new-1.json" ]
check 'gate: cuda without its library' 4 'base-program was built without CUDA' "$gate" HEAD --device cuda
touch "$repository/nvcc" # the made-up build then has a library
git_here add nvcc
git_here commit -m nvcc
check 'gate: on a GPU' 3 '' "$gate" HEAD --rounds 1 --device cuda --products bf16
expect 'gate: of these products' grep -q '^1.2 kernels .* --device cuda --products bf16 ' "$work/calls"
echo 1.01 >"$repository/FACTOR"
check 'gate: 1 % slower' 0 '1 same' "$gate" HEAD --rounds 3
check 'gate: unknown revision' 2 'no revision' "$gate" nonsense
check 'gate: no revision' 2 'no base revision given' "$gate"
check 'gate: no rounds' 2 'from 1 to 64' "$gate" HEAD --rounds 0
check 'gate: unknown flag' 2 'unknown flag --round' "$gate" HEAD --round 3
echo 'not a makefile' >"$repository/Makefile"
check 'gate: does not build' 4 'new-program does not build' "$gate" HEAD
expect 'gate: leaves nothing after a failure' no_leftovers
git_here checkout Makefile
echo stop >"$repository/FACTOR"
# A script's background jobs ignore SIGINT; a session of its own takes it as a terminal's would.
setsid bash -c 'trap - INT; exec "$@"' - env --default-signal=INT "$gate" HEAD >"$work/out" 2>&1 &
for ((i = 0; i < 100; i++)); do
    [ ! -e "$work/started" ] || break
    sleep 0.1
done
expect 'gate: started' [ -e "$work/started" ]
kill -INT -- "-$!"
wait $!
expect 'gate: ended by the signal' [ $? -eq 130 ]
expect 'gate: leaves nothing after ctrl-C' no_leftovers

[ "$failures" -eq 0 ]
