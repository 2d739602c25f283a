#!/bin/sh
# What a user of mnist_mlp meets at the command line: help, bad input, a small training run, the log, Ctrl-C.
# Usage: test_cli.sh PROGRAM
# SPDX-License-Identifier: MIT
set -u
program=$1
. "$(dirname "$0")/cli.sh"
. "$source/tests/tiny_mnist.sh"

copy() { # copy NAME: a copy of tiny to spoil
    rm -rf "$1"
    cp -r tiny "$1"
}

# --- help ---------------------------------------------------------------------------------------------------

run --help
ok "--help" [ "$code" = 0 ]
ok "--help says nothing on stderr" [ ! -s err ]
for word in --hidden --activation --optimizer --lr --batch --epochs --seed --threads --val --data --log --quiet \
    relu adamw 'default: 64' examples; do
    ok "--help shows $word" has "$word" out
done
short=$(lines out)
for form in '--help all' '--help=all' '--lr 0.1 --help all'; do
    # shellcheck disable=SC2086 # words on purpose
    run $form
    ok "$form" [ "$code" = 0 ]
    ok "$form shows --weight-decay" has --weight-decay out
    ok "$form is longer" [ "$(lines out)" -gt "$short" ]
    ok "80 columns" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
done
for word in prelu:alpha=0.1:per=channel relu/gelu mix:relu+tanh; do
    ok "the grammar: $word" has "$word" out
done
for word in identity log_sigmoid hard_swish swish_skip acon_c pau maxout swiglu bilinear dyrelu_b meta_acon; do
    ok "the activation $word" grep -qE "[ ,]$word,( |\$)" out
done
ok "the last activation" [ "$(tr -s '\n ' '  ' <out | grep -c ', mix (default: relu)')" = 1 ]

# --- bad input ------------------------------------------------------------------------------------------------

bad 'unknown option --bogus' --bogus
bad '--optimizer?' --optimiser adam
bad '--lr nan: must be a number above 0 (try --lr 0.001)' --lr nan
bad '--lr 0' --lr 0
bad '--lr -1' --lr -1
bad '--lr inf' --lr inf
bad '--lr 0.1x' --lr 0.1x
bad '--lr needs a value' --lr
bad '--batch 0' --batch 0
bad '--epochs 1.5' --epochs 1.5
bad '--seed -1' --seed -1
bad '--seed 99999999999999999999' --seed 99999999999999999999
bad '--hidden 0' --hidden 0
bad '--hidden 128-' --hidden 128-
bad '--hidden 64x0' --hidden 64x0
bad '--hidden 9x9999' --hidden 9x9999
bad '--dropout 1' --dropout 1
bad '--label-smoothing 2' --label-smoothing 2
bad '--quiet=yes' --quiet=yes
bad 'unexpected argument data' data
bad '--optimizer adma: must be one of sgd, momentum, adam' --optimizer adma
bad '--init he' --init he
bad '--device tpu' --device tpu
bad '--activation relu/tanh' --activation relu/tanh
bad '--patience 3' --patience 3 --data tiny
bad '--val 256' --val 256 --data tiny
bad "unknown activation 'relo'; there are: identity, step, sigmoid" --activation relo --data tiny
bad "unknown activation 'relo'" --activation relo --hidden none --data tiny
bad "unknown activation ''" --activation relu/ --hidden 8x2 --data tiny
bad "unknown activation 'Gelu'" --activation relu/Gelu --hidden 8x2 --data tiny
bad "prelu has no setting 'beta=1'; there are: alpha, learn=yes|no, per=layer|channel" --activation prelu:beta=1 --data tiny
bad "relu has no setting 'learn=no'" --activation relu:learn=no --data tiny
bad "alpha must be a number, not 'x'" --activation prelu:alpha=x --data tiny
bad "min_val must be below max_val, not 3 and 1" --activation hard_tanh:min_val=3 --data tiny
bad "k must be a whole number from 2 to 255, not '1'" --activation maxout:k=1 --data tiny
bad "mix needs two candidates or more, not 'relu'" --activation mix:relu --data tiny
bad "softmax cannot be mixed" --activation mix:relu+softmax --data tiny
bad "choose a stand-in, step:ste=identity|clip|sigmoid" --activation step --data tiny
bad 'at most 1023 characters' --activation "pau:a0=$(printf '%01024d' 1)" --data tiny
bad "warmup" --schedule warmup --data tiny
bad "avx1024" --isa avx1024 --data tiny
bad nowhere --data nowhere
bad tiny/train-images-idx3-ubyte --data tiny/train-images-idx3-ubyte
bad missing/run.jsonl --data tiny --log missing/run.jsonl
[ -e /dev/full ] && bad /dev/full --data tiny --log /dev/full
run --device cuda --data tiny --epochs 1
[ "$code" = 0 ] || bad CUDA --device cuda --data tiny

