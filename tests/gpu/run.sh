#!/bin/sh
# run.sh: what is to be checked and measured on a machine with a GPU.
# SPDX-License-Identifier: MIT
#
#     sh tests/gpu/run.sh build|parity|sanitize|train|bench|table
#
# Each part ends within 8 minutes. It may be called again: jobs that are done, and whose program has not changed, are not
# done again; those that time, a signal or the machine cut short are. It needs nvcc, CMake, and a compiler for C and C++
# (nvcc hands it what is for the CPU); what else is missing is noted as not run. All results go to gpu-results.json in the
# build folder, and `table` prints them as Markdown.
#
#     --build DIR     the build folder; build-gpu if not given
#     --emulated      an emulated GPU and small sizes: to try this file where there is no GPU
#     --seconds N     for a part, instead of 470
#   Variables: HILLOCK_ARCH (90 for sm_90; the GPU's own if not given), PYTHON (python3), SANITIZER (compute-sanitizer).
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
[ -n "$part" ] || { sed -n '5,17s/^# \{0,1\}//p' tests/gpu/run.sh; exit 2; }
python=${PYTHON:-python3} sanitizer=${SANITIZER:-compute-sanitizer}
PATH=$PATH:/usr/local/cuda/bin
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

# Text of any kind, as printable lines.
printable() { LC_ALL=C tr '\r\t\200-\377' '\n ?' | LC_ALL=C tr -cd '\n\040-\176'; }

last_line() { printable <"$work/$1.log" | grep . | tail -1 | cut -c 1-160; }
reason() { # of a log: CMake's error, or the first line that looks like one, or the last
    printable <"$work/$1.log" | awk '
        /^RESULT/ { next }
        cmake && !NF && text { exit }
        cmake { if (NF) { sub(/^ +/, ""); text = text (text ? " " : "") $0 } next }
        /^CMake Error/ { cmake = 1; next }
        !first && /rror:|fatal|allowed|No such|Invalid|azard/ { first = $0 }
        NF { last = $0 }
        END { print substr(text ? text : first ? first : last, 1, 160) }'
}

beyond() { # results beyond their limits, of a log
    awk '$1 == "RESULT" && ($(NF-1) == "<=" || $(NF-1) == ">=") {
             v = $(NF-2) + 0; l = $NF + 0
             good = $(NF-2) ~ /^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$/ && ($(NF-1) == "<=" ? v <= l : v >= l)
             if (!good) n++ } END { print n + 0 }' "$1"
}

# job NAME LIMIT PROGRAM COMMAND...: at most LIMIT seconds. The contents of PROGRAM, of the library and of our scripts, and
# the command, tell whether it was done.
job() {
    name=$1 limit=$2 program=$3
    shift 3
    print=$(cat "$program" "$build"/lib/libhillock.* tests/gpu/[bfst]*.sh tests/gpu/*.py 2>/dev/null | cksum)
    print="$print $(echo "$*" | cksum)"
    if [ -f "$work/$name.state" ] && [ "$(sed -n 1p "$work/$name.state")" = "$print" ]; then
        case $(sed -n 2p "$work/$name.state") in
            ok | failed)
                printf '%-44s %-8s was done before\n' "$name" "$(sed -n 2p "$work/$name.state")"
                return
                ;;
        esac
    fi
    if [ -n "$no_gpu" ]; then
        : >"$work/$name.log"
        note "$name" "$print" "not run" 0 "$no_gpu"
        return
    fi
    own=$limit
    [ "$limit" -lt "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 5 ]; then
        note "$name" "$print" cut 0 "no time is left: call this part again"
        return
    fi
    from=$(date +%s)
    echo "... $name"
    rm -f "$work/$name.state"
    timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1 </dev/null &
    running=$!
    wait "$running"
    code=$? took=$(($(date +%s) - from)) running='' why=''
    status=ok
    if [ $code -eq 124 ] || { [ $code -eq 137 ] && [ $took -ge "$limit" ]; }; then
        status=cut why="longer than $limit s"
        [ "$limit" -lt "$own" ] || status=failed # it had all of its time
    elif [ $code -eq 77 ]; then
        status="not run" why=$(last_line "$name")
    elif [ $code -gt 128 ]; then
        status=failed why="ended by signal $((code - 128)): $(reason "$name")"
    elif [ $code -ne 0 ]; then
        status=failed why="exit $code: $(reason "$name")"
    elif [ "$(beyond "$work/$name.log")" -gt 0 ]; then
        status=failed why="$(beyond "$work/$name.log") results beyond their limits"
    else
        why=$(printable <"$work/$name.log" | sed -n '/^not run/{s/\(.\{160\}\).*/\1/p;q;}')
    fi
    note "$name" "$print" "$status" "$took" "$why"
}

stopped() { # by a signal: what ran is not done
    trap '' HUP INT TERM
    [ -n "$running" ] && kill "$running" 2>/dev/null && wait "$running" 2>/dev/null
    sh tests/gpu/report.sh json "$build" "$emulated"
    echo "run.sh: stopped; call this part again" >&2
    exit 130
}
running='' no_gpu=''
trap stopped HUP INT TERM

finish() {
    sh tests/gpu/report.sh json "$build" $emulated
    bad=$(for s in "$work"/*.state; do [ -f "$s" ] && sed -n 2p "$s"; done | grep -cE '^(failed|cut)$')
    echo "$part: $(($(date +%s) - begin)) s; of all parts so far, $bad jobs failed or were cut short"
    [ "$bad" -eq 0 ]
    exit
}

# The build, and why its programs find no GPU, if so.
have_build() {
    if [ ! -x "$build/tests/parity_ops" ]; then
        echo "run.sh: $build holds no build: sh tests/gpu/run.sh build first" >&2
        exit 2
    fi
    timeout 60 "$build/tests/parity_ops" no_test >"$work/gpu.log" 2>&1
    case $? in
        77) no_gpu=$(last_line gpu) ;;
        124) no_gpu="the GPU does not answer within 60 s" ;;
    esac
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
        if $emulated; then cuda=-DHILLOCK_CUDA_EMULATED=ON; else cuda="-DHILLOCK_CUDA=ON ${HILLOCK_ARCH:+-DCMAKE_CUDA_ARCHITECTURES=$HILLOCK_ARCH}"; fi
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
    table)
        sh tests/gpu/report.sh json "$build" $emulated
        exec sh tests/gpu/report.sh table "$build" $emulated
        ;;
esac
finish
