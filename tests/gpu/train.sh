#!/bin/sh
# train.sh BUILD DATA EMULATED NETWORK SEED: trains to an accuracy that the CPU reaches as well.
# SPDX-License-Identifier: MIT
build=$1 data=$2 emulated=$3 net=$4 seed=$5
log=$build/gpu/train-$net-$seed.jsonl
case $net in
    mlp) program=mnist_mlp epochs=10 least=97.5 ;;
    small) program=mnist_cnn epochs=5 least=98.4 ;;
    lenet) program=mnist_cnn epochs=5 least=99 ;;
esac
$emulated && epochs=1 least=5
set -- --device cuda --data "$data" --epochs $epochs --seed "$seed" --log "$log" --quiet
[ $program = mnist_cnn ] && set -- "$@" --model "$net"
rm -f "$log"
"$build/$program" "$@" || exit 1
field() { tail -n 1 "$log" | sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p"; }
grep -q '"device":"cuda"' "$log" || { echo "it did not run on the GPU"; exit 1; }
echo "RESULT test accuracy/$net seed $seed $(field test_accuracy) >= $least"
echo "RESULT seconds of the last epoch/$net seed $seed $(field seconds)"
echo "RESULT replayed steps/$net seed $seed $(field replayed_steps)"
