#!/usr/bin/env python3
"""Breaks every formula of activations.def on purpose, one at a time, and wants a test to turn red each time.

    python3 tests/mutate_activations.py [--build DIR] [--jobs N] [--only NAME] [--list] [--equal]

Each value, slope and parameter slope of every block, and each function that blocks share, gets these mutants:

    sign        a result is negated; + becomes -, - becomes +, a minus sign goes
    constant    a result is 0.7; a number c becomes 1.01 c + 0.003; a parameter is another one
    zero        a result is 0
    kink        > becomes >=, <=, or its threshold moves by 0.03; likewise the other comparisons

A mutant is compiled for double and for the baseline instruction set, put before the library, and the tests of
activations run until one is red. Where the quick ones are green, its results are compared with those of the formula as
it is: value, slope and parameter slopes of every activation that it is part of, in both types, at 13 settings and some
3,000 numbers: a grid, all exponents, kinks and parameters with their neighbours, 0, infinities, NaN. With no difference
beyond rounding (a unit in the last place of a value; of a slope, or of 1) it is no mistake but another way to write the
formula, such as x >= 0 ? x : 0 for x > 0 ? x : 0, and is left out (--equal shows them). Otherwise the other tests must
turn red; if none does, the mutant is printed, with a number where it differs. Then the counts; exit status 1 if one was
not noticed. A quarter of an hour on two cores.
SPDX-License-Identifier: MIT
"""
import argparse
import array
import concurrent.futures
import ctypes
import math
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCKS, SHARED, MATH = "activations/activations.def", "activations/activation_kernels.c", "core/cpu/real_math.h"
# A mutant counts as noticed when one of them is red. Most are by the first.
QUICK = ["test_act_golden", "test_act_slopes", "test_act_special"]
OTHERS = ["test_activation", "test_act_random", "test_act_wide", "test_grad_activation", "test_act_accuracy",
          "test_act_learn", "test_act_training"]

SHARED_OBJECT = ["-O1", "-shared", "-fvisibility=default", "-lm"]

# --- finding formulas ---------------------------------------------------------------------------------------------

TOKEN = re.compile(r"""
    (?P<skip>/\*.*?\*/|^\#[^\n]*|\s+|0x[0-9A-Fa-f]+u)
  | (?P<number>HK_REAL\([^()]*\)|(?<![\w.])(?:0x[\da-fA-F.]+p[-+]?\d+|\d+\.?\d*(?:e[-+]?\d+)?)f?)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<op><=|>=|==|!=|&&|\|\||\+\+|--|->|[-+*/]=|[-+*/<>=?:!&|%;,(){}\[\].])
""", re.X | re.S | re.M)


class Token:
    def __init__(self, kind, text, start, index, loop):
        self.kind, self.text, self.start, self.end = kind, text, start, start + len(text)
        self.index, self.loop = index, loop  # inside [ ]; inside for ( )


