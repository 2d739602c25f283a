#!/bin/sh
# Breaks every backward, every forward mode and some of the core on purpose, one at a time, in a copy of the source, and
# wants a test to turn red each time. A mutant that no test notices is printed, and the exit status is 1. Takes an hour
# and a half; with a word, only the lines of mutants.txt that hold it. The formulas of activations: mutate_activations.py.
# Usage: tests/mutate.sh [WORK_DIR [WORD]]
# SPDX-License-Identifier: MIT
set -u
source_dir=$(cd "$(dirname "$0")/.." && pwd)
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

mkdir -p "$work/tree"
(cd "$source_dir" && tar cf - --exclude=.git --exclude='build*' .) | tar xmf - -C "$work/tree"
cmake -S "$work/tree" -B "$work/build" -G Ninja -DHILLOCK_EXAMPLES=OFF -DCMAKE_C_FLAGS_RELEASE=-O1 > "$work/log" || exit 2

# all_green TEST...: whether all pass; builds and runs one after the other, the widest first.
all_green() {
    for test in "$@"; do
        ninja -C "$work/build" "$test" > "$work/log" 2>&1 || { echo "does not build:"; tail -5 "$work/log"; exit 2; }
        "$work/build/tests/$test" > "$work/log" 2>&1 || return 1
    done
}

# shellcheck disable=SC2086 # words on purpose, here and below
all_green $tests || { echo "red before anything was broken: $test"; exit 2; }

count=0 alive=0
# FILE, then a sed command that must change it. Lines are read one by one, # begins a comment.
while IFS='|' read -r file command; do
    case $file in '' | '#'*) continue ;; esac
    case "$file|$command" in *"$word"*) ;; *) continue ;; esac
    cp "$work/tree/$file" "$work/original"
    sed "$command" "$work/original" > "$work/tree/$file"
    if cmp -s "$work/original" "$work/tree/$file"; then
        echo "changes nothing: $file $command"
        exit 2
    fi
    count=$((count + 1))
    order=$tests
    case $file in *activat*) order="$activations $tests" ;; *conv*) order="$convolutions" ;; esac
    # shellcheck disable=SC2086
    if all_green $order; then
        alive=$((alive + 1))
        echo "NOT NOTICED: $file $command"
    fi
    cp "$work/original" "$work/tree/$file"
done < "$source_dir/tests/mutants.txt"
echo "$count mutants, $alive not noticed"
[ "$alive" -eq 0 ]
