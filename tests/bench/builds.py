#!/usr/bin/env python3
"""builds.py: what a run on the CPU costs in two builds, such as one with CUDA and one without.
SPDX-License-Identifier: MIT

    python3 tests/bench/builds.py build build-cuda

Both in turn, round by round: a process that makes a context and ends (`test_cpu_run once`), and mnist_mlp as it comes, two
epochs long. Prints medians; of the short process the least, since what disturbs it only adds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

import sides


def short_process(build):
    """Seconds, KiB and page faults of a process that makes a context on the CPU."""
    begin = time.perf_counter()
    out, _, _ = sides.run_once([os.path.join(build, "tests", "test_cpu_run"), "once"], dict(os.environ))
    seconds = time.perf_counter() - begin
    kib, faults, _ = (int(word) for word in out.split())
    return {"start and end, ms": 1e3 * seconds, "its memory, MB": kib / 1024, "its page faults": faults}


def training(build, wait):
    """Memory, seconds until the first step, seconds of the second epoch of mnist_mlp."""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log.jsonl")
        command = [os.path.join(build, "mnist_mlp"), "--epochs", "2", "--threads", str(sides.THREADS)]
        command += ["--data", os.path.join(sides.REPO, "data", "mnist"), "--quiet", "--log", log]
        _, memory, _ = sides.run(command, wait=wait)
        with open(log) as f:
            lines = [json.loads(line) for line in f]
    setup = next(line["setup_seconds"] for line in lines if "setup_seconds" in line)
    epochs = [line["seconds"] for line in lines if "epoch" in line and "seconds" in line]
    return {
        "mnist_mlp: until the first step, s": setup,
        "the second epoch, s": epochs[1],
        "peak memory, MB": memory,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("builds", nargs=2, help="build folders")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--wait", type=float, default=sides.WAIT, help="seconds to wait for a quiet machine")
    args = parser.parse_args()
    figures = [{}, {}]
    for _ in range(args.rounds):
        for build, of in zip(args.builds, figures):
            for _ in range(20):
                for what, value in short_process(build).items():
                    of.setdefault(what, []).append(value)
            for what, value in training(build, args.wait).items():
                of.setdefault(what, []).append(value)
    print("| | %s | %s |\n| --- | --- | --- |" % tuple(args.builds))
    for what in figures[0]:
        least = what in ("start and end, ms", "its memory, MB", "its page faults")
        values = [min(of[what]) if least else statistics.median(of[what]) for of in figures]
        print("| %s | %.3g | %.3g |" % (what, *values))


main()
