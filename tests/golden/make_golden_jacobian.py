#!/usr/bin/env python3
"""make_golden_jacobian.py: writes singular.txt with NumPy and mean_field.txt with mpmath.
SPDX-License-Identifier: MIT

    python3 tests/golden/make_golden_jacobian.py            # rewrites the files beside this script
    python3 tests/golden/make_golden_jacobian.py --out DIR  # or elsewhere, to compare

Singular values of the Hilbert matrix, whose smallest lie below what float64 resolves, and all of mean_field.txt come
from arithmetic with 30 digits or more.
"""

import argparse
import os

import mpmath as mp
import numpy as np

FORMAT = """\
Made by tests/golden/make_golden_jacobian.py with {maker}. Do not edit.
Format: lines that start with # are comments; every other line is one tensor:
    name rank dim[0] ... dim[rank-1] value[0] ... value[count-1]
separated by single spaces, row-major, written with %.17g (exact in float64).

{comment}"""


def save(path, maker, comment, entries):
    lines = [("# " + line).rstrip() for line in FORMAT.format(maker=maker, comment=comment).splitlines()]
    for name, value in entries:
        value = np.asarray(value, dtype=np.float64)
        words = [name, str(value.ndim)] + [str(d) for d in value.shape]
        lines.append(" ".join(words + ["%.17g" % v for v in value.reshape(-1)]))
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")
    print(path, len(lines))


# --- singular values ---------------------------------------------------------------------------


def matrices():
    rng = np.random.default_rng(5)
    for rows, cols in [(1, 1), (2, 3), (3, 2), (7, 7), (13, 5), (5, 13), (16, 24), (24, 16), (30, 30)]:
        yield "random_%dx%d" % (rows, cols), rng.integers(-256, 257, (rows, cols)) / 256
    low = rng.integers(-64, 65, (12, 4)) @ rng.integers(-64, 65, (4, 9)) / 4096
    yield "rank_4_of_12x9", low
    yield "repeated_columns", np.repeat(rng.integers(-256, 257, (8, 3)) / 256, 3, axis=1)


def singular():
    entries = []
    for name, a in matrices():
        entries += [(name + ".a", a), (name + ".s", np.linalg.svd(a, compute_uv=False))]
    mp.mp.dps = 50
    for n in (5, 10):
        values = mp.eigsy(mp.hilbert(n), eigvals_only=True)  # positive definite: these are its singular values
        entries.append(("hilbert_%d.s" % n, [float(v) for v in sorted(values, reverse=True)]))
    return entries


# --- mean field --------------------------------------------------------------------------------

half = mp.mpf(1) / 2


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return max(x, mp.mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def normal(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def density(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def mish_slope(x):
    t = mp.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


SELU, LAMBDA = mp.mpf("1.6732632423543772"), mp.mpf("1.0507009873554805")

# name: f, f', kinks
FUNCTIONS = {
    "relu": (lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0), [0]),
    "leaky_relu:negative_slope=0.2": (lambda x: x if x > 0 else x / 5, lambda x: mp.mpf(1 if x > 0 else mp.mpf(1) / 5), [0]),
    "relu6": (lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)), lambda x: mp.mpf(0 < x < 6), [0, 6]),
    "hard_tanh": (lambda x: min(max(x, mp.mpf(-1)), mp.mpf(1)), lambda x: mp.mpf(-1 < x < 1), [-1, 1]),
    "tanh": (mp.tanh, lambda x: 1 - mp.tanh(x) ** 2, []),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x), []),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, [0]),
    "elu": (lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.mpf(1) if x > 0 else mp.exp(x), [0]),
    "selu": (
        lambda x: LAMBDA * (x if x > 0 else SELU * mp.expm1(x)),
        lambda x: LAMBDA * (1 if x > 0 else SELU * mp.exp(x)),
        [0],
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x)), []),
    "gelu": (lambda x: x * normal(x), lambda x: normal(x) + x * density(x), []),
    "mish": (lambda x: x * mp.tanh(softplus(x)), mish_slope, []),
    "hard_swish": (
        lambda x: x * min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6,
        lambda x: mp.mpf(0) if x < -3 else mp.mpf(1) if x > 3 else (2 * x + 3) / 6,
        [-3, 3],
    ),
    "swish_skip:alpha=0.1:beta=1": (
        lambda x: x / 10 + x * sigmoid(x),
        lambda x: mp.mpf(1) / 10 + sigmoid(x) * (1 + x * sigmoid(-x)),
        [],
    ),
}
LENGTHS = ["1e-6", "0.01", "0.3", "1", "2.5", "40", "10000", "100000000"]


def borders(kinks, root):
    """The activation acts at fixed x, the density at fixed z."""
    at = {mp.mpf(z) for z in (-14, -8, -5, -3, -2, -1, 0, 1, 2, 3, 5, 8, 14)}
    for k in range(-3, 7):
        at |= {2 ** k / root, -(2 ** k) / root}
    at |= {kink / root for kink in kinks}
    return sorted(z for z in at if abs(z) <= 14)


def expect(f, kinks, q):
    root = mp.sqrt(q)
    return mp.quad(lambda z: f(root * z) ** 2 * density(z), borders(kinks, root))


def mean_field():
    mp.mp.dps = 30
    entries = [("q", [float(q) for q in LENGTHS])]
    for name, (f, slope, kinks) in FUNCTIONS.items():
        print(name, flush=True)
        entries.append((name + ".signal", [float(expect(f, kinks, mp.mpf(float(q)))) for q in LENGTHS]))
        entries.append((name + ".slope", [float(expect(slope, kinks, mp.mpf(float(q)))) for q in LENGTHS]))
    return entries


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    out = parser.parse_args().out
    save(os.path.join(out, "singular.txt"), "NumPy " + np.__version__ + " and mpmath " + mp.__version__,
         "NAME.a: a matrix; NAME.s: its singular values, falling. Hilbert matrices have no NAME.a: a[i][j] = 1/(i + j + 1).",
         singular())
    save(os.path.join(out, "mean_field.txt"), "mpmath " + mp.__version__ + ", 30 digits",
         "NAME.signal: E f(sqrt(q) z)^2, NAME.slope: E f'(sqrt(q) z)^2, z ~ N(0, 1), at each q.", mean_field())


if __name__ == "__main__":
    main()
