#!/usr/bin/env bash
# engine/cuda/unit.sh K N FILE...: prints a source for nvcc that holds every N-th FILE, from the K-th on. nvcc
# parses CUDA's own headers three times for each source, which takes longer than most kernels do. Names may repeat
# from operation to operation, so each is in a namespace of its own; before them come the headers that a folder
# has from outside itself. Files of one folder must not meet in a unit: they are neighbours in the list, and N is
# no less than the most in a folder.
set -eu
k=$1 n=$2
shift 2

headers=()
for folder in "${@%/*}"; do headers+=("$folder"/*.cuh "$folder/${folder##*/}.h"); done
for file in "$@" engine/cuda/*.cuh "${headers[@]}"; do
    [ -e "$file" ] || continue
    awk -v own="\"${file%/*}/" '/^#include/ && index($2, own) != 1 { print $2 }' "$file"
done | LC_ALL=C sort -u | sed 's/^/#include /'

last=
while [ $# -ge "$k" ]; do
    folder=${!k%/*}
    if [ "$folder" = "$last" ]; then
        echo "engine/cuda/unit.sh: $n units are fewer than the files of $folder: use a larger CUDA_UNITS" >&2
        exit 2
    fi
    last=$folder
    printf 'namespace cuda_%s {\n#include "%s"\n}\n' "${folder##*/}" "${!k}"
    k=$((k + n))
done