copy spoilt
printf '\001' | dd of=spoilt/train-images-idx3-ubyte bs=1 seek=2 conv=notrunc 2>/dev/null
bad 'spoilt/train-images-idx3-ubyte: ' --data spoilt

copy spoilt
head -c 1500 tiny/t10k-images-idx3-ubyte.gz >spoilt/t10k-images-idx3-ubyte.gz
bad 'spoilt/t10k-images-idx3-ubyte.gz: ' --data spoilt

copy spoilt
head -c 100000 tiny/train-images-idx3-ubyte >spoilt/train-images-idx3-ubyte
bad 'spoilt/train-images-idx3-ubyte: ' --data spoilt

copy spoilt
echo more >>spoilt/train-labels-idx1-ubyte
bad 'spoilt/train-labels-idx1-ubyte: ' --data spoilt

copy spoilt
mv spoilt/train-images-idx3-ubyte spoilt/other
mv spoilt/train-labels-idx1-ubyte spoilt/train-images-idx3-ubyte
mv spoilt/other spoilt/train-labels-idx1-ubyte
bad 'swap the two files' --data spoilt

copy spoilt
labels train 255 '\000\377' >spoilt/train-labels-idx1-ubyte
bad '255 labels' --data spoilt

copy spoilt
rm spoilt/t10k-labels-idx1-ubyte.gz
bad t10k-labels --data spoilt

bad 'tiny/train-labels-idx1-ubyte: label 5 at index 0' --data tiny --classes 5

copy spoilt
: >spoilt/train-labels-idx1-ubyte
bad 'spoilt/train-labels-idx1-ubyte' --data spoilt

# --- training ---------------------------------------------------------------------------------------------------

run --data tiny --epochs 3 --hidden 32-16 --activation relu/tanh --dropout 0.1 --val 56 --schedule cosine \
    --label-smoothing 0.1 --clip-norm 1 --weight-decay 1e-4 --log run.jsonl --threads 1
ok "a small run" [ "$code" = 0 ]
ok "a small run says nothing on stderr" [ ! -s err ]
ok "the accuracy" grep -qE '^test accuracy [0-9]+\.[0-9][0-9] %$' out
ok "the epochs" has 'epoch 3/3' out
ok "three commands" [ "$(tail -n 3 out | grep -cF "$program --")" = 3 ]
ok "80 columns" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
ok "no bar in a file" [ -z "$(tr -cd '\r\033' <out)" ]
ok "a header and a line for each epoch" [ "$(lines run.jsonl)" = 4 ]
ok "objects" [ "$(grep -cE '^\{"[a-z_]+":.*\}$' run.jsonl)" = 4 ]
head -n 1 run.jsonl >header
for field in program version git_hash build_flags device isa blas threads seed init weights_sha256 settings hidden \
    activation optimizer lr batch epochs schedule dropout val data label_smoothing clip_norm weight_decay; do
    ok "header has $field" has "\"$field\":" header
done
ok "values" has '"threads":1,"seed":1,"init":"auto"' header
ok "a default that was worked out" has '"lr":0.001,' header
ok "weights' hash" grep -qE '"weights_sha256":("[0-9a-f]{64}"|null)' header
for field in epoch train_loss val_accuracy test_accuracy seconds images_per_s lr; do
    ok "epochs have $field" [ "$(tail -n 3 run.jsonl | grep -cE "\"$field\":[0-9]")" = 3 ]
done

# Every kind of activation, and what it learned.
for spec in mix:relu+tanh:T=0.5/maxout:k=3 relu/gelu step:ste=clip/swiglu:half=first rrelu/dyrelu_b:r=2 \
    elu:learn=yes/log_softmax custom:alpha=0.2/pau:init=relu; do
    run --data tiny --epochs 1 --hidden 12x2 --activation "$spec"
    ok "$spec" [ "$code" = 0 ]
    ok "$spec says nothing on stderr" [ ! -s err ]
    ok "80 columns for $spec" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
done
number='-?[0-9][-+.e0-9]*'
spread="\\{\"min\":$number,\"median\":$number,\"max\":$number\\}"
run --data tiny --epochs 2 --hidden 16x3 --activation prelu/swish:beta=1.5:per=channel/mix:relu+tanh,+silu
ok "a mistake in a mixture" [ "$code" = 2 ]
run --data tiny --epochs 2 --hidden 16x3 --log learned.jsonl \
    --activation prelu/swish:beta=1.5:per=channel/mix:relu+tanh
