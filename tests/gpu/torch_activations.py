#!/usr/bin/env python3
"""torch_activations.py: PyTorch's activations on the GPU, eager and compiled, against the CSV of `activations bench`.
SPDX-License-Identifier: MIT

Prints lines for run.sh: RESULT name value [<= limit].
"""

import argparse
import csv
import pathlib
import statistics
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
from torch_activations import FUNCTIONS  # the one of tests/bench, which has this file's name

COMPILED = ("sigmoid", "relu", "gelu", "mish", "softmax")
SLACK = 1.02  # hillock may take this much longer than eager PyTorch


def median_seconds(run, runs, device):
    """Median over single runs, each between two events of the device's own clock."""
    for _ in range(3):
        run()
    times = []
    for _ in range(runs):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        else:
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def both_passes(f, x, runs, device):
    """Forward alone; backward alone, given the gradient of the output."""
    with torch.no_grad():
        forward = median_seconds(lambda: f(x), runs, device)
    x = x.detach().requires_grad_()
    y = f(x)
    g = torch.ones_like(y)
    backward = median_seconds(
        lambda: torch.autograd.grad(y, x, g, retain_graph=True), runs, device
    )
    return {"forward": forward, "backward": backward}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", default="5024x100024")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--csv", required=True)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("not run: PyTorch's side: this torch sees no GPU")
        return
    with open(args.csv, newline="") as f:
        ours = {
            (r["name"], r["pass"]): float(r["median_us"]) / 1e6
            for r in csv.DictReader(f)
            if r["median_us"]
        }
    x = torch.randn([int(n) for n in args.shape.split("x")], device=args.device)
    for name, f in FUNCTIONS.items():
        if (name, "forward") not in ours:
            continue
        ways = {"eager": f}
        if name in COMPILED and args.device == "cuda":
            torch._dynamo.reset()
            ways["compiled"] = torch.compile(f, dynamic=False)
        for way, g in ways.items():
            try:
                times = both_passes(g, x, args.runs, args.device)
            except Exception as error:  # a compiler that is missing, or memory that is exhausted
                print(f"not run: {way} {name}: {str(error).splitlines()[0][:120]}")
                torch.cuda.empty_cache()
                continue
            for which, seconds in times.items():
                ratio = ours[name, which] / seconds
                gate = f" <= {SLACK}" if way == "eager" and args.device == "cuda" else ""
                print(f"RESULT torch {way}, us/{args.shape} {name}, {which} {seconds * 1e6:.6g}")
                print(f"RESULT hillock over torch {way}/{args.shape} {name}, {which} {ratio:.4g}{gate}")


main()
