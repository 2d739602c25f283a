#!/bin/sh
# Breaks every backward, every forward mode and some of the core on purpose, one at a time, in a copy of the source, and
# wants a test to turn red each time. A mutant that no test notices is printed, and the exit status is 1. Takes an hour
# and a half; with a word, only the lines of mutants.txt that hold it. The formulas of activations: mutate_activations.py.
# --gpu: what runs on a GPU, by mutants_gpu.txt, on an emulated one; most of an hour.
# Usage: tests/mutate.sh [--gpu] [WORK_DIR [WORD]]
# SPDX-License-Identifier: MIT
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
list=$source_dir/tests/mutants.txt options=-DCMAKE_C_FLAGS_RELEASE=-O1
if [ "${1:-}" = --gpu ]; then
    shift
    list=$source_dir/tests/mutants_gpu.txt options=-DHILLOCK_CUDA_EMULATED=ON
fi
work=${1:-$(mktemp -d)}
word=${2:-}
activations="test_act_wide test_act_golden_wide test_act_golden test_act_learn test_grad_activation test_act_random
             test_act_slopes test_act_expectation test_act_grammar test_act_special test_act_own test_act_training"
convolutions="test_conv_ops test_conv_layers test_conv_nets test_conv_values test_conv_guard test_conv test_conv_block
              test_conv_steps"
tests="test_ops_grad test_grad_pointwise test_grad_reduce test_grad_shape test_grad_product test_grad_loss
       test_grad_activation test_op test_tape test_gradcheck test_dropout test_value_pointwise test_value_reduce
       test_value_shape test_value_loss test_activation test_ops_error test_random test_arena test_tensor test_context
       test_map test_reduce test_fast test_fast_rows test_memory $activations test_own test_layers $convolutions"
# In the list for a GPU each line names the test that must notice.
[ "$list" = "$source_dir/tests/mutants.txt" ] ||
    tests=$(grep -F -- "$word" "$list" | sed -n 's/^[^#|]* \([a-z0-9_]*\)|.*/\1/p' | sort -u)

mkdir -p "$work/tree"
(cd "$source_dir" && tar cf - --exclude=.git --exclude='build*' .) | tar xmf - -C "$work/tree"
cmake -S "$work/tree" -B "$work/tree/build" -G Ninja -DHILLOCK_EXAMPLES=OFF $options > "$work/log" || exit 2

# all_green TEST...: whether all pass; builds and runs one after the other, the widest first. NAME_gpu: NAME, on a GPU.
all_green() {
    for test in "$@"; do
        program=${test%_gpu} device=cpu
        [ "$program" = "$test" ] || device=cuda
        ninja -C "$work/tree/build" "$program" > "$work/log" 2>&1 || { echo "does not build:"; tail -5 "$work/log"; exit 2; }
        (cd "$work/tree/build" && HILLOCK_TEST_DEVICE=$device timeout 600 "tests/$program") > "$work/log" 2>&1 || return 1
    done
}

# shellcheck disable=SC2086 # words on purpose, here and below
all_green $tests || { echo "red before anything was broken: $test"; exit 2; }

count=0 alive=0
# FILE, or FILE TEST, then a sed command that must change it. Lines are read one by one, # begins a comment.
while IFS='|' read -r file command; do
    case $file in '' | '#'*) continue ;; esac
    case "$file|$command" in *"$word"*) ;; *) continue ;; esac
    named=${file#* } file=${file%% *}
    cp "$work/tree/$file" "$work/original"
    sed "$command" "$work/original" > "$work/tree/$file"
    if cmp -s "$work/original" "$work/tree/$file"; then
        echo "changes nothing: $file $command"
        exit 2
    fi
    count=$((count + 1))
    order=$tests
    case $file in *activat*) order="$activations $tests" ;; *conv*) order="$convolutions" ;; esac
    [ "$named" = "$file" ] || order=$named
    # shellcheck disable=SC2086
    if all_green $order; then
        alive=$((alive + 1))
        echo "NOT NOTICED: $file $command"
    fi
    cp "$work/original" "$work/tree/$file"
done < "$list"
echo "$count mutants, $alive not noticed"
[ "$alive" -eq 0 ]
