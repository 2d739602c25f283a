#!/bin/sh
# ctest: labels=unit timeout=120
# What a user of mnist_cnn meets at the command line: help, bad input, small training runs, the log, pictures.
# Usage: test_cnn_cli.sh PROGRAM pictures|none; the second says whether the build can draw
# SPDX-License-Identifier: MIT
set -u
program=$1
pictures=$2
. "$(dirname "$0")/cli.sh"
. "$source/tests/tiny_mnist.sh"

# --- help ---------------------------------------------------------------------------------------------------

good --help
for word in --model 'small, lenet, deep (default: small)' --activation --optimizer --lr --batch --epochs --seed \
    --threads --val --data --log --out --quiet relu examples; do
    ok "--help shows $word" has "$word" out
done
good --help all
for word in --dropout --batch-norm --schedule --weight-decay swish_skip; do ok "--help all shows $word" has "$word" out; done

# --- bad input ------------------------------------------------------------------------------------------------

bad '--model lnet: must be one of small, lenet, deep (try --model lenet)' --model lnet
bad '--model needs a value (try --model small)' --model
bad "--model '': must be given" --model ''
bad 'one name, or as many as there are hidden layers (2) (try --activation relu)' --activation relu/tanh/gelu
bad 'hidden layers (3)' --model lenet --activation relu/tanh
bad 'hidden layers (' --model deep --activation relu/tanh
bad "unknown activation 'relo'" --activation relu/relo --data tiny
bad "unknown activation 'relo'" --activation relo --model deep --data tiny
bad '--dropout 1' --dropout 1
bad '--batch-norm=2' --batch-norm=2
bad '--hidden' --hidden 32
bad nowhere --data nowhere

# Images of a single pixel: nothing is left to be halved.
mkdir dots
for part in train t10k; do
    printf '\000\000\010\003\000\000\000\002\000\000\000\001\000\000\000\001\000\377' >dots/$part-images-idx3-ubyte
    printf '\000\000\010\001\000\000\000\002\000\001' >dots/$part-labels-idx1-ubyte
done
bad 'images are too small for this model' --data dots

# --- training ---------------------------------------------------------------------------------------------------

good --data tiny --epochs 1 --log run.jsonl
ok "the accuracy" grep -qE '^test accuracy [0-9]+\.[0-9][0-9] %$' out
kinds() { awk '$1 ~ /^[0-9]+$/ && $3 == "(n," { printf "%s ", $2 }' out; } # of the layers in the summary
ok "the layers" [ "$(kinds)" = "conv2d relu max_pool2d conv2d relu max_pool2d flatten linear " ]
ok "the parameters" grep -qE '^total .* 9,098 ' out
ok "three commands" [ "$(tail -n 3 out | grep -cF "$program --")" = 3 ]
ok "a header and an epoch" [ "$(lines run.jsonl)" = 2 ]
head -n 1 run.jsonl >header
for value in '"program":"mnist_cnn"' '"model":"small"' '"activation":"relu"' '"dropout":0' '"batch_norm":false' \
    '"out":null' '"parameters":9098,'; do
    ok "the header has $value" has "$value" header
done

# The other networks, and every place for an activation; maxout and gated units have the layer before widened.
good --data tiny --epochs 1 --model lenet --dropout 0.3 --batch-norm --activation prelu/maxout:k=3/tanh
ok "layers of lenet" [ "$(kinds)" = \
    "conv2d batch_norm2d prelu max_pool2d conv2d batch_norm2d maxout max_pool2d flatten linear tanh dropout linear " ]
ok "what prelu learned" grep -qE '^  2\.alpha  0\.25 -> ' out
good --data tiny --epochs 1 --model lenet
ok "parameters of lenet" grep -qE '^total .* 1,663,370 ' out
good --data tiny --epochs 1 --model deep --batch 32 --dropout 0.1 --log deep.jsonl
ok "the model in the log" has '"model":"deep"' deep.jsonl
for spec in maxout swiglu mix:relu+tanh swish:per=channel; do
    good --data tiny --epochs 1 --model deep --activation "$spec"
done
good --data tiny --epochs 1 --activation glu/dyrelu_b --batch-norm

