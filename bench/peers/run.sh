#!/usr/bin/env bash
# Compares whole training steps with PyTorch; nothing else in the project needs Python.
#
#   bench/peers/run.sh --setup [pip arguments]   a virtual environment below build/, with PyTorch
#   bench/peers/run.sh [--threads 1,2] [--rounds N] [--only KEY,..] [--write docs/performance.md [--section NAME]]
#
# LONGHAUL_PYTHON names another Python that has torch, safetensors and numpy.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
home="$top/build/peers"
python=${LONGHAUL_PYTHON:-$home/environment/bin/python}

fail() {
    printf '%s\n' "$*" >&2
    exit 4
}

setup() {
    command -v python3 >/dev/null || fail "python3 is missing (Debian: apt-get install python3 python3-venv)"
    mkdir -p "$home"
    python3 -m venv "$home/environment" ||
        fail "no virtual environment in $home/environment (Debian: apt-get install python3-venv)"
    "$home/environment/bin/pip" install --quiet "$@" torch numpy safetensors setuptools ||
        fail "PyTorch could not be installed into $home/environment; only this comparison needs it"
}

if [ "${1:-}" = --setup ]; then
    shift
    setup "$@"
    exit
fi
"$python" -c 'import torch, safetensors, numpy' 2>/dev/null ||
    fail "$python cannot import torch, safetensors and numpy: run bench/peers/run.sh --setup," \
        "or set LONGHAUL_PYTHON to a Python that can"
command -v g++ >/dev/null || echo "g++ is missing: torch.compile will fail, and the table will say so" >&2

# PyTorch's best allocator setting: keep freed memory instead of faulting it in again.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456
export TORCHINDUCTOR_CACHE_DIR="$home/compiled" PYTHONDONTWRITEBYTECODE=1
make -C "$top" --quiet
mkdir -p "$home/results"

# The MKL inside PyTorch asks who made the processor and keeps some kernels to Intel's: those with AVX-512, and with
# AVX2 that of batches of small matrices. Told that this is one, it multiplies up to three times as fast.
# LONGHAUL_PEERS_AS_SHIPPED=1 leaves it alone.
if [ -z "${LONGHAUL_PEERS_AS_SHIPPED:-}" ] && grep -q avx2 /proc/cpuinfo && ! grep -q GenuineIntel /proc/cpuinfo; then
    echo 'int mkl_serv_intel_cpu_true(void); int mkl_serv_intel_cpu_true(void) { return 1; }' |
        "${CC:-cc}" -x c -shared -fPIC -o "$home/mkl.so" - || fail "the C compiler ${CC:-cc} failed"
    export LD_PRELOAD="$home/mkl.so"
    echo "MKL is told that this is an Intel processor, for all of its kernels" >&2
fi
exec "$python" "$here/ratio.py" "$top/build/longhaul" --results "$home/results" "$@"