def matching(text, at, pair):
    """Behind the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if depth == 0:
            return i + 1
    raise ValueError("unbalanced " + pair)


def tokens_of(text, start, end):
    out, index, loop_end, at = [], 0, -1, start
    while at < end:
        m = TOKEN.match(text, at, end)
        if not m:
            raise ValueError("cannot read " + text[at:at + 30])
        at = m.end()
        if m.lastgroup == "skip":
            continue
        word = m.group()
        if word == "for":
            loop_end = matching(text, text.index("(", at), "()")
        index += word == "["
        out.append(Token(m.lastgroup, word, m.start(), index > 0, m.start() < loop_end))
        index -= word == "]"
    return out


class Formula:
    """A function body: file, place, and what to call it."""
    def __init__(self, file, name, kind, start, end, n_params):
        self.file, self.name, self.kind, self.start, self.end, self.n_params = file, name, kind, start, end, n_params


def formulas(sources):
    kinds = {"VALUE": "value", "SLOPE": "slope", "PARAM_SLOPES": "parameter slopes"}
    out, text = [], sources[BLOCKS]
    n_params = {m[1]: int(m[2]) for m in re.finditer(r"^HK_ACTIVATION\((\w+), (\d+),", text, re.M)}
    for m in re.finditer(r"^HK_(VALUE|SLOPE|PARAM_SLOPES)\((\w+)\)\s*(?=\{)", text, re.M):
        out.append(Formula(BLOCKS, m[2], kinds[m[1]], m.end(), matching(text, m.end(), "{}"), n_params[m[2]]))
    if {f.name for f in out if f.kind == "value"} != set(n_params) or not n_params:
        sys.exit("activations.def does not read as expected")
    for file in (SHARED, MATH):
        for m in re.finditer(r"^static inline (?:hk_real|gate) (\w+)\([^)]*\)\s*(?=\{)", sources[file], re.M):
            out.append(Formula(file, m[1], "shared", m.end(), matching(sources[file], m.end(), "{}"), 1))
    return out


# --- breaking them ------------------------------------------------------------------------------------------------

TOGGLED = {">": ">=", ">=": ">", "<": "<=", "<=": "<", "==": "!=", "!=": "=="}
REVERSED = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}


def results(text, tokens):
    """(start, end) of every expression that is a result: behind return, and behind d[...] = ."""
    for i, t in enumerate(tokens):
        begin = None
        if t.text == "return" and tokens[i + 1].text != ";":
            begin = i + 1
        if t.text == "=" and tokens[i - 1].text == "]":
            k = i - 1
            while tokens[k].text != "[":
                k -= 1
            if tokens[k - 1].text == "d" and tokens[i + 1].text != "d":
                begin = i + 1
        if t.text == "=" and i >= 2 and tokens[i - 2].text == "*" and tokens[i - 3].text in ("{", ";", "}"):
            begin = i + 1  # *result = ...
        if begin is not None:
            end = next(k for k in range(begin, len(tokens)) if tokens[k].text == ";")
            yield tokens[begin].start, tokens[end - 1].end


def is_sign(tokens, i):
    """Whether the - at i stands before its only operand."""
    return tokens[i - 1].text in ("return", "(", ",", "=", "?", ":", "{") or tokens[i - 1].kind == "op" and \
        tokens[i - 1].text not in (")", "]")


def edits(f, text):
    """(kind, start, end, what to put there)"""
    tokens = tokens_of(text, f.start, f.end)
    for start, end in results(text, tokens):
        expression = text[start:end]
        yield "sign", start, end, "-(" + expression + ")"
        yield "zero", start, end, "0"
        yield "constant", start, end, "HK_REAL(0.7)"
    for i, t in enumerate(tokens):
        if t.loop:
            continue
        if t.kind == "number" and not t.index:
            zero = t.text == "0" or t.text == "HK_REAL(0.0)"
            put = "HK_REAL(0.003)" if zero else f"({t.text} * HK_REAL(1.01) + HK_REAL(0.003))"
            yield "constant", t.start, t.end, put
        if t.kind == "number" and tokens[i - 2].text == "p" and tokens[i + 1].text == "]" and f.n_params > 1:
            yield "constant", t.start, t.end, str((int(t.text) + 1) % f.n_params)
        if t.text in TOGGLED:
            yield "kink", t.start, t.end, TOGGLED[t.text]
        if t.text in REVERSED:
            yield "kink", t.start, t.end, REVERSED[t.text]
            yield "kink", t.start, t.end, t.text + " HK_REAL(0.03) +"
        if t.text in ("+", "-", "+=", "-=") and not t.index:
            if t.text == "-" and is_sign(tokens, i):
                yield "sign", t.start, t.end, ""
            else:
                yield "sign", t.start, t.end, t.text.translate(str.maketrans("+-", "-+"))


class Mutant:
    def __init__(self, f, kind, start, end, put, text):
        self.f, self.kind, self.start, self.end, self.put = f, kind, start, end, put
        line = text.count("\n", 0, start) + 1
        first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
        before, after = text[first:last], text[first:start] + put + text[end:last]
        self.where = f"{f.file}:{line}"
        squeeze = lambda s: " ".join(s.split())
        self.label = f"{f.name}, {f.kind}: {squeeze(before)} -> {squeeze(after)}"


def mutants_of(sources):
    out, seen = [], set()
    for f in formulas(sources):
        text = sources[f.file]
        for kind, start, end, put in edits(f, text):
            m = Mutant(f, kind, start, end, put, text)
            key = (f.file, text[:start] + put + text[end:])
            if key not in seen and text[start:end] != put:
                seen.add(key)
                out.append(m)
    return out


# --- running the tests on them ------------------------------------------------------------------------------------

class Workshop:
    """A build of the tests, and how to put two other objects into it."""
    def __init__(self, build, sources):
        self.build, self.sources = pathlib.Path(build), sources
        tests = QUICK + OTHERS
        configure = ["cmake", "-S", ROOT, "-B", self.build, "-G", "Ninja", "-DHILLOCK_EXAMPLES=OFF",
                     "-DCMAKE_C_FLAGS_RELEASE=-O1"]
        self.run(configure)
        self.run(["ninja", "-C", self.build, *tests])
        commands = self.run(["ninja", "-C", self.build, "-t", "commands", *tests]).stdout.splitlines()
        self.compile = {s: self.kernel_command(commands, s) for s in ("base", "f64", "avx2")}
        self.whole = self.build / "whole"
        self.whole.mkdir(exist_ok=True)
        self.objects(sources, self.whole, [s for s in self.compile if self.compile[s]], SHARED_OBJECT)
        self.link = {t: next(c for c in commands if f" -o tests/{t} " in c) for t in tests}

    @staticmethod
    def run(command, **more):
        p = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
        if p.returncode:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{(p.stdout + p.stderr)[-3000:]}")
        return p

    @staticmethod
    def kernel_command(commands, stamp):
        """Flags alone: the compiler and what it is told, without launcher, files and optimisation."""
        for c in commands:
            if f"hillock_{stamp}.dir/activations/activation_kernels.c.o" in c and " -c " in c:
                words = c.split(" -MD ")[0].split()
                start = 1 if "ccache" in words[0] else 0
                return [w for w in words[start:] if w not in ("-O1", "-Werror")] + ["-O0", "-w"]
        return None

    def objects(self, files, folder, stamps, more):
        """Compiles the kernels from these sources; None if they do not compile."""
        for name in (BLOCKS, SHARED, MATH):
            (folder / pathlib.Path(name).name).write_text(files[name])
        made = [str(folder / (stamp + ".o")) for stamp in stamps]
        for stamp, path in zip(stamps, made):
            command = self.compile[stamp] + more + [str(folder / "activation_kernels.c"), "-o", path]
            if subprocess.run(command, cwd=self.build, capture_output=True).returncode:
                return None
        return made

    def red(self, objects, folder, tests):
        """The first test that these objects turn red; None if all are green."""
        for test in tests:
            program = folder / test
            link = self.link[test].replace(f" -o tests/{test} ", f" -o {program} {' '.join(objects)} ")
            subprocess.run(link, shell=True, cwd=self.build, capture_output=True, check=True)
            try:
                done = subprocess.run([program], cwd=self.build, capture_output=True, timeout=300)
            except subprocess.TimeoutExpired:
                return test
            if done.returncode:
                return test
        return None

    def stamps(self, f):
        """Some lines of real_math.h exist only with FMA."""
        return ("base", "f64", "avx2") if f.file == MATH and self.compile["avx2"] else ("base", "f64")

    def try_mutant(self, m):
        """The mutant, the test that it turns red (or None, or ""), and what it changes if that is none."""
        with tempfile.TemporaryDirectory(dir=self.build) as name:
            folder, text, files = pathlib.Path(name), self.sources[m.f.file], dict(self.sources)
            files[m.f.file] = text[:m.start] + m.put + text[m.end:]
            objects = self.objects(files, folder, self.stamps(m.f), ["-c"])
            if objects is None:
                return m, "", None
            red = self.red(objects, folder, QUICK)
            difference = self.difference(m, files, folder) if red is None else None
            return m, self.red(objects, folder, OTHERS) if difference else red, difference

    def difference(self, m, files, folder):
        """Where the mutant's results differ from those of the formula as it is; None if nowhere."""
        stamps, rows = self.stamps(m.f), rows_of(self.sources[BLOCKS])
        (folder / "whole").mkdir()
        self.objects(files, folder / "whole", stamps, SHARED_OBJECT)
        for stamp in stamps:
            old = Kernels(self.whole / (stamp + ".o"), stamp, len(rows))
            new = Kernels(folder / "whole" / (stamp + ".o"), stamp, len(rows))
            for number, row in enumerate(rows):
                found = row.difference(number, old, new) if m.f.file != BLOCKS or row.name == m.f.name else None
                if found:
                    return f"{row.name} in {stamp}: {found}"
        return None


