#!/bin/sh
# ctest: labels=unit timeout=120
# --stats and --out: the table, the log, pictures, the page; what is learned is the same to the bit with them.
# Usage: test_stats_cli.sh MNIST_MLP MNIST_CNN pictures|none; the third says whether the build can draw pixels
# SPDX-License-Identifier: MIT
set -u
program=$1
mlp=$1
cnn=$2
pixels=$3
. "$(dirname "$0")/cli.sh"
. "$source/tests/tiny_mnist.sh"
gnuplot=$(command -v gnuplot)
python=$(command -v python3)

# fine OPTION...: a run that ends well; what is missing on this machine may be said on stderr.
fine() {
    run "$@"
    ok "exit code of $*" [ "$code" = 0 ]
    ok "80 columns for $*" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
    [ -n "$gnuplot" ] && [ "$pixels" = pictures ] && ok "nothing on stderr for $*" [ ! -s err ]
}
count() { grep -c "$1" "$2"; }

# --- the table --------------------------------------------------------------------------------------------------

good --help
ok "--help shows --stats" has --stats out
ok "--help shows --out" has '--out DIR' out
good --data tiny --epochs 3 --batch 4 --hidden 32-16 --activation relu/tanh --stats --log run.jsonl
ok "a table for each epoch" [ "$(count '^layer  *|grad|  update   mean     sd units dead zero satur dorm   +/-$' out)" = 3 ]
ok "a legend" [ "$(count 'about 0.001 is healthy' out)" = 1 ]
number='[0-9.]+e[-+][0-9]+'
row() { # row LABEL UNITS: lines of that layer, whose other columns are numbers
    grep -cE "^$1 +$number +$number +-?[0-9.]+ +[0-9.]+ +$2\$" out
}
ok "the first layer" [ "$(row '1 linear\+relu' '32 +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+/[0-9]+')" = 3 ]
ok "the second layer" [ "$(row '3 linear\+tanh' '16 +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+/[0-9]+')" = 3 ]
ok "the last layer" [ "$(row '5 linear' '- +- +- +- +- +-')" = 3 ]
ok "what it took" grep -qE '^statistics took [0-9.]+ s, [0-9.]+ % on top of [0-9.]+ s of training$' out
ok "no page" [ "$(count index.html out)" = 0 ]
good --data tiny --epochs 1 --hidden none --stats
ok "without activations" [ "$(row '1 linear' '- +- +- +- +- +-')" = 1 ]
ok "every step was recorded" has 'every step was recorded' out
good --data tiny --epochs 1 --hidden 8x40 --activation maxout/"$(yes silu | head -n 39 | paste -sd/ -)" --stats
good --data tiny --epochs 1 --stats --quiet
ok "--quiet shows no table" [ "$(lines out)" = 1 ]

# --- the log ----------------------------------------------------------------------------------------------------

# 256 images in batches of 4: 64 steps an epoch, every third one and the last of each are recorded.
ok "flow, at least 20 times an epoch" [ "$(count '^{"flow":{"step":[0-9]*,"epoch":[0-9.]*,"parameters":{"1.weight":{' run.jsonl)" -ge 60 ]
ok "the first step" has '{"flow":{"step":1,"epoch":0,' run.jsonl
for step in 64 128 192; do ok "the last step of an epoch" has "{\"flow\":{\"step\":$step,\"epoch\":" run.jsonl; done
ok "units before training and after each epoch" [ "$(grep -o '^{"units":{"epoch":[0-9],"images":256,"layers":{"2":{' run.jsonl |
    cut -d: -f3 | cut -c1 | tr -d '\n')" = 0123 ]
ok "died: not before there was a round" has '"died":null' run.jsonl
for field in grad_mean grad_std grad_min grad_max grad_max_abs grad_l2 grad_zeros grad_nonfinite count weight_l2 update_ratio \
    one_sign kind out_mean out_std out_zeros ratio one_sign_sample; do
    ok "flow has $field" [ "$(grep '^{"flow"' run.jsonl | grep -vc "\"$field\":")" = 0 ]
