#!/bin/sh
# ctest: labels=unit timeout=120
# What a user of depth meets at the command line, and the numbers that it is there to show.
# Usage: test_depth_cli.sh PROGRAM
# SPDX-License-Identifier: MIT
set -u
program=$1
. "$(dirname "$0")/cli.sh"
. "$source/tests/tiny_mnist.sh"

good() {
    wide "$@"
    case " $* " in
        *' --csv '* | *' --json '*) ;;
        *) ok "80 columns for $*" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ] ;;
    esac
}
bad() {
    refused "$(basename "$program")" "$@"
    ok "the program's name for $*" grep -q "^$(basename "$program")\( $2\)\{0,1\}: " err
    ok "nothing on stdout for $*" [ ! -s out ]
}
# number COLUMN KEY=VALUE...: that column of the only row of the last CSV output whose other columns have these values.
number() {
    awk -F, -v column="$1" -v wanted="$(shift; echo "$*")" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; n = split(wanted, want, " "); next }
        {
            for (k = 1; k <= n; k++) {
                split(want[k], pair, "=")
                if ($at[pair[1]] != pair[2]) next
            }
            rows++; found = $at[column]
        }
        END { if (rows != 1) { print "rows:" rows + 0; exit } print found }' out
}
# near A B TOLERANCE: |A - B| <= TOLERANCE |B|; no number is near nothing.
near() {
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN {
        number = "^[-+]?[0-9.]+(e[-+]?[0-9]+)?$"
        if (a !~ number || b !~ number) exit 1
        d = a - b; if (d < 0) d = -d; if (b + 0 < 0) b = -b
        exit !(d <= t * b)
    }'
}
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a ~ /^[-+0-9.e]+$/ && b ~ /^[-+0-9.e]+$/ && a + 0 < b + 0) }'; }
# agree VALUE THEORY: all rows' columns agree within 4 standard errors and 3 %, and there are enough of them.
agree() {
    awk -F, -v value="$1" -v theory="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at[value] != "" {
            d = $at[value] - $at[theory]; if (d < 0) d = -d
            rows++; good += d <= 4 * $at[value "_error"] + 0.03 * $at[theory]
        }
        END { exit !(rows > 20 && good == rows) }' out
}

# --- help and bad input -----------------------------------------------------------------------------------------

good
cp out alone
good --help
ok "--help is what the program alone says" cmp -s out alone
for word in signal train dead spectrum examples; do ok "--help shows $word" has "$word" out; done
for command in signal train dead spectrum; do
    good $command --help
    ok "$command --help: usage" has "$(basename "$program") $command [NAME...] [options]" out
    for word in --seeds --seed --out --csv --json --threads --init examples:; do
        ok "$command --help shows $word" has "$word" out
    done
done
bad "unknown subcommand 'singal'; there are: signal, train, dead, spectrum" singal
bad "unknown subcommand '--csv'" --csv
bad "unknown activation 'relo'" signal relu relo
bad "alpha must be a number above 0" signal elu:alpha=0
bad '--depth 0: must be a whole number from 1 to 1000 (try --depth 50)' signal --depth 0
bad '--width 0' signal --width 0
bad '--width 20000: 1000 layers need' signal --width 20000 --depth 1000
bad '--start 0: must be a number above 0' signal --start 0
bad '--init he: must be one of auto, kaiming' signal --init he
bad '--gain and --weight-variance' signal --gain 1 --weight-variance 1
bad '--csv and --json' signal --csv --json
bad '--seeds 0' signal --seeds 0
bad 'sigmoid has no edge of chaos at q = 1' signal tanh sigmoid --init critical
bad 'there is no theory of maxout' signal maxout --init critical
bad 'unknown option --depht (did you mean --depth?' signal --depht 3
bad 'step:ste=identity|clip|sigmoid' signal step --width 8 --depth 2
bad "--out tiny/train-labels-idx1-ubyte/x: cannot write" signal --out tiny/train-labels-idx1-ubyte/x
bad '--depths 3,2: must be at most 32 rising whole numbers' train --depths 3,2
bad '--depths 1.5' train --depths 1.5
bad '--depths 1,' spectrum --depths 1,
bad '--images 257: there are 256 images (try --images 256)' train --data tiny --images 257 --test 128
bad 'nowhere' train --data nowhere
bad '--optimizer adma' dead --optimizer adma
bad '--rates 0: must be at most 24 rising' dead --rates 0
bad '--rates 1,0.1' dead --rates 1,0.1
bad '--biases x' dead --biases x
bad '--width 1:' spectrum --width 1