# --- comparing results ----------------------------------------------------------------------------------------------

class Kernels:
    """The table of kernels in a shared object."""
    def __init__(self, path, stamp, n_rows):
        self.code, self.size = ("d", 8) if stamp == "f64" else ("f", 4)
        self.library = ctypes.CDLL(str(path))
        kinds = ("plain_value", "plain_slope", "value", "slope", "param_slope", "learn")
        table = (ctypes.c_void_p * (len(kinds) * n_rows)).in_dll(self.library, "hk__activation_" + stamp)
        function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
        self.row = [{k: function(table[len(kinds) * r + i]) for i, k in enumerate(kinds) if table[len(kinds) * r + i]}
                    for r in range(n_rows)]

    def call(self, row, kind, operands, numbers):
        """What the kernel writes for these arrays."""
        out = array.array(self.code, bytes(self.size * len(operands[0])))
        arrays = [out, *operands]
        places = (ctypes.c_void_p * len(arrays))(*(a.buffer_info()[0] for a in arrays))
        numbers = array.array("d", numbers or [0])
        self.row[row][kind](len(out), ctypes.addressof(places), numbers.buffer_info()[0])
        return out

    def results(self, row, x, p):
        """Value, slope, and slopes by each parameter, everywhere."""
        xs, ones = array.array(self.code, x), array.array(self.code, [1] * len(x))
        ys = self.call(row, "plain_value", [xs], p)
        yield "f", ys
        yield "f'", self.call(row, "plain_slope", [ones, xs, ys], p)
        per = [array.array(self.code, [v] * len(x)) for v in p]
        for k in range(len(p)):
            yield f"the slope by parameter {k}", self.call(row, "param_slope", [ones, xs, ys, *per], [k])


