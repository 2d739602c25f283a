#!/bin/sh
# Each public header compiles alone, as C11 and as C++17, from a folder that holds nothing but the public headers. Each
# private header compiles alone as well, in both languages (in C++ with the extensions that gcc, clang and nvcc share).
# Usage: check_headers.sh SOURCE_DIR C_COMPILER [C++_COMPILER]
# SPDX-License-Identifier: MIT
set -eu
cd "$1"
cc=$2
cxx=${3:-}
case $cxx in *NOTFOUND) cxx= ;; esac
[ -n "$cxx" ] || echo "no C++ compiler here: the headers are checked as C alone"

flat=$(mktemp -d)
trap 'rm -rf "$flat"' EXIT
for header in hillock.h */hk_*.h; do
    [ ! -f "$header" ] || ln -s "$PWD/$header" "$flat/"
done

warnings="-fsyntax-only -Wall -Wextra -Wshadow -Werror"
folders="-I. -Icore -Icore/cpu -Icore/cuda -Iautograd -Iactivations -Ilayers -Ioptim -Idata -D_GNU_SOURCE -DHK_WITH_CUDA=0"
checked=0 wrong=0

# check FLAGS NAME: one file that includes the header twice, so that its guard is checked too.
check() {
    checked=$((checked + 1))
    printf '#include "%s"\n#include "%s"\ntypedef int hillock_check;\n' "$2" "$2" >"$flat/one.c"
    if ! $cc -std=c11 $warnings -Wpedantic -Wstrict-prototypes $1 "$flat/one.c"; then
        echo "$2: does not compile alone as C11"
        wrong=$((wrong + 1))
    fi
    if [ -n "$cxx" ] && ! $cxx -x c++ -std=c++17 $warnings $1 "$flat/one.c"; then
        echo "$2: does not compile alone as C++17"
        wrong=$((wrong + 1))
    fi
}

for header in "$flat"/*.h; do
    [ ! -f "$header" ] || check "-Wpedantic -I$flat" "${header##*/}"
done
public=$checked
for header in core/*.h core/cpu/*.h core/cuda/*.h autograd/*.h activations/*.h layers/*.h optim/*.h data/*.h; do
    case $header in */hk_*.h | *'*'*) continue ;; esac
    check "$folders" "${header##*/}"
done
echo "$public public and $((checked - public)) private headers, $wrong wrong"
[ "$wrong" -eq 0 ] && [ "$public" -gt 0 ]
