#!/bin/sh
# The library never prints, exits or asserts: the words that would do so must not stand in its code. snprintf and
# writing to a file that the caller named are fine. Comments and strings do not count.
# Usage: check_calls.sh SOURCE_DIR
# SPDX-License-Identifier: MIT
set -eu
cd "$1"

for folder in core core/cpu core/cuda autograd activations layers optim data; do
    ls "$folder"/*.[ch] "$folder"/*.inc "$folder"/*.def "$folder"/*.cu "$folder"/*.cuh 2>/dev/null || true
done | awk '
# Blanks strings, character constants and comments; `inside` remembers a comment that goes on.
function code(text,    out) {
    out = ""
    while (text != "") {
        if (inside) {
            if (!match(text, /\*\//)) return out
            text = substr(text, RSTART + 2); inside = 0
        } else if (match(text, /\/\*|"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047/)) {
            out = out substr(text, 1, RSTART - 1) " "
            if (substr(text, RSTART, 2) == "/*") inside = 1
            text = substr(text, RSTART + RLENGTH)
        } else
            return out text
    }
    return out
}
BEGIN {
    split("printf vprintf puts putchar perror exit _exit _Exit quick_exit abort assert __builtin_trap execv execve system", w, " ")
    for (i in w) calls[w[i]] = 1
    words["stdout"] = words["stderr"] = words["alloca"] = 1
}
NF {
    file = $0; line = 0; inside = 0; files++
    while ((getline text < file) > 0) {
        line++
        text = code(text)
        if (text ~ /^[ \t]*#[ \t]*include/) continue
        while (match(text, /[A-Za-z_][A-Za-z_0-9]*/)) {
            name = substr(text, RSTART, RLENGTH)
            text = substr(text, RSTART + RLENGTH)
            if ((name in words) || ((name in calls) && text ~ /^[ \t]*\(/)) {
                printf "%s:%d: %s has no place in the library\n", file, line, name; bad++
            }
        }
    }
    close(file)
}
END {
    if (files == 0) { print "found nothing to check"; bad++ }
    printf "%d files, %d wrong\n", files, bad + 0
    exit bad > 0
}'
