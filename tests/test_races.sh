#!/usr/bin/env bash
# Data races of the CUDA kernels, looked for without a GPU (engine/cuda/races.h): first whether kernels
# that have some are told from such that have none, then every operation's own kernels.
set -u
build=${BUILD:-build}
longhaul=$(realpath "$build/longhaul")
"$build/tests/racy_kernels" || exit 1
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
failures=0

# Rows and products; all rows of an operation whose rows are small, those with other launches, loops and
# rings of the others. The longest first, as many at once as there are cores.
rows() {
    echo long_convolution/{B16L2049D17K9gated,B2L4100D3K80gated}
    echo attention/{Q90K660H1D100,Q300K150H1D100,padded_L330H2K1D64,L97H1D128,wide,padded_L45,padded_causal,Q12,both,dropout}:bf16
    echo attention/{wide,parts,L7,padded_L45,padded_causal,Q12,Q9,both,saturated,dropout,step_H}
    echo attention/{wide_Q9,L7,padded_L45,Q12,both,dropout,step_H}:tf32
    echo long_convolution/{B1L1D1,B2L7,B3L64,B2L37,B1L600,B1L65D1,B1L128,B3L131,B2L256,B3L301,B2L512,B1L1024,B2L1500}
    echo cross_entropy/{R1D1,R7,R2x3,R1D17,R61,R131,R259} cross_entropy/{R61,R131}:{bf16,tf32}
    echo dense_convolution/{B1L1,B2L7,B5L130,B3L37}
    echo {linear,lstm}/:{float,bf16,tf32}
    for folder in $(dirname engine/ops/*/*.cu | sort -u); do
        case $(basename "$folder") in attention | cross_entropy | dense_convolution | linear | long_convolution | lstm) ;;
        *) echo "$(basename "$folder")/" ;; esac
    done
}
cd "$(dirname "$0")/.." || exit 74
export longhaul work
check() {
    local products=${1#*:} log=$work/${1//\//+}
    [ "$products" != "$1" ] || products=float
    "$longhaul" check "op/${1%:*}" --device cuda-races --products "$products" --quiet >"$log" 2>&1 && rm "$log"
}
export -f check
rows | tr ' ' '\n' | xargs -P "$(nproc)" -I '{}' bash -c 'check {}' || failures=1
for left in "$work"/*; do
    [ -e "$left" ] || continue
    failures=1
    echo "$(basename "$left"):"
    head -20 "$left"
done
[ "$failures" -eq 0 ]
