#!/usr/bin/env bash
# libraries.sh FOLDER: the libraries that Longhaul links, unpacked into FOLDER from the packages of
# Debian or Ubuntu, without root and without installing anything. `make LIBRARIES=FOLDER` uses them.
# The folder can be carried to another machine that has a compiler, make and a C library at least as new.
set -eu

# With headers. What they need at run time is found by apt; `longhaul` links no other FFTW than these.
packages='libopenblas-pthread-dev libfftw3-dev libyaml-dev libjansson-dev libmd-dev libpng-dev
zlib1g-dev libcmocka-dev'
modules='openblas fftw3 fftw3f yaml-0.1 jansson libmd libpng16 zlib cmocka'
# These come with the compiler of the machine that builds, in versions that must match it.
from_the_compiler='^(libc6|libc6-dev|libc-bin|libc-dev-bin|linux-libc-dev|libcrypt.*|libgcc-s1|gcc-.*-base|libgomp1|libtirpc.*|libnsl.*|rpcsvc-proto|libssl.*|libkrb5.*|libgssapi.*|libk5crypto.*|libkeyutils.*|libcom-err.*)$'
# Other precisions and programs of FFTW.
unused='^(libfftw3-(long|quad|bin).*|.*-doc|.*-tools)$'

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

[ $# -eq 1 ] || fail "usage: libraries.sh FOLDER  (or: make libraries LIBRARIES=FOLDER)"
target=$1
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null 2>&1 ||
        fail "libraries.sh: no $tool here; this way needs Debian or Ubuntu. Elsewhere install OpenBLAS, FFTW 3" \
            "(double and single), libyaml, jansson, libmd, libpng and zlib with their headers, then run make;" \
            "or make the folder on a Debian or Ubuntu machine and carry it here."
done
if [ -e "$target" ] && [ ! -e "$target/names" ] && [ -n "$(ls -A "$target" 2>/dev/null)" ]; then
    fail "$target: holds something else; name a folder that does not exist yet"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# apt with package lists, caches and an (empty) list of installed packages of its own; the sources and
# keys are the machine's.
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/packages" "$work/tree"
: >"$work/status"
options=(-qq -o "Dir::State=$work/state" -o "Dir::State::lists=$work/state/lists"
    -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" -o Debug::NoLocking=true
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Dpkg::Use-Pty=0)

echo "libraries: reading the package lists" >&2
apt-get "${options[@]}" update >"$work/log" 2>&1 || true # one source that fails need not matter
# shellcheck disable=SC2086  # a list of words
if ! apt-get "${options[@]}" -s install $packages >"$work/plan" 2>>"$work/log"; then
    sed 's/^/  apt: /' "$work/log" >&2
    fail "libraries: apt does not find the packages; see its words above (network? /etc/apt/sources.list?)"
fi
wanted=$(awk '$1 == "Inst" {print $2}' "$work/plan" | grep -Ev "$from_the_compiler" | grep -Ev "$unused")

echo "libraries: downloading" $wanted >&2
# shellcheck disable=SC2086
if ! (cd "$work/packages" && apt-get "${options[@]}" download $wanted) >"$work/log" 2>&1; then
    sed 's/^/  apt: /' "$work/log" >&2
    fail "libraries: a download failed; run the same command again"
fi
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/tree"
done

# Headers and shared libraries in two flat folders: no path of the packages is left, so the folder can move.
result=$work/result
mkdir -p "$result/include" "$result/lib" "$result/licences"
cp -a "$work/tree/usr/include/." "$result/include"
for nested in "$result/include/$(uname -m)"-linux-gnu*; do
    cp -a "$nested/." "$result/include"
    rm -r "$nested"
done
[ ! -d "$result/include/openblas-pthread" ] || cp -a "$result/include/openblas-pthread/." "$result/include"
rm -rf "$result/include/openblas-pthread"
find "$work/tree" \( -name 'lib*.so' -o -name 'lib*.so.*' \) \
    ! -name 'libblas.so*' ! -name 'liblapack.so*' ! -name '*_omp.so*' ! -name '*_threads.so*' -exec cp -a {} "$result/lib" \;
find "$result/lib" -lname '/*' -printf '%p\n' | while read -r link; do
    ln -sf "$(basename "$(readlink "$link")")" "$link"
done
find "$result/lib" -xtype l -delete # links to what another package would bring
for licence in "$work"/tree/usr/share/doc/*/copyright; do
    [ ! -f "$licence" ] || cp "$licence" "$result/licences/$(basename "$(dirname "$licence")")"
done

# What to link, from each library's own description.
for module in $modules; do
    description=$(find "$work/tree" -name "$module.pc" ! -type l | head -n 1)
    [ -n "$description" ] || fail "libraries: $module.pc is in none of the packages:" $wanted
    sed -n 's/^Libs://p' "$description" | tr ' ' '\n' | grep -- '^-l' >"$work/name"
    while read -r name; do
        [ -e "$result/lib/lib${name#-l}.so" ] ||
            fail "libraries: no lib${name#-l}.so in the packages:" $wanted
        [ "$module" = cmocka ] || echo "$name" # the tests name it themselves
    done <"$work/name"
done >"$result/names"

mkdir -p "$target"
rm -rf "$target/include" "$target/lib" "$target/licences" "$target/names"
cp -a "$result/." "$target"
echo "libraries: $target, $(du -sm "$target" | cut -f1) MiB; now: make LIBRARIES=$target" >&2
