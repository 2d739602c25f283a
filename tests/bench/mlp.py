#!/usr/bin/env python3
"""mlp.py: compares mnist_mlp's speed and accuracy with PyTorch, plain C and the bare products.
SPDX-License-Identifier: MIT

    python3 tests/bench/mlp.py --build build              # speed, about 15 minutes
    python3 tests/bench/mlp.py --build build --accuracy   # accuracy over seeds 1 to 10

README.md beside this file says what each side does and how to read the table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import products

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
THREADS = 2
WAIT = 60  # seconds to wait for a quiet machine before each run, unless --wait says otherwise
FOREIGN = 0.10  # a run is repeated while other programs took more than this share of the machine
PRUNE = 1.3  # after a quiet first round, variants slower than this times the best are dropped

# The goals: hillock at least this many times as fast as PyTorch and plain C, and an epoch at most
# this many times as long as its products alone.
CASES = [
    dict(
        name="784-128-10 b64 sgd",
        hidden="128",
        batch=64,
        optimizer="sgd",
        lr="0.01",
        torch=2.0,
        products=1.6,
    ),
    dict(
        name="784-128-10 b64 adam",
        hidden="128",
        batch=64,
        optimizer="adam",
        lr="0.001",
        torch=2.75,
        products=None,
    ),
    dict(
        name="784-512-256-10 b128 sgd",
        hidden="512-256",
        batch=128,
        optimizer="sgd",
        lr="0.01",
        torch=1.3,
        products=1.3,
    ),
    dict(
        name="784-512-256-10 b128 adam",
        hidden="512-256",
        batch=128,
        optimizer="adam",
        lr="0.001",
        torch=1.6,
        products=None,
    ),
]
PLAIN_GOAL = 1.2
ACCURACY_GOAL, ACCURACY_GAP = 97.4, 0.15
VARIANTS = {
    "torch": ["%s:%d" % (f, t) for f in ("loop", "foreach", "fused") for t in (1, 2)],
    "compile": ["%s:%d" % (f, t) for f in ("loss-compiled", "step-compiled") for t in (1, 2)],
}


def log(text):
    print(text, file=sys.stderr, flush=True)


# --- running a program and watching the machine ---------------------------------------------------


def machine():
    """(busy, total) seconds of all processors together, or None where /proc/stat is missing."""
    try:
        with open("/proc/stat") as f:
            ticks = [int(v) for v in f.readline().split()[1:9]]
    except OSError:
        return None
    tick = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / tick, sum(ticks) / tick


def wait_until_idle(limit):
    """Waits until other programs leave the machine alone, at most limit seconds."""
    end = time.time() + limit
    while time.time() < end:
        before = machine()
        if not before:
            return
        time.sleep(0.5)
        after = machine()
        if after[0] - before[0] <= FOREIGN * (after[1] - before[1]):
            return


def run_once(command, env):
    """Runs a program: its output, peak memory in MB, and the share others took of the machine."""
    before = machine()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as p:
        out = p.stdout.read().decode()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    after = machine()
    if p.returncode:
        raise RuntimeError("%s ended with code %d" % (" ".join(command), p.returncode))
    foreign = 0.0
    if before and after[1] > before[1]:
        own = usage.ru_utime + usage.ru_stime
        foreign = max(0.0, (after[0] - before[0] - own) / (after[1] - before[1]))
    return out, usage.ru_maxrss / 1024, foreign


def run(command, env=None, wait=None):
    """run_once on a quiet machine: of up to three tries the first quiet one, or the quietest."""
    full = dict(os.environ, **(env or {}))
    best = None
    for _ in range(3):
        wait_until_idle(WAIT if wait is None else wait)
        result = run_once(command, full)
        if best is None or result[2] < best[2]:
            best = result
        if best[2] <= FOREIGN:
            break
    return best


# --- the sides ------------------------------------------------------------------------------------


def ensure_venv(venv):
    """A Python with torch in it; installed on first use."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        log("making the virtual environment %s" % venv)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if subprocess.run([python, "-c", "import torch, numpy"], stderr=subprocess.DEVNULL).returncode:
        log("installing torch and numpy into %s" % venv)
        pip = [python, "-m", "pip", "install", "-q", "numpy", "torch"]
        cpu = ["--index-url", "https://download.pytorch.org/whl/cpu"]
        if subprocess.run(pip + cpu).returncode:
            subprocess.run(pip, check=True)
    return python


