#!/bin/sh
# The direction of the includes: core <- autograd <- activations <- layers <- optim, and core <- data. Public headers
# include only each other, by bare name, and <stddef.h> <stdint.h> <stdbool.h>. Programs in examples/ see public headers.
# Usage: check_includes.sh SOURCE_DIR
# SPDX-License-Identifier: MIT
set -eu
cd "$1"

for folder in core core/cpu core/cuda autograd activations layers optim data; do
    ls "$folder"/*.[ch] "$folder"/*.inc "$folder"/*.def "$folder"/*.cu "$folder"/*.cuh 2>/dev/null || true
done | awk '
function module(path) { sub(/\/.*/, "", path); return path }
function base(path) { sub(/.*\//, "", path); return path }
function complain(why) { printf "%s:%d: %s\n", file, line, why; bad++ }
BEGIN {
    allowed["core"] = " core "
    allowed["autograd"] = " core autograd "
    allowed["activations"] = " core autograd activations "
    allowed["layers"] = " core autograd activations layers "
    allowed["optim"] = " core autograd activations layers optim "
    allowed["data"] = " core data "
}
NF { paths[++count] = $0 }
END {
    # Where each file lives; names are unique across the folders, as headers are included by bare name.
    for (i = 1; i <= count; i++) {
        name = base(paths[i])
        if (name in home) { printf "%s and %s: two files of one name\n", home[name], paths[i]; bad++ }
        home[name] = paths[i]
    }
    for (i = 1; i <= count; i++) {
        file = paths[i]; line = 0
        mine = module(file); public = base(file) ~ /^hk_.*\.h$/
        while ((getline text < file) > 0) {
            line++
            if (text !~ /^[ \t]*#[ \t]*include/) continue
            seen++
            if (match(text, /<[^>]*>/)) {
                name = substr(text, RSTART + 1, RLENGTH - 2)
                if (public && name !~ /^std(def|int|bool)\.h$/) complain("a public header includes <" name ">")
                if (name ~ /^hillock/) complain("the library includes its headers by bare name")
                continue
            }
            if (!match(text, /"[^"]*"/)) continue # a macro that names a file
            name = substr(text, RSTART + 1, RLENGTH - 2)
            if (name ~ /\//) { complain("\"" name "\" is not a bare name"); continue }
            if (name == "hillock.h") { complain("hillock.h is for programs"); continue }
            if (!(name in home)) { complain("\"" name "\" is in no folder of the library"); continue }
            if (public && name !~ /^hk_/) complain("a public header includes the private " name)
            theirs = module(home[name])
            if (index(allowed[mine], " " theirs " ") == 0)
                complain(mine " must not include " name " of " theirs)
        }
        close(file)
    }
    if (count == 0 || seen == 0) { print "found nothing to check"; bad++ }
    printf "%d files, %d includes, %d wrong\n", count, seen, bad + 0
    exit bad > 0
}'
