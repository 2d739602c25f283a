#!/bin/sh
# ctest: labels=unit timeout=300
# What a user of --device cuda meets in each program: without a GPU one clear error, with one the CPU's numbers.
# Usage: test_gpu_cli.sh FOLDER: where the programs are
# SPDX-License-Identifier: MIT
set -u
folder=$1
program=$folder/mnist_mlp
. "$(dirname "$0")/cli.sh"
. "$source/tests/tiny_mnist.sh"

# As bad, of a subcommand, which is part of the program's name.
bad_of() { refused "$(basename "$program") $2: " "$@"; }

# Subcommands that need none say so, wherever they run.
program=$folder/activations
for command in list 'eval relu 1' 'table relu' 'plot relu'; do
    # shellcheck disable=SC2086
    bad_of 'bench takes it' $command --device cuda
done
bad_of 'try --device cuda --naive' bench relu --naive
bad_of 'must be one of cpu, cuda' bench relu --device gpu

# --- without a GPU --------------------------------------------------------------------------------------------

program=$folder/mnist_mlp
run --device cuda --data tiny --epochs 1 --quiet
if [ "$code" != 0 ]; then
    wanted='no GPU can be used'
    has 'no CUDA in this build' err && wanted='no CUDA in this build: configure hillock with -DHILLOCK_CUDA=ON'
    bad "$wanted" --device cuda --data tiny
    program=$folder/mnist_cnn
    bad "$wanted" --device cuda --data tiny
    program=$folder/activations
    bad_of "$wanted" bench relu --device cuda
    program=$folder/depth
    for command in train signal dead spectrum; do bad_of "$wanted" $command relu --device cuda; done
    program=$folder/doctor
    bad "$wanted" --device cuda --data tiny
    done_if_more_than 40
    exit
fi

# --- training: a step an epoch, so that each line of the log has a step's loss ----------------------------------

# close_losses TOLERANCE A B: the losses of two logs differ by no more, relatively.
close_losses() {
    grep train_loss "$2" >a
    grep train_loss "$3" >b
    paste -d ' ' a b | awk -v most="$1" -F'"train_loss":' '
        NF == 3 { split($2, a, ","); split($3, b, ","); d = a[1] - b[1]; n++
                  if (!((d < 0 ? -d : d) <= most * a[1])) bad = 1 }
        END { exit bad || n < 1 }'
}
weights() { grep -o '"weights_sha256":"[0-9a-f]*"' "$1" | tail -n 1; }
replayed() { grep -o '"replayed_steps":[0-9]*' "$1" | tail -n 1 | tr -dc 0-9; }

small='--data tiny --hidden 24'
# shellcheck disable=SC2086
{
    good $small --batch 256 --epochs 12 --log cpu.jsonl
    good $small --batch 256 --epochs 12 --log gpu.jsonl --device cuda
    ok "the device in the log" has '"device":"cuda"' gpu.jsonl
    ok "the graph in the log" has '"graph":true,"tf32":false' gpu.jsonl
    ok "the first losses of an MLP" close_losses 1e-5 cpu.jsonl gpu.jsonl
    ok "replayed steps" [ "$(replayed gpu.jsonl)" -ge 6 ]
    ok "replayed steps are told" grep -q ' of 12 steps were replayed$' out

    # Replayed or not, the weights are the same to the bit: random draws, the rate and the batch move on.
    many='--batch 48 --epochs 3 --dropout 0.2 --shift 2 --rotation 9 --elastic 20 --schedule cosine --val 40'
    good $small $many --device cuda --log graph.jsonl
    good $small $many --device cuda --log none.jsonl --no-graph
    ok "no graph in the log" has '"graph":false' none.jsonl
    ok "the weights without replaying" [ "$(weights graph.jsonl)" = "$(weights none.jsonl)" ]
    ok "some were replayed" [ "$(replayed graph.jsonl)" -ge 4 ]
    ok "none was replayed" [ "$(replayed none.jsonl)" = 0 ]
    good $small $many --log host.jsonl
    ok "losses of variants" close_losses 1e-4 host.jsonl graph.jsonl

    good $small --batch 64 --epochs 2 --device cuda --stats --nan-guard --patience 1 --val 30 --tf32
    ok "statistics" grep -q '^statistics' out
}

