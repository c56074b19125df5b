#!/usr/bin/env bash
# Compares training steps with PyTorch. Sets up a virtual environment below build/ on the first run;
# nothing else in the project needs Python.   bench/peers/run.sh [--threads N] [--rounds N] [--only NAME]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
environment="$top/build/peers"

if ! command -v python3 >/dev/null; then
    echo "python3 is missing: install python3 and python3-venv (Debian: apt-get install python3-venv)" >&2
    exit 4
fi
if ! "${LONGHAUL_PYTHON:-$environment/bin/python}" -c 'import torch, safetensors, numpy' 2>/dev/null; then
    if [ -n "${LONGHAUL_PYTHON:-}" ]; then
        echo "LONGHAUL_PYTHON=$LONGHAUL_PYTHON cannot import torch, safetensors and numpy" >&2
        exit 4
    fi
    python3 -m venv "$environment" && "$environment/bin/pip" install --quiet torch numpy safetensors || {
        echo "PyTorch could not be installed into $environment; the comparison needs it, nothing else does" >&2
        exit 4
    }
fi
# Give PyTorch its best allocator setting: keep freed memory instead of faulting it in again.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456
make -C "$top" --quiet
exec "${LONGHAUL_PYTHON:-$environment/bin/python}" "$here/ratio.py" "$top/build/longhaul" "$@"
