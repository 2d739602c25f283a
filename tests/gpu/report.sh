#!/bin/sh
# report.sh json|table BUILD EMULATED: what run.sh's jobs left in BUILD/gpu, as BUILD/gpu-results.json or as Markdown.
# SPDX-License-Identifier: MIT
set -u
what=$1 build=$2 emulated=$3
work=$build/gpu

printable() { LC_ALL=C tr '\r\t\200-\377' '\n ?' | LC_ALL=C tr -cd '\n\040-\176'; }
text() { printable | head -1 | sed 's/\\/\\\\/g; s/"/\\"/g'; }
line() { sed -n "$2p" "$work/$1.state" | text; }

gpu=$( (nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo none) | text)
$emulated && gpu=emulated
nvcc=$(sed -n 's/^CMAKE_CUDA_COMPILER:[^=]*=//p' "$build/CMakeCache.txt" 2>/dev/null)
nvcc=$( ("${nvcc:-nvcc}" --version 2>/dev/null || echo none) | tail -1 | text)
commit=$( (git describe --always --dirty 2>/dev/null || echo unknown) | text)
date=$(date -u +%Y-%m-%d)

# Results of logs, one a line, tabs between: what, of, value, "<=", ">=" or nothing, limit. A value that is no number: null.
results() {
    printable | awk '
        function number(v) {
            if (v !~ /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/) return "null"
            v = sprintf("%.9g", v)
            return v ~ /[nN]|[iI]/ ? "null" : v
        }
        $1 == "RESULT" && NF > 2 {
            limited = $(NF-1) == "<=" || $(NF-1) == ">="
            last = limited ? NF - 3 : NF - 1
            name = $2
            for (i = 3; i <= last; i++) name = name " " $i
            of = name
            if (!sub(/\/.*/, "", name)) of = ""
            else of = substr(of, length(name) + 2)
            printf "%s\t%s\t%s\t%s\t%s\n", name, of, number(limited ? $(NF-2) : $NF), limited ? $(NF-1) : "",
                limited ? number($NF) : ""
        }'
}

# All results of the jobs that such a pattern names.
all_of() {
    # shellcheck disable=SC2086
    (cd "$work" && cat /dev/null $1.log 2>/dev/null) | results
}

json() {
    printf '{"gpu":"%s","emulated":%s,"nvcc":"%s","commit":"%s","date":"%s","jobs":[' "$gpu" "$emulated" "$nvcc" "$commit" \
        "$date"
    comma=
    for state in "$work"/*.state; do
        [ -f "$state" ] || continue
        name=$(basename "$state" .state)
        printf '%s\n{"name":"%s","status":"%s","seconds":%d,"why":"%s","results":{' "$comma" "$name" "$(line "$name" 2)" \
            "$(line "$name" 3)" "$(line "$name" 4)"
        all_of "$name" | tr '\\"' "/'" | awk -F'\t' '{
            name = $2 == "" ? $1 : $1 "/" $2
            printf "%s\"%s\":{\"value\":%s", (NR > 1 ? "," : ""), name, $3
            if ($4 != "") printf ",\"%s\":%s", $4 == "<=" ? "most" : "least", $5
            printf "}" }'
        printf '}}'
        comma=,
    done
    printf '\n]}\n'
}

table() {
    printf 'GPU: %s. %s. Commit %s, %s.\n\n' "$gpu" "$nvcc" "$commit" "$date"
    echo '| job | status | seconds | results | nearest to its limit |'
    echo '| --- | --- | --- | --- | --- |'
    for state in "$work"/*.state; do
        [ -f "$state" ] || continue
        name=$(basename "$state" .state)
        why=$(sed -n 4p "$state" | tr '|' '/')
        nearest=$(all_of "$name" | awk -F'\t' '
            $4 == "" { next }
            { used = $3 == "null" ? 1e9 : $4 == "<=" ? ($5 != 0 ? $3 / $5 : $3 * 1e9) : ($3 != 0 ? $5 / $3 : 1e9) }
            !some++ || used > most { most = used; nearest = $1 " of " $2 ": " $3 " " $4 " " $5 }
            END { print nearest }')
        printf '| %s | %s | %s | %d | %s |\n' "$name" "$(line "$name" 2)${why:+: $why}" "$(line "$name" 3)" \
            "$(all_of "$name" | wc -l)" "$nearest"
    done
    activations
    epochs
    printf '\nEvery figure is in %s.\n' "$build/gpu-results.json"
}

# "SHAPE NAME, PASS" of each activation, as a row for each name.
activations() {
    all_of "bench-activations-*" | awk -F'\t' '
        function cell(v) { return v == "" ? "" : v == "null" ? "?" : sprintf("%.3g", v) }
        split($2, part, /[ ,]+/) == 3 {
            column = ""
            if ($1 == "us") column = "us"
            if ($1 == "share of the copy") column = "copy"
            if ($1 == "hillock over torch eager") column = "eager"
            if ($1 == "hillock over torch compiled") column = "compiled"
            if (column == "") next
            if (!seen[part[1]]++) shape[++shapes] = part[1]
            if (!seen[part[1], part[2]]++) name[part[1], ++names[part[1]]] = part[2]
            v[part[1], part[2], part[3], column] = $3
        }
        END {
            for (s = 1; s <= shapes; s++) {
                at = shape[s]
                printf "\n| %s | forward, us | of the copy | over eager | over compiled | backward, us | of the copy | " \
                    "over eager | over compiled |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n", at
                for (n = 1; n <= names[at]; n++) {
                    of = name[at, n]
                    printf "| %s ", of
                    for (p = 0; p < 2; p++)
                        for (c = 0; c < 4; c++)
                            printf "| %s ", cell(v[at, of, p ? "backward" : "forward",
                                                   c == 0 ? "us" : c == 1 ? "copy" : c == 2 ? "eager" : "compiled"])
                    print "|"
                }
            }
        }'
}

# "NETWORK BATCH, WHO" of each epoch, as a row for each network and batch.
epochs() {
    all_of "bench-*" | awk -F'\t' '
        $1 != "seconds of an epoch" { next }
        split($2, part, /, /) == 2 {
            if (!seen[part[1]]++) name[++names] = part[1]
            v[part[1], part[2]] = $3 == "null" ? "?" : sprintf("%.4g", $3)
        }
        END {
            if (!names) exit
            print "\n| seconds of an epoch | hillock | hillock --no-graph | torch eager | torch graph | torch compiled |"
            print "| --- | --- | --- | --- | --- | --- |"
            for (n = 1; n <= names; n++)
                printf "| %s | %s | %s | %s | %s | %s |\n", name[n], v[name[n], "hillock"], v[name[n], "hillock--no-graph"],
                    v[name[n], "torch eager"], v[name[n], "torch graph"], v[name[n], "torch compiled"]
        }'
}

case $what in
    json) json >"$build/gpu-results.json.new" && mv "$build/gpu-results.json.new" "$build/gpu-results.json" ;;
    table) table ;;
esac
