#!/bin/sh
# Draws the pictures of these pages: curves by gnuplot, less what it could leave out of an SVG (half of the file).
# Then tests/test_act_docs --write puts new pictures on their pages.
# Usage: docs/activations/draw.sh [BUILD_DIR]
# SPDX-License-Identifier: MIT
set -eu
build=$(cd "${1:-build}" && pwd)
cd "$(dirname "$0")"
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

"$build/activations" plot --out "$temp" --range -5:5 --points 100

# frelu is max(x, T), hard_tanh without its upper end; but where x = T its slope is 1/2.
mkdir "$temp/frelu"
"$build/activations" plot hard_tanh:max_val=1e9 --vary min_val=-1,0,1 --out "$temp/frelu" --range -5:5 --points 100
(
    cd "$temp/frelu"
    for data in data/*.dat; do
        awk 'NF == 3 { print $1, $2, 0; if ($3 == 1) print $1, 0.5, 1; next } { print }' "$data" >points
        mv points "$data"
    done
    sed -e "s/'hard_tanh[^']* with min_val = /'frelu: max(x, T) with T = /" -e "s/'min_val = /'T = /" \
        data/hard_tanh*.gp >picture
    mv picture data/hard_tanh*.gp
    gnuplot plot.gp
    mv hard_tanh*.svg ../frelu.svg
)

rm -f img/*.svg
mkdir -p img
for picture in "$temp"/*.svg; do
    name=$(basename "$picture")
    case $name in grid*) continue ;; esac
    awk '$0 == "</g>" && opened { opened = 0; next }
         opened { print kept; opened = 0 }
         /^<g [^>]*>$/ { kept = $0; opened = 1; next }
         !/^[ \t]*$/ { sub(/^[ \t]+/, ""); print }' "$picture" |
        sed -e 's/ stroke-linecap="butt" stroke-linejoin="miter"//' -e 's/\(\.[0-9]\)[0-9]\([ ,]\)/\1\2/g' \
            -e 's/\(\.[0-9]\)[0-9]$/\1/' >"img/$name"
done
"$build/tests/test_act_docs" --write
du -ch img/*.svg | tail -n 1
