#!/bin/sh
# run.sh: what is to be checked and measured on a machine with a GPU.
# SPDX-License-Identifier: MIT
#
#     sh tests/gpu/run.sh build|parity|sanitize|train|bench|table
#
# Each part ends within 8 minutes. It may be called again: jobs that are done, and whose program has not changed, are not
# done again; those that time or the machine cut short are. It needs nvcc, CMake and a C compiler; what else is missing is
# noted as not run. All results go to gpu-results.json in the build folder, and `table` prints them.
#
#     --build DIR     the build folder; build-gpu if not given
#     --emulated      an emulated GPU and small sizes: to try this file where there is no GPU
#     --seconds N     for a part, instead of 470
#   Variables: HILLOCK_ARCH (90 for sm_90; native if not given), PYTHON (python3), SANITIZER (compute-sanitizer).
set -u
cd "$(dirname "$0")/../.." || exit 2

part= build=build-gpu emulated=false most=470
while [ $# -gt 0 ]; do
    case $1 in
        build | parity | sanitize | train | bench | table) part=$1 ;;
        --build) build=${2:?--build wants a folder}; shift ;;
        --seconds) most=${2:?--seconds wants a number}; shift ;;
        --emulated) emulated=true ;;
        *) echo "run.sh: unknown word '$1'; there are: build parity sanitize train bench table" >&2; exit 2 ;;
    esac
    shift
done
[ -n "$part" ] || { sed -n '5,16s/^# \{0,1\}//p' tests/gpu/run.sh; exit 2; }
python=${PYTHON:-python3} sanitizer=${SANITIZER:-compute-sanitizer}
mkdir -p "$build/gpu" || exit 2
build=$(cd "$build" && pwd)
work=$build/gpu mnist=$build/gpu/mnist
begin=$(date +%s)
left() { echo $((most - $(date +%s) + begin)); }

# --- jobs -------------------------------------------------------------------------------------------------------------
# A job leaves work/NAME.log, its output, and work/NAME.state: fingerprint, status, seconds, why. Lines `RESULT name value
# [<= or >= limit]` of the log are its results; one beyond its limit makes it fail.

note() { # name fingerprint status seconds why
    printf '%s\n%s\n%s\n%s\n' "$2" "$3" "$4" "$5" >"$work/$1.state"
    printf '%-44s %-8s %5s s  %s\n' "$1" "$3" "$4" "$5"
}

beyond() { # results beyond their limits, of a log
    awk '$1 == "RESULT" && ($(NF-1) == "<=" || $(NF-1) == ">=") {
             v = $(NF-2) + 0; l = $NF + 0
             good = $(NF-2) !~ /nan|inf/ && ($(NF-1) == "<=" ? v <= l : v >= l)
             if (!good) n++ } END { print n + 0 }' "$1"
}

# job NAME LIMIT PROGRAM COMMAND...: at most LIMIT seconds; PROGRAM's content and the command tell whether it was done.
job() {
    name=$1 limit=$2 program=$3
    shift 3
    print=$(cat "$program" 2>/dev/null | cksum)" $(echo "$*" | cksum)"
    if [ -f "$work/$name.state" ] && [ "$(sed -n 1p "$work/$name.state")" = "$print" ]; then
        case $(sed -n 2p "$work/$name.state") in
            ok | failed)
                printf '%-44s %-8s was done before\n' "$name" "$(sed -n 2p "$work/$name.state")"
                return
                ;;
        esac
    fi
    [ "$limit" -lt "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 5 ]; then
        note "$name" "$print" cut 0 "no time is left: call this part again"
        return
    fi
    from=$(date +%s)
    echo "... $name"
    timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1
    code=$? took=$(($(date +%s) - from)) why=
    status=ok
    if [ $code -eq 124 ] || [ $code -eq 137 ]; then
        status=cut why="longer than $limit s"
        [ "$(left)" -gt 5 ] && status=failed # it had all of its time
    elif [ $code -eq 77 ]; then
        status="not run" why=$(tail -1 "$work/$name.log")
    elif [ $code -ne 0 ]; then
        status=failed why="exit $code: $(grep -v '^RESULT' "$work/$name.log" | tail -1 | cut -c 1-160)"
    elif [ "$(beyond "$work/$name.log")" -gt 0 ]; then
        status=failed why="$(beyond "$work/$name.log") results beyond their limits"
    fi
    note "$name" "$print" "$status" "$took" "$why"
}

