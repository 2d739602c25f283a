#!/bin/sh
# bench.sh activations BUILD WORK EMULATED SHAPE PYTHON
# bench.sh mnist BUILD WORK EMULATED NETWORK BATCH DATA PYTHON
#   hillock's times, and PyTorch's right behind them, where the Python has it.
# SPDX-License-Identifier: MIT
what=$1 build=$2 work=$3 emulated=$4 here=$(dirname "$0")
shift 4

# Python with PyTorch that sees a GPU (any PyTorch where the GPU is emulated), or a word why not.
peer() {
    python=$1
    shift
    command -v "$python" >/dev/null || { echo "not run: PyTorch's side: there is no $python"; return 0; }
    "$python" -c 'import torch' 2>/dev/null || { echo "not run: PyTorch's side: $python has no torch"; return 0; }
    "$python" "$@"
}

case $what in
    activations)
        shape=$1 python=$2 csv=$work/bench-$1.csv
        runs=50 places=cuda
        $emulated && runs=3 places=cpu
        "$build/activations" bench --device cuda --shape "$shape" --runs $runs --no-cpu --csv >"$csv" || exit 1
        cat "$csv"
        "$build/activations" bench --device cuda --shape "$shape" --runs $runs --no-cpu --csv --naive mish \
            >"$work/naive-$shape.csv" || exit 1
        # Shares of the copy's bandwidth are asked for where the copy is not over in no time.
        awk -F, -v shape="$shape" -v emulated=$emulated 'NR > 1 && $9 != "" {
            least = $1 ~ /softmax/ ? 0.85 : 0.92
            gate = shape == "5024x100024" && $2 != "both" && ($1 ~ /softmax/ || simple[$1]) && emulated == "false"
            printf "RESULT share of the copy/%s %s, %s %s%s\n", shape, $1, $2, $9, gate ? " >= " least : "" }
            BEGIN { n = split("sigmoid tanh relu relu6 silu gelu gelu_tanh mish elu selu celu leaky_relu softplus " \
                              "hard_sigmoid hard_tanh hard_swish softsign log_sigmoid", name, " ")
                    for (i = 1; i <= n; i++) simple[name[i]] = 1 }' "$csv"
        awk -F, -v shape="$shape" 'NR > 1 && $5 != "" { printf "RESULT us/%s %s, %s %s\n", shape, $1, $2, $5 }' "$csv"
        awk -F, -v shape="$shape" -v emulated=$emulated 'NR > 1 && $1 == "mish" { fused[$2] = $5 }
            NR > 1 && $1 ~ /mish/ && $1 != "mish" { parts[$2] = $5 }
            END { for (p in parts) if (fused[p] > 0) {
                    least = p == "forward" ? 3.2 : p == "both" ? 4 : 0
                    printf "RESULT mish in one against several/%s %s %.4g%s\n", shape, p, parts[p] / fused[p],
                        shape == "5024x100024" && least && emulated == "false" ? " >= " least : "" } }' \
            "$work/naive-$shape.csv"
        peer "$python" "$here/torch_activations.py" --device $places --shape "$shape" --runs $runs --csv "$csv"
        ;;
    mnist)
        net=$1 batch=$2 data=$3 python=$4
        program=mnist_cnn epochs=6 repeats=3 places=cuda
        [ "$net" = mlp ] && program=mnist_mlp
        $emulated && epochs=1 repeats=1 places=cpu
        times=$work/bench-$net-$batch.txt
        : >"$times"
        for graph in "" --no-graph; do
            r=0
            while [ $r -lt $repeats ]; do
                log=$work/bench-$net-$batch.jsonl
                rm -f "$log"
                set -- --device cuda --data "$data" --epochs $epochs --batch "$batch" --seed $((r + 1)) --log "$log" --quiet
                [ $program = mnist_cnn ] && set -- "$@" --model "$net"
                # shellcheck disable=SC2086
                "$build/$program" "$@" $graph >/dev/null || exit 1
                # The first epoch holds what is done once.
                sed -n 's/.*"epoch":\([0-9]*\),.*"seconds":\([-0-9.e+]*\).*/\1 \2/p' "$log" |
                    awk -v all=$epochs -v of="hillock$graph" '$1 > 1 || all == 1 { print of, $2 }' >>"$times"
                r=$((r + 1))
            done
        done
        for of in hillock hillock--no-graph; do
            awk -v of=$of '$1 == of { print $2 }' "$times" | sort -g | awk -v what="$net $batch, $of" '{ t[NR] = $1 }
                END { if (!NR) exit 1
                      print "RESULT seconds of an epoch/" what, NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2 }' ||
                { echo "no times in the log"; exit 1; }
        done
        peer "$python" "$here/torch_mnist.py" --device $places --net "$net" --batch "$batch" --data "$data" \
            --epochs $epochs --times "$times"
        ;;
esac
