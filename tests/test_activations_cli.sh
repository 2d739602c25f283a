#!/bin/sh
# ctest: labels=unit timeout=120
# What a user of activations meets at the command line: help, list, eval, plot, bench, bad input.
# Usage: test_activations_cli.sh PROGRAM
# SPDX-License-Identifier: MIT
set -u
program=$1
. "$(dirname "$0")/cli.sh"
# Unlike those of training programs, its tables may be wider than 80 columns, and bad input leaves stdout empty.
good() { wide "$@"; }
bad() {
    refused "$(basename "$program")" "$@"
    ok "nothing on stdout for $*" [ ! -s out ]
}

# --- help -----------------------------------------------------------------------------------------------------

good
cp out alone
good --help
ok "--help is what the program alone says" cmp -s out alone
for word in list eval table plot bench examples 'gelu'; do ok "--help shows $word" has "$word" out; done
for command in list eval plot bench; do
    good $command --help
    ok "$command --help: usage" has "$(basename "$program") $command" out
    ok "$command --help: examples" has 'examples:' out
    ok "$command --help: 95 columns" [ -z "$(grep -vF "$program" out | awk 'length($0) > 95')" ]
done
good plot --help
for word in '[NAME...]' --out --range --points --overlay --vary 'default: -5:5'; do
    ok "plot --help shows $word" has "$word" out
done
good bench --help
for word in --shape --runs --warmup --threads --json --csv; do ok "bench --help shows $word" has "$word" out; done
bad "unknown subcommand 'plto'; there are: list, eval" plto
bad "unknown subcommand '--list'" --list

# --- list -----------------------------------------------------------------------------------------------------

good list --names
cp out names
ok "enough names" [ "$(lines names)" -ge 40 ]
ok "a name a line" [ "$(grep -cE '^[a-z0-9_]+$' names)" = "$(lines names)" ]
good list
ok "list: 100 columns" [ -z "$(awk 'length($0) > 100' out)" ]
while read -r name; do ok "list shows $name" grep -qE "^$name " out; done <names
ok "list: what backward keeps" grep -qE '^sigmoid +y ' out
ok "list: and nothing" grep -qE '^identity +nothing ' out
ok "list: a formula" grep -qE '^gelu +x +x Phi\(x\)$' out
ok "list: a parameter" has 'learned: alpha=0.25' out
ok "list: a range" has 'alpha=1 (above 0)' out
ok "list: words" has 'none|identity|clip|sigmoid' out
ok "list: an alias" has 'also named custom' out
bad 'unexpected argument gelu' list gelu
bad 'unknown option --nams (did you mean --names?' list --nams
bad '--names=yes' list --names=yes

# --- eval -----------------------------------------------------------------------------------------------------

# near COLUMN EXPECTED [ROW]: the number in the last run's output, within 2e-6 of its size.
near() {
    awk -v column="$1" -v expected="$2" -v row="${3:-1}" 'NR == row + 1 {
        error = $column - expected
        bound = 2e-6 * (expected < 0 ? -expected : expected) + 1e-9
        if (error < 0) error = -error
        found = $column ~ /^[-+0-9.e]+$/ && error <= bound
    } END { exit !found }' out
}
is() { [ "$(awk -v column="$1" -v row="${3:-1}" 'NR == row + 1 { print $column }' out)" = "$2" ]; }

