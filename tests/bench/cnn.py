#!/usr/bin/env python3
"""cnn.py: compares mnist_cnn's speed, memory and accuracy with PyTorch and the bare products.
SPDX-License-Identifier: MIT

    python3 tests/bench/cnn.py --build build                 # speed, about an hour
    python3 tests/bench/cnn.py --build build --case small    # one network
    python3 tests/bench/cnn.py --build build --batch 512
    python3 tests/bench/cnn.py --build build --accuracy      # small, seeds 1 to 5, two initialisers

README.md beside this file says what each side does and how to read the table.
"""

import argparse

import products
import sides

ACCURACY_GAP = 0.15
EAGER = ("loop", "foreach", "fused")
COMPILED = ("loss-compiled", "step-compiled")
VARIANTS = {
    "torch": ["%s:%d" % (f, t) for f in EAGER for t in (2, 1)],
    "channels_last": ["%s-nhwc:%d" % (f, t) for f in EAGER for t in (2, 1)],
    "compile": ["%s%s:%d" % (f, s, t) for f in COMPILED for s in ("", "-nhwc") for t in (2, 1)],
}
GOALS = {
    "small": {"best torch": 2.5},
    "lenet": {"best torch": 1.2, "products": 1.4, "memory": 250},
}


def case(model, batch):
    """The goals are those of batch 64."""
    options = ["--model", model, "--batch", str(batch), "--optimizer", "adam", "--lr", "0.001"]
    return dict(
        name="%s b%d adam" % (model, batch),
        options=options,
        epochs=3,
        prune=True,
        products=(products.cnn_shapes(model, batch), sides.IMAGES / batch),
        goals=GOALS[model] if batch == 64 else {},
    )


class Sides(sides.Sides):
    def __init__(self, args):
        super().__init__(args, "mnist_cnn", "torch_cnn.py", VARIANTS)


def accuracy(all_sides, args):
    """small, with Adam 0.001 and no schedule, by hillock's initialiser and by PyTorch's."""
    result = {}
    for init in ("auto", "torch"):
        print("-- small, initialiser %s, %d epochs" % (init, args.epochs))
        options = ["--model", "small", "--batch", str(args.batch), "--optimizer", "adam"]
        options += ["--lr", "0.001", "--init", init, "--epochs", str(args.epochs)]
        result[init] = sides.compare_accuracy(
            all_sides, options, options, args.seeds, ACCURACY_GAP
        )
    return {"accuracy": result}


def main():
    ap = argparse.ArgumentParser(
        description="Compares mnist_cnn with its peers, the sides in turn."
    )
    sides.add_options(ap, "torch,channels_last,compile,products", 5, "mnist_cnn")
    ap.add_argument("--batch", type=int, default=64, help="images in a step; goals are for 64")
    ap.add_argument("--epochs", type=int, default=5, help="epochs of --accuracy")
    args = ap.parse_args()
    all_sides = Sides(args)
    if args.accuracy:
        result = accuracy(all_sides, args)
    else:
        cases = [case(m, args.batch) for m in GOALS]
        result = sides.speed(all_sides, [c for c in cases if args.case in c["name"]], args)
    sides.report(args, result)


if __name__ == "__main__":
    main()
