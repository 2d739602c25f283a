#!/bin/sh
# The C code in the documentation compiles: every block that begins with ```c in README.md, CONTRIBUTING.md and docs/. A
# block with a main is compiled and linked, another is compiled behind #include <hillock/hillock.h>. A block that cannot
# stand alone begins with ```c fragment and is left out.
# Usage: check_docs.sh SOURCE_DIR INCLUDE_DIR LIBRARY C_COMPILER [FLAGS...]
# SPDX-License-Identifier: MIT
set -eu
cd "$1"
include=$2
library=$3
cc=$4
shift 4
flags="-std=c11 -Wall -Wextra -Werror $*"

temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
for page in README.md CONTRIBUTING.md docs/*.md; do
    [ ! -f "$page" ] || awk -v page="$page" -v temp="$temp" '
        /^```/ && file { close(file); file = ""; next }
        /^```c[ \t]*$/ {
            file = sprintf("%s/%03d.c", temp, ++n + start)
            printf "#include <hillock/hillock.h>\n#line %d \"%s\"\n", FNR + 1, page > file
            next
        }
        file { print > file }' start="$(find "$temp" -name '*.c' | wc -l)" "$page"
done

blocks=0 wrong=0
for block in "$temp"/*.c; do
    [ -f "$block" ] || continue
    blocks=$((blocks + 1))
    if grep -q 'int main(' "$block"; then
        $cc $flags -I"$include" "$block" "$library" -lm -lz -ldl -pthread -o "$temp/program" || wrong=$((wrong + 1))
    else
        $cc $flags -I"$include" -c "$block" -o "$temp/object" || wrong=$((wrong + 1))
    fi
done
echo "$blocks blocks, $wrong wrong"
[ "$wrong" -eq 0 ] && { [ "$blocks" -gt 0 ] || [ ! -f README.md ]; }
