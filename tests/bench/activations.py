#!/usr/bin/env python3
"""activations.py: compares the speed of activations with PyTorch's and with this machine's memory.
SPDX-License-Identifier: MIT

    python3 tests/bench/activations.py --build build                       # 1000x1000, 2 threads
    python3 tests/bench/activations.py --build build --torch 1.13.1 --venv /tmp/venv-1.13
    python3 tests/bench/activations.py --build build --shape 8192x8192 --runs 12 --alone

Sides run in turn, each in a process of its own; figures are medians over rounds of the medians over
runs. `activations bench` (hillock's side) says what it times; PyTorch's side times the same calls, and
keeps its freed memory (glibc's tunables), so that it does not pay for fresh pages. --alone leaves
PyTorch out: shares of the memory's bandwidth only.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys

from sides import log, run

HERE = os.path.dirname(os.path.abspath(__file__))
PASSES = ("forward", "backward")
FLOOR, MEAN_GOAL, BOUND = 0.97, 2.0, 0.90
# PyTorch keeps freed blocks instead of giving their pages back, which it would fault in anew.
WARM = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


def ensure_torch(venv, version):
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        log("making the virtual environment %s" % venv)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        wanted = ["torch==" + version, "numpy<2"] if version else ["torch", "numpy"]
        log("installing %s into %s" % (" and ".join(wanted), venv))
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    return python


def once(args, command, env=None):
    out, _, others = run(command, env, args.wait)
    return json.loads(out.strip().splitlines()[-1]), others


def options(args):
    return ["--shape", args.shape, "--threads", str(args.threads), "--runs", str(args.runs)]


def gather(args):
    """{side: {pass: {name: [microseconds of each round]}}}, the bandwidths, and PyTorch's version."""
    program = os.path.join(args.build, "activations")
    times = {side: {p: {} for p in PASSES} for side in ("hillock", "torch")}
    memory, version, worst = {p: [] for p in PASSES}, None, 0.0

    def keep(side, results):
        for name, row in results.items():
            for p in PASSES:
                if row.get(p):
                    times[side][p].setdefault(name, []).append(
                        row[p] if side == "torch" else row[p]["median_us"]
                    )

    for i in range(args.rounds):
        log("round %d of %d" % (i + 1, args.rounds))
        answer, others = once(args, [program, "bench", *options(args), "--json", *args.names])
        worst = max(worst, others)
        keep("hillock", answer["results"])
        for p, kind in zip(PASSES, ("copy", "triad")):
            memory[p].append(
                min(answer["memory"][kind + how]["median_us"] for how in ("_plain", "_streaming"))
            )
        if args.alone:
            continue
        python = ensure_torch(args.venv, args.torch)
        script = os.path.join(HERE, "torch_activations.py")
        answer, others = once(args, [python, script, *options(args), *args.names], WARM)
        worst = max(worst, others)
        version = answer["torch"]
        keep("torch", answer["results"])
    memory = {p: statistics.median(v) for p, v in memory.items()}
    return times, memory, version, worst


def table(args, times, memory, version):
    """Prints one table for each pass; returns {pass: {name: (ratio, PyTorch's share of the bound)}}."""
    ratios = {}
    for p in PASSES:
        bound = memory[p]
        print("\n%s of %s floats, %d threads, microseconds; %s takes %.0f" % (
            p, args.shape, args.threads, "copy" if p == "forward" else "triad", bound))
        print("%-14s %9s %7s" % ("", "hillock", "of " + ("copy" if p == "forward" else "triad"))
              + ("" if args.alone else " %9s %7s %8s" % ("torch", "of it", "ratio")))
        ratios[p] = {}
        mine = {n: statistics.median(v) for n, v in times["hillock"][p].items()}
        for name, us in sorted(mine.items(), key=lambda item: item[1]):
            line = "%-14s %9.1f %6.0f %%" % (name, us, 100 * bound / us)
            if name in times["torch"][p]:
                other = statistics.median(times["torch"][p][name])
                ratios[p][name] = (other / us, bound / other)
                line += " %9.1f %6.0f %% %7.2f x" % (other, 100 * bound / other, other / us)
            print(line)
    if version:
        print("\nPyTorch %s, eager" % version)
    return ratios


def verdict(ratios):
    every = [(p, n, *v) for p in PASSES for n, v in ratios[p].items()]
    if not every:
        return
    mean = math.exp(statistics.fmean(math.log(r[2]) for r in every))
    below = ["%s %s %.2f" % (n, p, r) for p, n, r, _ in every if not r >= FLOOR]
    slower = ["%s %s %.2f" % (n, p, r) for p, n, r, s in every if s < BOUND and not r > 1]
    print("geometric mean %.2f x (goal %.1f)" % (mean, MEAN_GOAL))
    print("below %.2f x: %s" % (FLOOR, ", ".join(below) or "none"))
    print("not faster though PyTorch is more than 10 %% off the bound: %s"
          % (", ".join(slower) or "none"))


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--build", default="build", help="the build folder")
    ap.add_argument("--venv", default="/tmp/hillock-bench-venv", help="where torch is or will be")
    ap.add_argument("--torch", help="version of torch to install, if it is not there")
    ap.add_argument("--shape", default="1000x1000")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--runs", type=int, default=100)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--wait", type=float, default=60, help="seconds to wait for a quiet machine")
    ap.add_argument("--alone", action="store_true", help="without PyTorch")
    ap.add_argument("names", nargs="*", help="activations; all pointwise ones if none")
    args = ap.parse_args()
    times, memory, version, worst = gather(args)
    verdict(table(args, times, memory, version))
    print("others took up to %.0f %% of the machine" % (100 * worst))


if __name__ == "__main__":
    main()
