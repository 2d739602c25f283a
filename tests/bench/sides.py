#!/usr/bin/env python3
"""sides.py: what mlp.py and cnn.py share: running programs on a quiet machine, sides, both reports.
SPDX-License-Identifier: MIT

A case is a dict:
    name      what the table calls it
    options   of hillock's program and of PyTorch's script, which have the same ones
    epochs    hillock trains; its figure is the median of those behind the first
    products  specifications of one step's products (products.py), and the steps of an epoch
    prune     True: variants that are slow at once are dropped in the first round already
    goals     by side, at least so many times as fast; "best torch" for PyTorch's best side;
              "products" at most so many times as long; "memory" at most so many MB
"""

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
IMAGES = 60000
WAIT = 60  # seconds to wait for a quiet machine before each run, unless --wait says otherwise
FOREIGN = 0.10  # a run is repeated while other programs took more than this share of the machine
PRUNE = 1.3  # after a quiet first round, variants slower than this times the best are dropped


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


def run(command, env=None, wait=WAIT):
    """run_once on a quiet machine: of up to three tries the first quiet one, or the quietest."""
    full = dict(os.environ, **(env or {}))
    best = None
    for _ in range(3):
        wait_until_idle(wait)
        result = run_once(command, full)
        if best is None or result[2] < best[2]:
            best = result
        if best[2] <= FOREIGN:
            break
    return best


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


# --- the sides ------------------------------------------------------------------------------------


class Sides:
    """Builds what is needed. A side is a method: {variant: seconds}, peak MB, share of others.

    program: hillock's. script: PyTorch's, in this folder. torch: {side: its variants}.
    """

    own = ()  # further sides that a subclass has methods for

    def __init__(self, args, program, script, torch):
        self.args = args
        self.temporary = tempfile.TemporaryDirectory(prefix="hillock-bench-")
        self.folder = self.temporary.name
        self.script, self.variants = os.path.join(HERE, script), torch
        self.notes = {}
        self.alive, self.begun = {}, set()
        peers = ["hillock"] + args.peers.split(",")
        known = ["hillock", *torch, *self.own, "products"]
        unknown = sorted(set(peers) - set(known))
        if unknown:
            there = ",".join(known[1:])
            sys.exit("--peers: no side is called %s; there are %s" % (unknown[0], there))
        self.names = [p for p in known[:-1] if p in peers]
        self.programs = {}
        self.core = {"OPENBLAS_CORETYPE": args.coretype} if args.coretype else {}
        self.program = os.path.join(args.build, program)
        if not os.path.exists(self.program):
            if args.accuracy:
                sys.exit("--accuracy needs %s; build it first" % self.program)
            log("%s is missing: hillock's side is left out" % self.program)
            self.names.remove("hillock")
        if set(torch) & set(peers) or "products" in peers or args.accuracy:
            self.python = ensure_venv(args.venv)
        if "products" in peers and not args.accuracy:
            self.programs = products.build(self.folder, args.venv, log)

    def run(self, command, env=None, wait=None):
        return run(command, env, self.args.wait if wait is None else wait)

    def is_torch(self, side):
        return side in self.variants

    def measure(self, side, case):
        return self.by_torch(case, side) if self.is_torch(side) else getattr(self, side)(case)

    def hillock_run(self, options):
        """The first line of its log, those of the epochs, peak MB, share of others."""
        path = os.path.join(self.folder, "log.jsonl")
        command = [self.program] + options + ["--data", self.args.data, "--quiet", "--log", path]
        _, memory, foreign = self.run(command)
        with open(path) as f:
            lines = [json.loads(line) for line in f if line.strip()]
        return lines[0], [line for line in lines if "epoch" in line], memory, foreign

    def hillock(self, case):
        options = case["options"] + ["--epochs", str(case["epochs"]), "--seed", "1"]
        options += ["--threads", str(THREADS)] + self.args.hillock_options.split()
        header, epochs, memory, foreign = self.hillock_run(options)
        self.notes["hillock"] = {
            k: v for k, v in header.items() if isinstance(v, (str, int, float))
        }
        seconds = statistics.median(e["seconds"] for e in epochs[1:])
        return {"%d threads" % THREADS: seconds}, memory, foreign

    def torch_run(self, options, wait=None):
        """What the script printed, peak MB, share of others."""
        command = [self.python, self.script, "--data", self.args.data] + options
        out, memory, foreign = self.run(command, wait=wait)
        result = json.loads(out.splitlines()[-1])
        self.notes["torch"] = result["torch"]
        return result, memory, foreign

    def by_torch(self, case, side):
        key = case["name"], side
        variants = self.alive.get(key, self.variants[side])
        options = case["options"] + ["--variants", ",".join(variants)]
        if case.get("prune") and key not in self.begun:
            options += ["--prune", str(PRUNE)]
        self.begun.add(key)
        result, memory, foreign = self.torch_run(options)
        return result["seconds"], memory, foreign

    def products(self, specs, runs):
        """One round of every product, by every library and number of threads; adds to runs."""
        worst = 0.0
        for library, program in self.programs.items():
            for threads in (1, 2):
                env = dict(self.core, **products.environment(library, threads))
                out, _, foreign = self.run([program] + sorted(set(specs)), env)
                name, seconds = products.parse(out)
                runs.setdefault("%s, %d threads" % (name, threads), []).append(seconds)
                worst = max(worst, foreign)
        return worst