good eval gelu -1 0 0.5 inf -inf nan
ok "a header and a line for each number" [ "$(lines out)" = 7 ]
ok "the header" grep -qE "^ *x +f +f'$" out
ok "gelu(-1)" near 2 -0.158655253931457
ok "gelu'(-1)" near 3 -0.0833154705876863
ok "gelu'(0)" near 3 0.5 2
ok "gelu(0.5)" near 2 0.345731230637 3
ok "gelu(inf)" is 2 inf 4
ok "gelu'(inf)" is 3 1 4
ok "gelu'(-inf)" is 3 0 5
ok "gelu(nan)" is 2 nan 6
good eval tanh 1
ok "tanh(1)" near 2 0.761594155955765
ok "tanh'(1)" near 3 0.419974341614026
good eval mish 2
ok "mish(2)" near 2 1.943958959533970
good eval identity 0.1 -0 1e-3 0x1p-20
ok "x as the float that it is, in 9 digits" is 1 0.100000001
ok "f is the same" is 2 0.100000001
ok "-0" is 1 -0 2
ok "a power" is 1 0.00100000005 3
ok "a hexadecimal number" is 1 9.53674316e-07 4
good eval prelu:alpha=0.1 -2 3
ok "prelu's header" grep -qE "f' +df/dalpha$" out
ok "prelu" near 2 -0.2
ok "prelu'" near 3 0.1
ok "by alpha" is 4 -2
ok "by alpha, right of 0" is 4 0 2
good eval swish:beta=2 1
ok "swish" near 2 0.880797077977882
ok "by beta" near 4 0.104993585403507
good eval swish_skip 1
ok "two parameters in order" grep -qE 'df/dalpha +df/dbeta$' out
good eval custom 1
ok "by its other name" is 4 1
good eval elu:alpha=2 -1
ok "a parameter that can learn" near 4 -0.632120558828558
good eval apl 0.3
ok "hinges that exist" grep -qE 'df/da1 +df/da2 +df/db1 +df/db2$' out
good eval pau 1
ok "all of pau" [ "$(awk 'NR == 2 { print NF }' out)" = 13 ]
good eval relu:at_zero=0.5 0 -0
ok "the slope at 0" is 3 0.5
ok "and at -0" is 3 0.5 2
good eval step:ste=identity 0 -1
ok "step at 0" is 2 1
ok "step's stand-in" is 3 1 2
run eval step 0
ok "step without a slope" [ "$code" = 0 ]
ok "says so" has 'step:ste=identity|clip|sigmoid' err
ok "and shows none" is 3 -
good eval mix:relu+tanh -1 1
ok "a mixture's logits" grep -qE 'df/dlogits\[0\] +df/dlogits\[1\]$' out
ok "by its weights" near 4 0.132383909
good eval mix:relu+leaky_relu,negative_slope=0.3 1
ok "a candidate with a setting" near 2 1.04209518
good eval softmax 1 2 3
ok "softmax" near 3 0.0900305731703805
ok "its derivatives" near 4 0.0819250690515
ok "across" near 5 -0.0220330445
good eval glu 1 2 3 4
ok "glu" near 3 0.952574126822433
ok "by the gate" near 4 0.0451766597 3
ok "no third output" is 3 - 3
good eval maxout:k=3 1 5 5
ok "maxout" is 3 5
ok "the first of a tie" is 4 1 2
ok "not the second" is 4 0 3
while read -r name; do
    run eval "$name" 0.5 -0.5
    case $name in
        dyrelu_a | dyrelu_b | meta_acon | frelu | mix) ok "eval $name is refused" [ "$code" = 2 ] ;;
        *) ok "eval $name" [ "$code" = 0 ] ;;
    esac
done <names
bad "'1x' is not a number" eval gelu 1x
bad "'' is not a number" eval gelu ''
bad "'--help' is not a number" eval gelu 1 --help
bad '1e39 is beyond float32' eval gelu 1e39
bad 'a NAME is needed' eval
bad 'at least one number' eval gelu
bad "unknown activation 'gelo'; there are: identity" eval gelo 1
bad "swish has no setting 'gamma=1'" eval swish:gamma=1 1
bad 'alpha must be a number above 0' eval elu:alpha=0 1
bad 'dyrelu_a is a small network' eval dyrelu_a 1
bad '(it starts as relu)' eval dyrelu_a 1
bad 'frelu is a small network with weights of its own, so it has no values without training' eval frelu 1
bad 'not a multiple of 2' eval maxout 1 2 3

# --- plot -----------------------------------------------------------------------------------------------------

# block FILE I: block I of a data file; 0 f, 1 its jumps, 2 f', 3 its jumps.
block() { awk -v want="$2" '/^#/ { next } NF == 0 { blank++; next } blank > 1 { at++ } { if (blank == 1 && at == want && NR > 1) print ""; blank = 0; if (at == want) print }' "$1"; }
# steepest FILE I: the largest difference between neighbours on one line.
steepest() {
    block "$1" "$2" | awk 'NF == 0 { have = 0; next }
        { d = have ? $2 - last : 0; if (d < 0) d = -d; if (d > most) most = d; last = $2; have = 1 } END { print most + 0 }'
}
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }
gaps() { block "$1" "$2" | grep -c '^$'; }
# drawn NAME: both pictures, complete.
drawn() {
    [ "$(head -c 4 "$1.png" | tail -c 3)" = PNG ] && [ "$(tail -n 3 "$1.svg" | grep -cF '</svg>')" = 1 ]
}