# --- signal: theory -----------------------------------------------------------------------------------------------

# Numbers that were computed elsewhere, for relu's gain: q after 10 and 50 layers, and chi_1.
good signal relu tanh elu selu silu gelu mish sigmoid --init kaiming --width 4 --seeds 1 --csv
ok "a header" grep -qE '^activation,weight_variance,bias_variance,layer,nets,q,' out
ok "a row for each layer" [ "$(lines out)" = 409 ]
theory() { ok "theory of $1, layer $2" near "$(number q_theory activation="$1" layer="$2")" "$3" "$4"; }
theory relu 10 1 1e-9
theory relu 50 1 1e-9
theory tanh 10 0.619 1e-3
theory tanh 50 0.618 1e-3
theory elu 10 5.33 1e-3
theory elu 50 34.1 2e-3
theory selu 10 30.6 2e-3
theory selu 50 2900 0.02
theory silu 10 0.00357 2e-3
theory gelu 10 0.0293 3e-3
theory mish 10 0.231 3e-3
theory mish 50 8e-7 0.07
theory sigmoid 50 0.555 1e-3
for pair in tanh=1.1055 silu=0.5 gelu=0.5 mish=0.72 sigmoid=0.101; do
    ok "chi_1 of ${pair%=*}" near "$(number chi activation="${pair%=*}" layer=50)" "${pair#*=}" 5e-3
done
good signal relu --weight-variance 0.3333333333 --width 4 --depth 10 --seeds 1 --csv
ok "relu with a third of the variance" near "$(number q_theory layer=10)" 1.7e-8 0.03
good signal relu --gain 0.5773502692 --bias-variance 0 --width 4 --depth 10 --seeds 1 --csv
ok "the same by --gain" near "$(number q_theory layer=10)" 1.7e-8 0.03
good signal tanh --init torch --width 100 --depth 2 --seeds 1 --csv
ok "torch's weights" near "$(number weight_variance layer=0)" 0.33333333 1e-6
ok "torch's biases" near "$(number bias_variance layer=0)" 0.00333333 1e-5
good signal tanh --init critical --start 0.25 --width 4 --depth 30 --seeds 1 --csv
ok "the edge of chaos is a fixed point" near "$(number q_theory layer=30)" 0.25 1e-6
ok "and has chi_1 = 1" near "$(number chi layer=30)" 1 1e-9

# --- signal: measurement --------------------------------------------------------------------------------------------

good signal tanh sigmoid selu --width 200 --depth 50 --seeds 12 --csv
ok "q as in theory" agree q q_theory
ok "gradients as in theory" agree g2 g2_theory
ok "their ratio as in theory" agree ratio chi
for layer in 0 5 20 49; do
    ok "sigmoid's gradient, layer $layer" near "$(number ratio activation=sigmoid layer=$layer)" 0.1528 0.07
done
ok "sigmoid's gradient vanishes" below "$(number g2 activation=sigmoid layer=0)" 1e-39
ok "selu keeps q = 1" near "$(number q activation=selu layer=50)" 1 0.2
ok "tanh keeps q = 1" near "$(number q activation=tanh layer=50)" 1 0.1
good signal selu,tanh --start 9 --width 200 --seeds 6 --csv
ok "selu starts elsewhere" near "$(number q activation=selu layer=0)" 9 1e-9
ok "selu comes back" near "$(number q activation=selu layer=50)" 1 0.25
ok "tanh comes back" near "$(number q activation=tanh layer=50)" 1 0.1
good signal gelu silu mish tanh --init kaiming --width 200 --seeds 4 --csv
ok "gelu dies out" below "$(number q activation=gelu layer=50)" 1e-10
ok "silu dies out" below "$(number q activation=silu layer=50)" 1e-11
ok "mish dies out" below "$(number q activation=mish layer=50)" 1e-3
ok "tanh has a fixed point" near "$(number q activation=tanh layer=50)" 0.618 0.1
good signal relu --init torch --width 200 --depth 20 --seeds 4 --csv
ok "biases alone are left" near "$(number q layer=20)" 0.002 0.3

