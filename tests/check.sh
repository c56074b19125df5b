# Sourced by scripts that run whole commands: what they expect of a command. Needs $work, a folder, and counts
# in $failures.
failures=0
complain() {
    echo "$*"
    failures=$((failures + 1))
}

# check NAME EXPECTED_STATUS PART_OF_STDERR COMMAND...
check() {
    local name=$1 expected=$2 part=$3 status
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    if [ "$status" -ne "$expected" ] || { [ -n "$part" ] && ! grep -qF -- "$part" "$work/err"; }; then
        complain "$name: status $status, expected $expected; no '$part'? in:"
        sed 's/^/    /' "$work/err"
    fi
}
expect() { # NAME CONDITION...
    local name=$1
    shift
    "$@" || complain "$name: failed: $*"
}