done
for field in activation units positions dead zero constant saturated_left saturated_right dormant dormant_mean_free dead_by_bias \
    dead_positions died revived quiet zero_share; do
    ok "units have $field" [ "$(grep '^{"units"' run.jsonl | grep -vc "\"$field\":")" = 0 ]
done
ok "epochs and header as without" [ "$(count '^{"epoch":\|^{"program":' run.jsonl)" = 4 ]
valid() { "$python" -c 'import json, sys; [json.loads(l, parse_constant=lambda x: 1 / 0) for l in open(sys.argv[1])]' "$1"; }
[ -n "$python" ] && ok "valid JSON" valid run.jsonl

# --- the same bits ------------------------------------------------------------------------------------------------

facts() { grep -oE '"(weights_sha256|train_loss|test_accuracy)":[^,}]*' "$1"; }
same() { # same OPTION...: nothing on, --stats on one thread, --out on two, all with the same result
    run --data tiny --epochs 2 "$@" --log without.jsonl --threads 1
    run --data tiny --epochs 2 "$@" --log stats.jsonl --threads 1 --stats
    run --data tiny --epochs 2 "$@" --log out.jsonl --threads 2 --out bits --nan-guard
    for log in without stats out; do facts $log.jsonl >$log.facts; done
    ok "seven facts of $*" [ "$(lines without.facts)" = 7 ]
    ok "the same with --stats: $*" cmp -s without.facts stats.facts
    ok "the same with --out: $*" cmp -s without.facts out.facts
    ok "different epochs: $*" [ "$(grep sha256 without.facts | sort -u | wc -l)" = 3 ] || grep -q null without.facts
}
same --batch 4 --dropout 0.3 --activation prelu:per=channel --hidden 24-16 --optimizer adamw
same --batch 16 --shift 2 --elastic 8 --activation rrelu --clip-norm 0.1 --optimizer momentum
program=$cnn
same --batch 16 --batch-norm --dropout 0.2
same --batch 32 --model deep --activation swish:per=channel
program=$mlp

# --- pictures and the page -------------------------------------------------------------------------------------------

# page FOLDER: everything that its page shows is there, and its tags are balanced.
page() {
    for file in $(grep -oE '(src|href)="[^"#]*"' "$1/index.html" | cut -d'"' -f2 | sort -u); do
        case $file in *.svg | *.gp) [ -n "$gnuplot" ] || continue ;; esac
        ok "$1/$file" [ -s "$1/$file" ]
    done
    [ -n "$python" ] && ok "tags of $1" "$python" - "$1/index.html" <<'END'
import html.parser, sys
class Tags(html.parser.HTMLParser):
    open = []
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"): self.open.append(tag)
    def handle_endtag(self, tag):
        if self.open.pop() != tag: sys.exit("not closed before </%s>" % tag)