good signal gelu maxout prelu:per=channel --width 20 --depth 3 --seeds 2 --seed 5 --threads 2 --csv
cp out two
ok "no theory of maxout" [ "$(number q_theory activation=maxout layer=3)" = '' ]
good signal gelu maxout prelu:per=channel --width 20 --depth 3 --seeds 2 --seed 5 --threads 1 --csv
ok "the same on one thread" cmp -s out two
good signal gelu --width 20 --depth 3 --seeds 2 --seed 5 --csv
ok "the same without the others" [ "$(tail -n 1 out)" = "$(grep '^gelu' two | tail -n 1)" ]
good signal gelu --width 20 --depth 3 --seeds 2 --seed 6 --csv
ok "another seed" [ "$(tail -n 1 out)" != "$(grep '^gelu' two | tail -n 1)" ]
good signal relu mix:relu+elu,alpha=2 --width 8 --depth 12 --seeds 2 --json
ok "json: a line for each layer" [ "$(grep -cE '^\{"activation":"[^"]+",.*"chi":.*\}$' out)" = 26 ]
good signal relu silu maxout --width 16 --seeds 2
ok "a table" grep -qE '^ +50 +[0-9.e-]+ +[0-9.e-]+ +1\.0000 ' out
ok "no error of what is given" grep -qE '^ +0 +1\.0000 +0 +1\.0000 ' out
ok "an unstable fixed point" grep -qE '^silu .*unstable' out
good signal relu selu gelu --init kaiming --width 16 --seeds 1
ok "it explodes" grep -qE '^selu +inf .*signal explodes' out
ok "it dies out" grep -qE '^gelu +0 +0\.5000 .*signal dies out' out
good signal maxout --width 16 --depth 2 --seeds 1
ok "no theory" grep -qE '^maxout .*no theory' out

# --- train ------------------------------------------------------------------------------------------------------------

small="--data tiny --images 256 --test 128 --seeds 2"
# shellcheck disable=SC2086 # words on purpose
good train relu sigmoid $small --depths 1,20 --epochs 12 --width 32 --csv
ok "a row for each net" [ "$(lines out)" = 5 ]
ok "relu learns" below 40 "$(number accuracy activation=relu depth=1)"
ok "a deep sigmoid does not" below "$(number accuracy activation=sigmoid depth=20)" 25
ok "two seeds" [ "$(number seeds activation=relu depth=20)" = 2 ]
cp out two
# shellcheck disable=SC2086
good train relu sigmoid $small --depths 1,20 --epochs 12 --width 32 --csv --threads 1
ok "the same again" cmp -s out two
# shellcheck disable=SC2086
good train relu $small --depths 1,2,3,4,5,6,7 --width 4 --epochs 1
ok "two blocks" [ "$(grep -c '^relu ' out)" = 2 ]
# shellcheck disable=SC2086
good train relu $small --depths 3 --optimizer sgd --lr 1e20 --epochs 2
ok "nets that diverge" has 'The loss of 2 nets did not stay finite' out
# shellcheck disable=SC2086
good train maxout:k=3 glu dyrelu_b $small --depths 2 --width 8 --epochs 1 --json
ok "wide activations and networks" [ "$(lines out)" = 3 ]

# --- dead -------------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2086
good dead relu leaky_relu maxout $small --probe 256 --rates 0.001,0.3 --biases=-50,0 --epochs 4 --width 32 --csv
dead() { number dead_percent activation="$1" varied="$2" value="$3"; }
ok "biases far below 0: all relus are dead" [ "$(dead relu bias -50)" = 100 ]
ok "biases at 0: few" below "$(dead relu bias 0)" 20
ok "a large rate kills relus" below 50 "$(dead relu lr 0.3)"
ok "a small one does not" below "$(dead relu lr 0.001)" 20
for at in 'bias -50' 'bias 0' 'lr 0.001' 'lr 0.3'; do
    # shellcheck disable=SC2086
    ok "no leaky relu is dead: $at" [ "$(dead leaky_relu $at)" = 0 ]
done
ok "dead is not defined for maxout" [ "$(dead maxout lr 0.001)" = '' ]
ok "which is trained all the same" below 20 "$(number accuracy activation=maxout varied=lr value=0.001)"
ok "dead relus learn nothing" below "$(number accuracy activation=relu varied=bias value=-50)" 25
# shellcheck disable=SC2086
good dead relu $small --probe 100 --optimizer sgd --rates 1e20 --biases 0 --lr 0.1 --epochs 1 --width 16
ok "nets that diverge are not counted" has 'Not counted: 2 nets' out

# --- spectrum ---------------------------------------------------------------------------------------------------------

good spectrum tanh relu --width 16 --depths 1,16 --seeds 3 --csv
sv() { number "$1" activation="$2" weights="$3" layers="$4"; }
ok "tanh, orthogonal: the smallest" below 0.5 "$(sv smallest tanh orthogonal 16)"
ok "tanh, orthogonal: the largest" below "$(sv largest tanh orthogonal 16)" 1.3
ok "tanh, orthogonal: the median" near "$(sv median tanh orthogonal 16)" 1 0.05
ok "tanh, gaussian: the smallest" below "$(sv smallest tanh gaussian 16)" 1e-6
ok "tanh, gaussian: the median" below "$(sv median tanh gaussian 16)" 0.1
ok "relu, orthogonal: the smallest" [ "$(sv smallest relu orthogonal 16)" = 0 ]
ok "relu's orthogonal layer: the largest is its gain" near "$(sv largest relu orthogonal 1)" 1.41421356 1e-6
good spectrum identity --gain 1.1 --width 12 --depths 1,10 --seeds 2 --csv
for what in smallest median largest; do
    ok "orthogonal, linear: $what" near "$(sv $what identity orthogonal 10)" 2.59374246 1e-6
done
ok "its mean square" near "$(sv mean_square_theory identity gaussian 10)" 6.7274999 1e-6
good spectrum tanh --init auto --start 1 --width 64 --depths 4 --seeds 20 --csv
ok "mean squares as in theory" near "$(sv mean_square tanh gaussian 4)" "$(sv mean_square_theory tanh gaussian 4)" 0.15
ok "which is 1.1778^4 for start 1" near "$(sv mean_square_theory tanh gaussian 4)" 1.9244 1e-3
good spectrum maxout --init auto --depths 1,2 --width 8 --seeds 1
ok "a table" has 'orthogonal' out

# --- pictures -----------------------------------------------------------------------------------------------------------

# drawn NAME: both pictures, complete.
drawn() { [ "$(head -c 4 "$1.png" | tail -c 3)" = PNG ] && [ "$(tail -n 3 "$1.svg" | grep -cF '</svg>')" = 1 ]; }
mkdir empty
told=no
env PATH="$work/empty" "$program" spectrum tanh --width 4 --depths 1,2 --seeds 1 --out no/gnuplot >out 2>err
ok "without gnuplot: exit code 1" [ $? = 1 ]
ok "without gnuplot: one line" [ "$(lines err)" = 1 ]
ok "without gnuplot: what is missing" has 'gnuplot is not installed' err
ok "without gnuplot: what to do" has 'cd no/gnuplot && gnuplot plot.gp' err
ok "the script is left" has "set output 'spectrum.svg'" no/gnuplot/plot.gp
if command -v gnuplot >/dev/null 2>&1; then
    good signal relu sigmoid --width 8 --depth 30 --seeds 2 --out drawn
    ok "signal" drawn drawn/signal
    ok "said so" has 'drawn/signal.svg and signal.png are drawn' out
    good signal maxout --width 8 --depth 1 --seeds 1 --out drawn/one --csv
    ok "one layer without theory" drawn drawn/one/signal
    ok "and silently" [ "$(lines out)" = 3 ]
    # shellcheck disable=SC2086
    good train relu tanh $small --depths 1,2 --width 4 --epochs 1 --out drawn
    ok "train" drawn drawn/train
    # shellcheck disable=SC2086
    good dead relu $small --probe 10 --rates 0.1 --biases 0 --width 4 --epochs 1 --out drawn
    ok "dead" drawn drawn/dead
    good spectrum relu --width 8 --depths 1,5 --seeds 1 --out drawn
    ok "spectrum" drawn drawn/spectrum
fi

# --- Ctrl-C -------------------------------------------------------------------------------------------------------------

"$program" signal relu tanh --width 300 --depth 20 --seeds 1000 >out 2>err &
pid=$!
told=no
sleep 1
kill -INT "$pid" 2>/dev/null
wait "$pid"
ok "Ctrl-C" [ $? = 130 ]
ok "Ctrl-C says nothing on stderr" [ ! -s err ]
ok "Ctrl-C still reports" has 'Stopped by Ctrl-C' out

done_if_more_than 250