mkdir empty
told=no
env PATH="$work/empty" "$program" plot relu,hard_swish,tanh,swish:beta=100 --out no/gnuplot --points 100 >out 2>err
code=$?
ok "without gnuplot: exit code 1" [ "$code" = 1 ]
ok "without gnuplot: one line" [ "$(lines err)" = 1 ]
ok "without gnuplot: what is missing" has 'gnuplot is not installed' err
ok "without gnuplot: what to do" has 'cd no/gnuplot && gnuplot plot.gp' err
ok "the script is left" has "set output 'relu.svg'" no/gnuplot/plot.gp
for name in relu hard_swish tanh swish_beta=100; do ok "data of $name" [ -s "no/gnuplot/data/$name.dat" ]; done
data=no/gnuplot/data
ok "relu' jumps" [ "$(gaps $data/relu.dat 2)" = 1 ]
ok "relu' is flat on either side" at_most "$(steepest $data/relu.dat 2)" 0
ok "relu itself does not jump" [ "$(gaps $data/relu.dat 0)" = 0 ]
ok "relu'(0) = 0 is the closed end" [ "$(block $data/relu.dat 3 | head -n 4 | awk '{ printf "%s/%s ", $2, $3 }')" = '0/1 1/0 ' ]
ok "hard_swish' jumps twice" [ "$(gaps $data/hard_swish.dat 2)" = 2 ]
ok "at 3" [ "$(block $data/hard_swish.dat 3 | head -n 9 | awk '$3 == 1 { printf "%s ", $1 }')" = '-3 3 ' ]
ok "tanh' does not" [ "$(gaps $data/tanh.dat 2)" = 0 ]
ok "a steep slope is not a jump" [ "$(gaps $data/swish_beta=100.dat 2)" = 0 ]
ok "and gets more points" at_most "$(steepest $data/swish_beta=100.dat 2)" 0.01

if command -v gnuplot >/dev/null 2>&1; then
    good plot relu mish,softplus:threshold=1 --out these --range -3:3 --points 200
    ok "said what it did" has '4 pictures in these' out
    for name in grid relu mish softplus_threshold=1; do ok "picture $name" drawn these/$name; done
    ok "the range" has 'set xrange [-3:3]' these/data/relu.gp
    ok "the ends of the range" [ "$(block these/data/mish.dat 0 | sed -n '1s/ .*//p;$s/ .*//p' | tr '\n' ' ')" = '-3 3 ' ]
    ok "a formula" has "'f(x) = x tanh(log(1 + exp(x)))'" these/data/mish.gp
    ok "Greek" has "β x" these/data/softplus_threshold=1.gp
    good plot --overlay=relu,gelu,mix:relu+elu,alpha=2 --out together --points 200
    ok "overlay" drawn together/overlay
    ok "overlay alone" [ ! -e together/relu.svg ]
    ok "a legend" has "'mix:relu+elu,alpha=2'" together/data/overlay.gp
    good plot swish --vary beta=0.1,1,10 --out varied --points 200
    ok "a family" drawn varied/swish-beta
    ok "its legend" has "'β = 0.1'" varied/data/swish-beta.gp
    ok "its colours" [ "$(grep -oE "lines lc rgb '#[0-9a-f]{6}'" varied/data/swish-beta.gp | sort -u | lines /dev/stdin)" = 3 ]
    good plot step --out steps --points 50
    ok "no slope, and a picture" drawn steps/step
    good plot --out all --points 20
    ok "all in grids" drawn all/grid-3
    ok "and a page for each" drawn all/swish_skip
    rm all/gelu.png
    ok "the script draws again" sh -c 'cd all && gnuplot plot.gp'
    ok "what was lost" drawn all/gelu
    printf '#!/bin/sh\nexit 3\n' >empty/gnuplot
    chmod +x empty/gnuplot
    env PATH="$work/empty:$PATH" "$program" plot relu --out broken --points 20 >out 2>err
    ok "gnuplot that fails" [ $? = 1 ]
    ok "says so" has 'gnuplot failed' err
    rm empty/gnuplot
else
    echo "no gnuplot here: its pictures were not tested"
fi
rm -rf plots
bad "unknown activation 'gelo'" plot relu,gelo
bad 'softmax has no curve: it is a function of a row' plot softmax
bad 'meta_acon has no curve: it is a small network' plot --overlay relu,meta_acon
bad 'frelu has no curve: it is a small network' plot frelu
bad '--range 5:-5: must be two numbers' plot --range 5:-5
bad '--range 5' plot --range 5
bad '--range 0:x' plot --range 0:x
bad '--range 0:inf' plot --range 0:inf
bad '--points 1: must be a whole number from 2' plot --points 1
bad '--vary beta: must be a parameter and its values' plot swish --vary beta
bad 'of which activation?' plot --vary beta=1
bad "gelu has no setting 'beta=1'" plot gelu --vary beta=1
bad "beta must be a number, not 'x'" plot swish --vary beta=1,x
bad 'unknown option --ranges' plot --ranges 1
bad '--out needs a value' plot --out
bad 'at most 16 names' plot --overlay a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q
bad 'at most 16 values' plot swish --vary beta=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
ok "bad input leaves no folder" [ ! -e plots ]
: >file
bad 'cannot write file' plot relu --out file
bad 'cannot write file/below' plot relu --out file/below

# --- bench ----------------------------------------------------------------------------------------------------

