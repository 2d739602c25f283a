#!/bin/sh
# docs/add-an-activation.md is right: its block, in a copy of activations.def, compiles, and its derivatives, ends, accuracy
# and golden lines hold (docs/added_activation.c); its program without the library's source prints what the page says.
# Usage: check_added.sh SOURCE_DIR INCLUDE_DIR LIBRARY C_COMPILER [FLAGS...]
# SPDX-License-Identifier: MIT
set -eu
cd "$1"
include=$2
library=$3
cc=$4
shift 4
page=docs/add-an-activation.md
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

# block FENCE: what stands in the first block that begins so.
block() {
    awk -v fence="$1" '!done && $0 == fence { inside = 1; next } inside && /^```/ { inside = 0; done = 1 } inside' "$page"
}

# --- a block in the library

cp activations/activation*.[ch] activations/activations.def activations/hk_activations.h "$temp"
block '```c fragment' >"$temp/added"
[ -s "$temp/added" ]
cat "$temp/added" >>"$temp/activations.def"
flags="-std=c11 -O1 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror -D_GNU_SOURCE
       -I$temp -Icore -Icore/cpu -Iautograd -Ilayers -Wno-pass-failed" # at -O1, clang does not vectorise
for stamp in f64 base; do
    $cc $flags "$@" -DHK_STAMP=$stamp -DHK_STAMP_$stamp=1 -c "$temp/activation_kernels.c" -o "$temp/$stamp.o" &
done
$cc $flags "$@" -fsyntax-only "$temp/activations.c" # the facts
wait
# The table of tables that the header defines is not used here, and fields that are not named are 0.
$cc $flags -Wno-unused-const-variable -Wno-missing-field-initializers "$@" tests/docs/added_activation.c \
    "$temp/f64.o" "$temp/base.o" -lm -o "$temp/added_activation"

: >"$temp/golden"
if command -v python3 >/dev/null; then
    block '```python' >"$temp/golden.py"
    python3 "$temp/golden.py" >"$temp/golden"
else
    echo "no python3 here: the golden lines are not checked"
fi
"$temp/added_activation" <"$temp/golden"

# --- without touching the library

block '```c' >"$temp/own.c"
block '```text' >"$temp/wanted"
[ -s "$temp/wanted" ]
$cc -std=c11 -Wall -Wextra -Werror "$@" -I"$include" "$temp/own.c" "$library" -lm -lz -ldl -pthread -o "$temp/own"
LD_LIBRARY_PATH=$(dirname "$library") "$temp/own" >"$temp/printed"
diff "$temp/wanted" "$temp/printed"
echo "the program prints what the page says"