class Sides:
    """Builds what is needed. One method a side: {variant: seconds}, peak MB, share of others."""

    def __init__(self, args):
        self.args = args
        self.temporary = tempfile.TemporaryDirectory(prefix="hillock-bench-")
        self.folder = self.temporary.name
        self.notes = {}
        self.alive = {}
        peers = ["hillock"] + args.peers.split(",")
        self.names = [p for p in ("hillock", "torch", "compile", "plain") if p in peers]
        self.programs = {}
        self.core = {"OPENBLAS_CORETYPE": args.coretype} if args.coretype else {}
        self.mnist_mlp = os.path.join(args.build, "mnist_mlp")
        if "hillock" in self.names and not os.path.exists(self.mnist_mlp):
            log("%s is missing: hillock's side is left out" % self.mnist_mlp)
            self.names.remove("hillock")
        if {"torch", "compile", "products"} & set(peers) or args.accuracy:
            self.python = ensure_venv(args.venv)
        if "plain" in self.names:
            self.plain_mlp = os.path.join(self.folder, "plain_mlp")
            flags = ["-std=gnu11", "-O3", "-march=native", "-fno-math-errno"]
            source = os.path.join(HERE, "plain_mlp.c")
            libraries = ["-lopenblas", "-lz", "-lm"]
            subprocess.run(["cc"] + flags + [source, "-o", self.plain_mlp] + libraries, check=True)
        if "products" in peers:
            self.programs = products.build(self.folder, args.venv, log)

    def hillock_run(self, options):
        path = os.path.join(self.folder, "log.jsonl")
        command = [self.mnist_mlp] + options + ["--data", self.args.data, "--quiet", "--log", path]
        _, memory, foreign = run(command)
        with open(path) as f:
            lines = [json.loads(line) for line in f if line.strip()]
        return lines[0], [line for line in lines if "epoch" in line], memory, foreign

    def hillock(self, case):
        options = ["--hidden", case["hidden"], "--batch", str(case["batch"]), "--lr", case["lr"]]
        options += ["--optimizer", case["optimizer"], "--epochs", "3", "--seed", "1"]
        options += ["--threads", str(THREADS)] + self.args.hillock_options.split()
        header, epochs, memory, foreign = self.hillock_run(options)
        self.notes["hillock"] = {
            k: v for k, v in header.items() if isinstance(v, (str, int, float))
        }
        seconds = statistics.median(e["seconds"] for e in epochs[1:])
        return {"%d threads" % THREADS: seconds}, memory, foreign

    def by_torch(self, case, side):
        variants = self.alive.get((case["name"], side), VARIANTS[side])
        command = [self.python, os.path.join(HERE, "torch_mlp.py"), "--data", self.args.data]
        command += ["--hidden", case["hidden"], "--batch", str(case["batch"]), "--lr", case["lr"]]
        command += ["--optimizer", case["optimizer"], "--variants", ",".join(variants)]
        out, memory, foreign = run(command)
        result = json.loads(out.splitlines()[-1])
        self.notes["torch"] = result["torch"]
        return result["seconds"], memory, foreign

    def torch(self, case):
        return self.by_torch(case, "torch")

    def compile(self, case):
        return self.by_torch(case, "compile")

    def plain(self, case):
        seconds, memory, foreign = {}, 0.0, 0.0
        for variant in self.alive.get((case["name"], "plain"), ["1 threads", "2 threads"]):
            env = dict(self.core, OPENBLAS_NUM_THREADS=variant.split()[0])
            command = [self.plain_mlp, self.args.data, case["hidden"], str(case["batch"])]
            command += [case["optimizer"], case["lr"], "3"]
            out, m, f = run(command, env)
            lines = [line.split() for line in out.splitlines()]
            self.notes["OpenBLAS core of plain C"] = lines[0][1]
            seconds[variant] = statistics.median(float(v[3]) for v in lines[2:])
            memory, foreign = max(memory, m), max(foreign, f)
        return seconds, memory, foreign

    def products(self, case, runs):
        """One round of every product, by every library and number of threads; adds to runs."""
        specs = sorted(
            set(products.shapes([int(v) for v in case["hidden"].split("-")], case["batch"]))
        )
        worst = 0.0
        for library, program in self.programs.items():
            for threads in (1, 2):
                env = dict(self.core, **products.environment(library, threads))
                out, _, foreign = run([program] + specs, env)
                name, seconds = products.parse(out)
                runs.setdefault("%s, %d threads" % (name, threads), []).append(seconds)
                worst = max(worst, foreign)
        return worst