page = Tags()
page.feed(open(sys.argv[1], encoding="utf-8").read())
sys.exit(len(page.open))
END
}
shows() { # shows FOLDER PICTURE...
    folder=$1
    shift
    for picture in "$@"; do
        ok "$folder shows $picture" grep -qE "src=\"$picture\.(svg|png)\"" "$folder/index.html"
        [ -n "$gnuplot" ] && ok "$folder/$picture.png" [ -s "$folder/$picture.png" ]
    done
}
mkdir 'ti<&ny' && cp tiny/* 'ti<&ny'
fine --data 'ti<&ny' --epochs 2 --batch 8 --hidden 16x2 --activation prelu:per=channel/mix:relu+tanh --val 32 --out a/b --log log.jsonl
ok "where to look" grep -qE '^pictures and numbers: a/b/index.html$' out
ok "no table" [ "$(count 'grad|' out)" = 0 ]
ok "the log twice" cmp -s log.jsonl a/b/run.jsonl
page a/b
shows a/b training gradients updates units activations gradient_sizes learned mistakes
[ "$pixels" = pictures ] && shows a/b weights
ok "the accuracy on the page" has "<b>$(sed -n 's/^test accuracy \(.*\) %$/\1/p' out)&thinsp;%</b>test accuracy" a/b/index.html
ok "settings are escaped" has 'ti&lt;&amp;ny' a/b/index.html
ok "no other ti<" [ "$(grep -c 'ti<' a/b/index.html)" = 0 ]
ok "layers on the page" [ "$(count '<tr><td>[135] linear' a/b/index.html)" = 3 ]
ok "twenty mistakes" [ "$(count '^# image' a/b/data/mistakes.dat)" = 20 ]
ok "the worst one first" awk '/^# image/ { if (seen && $NF > last) exit 1; last = $NF; seen = 1 } END { exit !seen }' a/b/data/mistakes.dat
ok "epochs from 0 to 2" [ "$(grep -v '#' a/b/data/dead.dat | cut -d' ' -f1 | tr -d '\n')" = 012 ]
if [ -n "$gnuplot" ]; then
    rm a/b/*.svg
    ok "gnuplot draws again" sh -c 'cd a/b && gnuplot plot.gp'
    shows a/b training gradients
    ok "an SVG" has '</svg>' a/b/gradients.svg
fi
# A shorter net in the same place: what it does not have is not left behind.
fine --data tiny --epochs 1 --hidden none --out a/b
page a/b
ok "no learned activation" [ ! -e a/b/learned.svg ]
ok "no units" [ "$(count 'units.svg' a/b/index.html)" = 0 ]
program=$cnn
fine --data tiny --epochs 1 --out c
page c
shows c gradients units activations
program=$mlp

# --- what goes wrong ----------------------------------------------------------------------------------------------------

echo text >file
bad '--out file: cannot write file/index.html: ' --data tiny --out file
ok "before training" [ "$(count '^epoch' out)" = 0 ]
bad '--out file/below: cannot write file/below: ' --data tiny --out file/below
mkdir -p taken/data/style.gp
bad 'cannot write taken/data/style.gp: ' --data tiny --out taken
bad "--out '': must be given" --data tiny --out ''

# No gnuplot to be found: said in a line, and everything else is there.
PATH=/nowhere "$program" --data tiny --epochs 1 --out d >out 2>err
code=$?
ok "without gnuplot" [ "$code" = 0 ]
ok "what to do" has 'gnuplot is not installed (apt install gnuplot-nox)' err
ok "in a line" [ "$(grep -vc stb err)" = 1 ]
ok "the accuracy" grep -q '^test accuracy' out
ok "the page says so" has 'apt install gnuplot-nox' d/index.html
[ -n "$gnuplot" ] && ok "drawn later" sh -c 'cd d && gnuplot plot.gp' && page d

# A run that diverges still has a page, and its log is valid.
run --data tiny --epochs 2 --optimizer sgd --lr 1e30 --out e
ok "a run that diverges" [ "$code" = 1 ]
ok "its page" has 'the loss is not finite any more' e/index.html
ok "where to look" has 'pictures and numbers: e/index.html' out
ok "no NaN in its log" [ "$(grep -ciE '[:,]-?(nan|inf)' e/run.jsonl)" = 0 ]
[ -n "$python" ] && ok "valid JSON" valid e/run.jsonl
page e

# Ctrl-C.
"$program" --data tiny --epochs 1000000 --hidden 16 --out f >out 2>err &
pid=$!
tries=0
while [ ! -s f/run.jsonl ] || [ "$(count '^{"epoch"' f/run.jsonl)" -lt 3 ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
done
kill -INT "$pid" 2>/dev/null
wait "$pid"
code=$?
ok "Ctrl-C" [ "$code" = 130 ]
ok "its page" has 'Training was stopped before its end' f/index.html
ok "where to look" has 'pictures and numbers: f/index.html' out
page f

done_if_more_than 200
