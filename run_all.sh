#!/usr/bin/env bash
# The front door: sets up, builds, runs suites, makes their tables and figures. See --help.
# Thin on purpose: whatever needs a test of its own lives in the program.
set -eu
cd "$(dirname "$(readlink -f "$0")")"

usage() {
    cat <<'HELP'
./run_all.sh --task mqar      run a suite: train its cells, print the table, draw the figures
./run_all.sh                  every suite
./run_all.sh --test           every test

Missing packages are installed first (as root, or with sudo); then the program is built. Finished
cells are kept: the same command again continues, or answers at once.

  --task T           the suite T (bench/suites/T.yaml); --list names them
  --preset P         quick (minutes on two cores, the default), standard or paper
  --model 'm*,!x'    only these architectures; also one that the suite does not list, by its full name
  --seeds N          number of seeds, or a list: 1,2,7
  --budget B         of every cell: 2e12flop, 10min, 5000step, 1e7token
  --jobs N           cells at a time          --threads N    threads of one cell
  --device D         cpu or cuda
  --dry-run          what would run: cells, parameters, FLOPs, memory; once cells have finished, time
  --retry-failed     run cells again that failed      --force    run finished cells again
  --ascii            figures as text
  key=value          any setting of task, model or runner, such as lr=1e-3,3e-3
  --setup-only       install and build, then stop
  --yes              never ask (no password prompt of sudo)
  --list             suites, tasks and architectures

Exit codes: 0 good, 1 some cells failed, 2 usage or missing packages, 4 data missing,
5 numeric failure, 74 input or output, 75 interrupted (run again to continue).
HELP
}

say() { printf '%s\n' "$*" >&2; }

# ---- command line ----

suite='' action=sweep yes=no ascii=no
which=() shard=() how=() settings=() # flags that say which cells, which part of them, how they run

need_value() {
    if [ $# -lt 2 ]; then
        say "$1 needs a value; see ./run_all.sh --help"
        exit 2
    fi
}

while [ $# -gt 0 ]; do
    case $1 in
    --task=*) suite=${1#*=} ;;
    --task)
        need_value "$@"
        suite=$2
        shift
        ;;
    --preset | --model | --seeds | --budget | --device)
        need_value "$@"
        which+=("$1" "$2")
        shift
        ;;
    --jobs | --threads)
        need_value "$@"
        how+=("$1" "$2")
        shift
        ;;
    --shard)
        need_value "$@"
        shard+=("$1" "$2")
        shift
        ;;
    --preset=* | --model=* | --seeds=* | --budget=* | --device=*) which+=("$1") ;;
    --jobs=* | --threads=* | --force | --retry-failed | --quiet) how+=("$1") ;;
    --shard=*) shard+=("$1") ;;
    --ascii) ascii=yes ;;
    --test) action='test' ;;
    --setup-only) action=setup ;;
    --dry-run) action=plan ;;
    --list) action=list ;;
    --yes) yes=yes ;;
    --help)
        usage
        exit 0
        ;;
    -*)
        say "$1: no such flag; ./run_all.sh --help lists them"
        exit 2
        ;;
    *=*) settings+=("$1") ;;
    *)
        say "$1: expected a flag or key=value; did you mean --task $1?"
        exit 2
        ;;
    esac
    shift
done

# ---- packages ----

# What is looked for | how | its package for apt | dnf | pacman | zypper
requirements='gcc|command|gcc|gcc|gcc|gcc
/usr/include/stdio.h|file|libc6-dev|glibc-devel|glibc|glibc-devel
g++|command|g++|gcc-c++|gcc|gcc-c++
make|command|make|make|make|make
pkg-config|command|pkg-config|pkgconf-pkg-config|pkgconf|pkg-config
gnuplot|command|gnuplot-nox|gnuplot|gnuplot|gnuplot
openblas|library|libopenblas-dev|openblas-devel|openblas|openblas-devel
fftw3|library|libfftw3-dev|fftw-devel|fftw|fftw3-devel
fftw3f|library|libfftw3-dev|fftw-devel|fftw|fftw3-devel
yaml-0.1|library|libyaml-dev|libyaml-devel|libyaml|libyaml-devel
jansson|library|libjansson-dev|jansson-devel|jansson|libjansson-devel
libmd|library|libmd-dev|libmd-devel|libmd|libmd-devel
libpng|library|libpng-dev|libpng-devel|libpng|libpng16-devel
zlib|library|zlib1g-dev|zlib-devel|zlib|zlib-devel
cmocka|library|libcmocka-dev|libcmocka-devel|cmocka|libcmocka-devel'

# A test compares two revisions of a repository that it makes.
[ "$action" != test ] || requirements="$requirements
git|command|git|git|git|git"

# LIBRARIES names a folder made by libraries.sh: no library is looked for, and nothing else needs
# pkg-config; gnuplot is left out as well, since it cannot be had that way.
present() {
    case $2 in
    command)
        case ${LIBRARIES:+$1} in pkg-config | gnuplot) return 0 ;; esac
        command -v "$1" >/dev/null 2>&1
        ;;
    file) [ -e "$1" ] ;;
    library) [ -n "${LIBRARIES:-}" ] || pkg-config --exists "$1" 2>/dev/null ;;
    esac
}

