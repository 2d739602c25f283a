#!/usr/bin/env python3
"""Trains a network with every activation and prints a table, best first.

    cmake --workflow --preset mnist                              # makes build/mnist_mlp
    python3 tests/bench/train_activations.py --build build       # all of them: minutes

Each runs with several seeds; accuracy is the median over the seeds of the last epoch's, time the median over all epochs.
`points` is the distance from relu. Those farther than --within are named at the end, for a reason to be given.
SPDX-License-Identifier: MIT
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# What a name alone does not say.
SPECIFICATIONS = {"mix": ["mix:relu+tanh+silu"], "step": ["step:ste=identity", "step:ste=clip", "step:ste=sigmoid"]}


def specifications():
    text = (ROOT / "activations" / "activations.def").read_text()
    names = re.findall(r"^HK_ACTIVATION(?:_WIDE)?\((\w+),", text, re.M)
    if "relu" not in names:
        sys.exit("activations.def does not read as expected")
    return [s for name in names for s in SPECIFICATIONS.get(name, [name])]


def train(args, specification, seed, log):
    """Test accuracy at the end, seconds of each epoch."""
    command = [str(pathlib.Path(args.build) / "mnist_mlp"), "--activation", specification, "--seed", str(seed),
               "--hidden", args.hidden, "--epochs", str(args.epochs), "--threads", str(args.threads), "--quiet",
               "--log", str(log)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return lines[-1]["test_accuracy"], [line["seconds"] for line in lines[1:]]


def main():
    parser = argparse.ArgumentParser(description="Trains a network with every activation, prints a table.")
    parser.add_argument("--build", default="build", help="folder with mnist_mlp (build)")
    parser.add_argument("--hidden", default="128-64", help="hidden layers (128-64)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="1 to this (3)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="specifications, with spaces between them")
    parser.add_argument("--within", type=float, default=0.7, help="points from relu that need no reason (0.7)")
    parser.add_argument("--json", help="file for every figure")
    args = parser.parse_args()
    wanted = ["relu"] + [s for s in (args.only.split() if args.only else specifications()) if s != "relu"]
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for specification in wanted:
            runs = [train(args, specification, seed, pathlib.Path(folder) / "log.jsonl")
                    for seed in range(1, args.seeds + 1)]
            accuracies = [a for a, _ in runs]
            seconds = statistics.median(s for _, epochs in runs for s in epochs)
            figures[specification] = {"accuracies": accuracies, "seconds": seconds}
            rows.append((statistics.median(accuracies), min(accuracies), max(accuracies), specification, seconds))
            print(f"{specification}: {rows[-1][0]:.2f} %", file=sys.stderr, flush=True)
    relu = rows[0][0]
    print("| activation | test accuracy, % | over the seeds | points | s/epoch |\n|---|---|---|---|---|")
    for accuracy, least, most, specification, seconds in sorted(rows, key=lambda r: (-r[0], r[3])):
        print(f"| {specification} | {accuracy:.2f} | {least:.2f} to {most:.2f} | {accuracy - relu:+.2f} | {seconds:.2f} |")
    far = [r[3] for r in rows if not abs(r[0] - relu) <= args.within]
    print(f"\nFarther than {args.within} points from relu: {', '.join(far) if far else 'none'}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