ok "parameters of activations" [ "$code" = 0 ]
ok "start and end of one" grep -qE "^  2\\.alpha  0\\.25 -> $number\$" out
ok "start and end of channels" grep -qE "^  4\\.beta   1\\.5 -> $number \\($number [.]{2} $number\\)\$" out
ok "weights of a mixture" grep -qE "^  6\\.tanh   0\\.5 -> $number\$" out
all="\"activation_parameters\":\\{\"2.alpha\":$spread,\"4.beta\":$spread,\"6.relu\":$spread,\"6.tanh\":$spread\\}"
ok "parameters in the header" grep -qE "^\\{\"program\".*$all,\"train_images\"" learned.jsonl
ok "and where they start" has '{"2.alpha":{"min":0.25,"median":0.25,"max":0.25},"4.beta":{"min":1.5,' learned.jsonl
ok "parameters in each epoch" [ "$(grep -cE "^\\{\"epoch\".*$all\\}\$" learned.jsonl)" = 2 ]
ok "they move" [ "$(grep -oE '"2.alpha":[^}]*' learned.jsonl | sort -u | wc -l)" = 3 ]
# The two weights of the mixture add up to 1.
ok "a mixture of 1" awk -F'"6.relu":|"6.tanh":' '
    NF == 3 { split($2, a, /[:,]/); split($3, b, /[:,]/); off = a[2] + b[2] - 1; good += off * off < 1e-10 }
    END { exit good != 3 }' learned.jsonl
run --data tiny --epochs 1 --hidden 8x3 --activation pau
ok "twenty lines of parameters" [ "$(grep -cE "^  [246]\\.[ab][0-5]  $number -> $number\$" out)" = 20 ]
ok "and how many more" has '  and 10 more' out
run --data tiny --epochs 1 --activation prelu --quiet --log learned.jsonl
ok "--quiet shows no parameters" [ "$(lines out)" = 1 ]
ok "but logs them" has '"activation_parameters":{"2.alpha"' learned.jsonl
ok "none for relu" [ "$(grep -c activation_parameters run.jsonl)" = 0 ]

# The same bits with another number of threads and without validation images' effect on the weights.
facts() { grep -oE '"(weights_sha256|train_loss|test_accuracy)":[^,]*' "$1"; }
run --data tiny --epochs 2 --log one.jsonl --threads 1
run --data tiny --epochs 2 --log two.jsonl --threads 2
facts one.jsonl >one
facts two.jsonl >two
ok "1 and 2 threads" cmp -s one two
ok "no validation set is null" [ "$(grep -c '"val_accuracy":null' one.jsonl)" = 2 ]
run --data tiny --epochs 2 --log three.jsonl --seed 2
facts three.jsonl >three
ok "another seed is another run" [ "$(cmp -s one three && echo same)" = "" ]

run --data tiny --epochs 1 --quiet
ok "--quiet" [ "$code" = 0 ]
ok "--quiet prints one line" [ "$(lines out)" = 1 ]
run --data tiny --epochs 1 --hidden none --isa base --no-blas --no-shuffle --optimizer sgd --init torch
ok "no hidden layer, base instruction set" [ "$code" = 0 ]
run --data tiny --epochs 1 --hidden 1-9x2 --batch 37
ok "odd sizes" [ "$code" = 0 ]

run --data tiny --epochs 60 --val 56 --patience 2 --hidden 16 --log patience.jsonl
ok "--patience" [ "$code" = 0 ]
ok "--patience stops" [ "$(lines patience.jsonl)" -lt 61 ]
ok "--patience goes back" has 'back to the weights of epoch' out

run --data tiny --epochs 2 --optimizer sgd --lr 1e30 --log nan.jsonl
ok "a run that diverges" [ "$code" = 1 ]
ok "and says so in one line" [ "$(lines err)" = 1 ]
ok "and what to do" has 'try a smaller --lr' err
ok "null for NaN" has '"train_loss":null' nan.jsonl
run --data tiny --epochs 2 --optimizer sgd --lr 1e30 --nan-guard
ok "--nan-guard" [ "$code" = 1 ]
ok "--nan-guard, one line" [ "$(lines err)" = 1 ]

# --- Ctrl-C -------------------------------------------------------------------------------------------------------

"$program" --data tiny --epochs 1000000 --hidden 16 --log stopped.jsonl >out 2>err &
pid=$!
told=no
tries=0
while [ ! -s stopped.jsonl ] || [ "$(lines stopped.jsonl)" -lt 3 ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
done
kill -INT "$pid" 2>/dev/null
wait "$pid"
code=$?
ok "Ctrl-C" [ "$code" = 130 ]
ok "Ctrl-C says nothing on stderr" [ ! -s err ]
ok "Ctrl-C still reports" grep -qE '^test accuracy [0-9]+\.[0-9][0-9] %$' out
ok "a complete log" [ "$(grep -cE '^\{.*\}$' stopped.jsonl)" = "$(lines stopped.jsonl)" ]

done_if_more_than 300