# --- speed ----------------------------------------------------------------------------------------


def measure(sides, cases, rounds):
    """All rounds, the sides in turn: {case: {side: figures}}, {products: their figures}."""
    table, product_runs = {}, {}
    for r in range(rounds):
        for case in cases:
            for side in sides.names:
                seconds, memory, foreign = sides.measure(side, case)
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
                log("round %d  %-26s %-14s %.4f s" % (r + 1, case["name"], side, best))
            specs = case["products"][0]
            cell = product_runs.setdefault(" ".join(specs), {"runs": {}, "foreign": []})
            if sides.programs and len(cell["foreign"]) == r:
                cell["foreign"].append(sides.products(specs, cell["runs"]))
    return table, product_runs


def best_variant(cell, rounds):
    """The variant with the least median among those measured in every round."""
    full = {v: s for v, s in cell["seconds"].items() if len(s) == rounds}
    variant = min(full, key=lambda v: statistics.median(full[v]))
    return variant, statistics.median(full[variant]), full[variant]


ROW = "%-14s %-34s %8s %7s %7s %9s %8s %7s %9s %8s"


def side_row(sides, case, side, cell, rounds, ours):
    """Prints one side's line; returns its seconds."""
    variant, median, every = best_variant(cell, rounds)
    cell["best"] = {"variant": variant, "median": median}
    ratio = "%.2f x" % (median / ours) if ours else ""
    goal = case["goals"].get(side)
    figures = ["%.4f" % median, "%.4f" % min(every), "%.4f" % max(every)]
    figures += ["%.0f" % (IMAGES / median), "%.1f" % max(cell["memory_mb"])]
    figures += ["%.1f%%" % (100 * max(cell["foreign"])), ratio]
    print(ROW % (side, variant, *figures, ">= %.2f" % goal if goal and ratio else ""))
    return median


def product_rows(case, cell, ours):
    """Prints what the products alone take; returns the figures."""
    specs, steps = case["products"]
    best, each, chosen = products.epoch_seconds(cell["runs"], specs, steps)
    busy = "%.1f%%" % (100 * max(cell["foreign"]))
    ratio = "%.2f :1" % (ours / best) if ours else ""
    goal = case["goals"].get("products")
    goal = "<= %.2f" % goal if goal and ratio else ""
    name = "best of each product"
    print(ROW % ("products", name, "%.4f" % best, "", "", "", "", busy, ratio, goal))
    for way, seconds in each.items():
        print("%-14s %-34s %8.4f" % ("", way, seconds))
    return {"best": best, "each": each, "chosen": chosen}


