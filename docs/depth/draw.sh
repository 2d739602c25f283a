#!/bin/sh
# Draws the pictures of docs/depth.md (three minutes), less what gnuplot could leave out of an SVG.
# Usage: docs/depth/draw.sh [BUILD_DIR]
# SPDX-License-Identifier: MIT
set -eu
build=$(cd "${1:-build}" && pwd)
cd "$(dirname "$0")/../.."
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

# draw NAME SUBCOMMAND...: docs/depth/NAME.svg.
draw() {
    name=$1
    shift
    "$build/depth" "$@" --out "$temp"
    awk '$0 == "</g>" && opened { opened = 0; next }
         opened { print kept; opened = 0 }
         /^<g [^>]*>$/ { kept = $0; opened = 1; next }
         !/^[ \t]*$/ { sub(/^[ \t]+/, ""); print }' "$temp/$1.svg" |
        sed -e 's/ stroke-linecap="butt" stroke-linejoin="miter"//' -e 's/\(\.[0-9]\)[0-9]\([ ,]\)/\1\2/g' \
            -e 's/\(\.[0-9]\)[0-9]$/\1/' >"docs/depth/$name.svg"
}

draw own signal
draw kaiming signal --init kaiming
draw torch signal --init torch
draw train train
draw dead dead
draw spectrum spectrum
du -ch docs/depth/*.svg | tail -n 1
