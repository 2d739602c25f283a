#!/usr/bin/env python3
"""products.py: the time of an epoch's products alone, by the better of OpenBLAS and oneDNN.
SPDX-License-Identifier: MIT

    python3 tests/bench/products.py --hidden 512-256 --batch 128 [--venv DIR]
    python3 tests/bench/products.py --model lenet

For every product of a training step (forward, gradient of the weights, and gradient of the input
except in the first layer) the fastest of OpenBLAS and oneDNN, each with one and with two threads,
counts: no program that trains by calling these libraries can be faster. A convolution is oneDNN's
own, or the products of OpenBLAS that do its arithmetic, without the copies that they need.
"""

import argparse
import glob
import os
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ONEDNN = "onednn-devel-cpu-gomp==2023.2.0"  # oneDNN 3.2 with headers, built for GNU OpenMP
IMAGES = 60000
# Convolutions (input channels, size, output channels, kernel; the size stays), widths of the rest.
CNNS = {
    "small": ([(1, 28, 8, 3), (8, 14, 16, 3)], [16 * 7 * 7, 10]),
    "lenet": ([(1, 28, 32, 5), (32, 14, 64, 5)], [64 * 7 * 7, 512, 10]),
}


def linear_shapes(widths, batch, first=True):
    """The products of one step as M,N,K,tt specifications; equal ones may appear twice.

    first: no layer is before these, so nobody needs the gradient of their input.
    """
    out = []
    for k in range(len(widths) - 1):
        n_in, n_out = widths[k], widths[k + 1]
        out.append("%d,%d,%d,nt" % (batch, n_out, n_in))  # y = x wT
        out.append("%d,%d,%d,tn" % (n_out, n_in, batch))  # dw = dyT x
        if k or not first:
            out.append("%d,%d,%d,nn" % (batch, n_in, n_out))  # dx = dy w
    return out


def cnn_shapes(model, batch):
    """The same of a network with convolutions: conv:BATCH,IN,SIZE,OUT,KERNEL,PADDING,PASS."""
    convolutions, widths = CNNS[model]
    out = []
    for i, (n_in, size, n_out, kernel) in enumerate(convolutions):
        spec = "conv:%d,%d,%d,%d,%d,%d," % (batch, n_in, size, n_out, kernel, kernel // 2)
        out += [spec + "f", spec + "w"] + ([spec + "d"] if i else [])
    return out + linear_shapes(widths, batch, first=False)


def operations(spec):
    """Two for each multiplication and addition."""
    if not spec.startswith("conv:"):
        m, n, k = (int(v) for v in spec.split(",")[:3])
        return 2 * m * n * k
    n, n_in, size, n_out, kernel, padding = (int(v) for v in spec[5:].split(",")[:6])
    out = size + 2 * padding - kernel + 1
    return 2 * n * n_in * n_out * out * out * kernel * kernel


def build(folder, venv, log=print):
    """Compiles products.c once per library. Returns {library: program}."""
    source = os.path.join(HERE, "products.c")
    base = ["cc", "-std=gnu11", "-O2", source, "-o"]
    programs = {}
    blas = os.path.join(folder, "products_openblas")
    subprocess.run(base + [blas, "-lopenblas", "-pthread"], check=True)
    programs["OpenBLAS"] = blas
    if venv:
        header = os.path.join(venv, "include", "dnnl.h")
        if not os.path.exists(header):
            log("installing %s into %s" % (ONEDNN, venv))
            pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "-q", ONEDNN]
            subprocess.run(pip, check=False)
        libs = glob.glob(os.path.join(venv, "lib", "libdnnl.so"))
        if os.path.exists(header) and libs:
            lib = os.path.dirname(libs[0])
            dnnl = os.path.join(folder, "products_onednn")
            flags = ["-DWITH_ONEDNN", "-I" + os.path.join(venv, "include"), "-L" + lib]
            flags += ["-ldnnl", "-Wl,-rpath," + lib]
            subprocess.run(base + [dnnl] + flags, check=True)
            programs["oneDNN"] = dnnl
    if "oneDNN" not in programs:
        log("no oneDNN: the products are timed by OpenBLAS alone")
    return programs


def environment(library, threads):
    return {
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads if library == "oneDNN" else 1),
    }


def parse(text):
    """Output of products.c to (library name, {specification: seconds})."""
    lines = [line.split() for line in text.splitlines()]
    return lines[0][1], {spec: float(seconds) for spec, seconds in lines[1:]}


def epoch_seconds(runs, specs, steps):
    """runs: {way: [{spec: seconds}, ...]}. Takes each product's best way by the median of its runs.

    Returns the seconds of an epoch, those per way used throughout, and the way each product took.
    """
    medians = {
        way: {spec: statistics.median(r[spec] for r in rounds) for spec in rounds[0]}
        for way, rounds in runs.items()
    }
    chosen = {spec: min(medians, key=lambda way: medians[way][spec]) for spec in specs}
    best = steps * sum(medians[chosen[spec]][spec] for spec in specs)
    each = {way: steps * sum(m[spec] for spec in specs) for way, m in medians.items()}
    return best, each, chosen


def main():
    ap = argparse.ArgumentParser(description="Times the products of an epoch alone.")
    ap.add_argument("--hidden", default="128", help="of a multi-layer perceptron (%(default)s)")
    ap.add_argument("--model", choices=list(CNNS), help="instead: a network with convolutions")
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--venv", default="/tmp/hillock-bench-venv")
    ap.add_argument(
        "--coretype", default="SkylakeX", help="OPENBLAS_CORETYPE; empty leaves it unset"
    )
    args = ap.parse_args()
    if args.model:
        shapes = cnn_shapes(args.model, args.batch)
    else:
        widths = [784] + [int(v) for v in args.hidden.split("-")] + [10]
        shapes = linear_shapes(widths, args.batch)
    folder = os.path.join("/tmp", "hillock-bench-%d" % os.getuid())
    os.makedirs(folder, exist_ok=True)
    programs = build(folder, args.venv)
    specs = sorted(set(shapes))
    runs = {}
    for _ in range(args.rounds):
        for library, program in programs.items():
            for threads in (1, 2):
                env = dict(os.environ, **environment(library, threads))
                if args.coretype:
                    env["OPENBLAS_CORETYPE"] = args.coretype
                out = subprocess.run([program] + specs, env=env, check=True, stdout=subprocess.PIPE)
                name, seconds = parse(out.stdout.decode())
                runs.setdefault("%s, %d threads" % (name, threads), []).append(seconds)
    best, each, chosen = epoch_seconds(runs, shapes, IMAGES / args.batch)
    for spec in shapes:
        seconds = statistics.median(r[spec] for r in runs[chosen[spec]])
        rate = 1e-9 * operations(spec) / seconds
        print("%-26s %9.2f us %7.1f GF/s  %s" % (spec, 1e6 * seconds, rate, chosen[spec]))
    for way, seconds in each.items():
        print("epoch by %s: %.4f s" % (way, seconds))
    print("epoch, best of each product: %.4f s" % best)


if __name__ == "__main__":
    main()
