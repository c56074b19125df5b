# Sourced by scripts that run whole commands: what they expect of a command. Needs $work, a folder, and counts
# in $failures.
failures=0
streams=(err) # in which check looks for the part; (out err): in both
parts=-F      # they are text; -E: patterns
complain() {
    echo "$*"
    failures=$((failures + 1))
}

# check NAME EXPECTED_STATUS PART COMMAND...: leaves $work/out and $work/err.
check() {
    local name=$1 expected=$2 part=$3 status
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    local said=("${streams[@]/#/$work/}")
    if [ "$status" -ne "$expected" ] || { [ -n "$part" ] && ! cat "${said[@]}" | grep -q "$parts" -- "$part"; }; then
        complain "$name: status $status, expected $expected; no '$part'? in:"
        sed 's/^/    /' "${said[@]}"
    fi
}
expect() { # NAME CONDITION...
    local name=$1
    shift
    "$@" || complain "$name: failed: $*"
}
