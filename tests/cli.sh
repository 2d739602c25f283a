# What the tests of programs share: running one, and checks of what it said. Sourced after `program` is set; the current
# folder is then an empty one of its own.
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
# wide OPTION...: exit code 0, nothing on stderr. good: and lines that fit.
wide() {
    run "$@"
    ok "exit code of $*" [ "$code" = 0 ]
    ok "nothing on stderr for $*" [ ! -s err ]
}
good() {
    wide "$@"
    ok "80 columns for $*" [ -z "$(grep -vF "$program" out | awk 'length($0) > 80')" ]
}
# refused NAME CULPRIT OPTION...: exit code 2, and one line on stderr that has the program's name and the culprit.
refused() {
    called=$1
    culprit=$2
    shift 2
    run "$@"
    ok "exit code of $*" [ "$code" = 2 ]
    ok "one line for $*" [ "$(lines err)" = 1 ]
    ok "the culprit of $*" has "$culprit" err
    ok "the program's name for $*" has "$called" err
}
bad() { refused "$(basename "$program"): " "$@"; }
# done_if_more_than N: the verdict; a test that stopped checking half way has failed too.
done_if_more_than() {
    echo "$checks checks, $failures failed"
    [ "$failures" = 0 ] && [ "$checks" -gt "$1" ]
}