# --- the two reports ------------------------------------------------------------------------------


def measure(sides, args):
    """All rounds, the sides in turn: the cases, their figures, and those of the products."""
    table, product_runs, product_foreign = {}, {}, {}
    cases = [c for c in CASES if args.case in c["name"]]
    for r in range(args.rounds):
        for case in cases:
            for side in sides.names:
                seconds, memory, foreign = getattr(sides, side)(case)
                cell = table.setdefault(case["name"], {}).setdefault(
                    side, {"seconds": {}, "memory_mb": [], "foreign": []}
                )
                for variant, s in seconds.items():
                    cell["seconds"].setdefault(variant, []).append(s)
                cell["memory_mb"].append(memory)
                cell["foreign"].append(foreign)
                best = min(seconds.values())
                if r == 0 and foreign <= FOREIGN:
                    kept = [v for v, s in seconds.items() if s <= PRUNE * best]
                    sides.alive[case["name"], side] = kept
                log("round %d  %-26s %-8s %.4f s" % (r + 1, case["name"], side, best))
            key = case["hidden"]
            if sides.programs and len(product_foreign.get(key, [])) == r:
                worst = sides.products(case, product_runs.setdefault(key, {}))
                product_foreign.setdefault(key, []).append(worst)
    return cases, table, product_runs, product_foreign


def best_variant(cell, rounds):
    """The variant with the least median among those measured in every round."""
    full = {v: s for v, s in cell["seconds"].items() if len(s) == rounds}
    variant = min(full, key=lambda v: statistics.median(full[v]))
    return variant, statistics.median(full[variant]), full[variant]


def speed(sides, args):
    cases, table, product_runs, product_foreign = measure(sides, args)
    heads = ("side", "variant", "s/epoch", "min", "max", "peak MB", "others", "ratio", "goal")
    print("%-9s %-34s %8s %7s %7s %8s %7s %9s %7s" % heads)
    for case in cases:
        print("-- " + case["name"])
        row, ours = table.get(case["name"], {}), None
        for side in sides.names:
            cell = row[side]
            variant, median, all_runs = best_variant(cell, args.rounds)
            ratio = goal = ""
            if side == "hillock":
                ours = median
            elif ours:
                ratio = "%.2f x" % (median / ours)
                goal = ">= %.2f" % (PLAIN_GOAL if side == "plain" else case["torch"])
            cell["best"] = {"variant": variant, "median": median}
            print(
                "%-9s %-34s %8.4f %7.4f %7.4f %8.1f %6.1f%% %9s %7s"
                % (
                    side,
                    variant,
                    median,
                    min(all_runs),
                    max(all_runs),
                    max(cell["memory_mb"]),
                    100 * max(cell["foreign"]),
                    ratio,
                    goal,
                )
            )
        runs = product_runs.get(case["hidden"])
        if runs:
            hidden = [int(v) for v in case["hidden"].split("-")]
            best, each, chosen = products.epoch_seconds(runs, hidden, case["batch"])
            row["products"] = {"best": best, "each": each, "chosen": chosen}
            busy = "%.1f%%" % (100 * max(product_foreign[case["hidden"]]))
            ratio = "%.2f :1" % (ours / best) if ours else ""
            goal = "<= %.2f" % case["products"] if case["products"] else ""
            line = "%-9s %-34s %8.4f %7s %7s %8s %7s %9s %7s"
            print(line % ("products", "best of each product", best, "", "", "", busy, ratio, goal))
            for way, seconds in each.items():
                print("%-9s %-34s %8.4f" % ("", way, seconds))
    for what, note in sides.notes.items():
        print("%s: %s" % (what, note))
    return {"speed": table, "product_runs": product_runs, "notes": sides.notes}


