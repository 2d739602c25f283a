#!/usr/bin/env python3
# gpu_code.py: counts the instructions of GPU kernels, and says which cannot keep up with the memory. Needs no GPU.
# SPDX-License-Identifier: MIT
import argparse
import glob
import os
import re
import sys

from machine_code import Graph, Unreadable, find_tool, name_kernels, read_kernels

ABOUT = """Counts instructions in the machine code of the GPU's kernels, and says which cannot keep up with the memory.
A count and no measurement: it tells what is impossible, not what is reached. No GPU is needed, but cuobjdump,
of CUDA or from PyPI (nvidia-cuda-cuobjdump): on PATH, in CUDA's folder, or in .venv.

What is counted is the main path: of all ways from a kernel's start to its end, or through the body of the loop that
moves most bytes, the one that stores most in wide accesses, then loads most, then calls nothing, then has most
instructions. So neither the rest of an array nor the slow path of a division counts. Where the arguments alone decide
on a branch, loads are left out if stores do not depend on them: an output is not added to, but overwritten.

Shares are those of an H100 (SXM) at the speed of a copy, 3.0e12 bytes a second, with 132 multiprocessors at
1.7 GHz: of its 128 instructions a clock (issue), of 64 of comparisons, choices and integers (alu), of 16 of
reciprocals, roots and conversions (mufu). Over 67 % of any, a kernel will not keep up: not all slots are
ever used. At 67 %, 8 bytes for each element leave time for 51 instructions, 12 bytes for 77."""

EXAMPLES = """examples:
  tests/bench/gpu_code.py build-cuda                          all kernels, those of double precision left out
  tests/bench/gpu_code.py build-cuda --worst 10               of those that large tensors pass through
  tests/bench/gpu_code.py build-cuda --check                  fails where one spills or has small accesses
  tests/bench/gpu_code.py some.cubin --kernel norm --loops    also the body of each loop
  tests/bench/gpu_code.py some.cubin --kernel tanh_plain_value --code
"""

CLOCK, PROCESSORS, COPY, SHARE = 1.7e9, 132, 3.0e12, 0.67
PER_CLOCK = {"issue": 128, "alu": 64, "mufu": 16, "f64": 64}
# Kernels that a large tensor passes through, as it usually lies; others take what is left, or compute.
HOT = re.compile(r"hk__map_flat<|hk__learn_\w+<.*, 4>|row_wide|norm_wide|maxout_\w+<4>|drop_\w+<true>|update<|"
                 r"rows<\d, float, 4>|columns<\d, 4>|pool_2x2<4|vector<float>|gather_batch<.*4>")
# Those that read nothing but tensors, with a mask of a byte for each element at most.
PLAIN = re.compile(r"hk__map_flat<|hk__learn_value<")

FMA = re.compile(r"FFMA|FMUL|FADD|IMAD|HFMA2|HADD2|HMUL2")
MUFU = re.compile(r"(MUFU|I2F|F2I|F2F|POPC|FLO|BREV)$")
F64 = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)")
OTHER = re.compile(r"U[A-Z]|LD|ST|BRA|BS|BREAK|CALL|RET|EXIT|BAR|WARPSYNC|SHFL|RED|ATOM|NOP|S2R|CS2R|MEMBAR|DEPBAR|"
                   r"YIELD|CCTL|ERRBAR|R2UR|FENCE|NANOSLEEP")


def fail(text):
    sys.exit(f"gpu_code.py: {text}")


# ------------------------------------------------------------------------------------------------ counts

def pipe(i):
    return ("mufu" if MUFU.match(i.op) else "f64" if F64.match(i.op) else "fma" if FMA.match(i.op)
            else "other" if OTHER.match(i.op) else "alu")


class Count:
    def __init__(self, graph, path, is_loop):
        self.path, self.is_loop = path, is_loop
        self.loads = [i.width() for i in path if i.op == "LDG" and i.address not in graph.added]
        self.stores = [i.width() for i in path if i.op == "STG"]
        self.bytes = sum(self.loads) + sum(self.stores)
        self.calls = sum(i.op == "CALL" for i in path)
        self.spills = sum(i.op in ("STL", "LDL") for i in path)
        self.issue = len(path)
        pipes = [pipe(i) for i in path]
        self.pipes = {name: pipes.count(name) for name in ("alu", "mufu", "f64")}

    def share(self, name):
        n = self.issue if name == "issue" else self.pipes[name]
        return n / self.bytes * COPY / (PER_CLOCK[name] * PROCESSORS * CLOCK) if self.bytes else 0

    def worst(self):
        return max(self.share(name) for name in PER_CLOCK)

    def elements(self, size):
        """Of the result; of what is read, where little is written."""
        return (sum(self.stores) if 4 * sum(self.stores) >= self.bytes else max(sum(self.loads), size)) / size

    def widths(self):
        def text(name, all_of):
            return "+".join(f"{all_of.count(w)}x{8 * w}" for w in sorted(set(all_of), reverse=True)) + f" {name}"
        return ", ".join(text(n, w) for n, w in (("ld", self.loads), ("st", self.stores)) if w) or "no global access"


