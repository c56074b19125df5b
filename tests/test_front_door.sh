#!/usr/bin/env bash
# run_all.sh and the installation: packages missing or not, any folder, a path with a space.
# Package managers are stand-ins; the program is the one that was built.
# Runs alone: it asks make for what has been built.
set -u
cd "$(dirname "$0")/.." || exit 74
top=$PWD
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
unset MAKEFLAGS MAKELEVEL
. tests/check.sh
streams=(out err)

# ---- everything that the Makefile links is asked for
packages=$(sed -n 's/^PACKAGES := //p' Makefile)
[ -n "$packages" ] || complain 'no PACKAGES in the Makefile'
for name in $packages cmocka; do
    grep -q "^$name|library|" run_all.sh ||
        complain "run_all.sh does not ask for $name"
done

# ---- command line
check help 0 '--task T' ./run_all.sh --help
check 'unknown flag' 2 '--help lists them' ./run_all.sh --tsak mqar
check 'flag without value' 2 'needs a value' ./run_all.sh --preset
check 'bare word' 2 '--task mqar' ./run_all.sh mqar

# Stand-ins: no package is there until apt-get has installed, which needs an update first.
mkdir "$work/bin"
real=$(command -v pkg-config)
cat >"$work/bin/pkg-config" <<STANDIN
#!/bin/sh
[ -e "$work/installed" ] || exit 1
exec $real "\$@"
STANDIN
cat >"$work/bin/apt-get" <<STANDIN
#!/bin/sh
echo "\$@" >>"$work/apt"
case "\$1" in
update) touch "$work/updated" ;;
install) [ -e "$work/updated" ] && touch "$work/installed" ;;
esac
STANDIN
printf '#!/bin/sh\nexit 1\n' >"$work/bin/sudo"
printf '#!/bin/sh\necho 1000\n' >"$work/bin/id"
chmod +x "$work"/bin/*

# ---- neither root nor sudo: one command to run, exit 2
with_stand_ins=(env "PATH=$work/bin:$PATH")
check 'no rights' 2 'sudo apt-get install libopenblas-dev' "${with_stand_ins[@]}" ./run_all.sh --setup-only
check 'no rights, every package' 2 'libcmocka-dev' "${with_stand_ins[@]}" ./run_all.sh --test
[ ! -e "$work/apt" ] || complain 'apt-get was called without rights'

# ---- root: installs, with an update where the lists are missing, then builds
printf '#!/bin/sh\necho 0\n' >"$work/bin/id"
check root 0 'Installing: libopenblas-dev' "${with_stand_ins[@]}" ./run_all.sh --setup-only
grep -q '^update' "$work/apt" || complain 'no apt-get update'
grep -q 'no-install-recommends .*libfftw3-dev' "$work/apt" ||
    complain 'packages not asked for'
[ "$(grep -o libfftw3-dev "$work/apt" | wc -l)" -eq "$(grep -c '^install' "$work/apt")" ] ||
    complain 'a package is named twice'

# ---- other systems: their own command
mkdir "$work/dnf"
for tool in bash cat cut dirname readlink nproc; do ln -s "$(command -v $tool)" "$work/dnf/$tool"; done
printf '#!/bin/sh\n' >"$work/dnf/dnf"
chmod +x "$work/dnf/dnf"
check dnf 2 'sudo dnf install gcc' env "PATH=$work/dnf" bash ./run_all.sh --setup-only
check 'dnf, its names' 2 'fftw-devel' env "PATH=$work/dnf" bash ./run_all.sh --setup-only
rm "$work/dnf/dnf"
check 'no package manager' 2 'no known package manager' env "PATH=$work/dnf" bash ./run_all.sh --setup-only

# ---- from another folder, in a path with a space
mkdir "$work/long haul"
cp -a Makefile run_all.sh bench engine models tasks tests plots results "$work/long haul/" 2>/dev/null
cp -a "${BUILD:-build}" "$work/long haul/build"
check 'any folder, a space in the path' 0 'transformer' \
    env -C / "$work/long haul/run_all.sh" --list
check 'unknown suite' 2 'known suites' "$work/long haul/run_all.sh" --task mqra

# ---- every flag reaches the commands that know it
tiny=(--task adding --model lstm --seeds 1 --budget 2step --device cpu --preset quick)
how=(--jobs 1 --threads=1 --shard 1/1 --retry-failed --force)
check 'flags of a run' 0 'solved from' env -C / "$work/long haul/run_all.sh" \
    "${tiny[@]}" "${how[@]}" --quiet --ascii length=16
check 'flags of a dry run' 0 'lstm length=16' env -C / "$work/long haul/run_all.sh" \
    "${tiny[@]}" "${how[@]}" --dry-run length=16

# ---- an installation finds its files
# without the CUDA half, which make would build if it is not there
check install 0 '' make -s install NVCC= "PREFIX=$work/in stalled"
check 'installed suites' 0 mqar env -u LONGHAUL_HOME -C / "$work/in stalled/bin/longhaul" list suites
check 'installed plan' 0 transformer env -C / "$work/in stalled/bin/longhaul" plan mqar --model transformer
for file in share/man/man1/longhaul.1 share/bash-completion/completions/longhaul \
    share/zsh/site-functions/_longhaul share/fish/vendor_completions.d/longhaul.fish \
    share/longhaul/plots/panels.gp share/longhaul/results/published/mqar.csv; do
    [ -s "$work/in stalled/$file" ] || complain "not installed: $file"
done

cd "$top" || exit 74
[ "$failures" -eq 0 ]