good bench relu tanh,mix:relu+elu,alpha=0.5 step --shape 64x50 --runs 4 --warmup 1 --threads 1
for word in '64x50 floats (3200), 1 thread' 'copy' 'triad' 'forward' 'backward, given' 'forward and backward' \
    'quartiles' 'median' 'GB/s' 'mix:relu+elu,alpha=0.5'; do
    ok "bench shows $word" has "$word" out
done
ok "three tables" [ "$(grep -c '^relu ' out)" = 3 ]
ok "no backward of step" [ "$(grep -cE '^step +-$' out)" = 2 ]
ok "no bar in a file" [ -z "$(tr -cd '\r\033' <out)$(tr -cd '\r\033' <err)" ]

good bench relu gelu,prelu:per=channel mix:relu+elu,alpha=0.5 softmax glu dyrelu_a step --shape 40x30 --runs 5 --csv
ok "csv: a line for each pass" [ "$(lines out)" = $((1 + 4 + 3 * 8)) ]
sed 's/"[^"]*"/quoted/' out >plain
ok "csv: nine fields" [ -z "$(awk -F, 'NF != 9' plain)" ]
ok "csv: memory" [ "$(grep -c '^(memory),' plain)" = 4 ]
ok "csv: positive" [ -z "$(awk -F, 'NR > 1 && $3 != "" && !($3 > 0 && $8 > 0)' plain)" ]
ok "csv: quartiles about the median" [ -z "$(awk -F, 'NR > 1 && $3 != "" && !($6 <= $5 && $5 <= $7)' plain)" ]
ok "csv: sorted by forward" [ -z "$(awk -F, '$2 == "forward" { if ($5 + 0 < last) print; last = $5 + 0 }' plain)" ]
ok "csv: 8 bytes an element" [ "$(awk -F, '$1 == "relu" && $2 == "forward" { printf "%d", $8 * $5 * 1000 / 1200 + 0.5 }' plain)" = 8 ]
ok "csv: 12 backward" [ "$(awk -F, '$1 == "relu" && $2 == "backward" { printf "%d", $8 * $5 * 1000 / 1200 + 0.5 }' plain)" = 12 ]
ok "csv: glu reads twice what it writes" \
    [ "$(awk -F, '$1 == "glu" && $2 == "forward" { printf "%d", $8 * $5 * 1000 / 1200 + 0.5 }' plain)" = 6 ]
awk -F, '$1 == "(memory)" { if ($2 ~ /copy/ && $8 > copy) copy = $8 } $1 == "relu" && $2 == "forward" { print $8 / copy / $9 }' plain >ratio
ok "csv: the share is of the faster copy" at_most 0.999 "$(cat ratio)"
ok "csv: and not of less" at_most "$(cat ratio)" 1.001
ok "csv: no backward of step" has 'step,backward,,,,,,,' plain

good bench relu,step --shape 1000 --runs 3 --json --threads 2
ok "json: one line" [ "$(lines out)" = 1 ]
ok "json: an object" grep -qE '^\{"program":.*\}$' out
for word in '"shape":"1000"' '"elements":1000' '"threads":2' '"runs":3' '"isa":"' '"copy_plain":{' '"triad_plain":{' \
    '"step":{"forward":{' '"backward":null' '"share":'; do
    ok "json has $word" has "$word" out
done
if command -v python3 >/dev/null 2>&1; then
    ok "json parses" python3 -c '
import json
r = json.load(open("out"))
f = r["results"]["relu"]["forward"]
assert r["results"]["step"]["both"] is None
assert 0 < f["q1_us"] <= f["median_us"] <= f["q3_us"] and f["gb_per_s"] > 0 and f["sd_us"] >= 0
'
fi
good bench --shape 7x6 --runs 1 --warmup 0 --csv --isa base
for name in identity gelu pau softmax glu maxout; do ok "all: $name" has "$name,both," out; done
ok "all, but for networks" [ -z "$(grep -E '^(dyrelu|meta|mix)' out)" ]
good bench --shape 6x7 --runs 1 --csv
ok "what does not divide is left out" [ -z "$(grep -E '^(maxout|glu)' out)" ]
bad "unknown activation 'relo'" bench relu,relo
for shape in 10x 0x3 x 3,4 -1 1x1x1x1x1x1x1 100000x100000; do bad "--shape $shape" bench relu --shape $shape; done
bad '--runs 0' bench relu --runs 0
bad '--warmup -1' bench relu --warmup -1
bad '--threads x' bench relu --threads x
bad 'choose one' bench relu --json --csv
bad 'not a multiple of 2' bench maxout --shape 3x3
bad "unknown instruction set 'avx9'" bench relu --isa avx9
bad 'unknown option --bogus' bench --bogus

done_if_more_than 400