def findings(kernel, count):
    """What keeps a kernel from the speed of the memory, and of that what fails a check."""
    hot, bad = HOT.search(kernel.name), []
    out = [f"{name} {count.share(name):.0%}" for name in PER_CLOCK if count.share(name) > SHARE]
    out += [f"{kernel.warps()} warps"] if count.bytes and kernel.warps() < 32 else []
    spills = f"{kernel.spills()} accesses to the stack, {count.spills} of {count.issue} on the path"
    (bad if 100 * count.spills > count.issue else out).extend([spills] if kernel.spills() else [])
    bad += [f"{count.calls} calls on the path"] if count.calls else []
    moves = count.loads + count.stores
    bad += ["no access of 128 bits"] if moves and max(moves) < 16 else []
    small = sum(w for w in moves if w < 16) / max(count.bytes, 1)
    bad += [f"{small:.0%} in small accesses"] if PLAIN.search(kernel.name) and small > 1 / 3 else []
    return (out, bad) if hot else (out + bad, [])


# ------------------------------------------------------------------------------------------------ printing

HEAD = (f"{'kernel':58} {'instr':>6} {'alu':>5} {'mufu':>4} {'f64':>4} {'issue':>6} {'alu':>5} {'mufu':>5} "
        f"{'reg':>4} {'smem':>6} {'blk':>3} {'warps':>5}  main path")


def line(name, kernel, count, size, notes):
    n = count.elements(size)
    per = " ".join(f"{v / n:{w}.1f}" for v, w in ((count.issue, 6), (count.pipes["alu"], 5), (count.pipes["mufu"], 4),
                                                   (count.pipes["f64"], 4)))
    shares = f"{count.share('issue'):6.0%} {count.share('alu'):5.0%} {count.share('mufu'):5.0%}"
    return (f"{name:58} {per} {shares} {kernel.registers:4} {kernel.shared:6} {kernel.blocks():3} {kernel.warps():5}  "
            f"{'loop: ' if count.is_loop else ''}{count.widths()}" + (f"   ! {', '.join(notes)}" if notes else ""))


def show(rows, size, with_loops, with_code):
    print(f"Instructions for each element of {size} bytes, shares at the speed of a copy, blocks and warps of an SM:")
    print(HEAD)
    for kernel, graph, count in rows:
        print(line(kernel.name, kernel, count, size, sum(findings(kernel, count), [])))
        for path, _ in graph.loop_paths() if with_loops else []:
            body = Count(graph, path, True)
            print(line(f"    loop at {path[0].address:#x}" if path else "    loop", kernel, body, size, []))
        for i in count.path if with_code else []:
            print(f"    {i.address:05x} {i.guard or '':6}{i.name} {i.rest}")


def find_files(paths, double):
    files = []
    for path in paths:
        if os.path.isdir(path):
            inside = glob.glob(os.path.join(path, "**", "*.cu.o"), recursive=True)
            if not inside:
                fail(f"{path}: no objects of .cu files here; name the folder of a build with HILLOCK_CUDA=ON")
            files += sorted(f for f in inside if ("cuda64" in f) == double)
        elif os.path.isfile(path):
            files.append(path)
        else:
            fail(f"{path}: no such file")
    return files


def check(rows):
    bad = [f"{kernel.name}: {text}" for kernel, _, count in rows for text in findings(kernel, count)[1]]
    print("\n".join(bad + [f"{len(rows)} kernels, {len(bad)} findings"]))
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=ABOUT, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a build folder, an object of a .cu file, or a .cubin")
    parser.add_argument("--kernel", default="", metavar="REGEX", help="only kernels whose name has this")
    parser.add_argument("--worst", type=int, default=0, metavar="N",
                        help="of the kernels that large tensors pass through, the N with the largest share")
    parser.add_argument("--double", action="store_true", help="the kernels of double precision, elements of 8 bytes")
    parser.add_argument("--arch", default="sm_90", help="which of several GPUs' code (sm_90)")
    parser.add_argument("--loops", action="store_true", help="also the main path of each loop's body")
    parser.add_argument("--code", action="store_true", help="also the instructions of the path")
    parser.add_argument("--check", action="store_true",
                        help="fail if one of these uses the stack or calls on its path, or has small accesses")
    args = parser.parse_args()
    tool = find_tool()
    if not tool:
        print("gpu_code.py: no cuobjdump: `pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm`, and put it on PATH",
              file=sys.stderr)
        return 77
    kernels = []
    try:
        for path in find_files(args.paths, args.double):
            kernels += read_kernels(tool, path, args.arch)
    except Unreadable as error:
        fail(error)
    name_kernels(kernels)
    some = args.worst or args.check
    kernels = [k for k in kernels if re.search(args.kernel, k.name) and (not some or HOT.search(k.name))]
    if not kernels:
        fail("no such kernel")
    rows = [(kernel, graph, Count(graph, *graph.main())) for kernel, graph in ((k, Graph(k)) for k in kernels)]
    if args.check:
        return check(rows)
    if args.worst:
        rows = sorted(rows, key=lambda r: -r[2].worst())[:args.worst]
    show(rows, 8 if args.double else 4, args.loops, args.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
