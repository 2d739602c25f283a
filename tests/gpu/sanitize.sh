#!/bin/sh
# sanitize.sh SANITIZER TOOL PROGRAM TEST: one tool of compute-sanitizer on one small test. 77: it does not run here.
# SPDX-License-Identifier: MIT
command -v "$1" >/dev/null || { echo "there is no $1"; exit 77; }
out=$("$1" --tool "$2" --error-exitcode 99 "$3" "$4" 2>&1)
code=$?
printf '%s\n' "$out" | tail -n 60
# Some machines do not let it at the device.
printf '%s\n' "$out" | grep -qiE 'device not supported|unable to (attach|launch)|not permitted|failed to initialize' && {
    printf '%s refuses this machine: %s\n' "$1" \
        "$(printf '%s\n' "$out" | grep -iE 'not supported|unable|not permitted|failed to init' | head -1)"
    exit 77
}
printf '%s\n' "$out" | grep -q 'ERROR SUMMARY\|RACECHECK SUMMARY' || { echo "$1 says nothing of errors"; exit 1; }
exit $code