program=$folder/mnist_cnn
good --data tiny --epochs 1 --batch 64 --log cpu.jsonl
good --data tiny --epochs 1 --batch 64 --log gpu.jsonl --device cuda --out page
ok "the losses of a CNN" close_losses 1e-5 cpu.jsonl gpu.jsonl
ok "its page" [ -s page/index.html ]

# --- the others -------------------------------------------------------------------------------------------------

# same_columns TOLERANCE A B: numbers of two CSV files.
same_columns() {
    paste -d ',' "$2" "$3" | awk -v most="$1" -F, '
        { half = NF / 2
          for (i = 1; i <= half; i++) {
              d = $i - $(i + half)
              s = $i < 0 ? -$i : $i
              if ($i ~ /^[-0-9.]/ && !((d < 0 ? -d : d) <= most * s + 1e-12)) bad = 1 } }
        END { exit bad || NR < 2 }'
}
program=$folder/depth
wide signal relu,tanh --depth 5 --width 20 --seeds 2 --csv
cp out cpu.csv
wide signal relu,tanh --depth 5 --width 20 --seeds 2 --csv --device cuda
ok "signals" same_columns 1e-6 cpu.csv out
wide train relu --depths 1,2 --seeds 1 --images 200 --test 100 --width 16 --data tiny --csv --device cuda
ok "accuracy by depth" [ "$(lines out)" = 3 ]
wide dead relu --seeds 1 --images 200 --test 100 --width 16 --probe 200 --rates 0.01 --biases 0,0.5 --epochs 1 \
    --data tiny --csv --device cuda
wide spectrum tanh --depths 1,2 --width 12 --seeds 1 --csv --device cuda

program=$folder/doctor
run --data tiny --images 200 --steps 60 --width 16 --device cuda --fault labels-rolled
run --data tiny --images 200 --steps 60 --width 16 --device cuda
ok "the doctor's exit code" [ "$code" -le 1 ]
ok "nothing on stderr of the doctor" [ ! -s err ]

program=$folder/activations
wide bench relu,mish,softmax,prelu --shape 40x65 --runs 2 --warmup 1 --device cuda --naive
ok "the copy" grep -q '^a copy on the GPU: [0-9.]* GB/s$' out
ok "the CPU beside it" grep -qE '^the CPU is faster' out
ok "what fusing gains" grep -qE '^mish over mish by ops, times as fast: forward [0-9.]+, ' out
ok "compositions in the tables" [ "$(grep -c '^mish by ops' out)" = 3 ]
wide bench --shape 8x16 --runs 1 --warmup 0 --device cuda --no-cpu --csv
ok "all of them" [ "$(grep -c ',both,' out)" -ge 35 ]
wide bench gelu --shape 8x16 --runs 1 --device cuda --json
ok "the device in JSON" has '"device":"cuda"' out
ok "the CPU in JSON" has '"cpu_us":{"forward":' out


# A GPU whose memory is too small; the emulated one has as much as it is told.
if has '"isa":"emulated' out; then
    export HILLOCK_EMULATED_MEMORY=4000000
    run bench gelu --shape 1000x1000 --runs 1 --device cuda
    ok "exit code without memory" [ "$code" != 0 ]
    ok "one line without memory" [ "$(lines err)" = 1 ]
    ok "the sizes" grep -q 'no memory for a tensor (1000, 1000) of f32, 3.8 MiB on the GPU: ' err
    program=$folder/mnist_mlp
    export HILLOCK_EMULATED_MEMORY=300000
    run --data tiny --device cuda --hidden none
    ok "one line without memory" [ "$(lines err)" = 1 ]
    ok "which memory" grep -qE 'on the GPU: 0.0 of its 0.0 GiB are free' err
fi

done_if_more_than 60