def speed(sides, cases, args):
    table, product_runs = measure(sides, cases, args.rounds)
    heads = ("side", "variant", "s/epoch", "min", "max", "images/s", "peak MB", "others", "ratio")
    print(ROW % (*heads, "goal"))
    for case in cases:
        print("-- " + case["name"])
        row, ours, theirs = table.get(case["name"], {}), None, {}
        for side in sides.names:
            seconds = side_row(sides, case, side, row[side], args.rounds, ours)
            if side == "hillock":
                ours = seconds
            elif sides.is_torch(side):
                theirs[side] = seconds
        goal = case["goals"].get("best torch")
        if ours and theirs and goal:
            best = min(theirs, key=theirs.get)
            ratio = "%.2f x" % (theirs[best] / ours)
            text = ("PyTorch's best", best, "", "", "", "", "", "", ratio, ">= %.2f" % goal)
            print(ROW % text)
        cell = product_runs[" ".join(case["products"][0])]
        if cell["runs"]:
            row["products"] = product_rows(case, cell, ours)
        most = case["goals"].get("memory")
        if ours and most:
            peak = max(row["hillock"]["memory_mb"])
            print("hillock's peak memory: %.1f MB (goal: <= %d)" % (peak, most))
    for what, note in sides.notes.items():
        print("%s: %s" % (what, note))
    return {"speed": table, "product_runs": product_runs, "notes": sides.notes}


# --- accuracy -------------------------------------------------------------------------------------


def show_accuracy(name, values):
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    each = " ".join("%.2f" % v for v in values)
    mean = statistics.mean(values)
    print("%-8s mean %.3f %%, deviation %.3f, seeds: %s" % (name, mean, spread, each))


def compare_accuracy(sides, ours_options, torch_options, seeds, goal):
    """Test accuracy after the last epoch, seeds 1 to N, ours and PyTorch's, on the same images."""
    ours, val = [], 0
    for seed in range(1, seeds + 1):
        options = ours_options + ["--seed", str(seed), "--threads", str(THREADS)]
        header, epochs, _, _ = sides.hillock_run(options)
        val = int(header["val_images"])
        ours.append(epochs[-1]["test_accuracy"])
        log("hillock, seed %d: %.2f %%" % (seed, ours[-1]))
    options = torch_options + ["--seeds", str(seeds), "--val", str(val)]
    theirs = sides.torch_run(options, wait=0)[0]["accuracy"]
    show_accuracy("hillock", ours)
    show_accuracy("PyTorch", theirs)
    gap = statistics.mean(ours) - statistics.mean(theirs)
    print("hillock - PyTorch: %+.3f points (goal: within %.2f)" % (gap, goal))
    return {"hillock": ours, "torch": theirs, "val": val}


# --- options --------------------------------------------------------------------------------------


def add_options(ap, peers, seeds, program):
    ap.add_argument(
        "--build", default=os.path.join(REPO, "build"), help="folder with %s" % program
    )
    ap.add_argument("--data", default=os.path.join(REPO, "data", "mnist"))
    ap.add_argument("--peers", default=peers, help="sides to compare (%(default)s)")
    ap.add_argument("--case", default="", help="only cases whose name contains this")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument(
        "--venv", default="/tmp/hillock-bench-venv", help="where torch is or will be installed"
    )
    ap.add_argument(
        "--coretype", default="SkylakeX", help="OPENBLAS_CORETYPE of the peers; '' leaves it unset"
    )
    ap.add_argument("--hillock-options", default="", help="further options for %s" % program)
    ap.add_argument("--accuracy", action="store_true", help="accuracy instead of speed")
    ap.add_argument("--seeds", type=int, default=seeds, help="seeds of --accuracy")
    ap.add_argument("--wait", type=float, default=WAIT, help="seconds to wait for a quiet machine")
    ap.add_argument("--json", help="write all raw figures to this file")


def report(args, result):
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)