# --- results ----------------------------------------------------------------------------------------------------------

text() { sed 's/\\/\\\\/g; s/"/\\"/g; s/	/ /g' | tr -d '\000-\037'; }

write_json() {
    {
        printf '{"device":"%s","emulated":%s,"nvcc":"%s","jobs":[' \
            "$( (nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo none) | head -1 | text)" \
            $emulated "$( (nvcc --version 2>/dev/null || echo none) | tail -1 | text)"
        comma=
        for state in "$work"/*.state; do
            [ -f "$state" ] || continue
            name=$(basename "$state" .state)
            printf '%s\n{"name":"%s","status":"%s","seconds":%s,"why":"%s","results":{' "$comma" "$name" \
                "$(sed -n 2p "$state")" "$(sed -n 3p "$state")" "$(sed -n 4p "$state" | text)"
            [ -f "$work/$name.log" ] && awk '$1 == "RESULT" {
                limited = $(NF-1) == "<=" || $(NF-1) == ">="
                v = limited ? $(NF-2) : $NF; last = limited ? NF - 3 : NF - 1
                what = $2; for (i = 3; i <= last; i++) what = what " " $i
                gsub(/["\\]/, "", what)
                printf "%s\"%s\":{\"value\":%s", some++ ? "," : "", what, v ~ /nan|inf/ ? "null" : v
                if (limited) printf ",\"%s\":%s", $(NF-1) == "<=" ? "most" : "least", $NF
                printf "}" }' "$work/$name.log"
            printf '}}'
            comma=,
        done
        printf '\n]}\n'
    } >"$build/gpu-results.json.new" && mv "$build/gpu-results.json.new" "$build/gpu-results.json"
}

table() {
    for state in "$work"/*.state; do
        [ -f "$state" ] || continue
        name=$(basename "$state" .state)
        printf '%-44s %-8s %s\n' "$name" "$(sed -n 2p "$state")" "$(sed -n 4p "$state")"
    done
    echo
    echo "results nearest to their limits, or beyond:"
    cat "$work"/*.log 2>/dev/null | awk '$1 == "RESULT" && ($(NF-1) == "<=" || $(NF-1) == ">=") {
            v = $(NF-2) + 0; l = $NF + 0
            used = $(NF-1) == "<=" ? (l ? v / l : v * 1e9) : (v ? l / v : 1e9)
            if ($(NF-2) ~ /nan|inf/) used = 1e9
            $1 = ""; printf "%10.3g %s\n", used, $0 }' | sort -rg | head -25
    echo "in $build/gpu-results.json"
}

finish() {
    write_json
    bad=$(for s in "$work"/*.state; do [ -f "$s" ] && sed -n 2p "$s"; done | grep -cE '^(failed|cut)$')
    echo "$part: $(($(date +%s) - begin)) s; of all parts so far, $bad jobs failed or were cut short"
    [ "$bad" -eq 0 ]
    exit
}

have_build() {
    [ -x "$build/tests/parity_ops" ] && return
    echo "run.sh: $build holds no build: sh tests/gpu/run.sh build first" >&2
    exit 2
}

# The programs read raw files, since zlib may be missing.
unpack_mnist() {
    mkdir -p "$mnist"
    for f in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
        [ -s "$mnist/$f" ] || gzip -dc "data/mnist/$f.gz" >"$mnist/$f" || return 1
    done
}

# --- the parts --------------------------------------------------------------------------------------------------------

cores=$(nproc 2>/dev/null || echo 2)
case $part in
    build)
        if $emulated; then cuda=-DHILLOCK_CUDA_EMULATED=ON; else cuda="-DHILLOCK_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=${HILLOCK_ARCH:-native}"; fi
        rm -f "$work/configure.state" "$work/build.state" # CMake knows what is up to date
        # shellcheck disable=SC2086
        job configure 120 /dev/null cmake -S . -B "$build" $cuda -DCMAKE_BUILD_TYPE=Release
        job build "$most" /dev/null cmake --build "$build" -j "$cores" --target all
        ;;
    parity)
        have_build
        $emulated || export HILLOCK_PARITY=full
        for test in operations images gates optimizers; do
            job "parity-$test" 120 "$build/tests/parity_ops" "$build/tests/parity_ops" $test
        done
        for test in replayed_equals_eager runs_repeat no_memory_is_an_error nothing_is_taken_after_two_steps \
            launches_of_a_step; do
            job "parity-$test" 120 "$build/tests/parity_steps" "$build/tests/parity_steps" $test
        done
        unpack_mnist && ! $emulated && export HILLOCK_MNIST="$mnist"
        for test in first_losses one_step_mlp one_step_small one_step_lenet one_step_deep distance_small distance_lenet \
            distance_deep; do
            job "parity-$test" 240 "$build/tests/parity_training" "$build/tests/parity_training" $test
        done
        unset HILLOCK_PARITY HILLOCK_MNIST
        job tests 400 "$build/tests/libhillock_internal.a" sh tests/gpu/tests.sh "$build" "$emulated" "$cores"
        ;;
    sanitize)
        have_build
        for tool in memcheck racecheck initcheck synccheck; do
            for test in "parity_ops operations" "parity_ops images" "parity_ops optimizers" "parity_training one_step_mlp" \
                "parity_training one_step_small"; do
                set -- $test
                job "sanitize-$tool-$2" 90 "$build/tests/$1" sh tests/gpu/sanitize.sh "$sanitizer" $tool \
                    "$build/tests/$1" "$2"
            done
        done
        ;;
    train)
        have_build
        unpack_mnist || { echo "run.sh: data/mnist cannot be unpacked" >&2; exit 2; }
        $emulated && sh tests/gpu/few_images.sh "$mnist" "$work/few" && mnist=$work/few
        for seed in 1 2 3; do
            $emulated && [ $seed -gt 1 ] && break
            job "train-mlp-$seed" 120 "$build/mnist_mlp" sh tests/gpu/train.sh "$build" "$mnist" $emulated mlp $seed
            job "train-small-$seed" 120 "$build/mnist_cnn" sh tests/gpu/train.sh "$build" "$mnist" $emulated small $seed
            job "train-lenet-$seed" 200 "$build/mnist_cnn" sh tests/gpu/train.sh "$build" "$mnist" $emulated lenet $seed
        done
        ;;
    bench)
        have_build
        unpack_mnist || { echo "run.sh: data/mnist cannot be unpacked" >&2; exit 2; }
        $emulated && sh tests/gpu/few_images.sh "$mnist" "$work/few" && mnist=$work/few
        shapes="5024x100024 1000x1000"
        $emulated && shapes="20x40"
        for shape in $shapes; do
            job "bench-activations-$shape" 200 "$build/activations" \
                sh tests/gpu/bench.sh activations "$build" "$work" $emulated "$shape" "$python"
        done
        for net in "mlp 64" "small 64" "small 512" "lenet 64" "lenet 512"; do
            set -- $net
            $emulated && [ "$1" = lenet ] && break
            job "bench-$1-$2" 150 "$build/mnist_cnn" \
                sh tests/gpu/bench.sh mnist "$build" "$work" $emulated "$1" "$2" "$mnist" "$python"
        done
        ;;
    table) table; exit ;;
esac
finish