# Package names of what is missing, for package manager number $1 (1 apt .. 4 zypper).
missing_packages() {
    local name how names field list=' '
    while IFS='|' read -r name how names; do
        present "$name" "$how" && continue
        field=$(cut -d'|' -f"$1" <<<"$names")
        case $list in *" $field "*) ;; *) list="$list$field " ;; esac
    done <<<"$requirements"
    list=${list# }
    echo "${list% }"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ "$yes" = yes ] || [ ! -t 0 ]; then
        sudo -n "$@"
    else
        sudo "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] && return 0
    command -v sudo >/dev/null 2>&1 || return 1
    sudo -n true 2>/dev/null || { [ "$yes" = no ] && [ -t 0 ]; }
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
        >&2
}

set_up() {
    local packages manager
    packages=$(missing_packages 1)
    [ -n "$packages" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        for manager in 'dnf install|2' 'pacman -S --needed|3' 'zypper install|4'; do
            command -v "${manager%% *}" >/dev/null 2>&1 || continue
            say "Packages are missing. Run this, then this script again:"
            say "  sudo ${manager%|*} $(missing_packages "${manager#*|}")"
            exit 2
        done
        say "Missing, and no known package manager here: $packages"
        say "(Debian's names). Install them, then run this script again."
        exit 2
    fi
    if ! can_be_root; then
        say "Packages are missing. Run this, then this script again:"
        say "  sudo apt-get install $packages"
        say "Without root: make libraries LIBRARIES=libraries, then LIBRARIES=libraries ./run_all.sh ..."
        exit 2
    fi
    say "Installing: $packages"
    # shellcheck disable=SC2086  # a list of words
    if ! apt_install $packages 2>/dev/null; then
        # Package lists may be absent (a fresh image) or stale.
        # shellcheck disable=SC2086
        if ! { as_root apt-get update -qq >&2 && apt_install $packages; }; then
            say "apt-get could not install them (network?). Run this, then this script again:"
            say "  sudo apt-get update && sudo apt-get install $packages"
            exit 2
        fi
    fi
}

# ---- build and run ----

set_up
if [ "$ascii" = no ] && ! command -v gnuplot >/dev/null 2>&1; then
    say "gnuplot is not installed: figures as text"
    ascii=yes
fi
cores=$(nproc)
if [ "$action" = test ]; then
    # With nvcc: one architecture (and PTX) instead of four, hardly optimised and many files at a time,
    # because the tests only want to see it compile, which would take most of the time. The next make
    # builds it anew.
    export CUDA_OPTIMISE="${CUDA_OPTIMISE:--O1 -Xcicc -O1 -Xptxas -O0}" CUDA_UNITS="${CUDA_UNITS-8}"
    exec make -s -j"$cores" CUDA_ARCHITECTURES="${CUDA_ARCHITECTURES:-90}" test
fi
program=build/longhaul
# The CUDA half takes nvcc minutes; only a GPU needs it.
target=$program
case " ${which[*]} ${LONGHAUL_DEVICE:-} " in
*" --device cuda "* | *" --device=cuda "* | *" cuda ") target=all ;;
esac
make -s -j"$cores" "$target" >&2
[ "$action" = setup ] && exit 0

if [ "$action" = list ]; then
    for what in suites tasks models; do
        echo "$what"
        "$program" list "$what" | sed 's/^/  /'
    done
    exit 0
fi

suites=()
for file in bench/suites/*.yaml; do
    name=$(basename "$file" .yaml)
    [ -z "$suite" ] || [ "$name" = "$suite" ] || continue
    suites+=("$name")
done
if [ ${#suites[@]} -eq 0 ]; then
    say "--task $suite: no bench/suites/$suite.yaml; known suites:"
    "$program" list suites >&2
    exit 2
fi

worst=0
keep() { [ "$1" -le "$worst" ] || worst=$1; }

for name in "${suites[@]}"; do
    if [ "$action" = plan ]; then
        "$program" plan "$name" "${which[@]}" "${shard[@]}" "${settings[@]}" || keep $?
        continue
    fi
    status=0
    "$program" sweep "$name" "${which[@]}" "${shard[@]}" "${how[@]}" "${settings[@]}" || status=$?
    keep "$status"
    case $status in
    0 | 1) ;; # with failed cells, the others still make a table
    4) continue ;; # its data are missing; other suites may do without
    *) exit "$status" ;;
    esac
    "$program" table "$name" "${which[@]}" "${settings[@]}" || keep $?
    if [ "$ascii" = yes ]; then
        "$program" plot "$name" --ascii "${which[@]}" "${settings[@]}" || keep $?
    else
        "$program" plot "$name" "${which[@]}" "${settings[@]}" || keep $?
    fi
done
exit "$worst"