def accuracy(sides, args):
    """Mean test accuracy at mnist_mlp's defaults, seeds 1 to N, ours and PyTorch's."""
    ours, val = [], 0
    for seed in range(1, args.seeds + 1):
        options = ["--seed", str(seed), "--threads", str(THREADS)]
        header, epochs, _, _ = sides.hillock_run(options)
        val = int(header.get("val", header.get("settings", {}).get("val", 0)))
        ours.append(epochs[-1]["test_accuracy"])
        log("hillock, seed %d: %.2f %%" % (seed, ours[-1]))
    command = [sides.python, os.path.join(HERE, "torch_mlp.py"), "--data", args.data]
    command += ["--hidden", "128", "--batch", "64", "--optimizer", "adam", "--lr", "0.001"]
    command += ["--seeds", str(args.seeds), "--val", str(val)]
    out, _, _ = run(command, wait=0)
    theirs = json.loads(out.splitlines()[-1])["accuracy"]

    def show(name, values):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        each = " ".join("%.2f" % v for v in values)
        print(
            "%-8s mean %.3f %%, deviation %.3f, seeds: %s"
            % (name, statistics.mean(values), spread, each)
        )

    show("hillock", ours)
    show("PyTorch", theirs)
    gap = statistics.mean(ours) - statistics.mean(theirs)
    print("hillock - PyTorch: %+.3f points (goal: within %.2f)" % (gap, ACCURACY_GAP))
    print("hillock's mean: %.3f %% (goal: >= %.1f %%)" % (statistics.mean(ours), ACCURACY_GOAL))
    return {"accuracy": {"hillock": ours, "torch": theirs, "val": val}}


def main():
    global WAIT
    ap = argparse.ArgumentParser(
        description="Compares mnist_mlp with its peers, the sides in turn."
    )
    ap.add_argument("--build", default=os.path.join(REPO, "build"), help="folder with mnist_mlp")
    ap.add_argument("--data", default=os.path.join(REPO, "data", "mnist"))
    ap.add_argument("--peers", default="torch,compile,plain,products", help="sides to compare")
    ap.add_argument(
        "--case", default="", help="only cases whose name contains this, e.g. 'b64 sgd'"
    )
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument(
        "--venv", default="/tmp/hillock-bench-venv", help="where torch is or will be installed"
    )
    ap.add_argument(
        "--coretype", default="SkylakeX", help="OPENBLAS_CORETYPE of the peers; '' leaves it unset"
    )
    ap.add_argument("--hillock-options", default="", help="further options for mnist_mlp")
    ap.add_argument("--accuracy", action="store_true", help="accuracy instead of speed")
    ap.add_argument("--seeds", type=int, default=10, help="seeds of --accuracy")
    ap.add_argument("--wait", type=float, default=WAIT, help="seconds to wait for a quiet machine")
    ap.add_argument("--json", help="write all raw figures to this file")
    args = ap.parse_args()
    WAIT = args.wait
    sides = Sides(args)
    if args.accuracy and "hillock" not in sides.names:
        sys.exit("mlp.py: --accuracy needs %s; build it first" % sides.mnist_mlp)
    result = accuracy(sides, args) if args.accuracy else speed(sides, args)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
