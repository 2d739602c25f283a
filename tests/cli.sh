# What the tests of training programs share: checks, and a small data set. Sourced by test_cli.sh and test_cnn_cli.sh, which
# set `program` first; the current folder is then an empty one of its own.
# SPDX-License-Identifier: MIT
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0
failures=0
told=no

# ok WHAT COMMAND...: counts a check, and shows what the program said when the first of a run fails.
ok() {
    what=$1
    shift
    checks=$((checks + 1))
    "$@" && return
    failures=$((failures + 1))
    echo "FAILED: $what ($*)"
    [ "$told" = yes ] && return
    told=yes
    sed 's/^/    stderr: /' err
    tail -n 5 out | sed 's/^/    stdout: /'
}
lines() { wc -l <"$1" | tr -d ' '; }
has() { grep -qF -- "$1" "$2"; }
run() {
    told=no
    "$program" "$@" >out 2>err
    code=$?
}
# good OPTION...: exit code 0, nothing on stderr, and lines that fit.
good() {
    run "$@"
    ok "exit code of $*" [ "$code" = 0 ]
    ok "nothing on stderr for $*" [ ! -s err ]
    ok "80 columns for $*" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
}
# bad CULPRIT OPTION...: exit code 2, and one line on stderr that names the culprit.
bad() {
    culprit=$1
    shift
    run "$@"
    ok "exit code of $*" [ "$code" = 2 ]
    ok "one line for $*" [ "$(lines err)" = 1 ]
    ok "the culprit of $*" has "$culprit" err
    ok "the program's name for $*" has "$(basename "$program"): " err
}
# done_if_more_than N: the verdict; a test that stopped checking half way has failed too.
done_if_more_than() {
    echo "$checks checks, $failures failed"
    [ "$failures" = 0 ] && [ "$checks" -gt "$1" ]
}

# --- a small data set: the first items of MNIST, raw and gzipped ---------------------------------------------

# images FILE COUNT COUNT_IN_OCTAL_BYTES: cut from FILE, with the header's count set.
images() {
    # shellcheck disable=SC2059 # the count stands in the format on purpose
    printf '\000\000\010\003\000\000'"$3"'\000\000\000\034\000\000\000\034'
    gzip -dc "$source/data/mnist/$1-images-idx3-ubyte.gz" 2>/dev/null | tail -c +17 | head -c $(($2 * 784))
}
labels() {
    # shellcheck disable=SC2059
    printf '\000\000\010\001\000\000'"$3"
    gzip -dc "$source/data/mnist/$1-labels-idx1-ubyte.gz" 2>/dev/null | tail -c +9 | head -c "$2"
}
mkdir tiny
images train 256 '\001\000' >tiny/train-images-idx3-ubyte
labels train 256 '\001\000' >tiny/train-labels-idx1-ubyte
images t10k 128 '\000\200' | gzip >tiny/t10k-images-idx3-ubyte.gz
labels t10k 128 '\000\200' | gzip >tiny/t10k-labels-idx1-ubyte.gz
