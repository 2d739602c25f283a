#!/usr/bin/env python3
"""mlp.py: compares mnist_mlp's speed and accuracy with PyTorch, plain C and the bare products.
SPDX-License-Identifier: MIT

    python3 tests/bench/mlp.py --build build              # speed, about 15 minutes
    python3 tests/bench/mlp.py --build build --accuracy   # accuracy over seeds 1 to 10

README.md beside this file says what each side does and how to read the table.
"""

import argparse
import os
import statistics
import subprocess

import products
import sides

PLAIN_GOAL = 1.2
ACCURACY_GOAL, ACCURACY_GAP = 97.4, 0.15
VARIANTS = {
    "torch": ["%s:%d" % (f, t) for f in ("loop", "foreach", "fused") for t in (1, 2)],
    "compile": ["%s:%d" % (f, t) for f in ("loss-compiled", "step-compiled") for t in (1, 2)],
}


def case(hidden, batch, optimizer, lr, torch, most=None):
    """torch: hillock at least so many times as fast. most: an epoch over its products' time."""
    options = ["--hidden", hidden, "--batch", str(batch), "--optimizer", optimizer, "--lr", lr]
    widths = [784] + [int(v) for v in hidden.split("-")] + [10]
    return dict(
        name="784-%s-10 b%d %s" % (hidden, batch, optimizer),
        options=options,
        epochs=3,
        hidden=hidden,
        batch=batch,
        optimizer=optimizer,
        lr=lr,
        products=(products.linear_shapes(widths, batch), sides.IMAGES / batch),
        goals=dict(torch=torch, compile=torch, plain=PLAIN_GOAL, products=most),
    )


CASES = [
    case("128", 64, "sgd", "0.01", 2.0, 1.6),
    case("128", 64, "adam", "0.001", 2.75),
    case("512-256", 128, "sgd", "0.01", 1.3, 1.3),
    case("512-256", 128, "adam", "0.001", 1.6),
]


class Sides(sides.Sides):
    own = ("plain",)

    def __init__(self, args):
        super().__init__(args, "mnist_mlp", "torch_mlp.py", VARIANTS)
        if "plain" in self.names and not args.accuracy:
            self.plain_mlp = os.path.join(self.folder, "plain_mlp")
            flags = ["-std=gnu11", "-O3", "-march=native", "-fno-math-errno"]
            source = os.path.join(sides.HERE, "plain_mlp.c")
            libraries = ["-lopenblas", "-lz", "-lm"]
            subprocess.run(["cc"] + flags + [source, "-o", self.plain_mlp] + libraries, check=True)

    def plain(self, case):
        seconds, memory, foreign = {}, 0.0, 0.0
        for variant in self.alive.get((case["name"], "plain"), ["1 threads", "2 threads"]):
            env = dict(self.core, OPENBLAS_NUM_THREADS=variant.split()[0])
            command = [self.plain_mlp, self.args.data, case["hidden"], str(case["batch"])]
            command += [case["optimizer"], case["lr"], "3"]
            out, m, f = self.run(command, env)
            lines = [line.split() for line in out.splitlines()]
            self.notes["OpenBLAS core of plain C"] = lines[0][1]
            seconds[variant] = statistics.median(float(v[3]) for v in lines[2:])
            memory, foreign = max(memory, m), max(foreign, f)
        return seconds, memory, foreign


def accuracy(all_sides, args):
    """Mean test accuracy at mnist_mlp's defaults, seeds 1 to N, ours and PyTorch's."""
    torch = ["--hidden", "128", "--batch", "64", "--optimizer", "adam", "--lr", "0.001"]
    result = sides.compare_accuracy(all_sides, [], torch, args.seeds, ACCURACY_GAP)
    mean = statistics.mean(result["hillock"])
    print("hillock's mean: %.3f %% (goal: >= %.1f %%)" % (mean, ACCURACY_GOAL))
    return {"accuracy": result}


def main():
    ap = argparse.ArgumentParser(
        description="Compares mnist_mlp with its peers, the sides in turn."
    )
    sides.add_options(ap, "torch,compile,plain,products", 10, "mnist_mlp")
    args = ap.parse_args()
    all_sides = Sides(args)
    if args.accuracy:
        result = accuracy(all_sides, args)
    else:
        result = sides.speed(all_sides, [c for c in CASES if args.case in c["name"]], args)
    sides.report(args, result)


if __name__ == "__main__":
    main()