class Row:
    """What settings a block may have, and where it may have kinks."""
    def __init__(self, text):
        self.name = re.match(r"HK_ACTIVATION\((\w+)", text)[1]
        number = lambda e: float(eval(e, {"HUGE_VAL": math.inf}))  # 1.0 / 8
        self.params = []  # default, least, number of words
        for m in re.finditer(r'\{"\w+", ([^{}]+)\}', text):
            fields = [f.strip() for f in m[1].split(",")]
            words = next((f.count("|") + 1 for f in fields if f.startswith(".words")), 0)
            self.params.append((number(fields[0]), 0.0 if words else number(fields[1]), words))
        self.whole = ".whole" in text
        self.ordered = ".ordered" in text
        kinks = re.search(r"\.kinks = \{([^}]*)\}", text)
        self.kinks = [float(k) for k in kinks[1].split(",")] if kinks else []
        if len(self.params) != int(re.match(r"HK_ACTIVATION\(\w+, (\d+)", text)[1]):
            sys.exit(f"the parameters of {self.name} do not read as expected")

    def settings(self):
        yield [p[0] for p in self.params]
        draw = random.Random(self.name)
        for i in range(12 if self.params else 0):
            p = []
            for value, low, words in self.params:
                v = i % words if words else value + draw.uniform(-1.5, 1.5)
                p.append(float(v) if low < 0 or words else abs(v) + 0.01)
            if self.whole:
                p[0] = float(1 + i % 5)
            if self.ordered:
                p[:2] = sorted(p[:2])
            yield p

    def numbers(self, p):
        special = [0.0, -0.0, math.inf, -math.inf, math.nan]
        edges = self.kinks + p + [-v for v in p] + [a / b for a in p for b in p if b]
        edges = [struct.unpack("f", struct.pack("f", e))[0] for e in edges]
        near = [e + k * math.ldexp(1, math.frexp(e)[1] - 24) for e in edges for k in range(-2, 3)]
        scales = [s * math.ldexp(m, e) for e in range(-140, 128) for m in (0.5, 0.8) for s in (1, -1)]
        out = special + edges + near + scales + [i / 128 for i in range(-1280, 1281)]
        return out + [0.0] * (-len(out) % 64)

    def difference(self, number, old, new):
        for p in self.settings():
            x = self.numbers(p)
            for (what, a), (_, b) in zip(old.results(number, x, p), new.results(number, x, p)):
                if a.tobytes() == b.tobytes():
                    continue
                unit, least = (2**-52, 2**-1022) if old.code == "d" else (2**-23, 2**-126)
                for at, u, v in zip(x, a, b):
                    allowed = unit * (abs(u) if what == "f" else max(1, abs(u))) + least
                    same = u == v or math.isnan(u) and math.isnan(v)
                    if not same and not (math.isfinite(u - v) and abs(u - v) <= allowed):
                        return f"{what} at x = {at:.9g}, parameters {p}, is {v:.9g}, not {u:.9g}"
        return None