# It learns: the loss of the sixth epoch is less than half of the first one's.
good --data tiny --epochs 6 --batch 16 --log learns.jsonl
ok "it learns" awk -F'"train_loss":' '
    NF == 2 { split($2, a, ","); last = a[1]; if (++n == 1) first = last }
    END { exit !(n == 6 && last < first / 2) }' learns.jsonl

# Going back to the best epoch takes batch norm's running means along: its test accuracy is met again.
good --data tiny --epochs 60 --batch 16 --lr 0.1 --batch-norm --val 56 --patience 8 --log patience.jsonl
best=$(sed -n 's/^back to the weights of epoch \([0-9]*\):.*/\1/p' out)
ok "--patience goes back" [ -n "$best" ]
ok "to the same network" awk -F'[:,]' -v best="$best" -v shown="$(sed -n 's/^test accuracy \(.*\) %$/\1/p' out)" '
    /^\{"epoch"/ && $2 == best { for (i = 1; i < NF; i++) if ($i == "\"test_accuracy\"") found = sprintf("%.2f", $(i + 1)) }
    END { exit !(found == shown && shown > 0) }' patience.jsonl

# The same bits with another number of threads.
facts() { grep -oE '"(weights_sha256|train_loss|test_accuracy)":[^,]*' "$1"; }
good --data tiny --epochs 2 --batch-norm --dropout 0.2 --log one.jsonl --threads 1
good --data tiny --epochs 2 --batch-norm --dropout 0.2 --log two.jsonl --threads 2
facts one.jsonl >one
facts two.jsonl >two
ok "1 and 2 threads" cmp -s one two
ok "no bias before batch norm" has '"parameters":9122,' one.jsonl

# --- pictures ---------------------------------------------------------------------------------------------------

# is_png FILE: its first eight bytes, the end that every PNG file has, and a width that a screen holds.
is_png() {
    [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] || return 1
    [ "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' ')" = 49454e44ae426082 ] || return 1
    # shellcheck disable=SC2046 # four numbers on purpose
    set -- $(tail -c +17 "$1" | head -c 4 | od -An -tu1)
    width=$(($3 * 256 + $4))
    [ "$width" -gt 500 ] && [ "$width" -le 1000 ]
}
# What else --out makes: test_stats_cli.sh.
draws() { # draws OPTION...: a run that ends well; without gnuplot or stb it says so
    run "$@"
    ok "exit code of $*" [ "$code" = 0 ]
    ok "80 columns for $*" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
}
draws --data tiny --epochs 1 --out made/for/this
ok "where they are" has 'pictures and numbers: made/for/this/index.html' out
if [ "$pictures" = pictures ]; then
    for file in filters features; do
        ok "$file.png" is_png made/for/this/$file.png
        ok "$file.png on the page" has "src=\"$file.png\"" made/for/this/index.html
    done
    ok "how many filters" has 'The 8 filters, 3 x 3' made/for/this/index.html
    ok "which images" has 'some test images, 0, 1, 2, 3, 4, 5: ' made/for/this/index.html
    for model in lenet deep; do
        draws --data tiny --epochs 1 --model "$model" --activation maxout --out "$model"
        ok "filters of $model" is_png "$model/filters.png"
        ok "maps of $model" is_png "$model/features.png"
    done
    cp made/for/this/filters.png old.png
    run --data tiny --epochs 1 --seed 2 --out made/for/this --quiet
    ok "other filters take their place" [ "$(cmp -s old.png made/for/this/filters.png && echo same)" = "" ]
    ok "--quiet prints one line" [ "$(lines out)" = 1 ]
else
    ok "what is missing" has 'without stb_image_write.h this build draws no weights as images (install libstb-dev' err
fi
echo text >file
bad '--out file: cannot write file/index.html: ' --data tiny --out file
ok "before training" [ "$(grep -c '^epoch' out)" = 0 ]
bad '--out file/below: cannot write file/below: ' --data tiny --out file/below
mkdir -p taken/features.png
bad 'cannot write taken/features.png: ' --data tiny --out taken
ok "no empty file is left" [ ! -e taken/filters.png ]

done_if_more_than 130
