#!/bin/sh
# tests.sh BUILD EMULATED CORES: all tests that run on a GPU, as results of run.sh.
# SPDX-License-Identifier: MIT
build=$1 emulated=$2 jobs=$3
[ "$jobs" -gt 8 ] && jobs=8
only="-L ^gpu$"
$emulated && only="-R ^test_(tensor|value_shape)_gpu$"
log=$build/gpu/ctest.txt
# shellcheck disable=SC2086
ctest --test-dir "$build" $only -LE slow -E '^parity_' -j "$jobs" --timeout 150 --output-on-failure >"$log" 2>&1
cat "$log"
# One that was skipped shows nothing, and counts as failed here.
awk '/ Test +#[0-9]+: / {
         for (i = 1; i < NF; i++) if ($i ~ /^#[0-9]+:$/) name = $(i + 1)
         print "RESULT tests/" name, / Passed / ? 0 : 1, "<= 0"; n++ }
     END { if (!n) { print "no test was found"; exit 1 } }' "$log"