def rows_of(text):
    return [Row(text[m.start():matching(text, text.index("(", m.start()), "()")])
            for m in re.finditer(r"^HK_ACTIVATION\(", text, re.M)]


def main():
    parser = argparse.ArgumentParser(description="Breaks every formula of activations.def, one at a time.")
    parser.add_argument("--build", help="folder to build in (a new one in /tmp)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time (all cores)")
    parser.add_argument("--only", help="of this activation alone")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--equal", action="store_true", help="print those that change no result")
    args = parser.parse_args()
    sources = {name: (ROOT / name).read_text() for name in (BLOCKS, SHARED, MATH)}
    mutants = [m for m in mutants_of(sources) if not args.only or m.f.name == args.only]
    if args.list:
        print("\n".join(m.label for m in mutants))
        return 0
    build = args.build or tempfile.mkdtemp()
    shop = Workshop(build, sources)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        folder = pathlib.Path(folder)
        red = shop.red(shop.objects(sources, folder, ("base", "f64"), ["-c"]), folder, QUICK + OTHERS)
        if red:
            sys.exit(f"red before anything was broken: {red}")
    alive, equal, broken, by_test, by_kind = 0, 0, 0, {}, {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for m, red, difference in pool.map(shop.try_mutant, mutants):
            if red == "":
                broken += 1
                continue
            if red is None and difference is None:
                equal += 1
                if args.equal:
                    print(f"changes nothing: {m.label}", flush=True)
                continue
            by_kind[m.kind] = by_kind.get(m.kind, 0) + 1
            if red is None:
                alive += 1
                print(f"NOT NOTICED: {m.label}\n    {difference}", flush=True)
            else:
                by_test[red] = by_test.get(red, 0) + 1
    if not args.build:
        shutil.rmtree(build)
    tried = sum(by_kind.values())
    print(f"{tried} mutants, {tried - alive} noticed, {alive} not noticed; {equal} more change no result, {broken} do "
          "not compile")
    print("of kind: " + ", ".join(f"{k} {n}" for k, n in sorted(by_kind.items())))
    print("noticed by: " + ", ".join(f"{t} {n}" for t, n in sorted(by_test.items(), key=lambda x: -x[1])))
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
