#!/usr/bin/env python3
# gpu_code.py: counts the instructions of GPU kernels, and says which cannot keep up with the memory. Needs no GPU.
# SPDX-License-Identifier: MIT
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys

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
ever used. At 67 %, 8 bytes for each element leave time for 51 instructions, 12 bytes for 76."""

EXAMPLES = """examples:
  tests/bench/gpu_code.py build-cuda                          all kernels, those of double precision left out
  tests/bench/gpu_code.py build-cuda --worst 10               of those that large tensors pass through
  tests/bench/gpu_code.py build-cuda --check                  fails where such a kernel spills or has small accesses alone
  tests/bench/gpu_code.py some.cubin --kernel norm --loops    also the body of each loop
  tests/bench/gpu_code.py some.cubin --kernel tanh_plain_value --code
"""

CLOCK, PROCESSORS, COPY, SHARE = 1.7e9, 132, 3.0e12, 0.67
PER_CLOCK = {"issue": 128, "alu": 64, "mufu": 16, "f64": 64}
REGISTERS, THREADS, SHARED, BLOCKS = 65536, 2048, 228 * 1024, 32
# Kernels that a large tensor passes through, as it usually lies; others take what is left, or compute.
HOT = re.compile(r"hk__map_flat<|hk__learn_\w+<.*, 4>|row_wide|norm_wide|maxout_\w+<4>|drop_\w+<true>|update<|"
                 r"rows<\d, float, 4>|columns<\d, 4>|pool_2x2<4|vector<float>|gather_batch<.*4>")

FMA = re.compile(r"FFMA|FMUL|FADD|IMAD|HFMA2|HADD2|HMUL2")
MUFU = re.compile(r"MUFU|I2F|F2I|F2F|POPC|FLO|BREV")
F64 = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)")
OTHER = re.compile(r"U[A-Z]|LD|ST|BRA|BS|BREAK|CALL|RET|EXIT|BAR|WARPSYNC|SHFL|RED|ATOM|NOP|S2R|CS2R|MEMBAR|DEPBAR|YIELD|"
                   r"CCTL|ERRBAR|R2UR|FENCE|NANOSLEEP")


def fail(text):
    sys.exit(f"gpu_code.py: {text}")


# ------------------------------------------------------------------------------------------------ reading

def find_tool():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    places = [shutil.which("cuobjdump"), os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin/cuobjdump")]
    places += glob.glob(os.path.join(root, ".venv/lib/python3*/site-packages/nvidia/*/bin/cuobjdump"))
    return next((p for p in places if p and os.access(p, os.X_OK)), None)


def dump(tool, path, how):
    # nvdisasm lies beside it.
    env = dict(os.environ, PATH=os.path.dirname(tool) + os.pathsep + os.environ.get("PATH", ""))
    done = subprocess.run([tool, how, path], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{path}: cuobjdump {how}: {(done.stderr.strip() or 'failed').splitlines()[0]}")
    return done.stdout


def of_architecture(text, arch):
    # A file may hold code for several GPUs.
    parts = re.split(r"(?m)^\s*(?:arch = |code for )(sm_\d+)\w*\s*$", text)
    if len(parts) < 3:
        return text
    seen = parts[1::2]
    wanted = arch if arch in seen else seen[0]
    return "\n".join(t for a, t in zip(seen, parts[2::2]) if a == wanted)


LOADS, STORES = ("LDC", "ULDC", "LDG", "LDS", "LDL"), ("STG", "STS", "STL", "BRA", "EXIT", "BSYNC", "BAR")


def next_register(name):
    return re.sub(r"\d+", lambda m: str(int(m[0]) + 1), name)


class Instruction:
    LINE = re.compile(r"^\s+/\*([0-9a-f]{4,5})\*/\s+(@!?U?P\w+ )?\s*([A-Z0-9_.]+)\s*(.*?)\s*;")

    def __init__(self, match):
        self.address, self.guard = int(match[1], 16), match[2]
        self.name, self.rest = match[3], match[4]
        self.op = self.name.split(".")[0]
        self.op = {"LD": "LDG", "ST": "STG"}.get(self.op, self.op) # by a pointer that came from memory
        names = re.findall(r"\b(U?[RP]\d+)(\.64)?", self.rest)
        here = {n for n, _ in names} | {next_register(n) for n, two in names if two}
        results = 0 if self.op in STORES else 2 if re.search("SETP|PLOP", self.op) else 1
        of = re.findall(r"\bU?[RP]\d+|\bU?[RP]Z|\bPT\b", self.rest)[:results]
        if re.fullmatch("U?(IADD3|LEA|IMAD)", self.op):
            of += re.findall(r"^\w+, (U?P\d)\b", self.rest) # a carry
        wide = self.width() // 4 if self.op in LOADS else 2 if ".WIDE" in self.name else 1
        self.writes = set(of)
        for _ in range(wide - 1):
            self.writes |= {next_register(n) for n in self.writes if n[-1].isdigit() and "P" not in n}
        again = [n for n in of if n[-1].isdigit() and len(re.findall(rf"\b{n}\b", self.rest)) > 1]
        self.reads = (here - set(of)) | set(again) | set(re.findall(r"U?P\d", self.guard or ""))

    def width(self):
        bits = re.search(r"\.(128|64)\b", self.name.replace("E.64.", "", 0))
        if bits:
            return int(bits[1]) // 8
        return 1 if re.search(r"\.[US]8\b", self.name) else 2 if re.search(r"\.[US]16\b", self.name) else 4


class Kernel:
    def __init__(self, symbol, code):
        self.symbol, self.code = symbol, code
        self.name, self.registers, self.stack, self.shared, self.threads = symbol, 0, 0, 0, 0
        self.spills = sum(i.op in ("STL", "LDL") for i in code)

    def blocks(self):
        # Registers are handed out to warps by 8 for each thread; each block takes 1 KiB of shared memory more.
        threads = self.threads or 256
        registers = -(-self.registers // 8) * 8
        warps = REGISTERS // (registers * 32) if registers else 64
        return min(BLOCKS, warps // -(-threads // 32), THREADS // threads, SHARED // (self.shared + 1024))

    def warps(self):
        return self.blocks() * -(-(self.threads or 256) // 32)


def read_kernels(tool, path, arch):
    kernels = {}
    for part in re.split(r"(?m)^\s*Function : ", of_architecture(dump(tool, path, "-sass"), arch))[1:]:
        symbol, text = part.split("\n", 1)
        found = (Instruction.LINE.match(line) for line in text.splitlines())
        kernels[symbol.strip()] = Kernel(symbol.strip(), [Instruction(m) for m in found if m])
    usage = of_architecture(dump(tool, path, "-res-usage"), arch)
    for symbol, numbers in re.findall(r"Function (\S+):\n\s*(REG:.*)", usage):
        if symbol in kernels:
            of = dict(re.findall(r"(\w+):(\d+)", numbers))
            kernel = kernels[symbol]
            kernel.registers, kernel.stack, kernel.shared = int(of["REG"]), int(of["STACK"]), int(of["SHARED"])
    elf = of_architecture(dump(tool, path, "-elf"), arch)
    for part in re.split(r"(?m)^\.nv\.info\.", elf)[1:]:
        most = re.search(r"EIATTR_(?:MAX|REQ)_?(?:THREADS|NTID)\n.*\n\s*Value:\s*((?:0x[0-9a-f]+ ?){3})", part)
        symbol = part.split("\n", 1)[0].strip()
        if most and symbol in kernels:
            x, y, z = (int(v, 16) for v in most[1].split())
            kernels[symbol].threads = x * y * z
    return list(kernels.values())


def name_kernels(kernels):
    names = [k.symbol for k in kernels]
    if shutil.which("c++filt"):
        done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True)
        names = done.stdout.splitlines()
    for kernel, name in zip(kernels, names):
        name = re.sub(r"\(anonymous namespace\)::|^void |\((?:int|bool|unsigned int)\)", "", name)
        kernel.name = re.sub(r"\([^()]*(\([^()]*\)[^()]*)*\)$", "", name)


# ------------------------------------------------------------------------------------------------ paths

class Uniform:
    """Which predicates the arguments alone decide: all threads agree on them, such as whether an output is added to. A
    register's last value is the one that stands before it in the code, which is near enough."""

    def __init__(self, code):
        self.code, self.at, self.known = code, {i.address: n for n, i in enumerate(code)}, {}

    def predicate(self, i):
        """Of a guarded instruction; of a branch by its operand."""
        name = re.search(r"U?P\d", i.guard or (i.rest if i.op == "BRA" else "") or "")
        return bool(name) and self.value(name[0], self.at[i.address], 8)

    def value(self, name, n, deep):
        while n > 0 and deep > 0:
            n -= 1
            i = self.code[n]
            if name not in i.writes:
                continue
            if (n, name) not in self.known:
                self.known[n, name] = False # for what depends on itself
                fine = i.op not in ("LDG", "LDS", "LDL", "S2R", "S2UR", "CS2R", "SHFL", "VOTE", "VOTEU", "R2UR")
                self.known[n, name] = fine and all(self.value(r, n, deep - 1) for r in i.reads)
            return self.known[n, name]
        return False


class Graph:
    """Basic blocks and the ways between them."""

    def __init__(self, kernel):
        code, at = kernel.code, {i.address: n for n, i in enumerate(kernel.code)}
        self.uniform = Uniform(code)
        # Loads that the arguments may leave out: of what is added to.
        self.added = {i.address for i in code if i.op == "LDG" and i.guard and self.uniform.predicate(i)}
        self.widest = {op: max((i.width() for i in code if i.op == op), default=0) for op in ("LDG", "STG")}
        jumps = {}
        for n, i in enumerate(code):
            if i.op in ("BRA", "CALL"):
                target = re.search(r"0x([0-9a-f]+)\s*$", i.rest)
                jumps[n] = at.get(int(target[1], 16)) if target else None
        ends = set(jumps) | {n for n, i in enumerate(code) if i.op in ("EXIT", "RET")}
        starts = sorted({0} | {n + 1 for n in ends if n + 1 < len(code)} |
                        {t for n, t in jumps.items() if t is not None and code[n].op == "BRA"})
        self.first, self.code, self.next = starts, {}, {}
        for start, stop in zip(starts, starts[1:] + [len(code)]):
            last = code[stop - 1]
            self.code[start] = code[start:stop]
            on = [stop] if stop < len(code) else []
            if last.op == "BRA" and jumps[stop - 1] is not None:
                always = not last.guard and not re.match(r"!?U?P\d", last.rest)
                on = [jumps[stop - 1]] if always else [jumps[stop - 1]] + on
            elif last.op in ("EXIT", "RET") and not last.guard:
                on = []
            self.next[start] = on
        self.find_loops()

    def find_loops(self):
        # An edge to a block that is still open in a search from the start closes a loop.
        self.order, self.back, seen, opened = [], set(), {0}, {0}
        stack = [(0, iter(self.next[0]))] if self.code else []
        while stack:
            block, on = stack[-1]
            to = next(on, None)
            if to is None:
                stack.pop()
                opened.discard(block)
                self.order.append(block)
            elif to in opened:
                self.back.add((block, to))
            elif to not in seen:
                seen.add(to)
                opened.add(to)
                stack.append((to, iter(self.next[to])))
        self.loops = {}
        for tail, head in self.back:
            body, todo = {head}, [tail]
            while todo:
                block = todo.pop()
                if block not in body:
                    body.add(block)
                    todo += [b for b in self.order if block in self.next[b]]
            self.loops.setdefault(head, (set(), set()))
            self.loops[head][0].update(body)
            self.loops[head][1].add(tail)

    def score(self, block):
        stored = loaded = calls = narrow = few = 0
        for i in self.code[block]:
            wide = i.op in self.widest and i.width() == self.widest[i.op]
            stored += i.width() if i.op == "STG" and wide else 0
            narrow += i.width() if i.op == "STG" and not wide else 0
            loaded += i.width() if i.op == "LDG" and wide and i.address not in self.added else 0
            few += i.op == "LDG" and not wide
            calls += i.op == "CALL"
        return (stored, loaded, -calls, -narrow, -few, len(self.code[block]))

    def best(self, start, within, ends):
        # self.order has each block behind those that follow it, loops aside.
        best = {}
        for block in self.order:
            if block not in within:
                continue
            on = [best[b] for b in self.next[block] if b in best and (block, b) not in self.back]
            own = self.score(block)
            tails = [(tuple(a + b for a, b in zip(own, s)), [block] + p) for s, p in on]
            if block in ends or not self.next[block]:
                tails.append((own, [block]))
            asked = self.uniform.predicate(self.code[block][-1])
            if tails:
                best[block] = max(tails, key=lambda t: (t[0][0], -t[0][1], *t[0][2:4], t[0][5]) if asked else t[0])
        return [i for b in best[start][1] for i in self.code[b]] if start in best else []

    def whole(self):
        ends = {b for b in self.order if self.code[b][-1].op == "EXIT"}
        return self.best(0, set(self.order), ends) if self.code else []

    def main(self):
        """The path to be judged, and whether it is the body of a loop."""
        path, inside, is_loop = self.whole(), set(self.order), False
        while True:
            bodies = [(self.moved(p), len(b), p, b) for p, b in self.loop_paths() if b < inside]
            top = max(bodies, key=lambda t: (t[0], -t[1]), default=None)
            if not top or 2 * top[0] < self.moved(path) or top[0] == 0:
                return path, is_loop
            path, inside, is_loop = top[2], top[3], True

    def loop_paths(self):
        return [(self.best(head, body, tails), body) for head, (body, tails) in sorted(self.loops.items())]

    def moved(self, path):
        # Tables and parts are read in other widths than tensors.
        widest = max(self.widest.values())
        return sum(widest for i in path if i.op in ("LDG", "STG") and i.width() == widest and i.address not in self.added)


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
        return (sum(self.stores) if 4 * sum(self.stores) > self.bytes else max(sum(self.loads), size)) / size

    def widths(self):
        def text(name, all_of):
            return "+".join(f"{all_of.count(w)}x{8 * w}" for w in sorted(set(all_of), reverse=True)) + f" {name}"
        return ", ".join(text(n, w) for n, w in (("ld", self.loads), ("st", self.stores)) if w) or "no global access"


def findings(kernel, count):
    """What keeps a kernel from the speed of the memory, and of that what fails a check."""
    hot, bad = HOT.search(kernel.name), []
    out = [f"{name} {count.share(name):.0%}" for name in PER_CLOCK if count.share(name) > SHARE]
    out += [f"{kernel.warps()} warps"] if count.bytes and kernel.warps() < 32 else []
    spills = f"{kernel.spills} accesses to the stack, {count.spills} of {count.issue} on the path"
    (bad if 100 * count.spills > count.issue else out).extend([spills] if kernel.spills else [])
    bad += [f"{count.calls} calls on the path"] if count.calls else []
    bad += ["no access of 128 bits"] if count.bytes and max(count.loads + count.stores) < 16 else []
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
    print(f"Instructions for each element of {size} bytes, shares at the speed of a copy, an SM's blocks and warps:\n{HEAD}")
    for kernel, graph, count in rows:
        print(line(kernel.name, kernel, count, size, sum(findings(kernel, count), [])))
        for path, _ in graph.loop_paths() if with_loops else []:
            body = Count(graph, path, True)
            print(line(f"    loop at {path[0].address:#x}" if path else "    loop", kernel, body, size, []))
        for i in count.path if with_code else []:
            print(f"    {i.address:05x} {i.guard or '':6}{i.name} {i.rest}")


def find_files(paths):
    files = []
    for path in paths:
        if os.path.isdir(path):
            inside = glob.glob(os.path.join(path, "**", "*.cu.o"), recursive=True)
            if not inside:
                fail(f"{path}: no objects of .cu files here; name the folder of a build with HILLOCK_CUDA=ON")
            files += sorted(inside)
        elif os.path.isfile(path):
            files.append(path)
        else:
            fail(f"{path}: no such file")
    return files


def check(rows):
    bad = [f"{kernel.name}: {text}" for kernel, _, count in rows for text in findings(kernel, count)[1]]
    hot = sum(bool(HOT.search(kernel.name)) for kernel, _, _ in rows)
    print("\n".join(bad + [f"{hot} kernels, {len(bad)} findings"]))
    return 1 if bad or hot == 0 else 0


def main():
    parser = argparse.ArgumentParser(description=ABOUT, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a build folder, an object of a .cu file, or a .cubin")
    parser.add_argument("--kernel", default="", metavar="REGEX", help="only kernels whose name has this")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="of the kernels that large tensors pass through, the N with the largest share")
    parser.add_argument("--double", action="store_true", help="the kernels of double precision, elements of 8 bytes")
    parser.add_argument("--arch", default="sm_90", help="which of several GPUs' code (sm_90)")
    parser.add_argument("--loops", action="store_true", help="also the main path of each loop's body")
    parser.add_argument("--code", action="store_true", help="also the instructions of the path")
    parser.add_argument("--check", action="store_true", help="fail if such a kernel uses the stack or calls on its path, or has no access of 128 bits")
    args = parser.parse_args()
    tool = find_tool()
    if not tool:
        print("gpu_code.py: no cuobjdump: `pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm`, and put it on PATH",
              file=sys.stderr)
        return 77
    kernels = []
    for path in find_files(args.paths):
        if os.path.isdir(args.paths[0]) and ("cuda64" in path) != args.double:
            continue
        kernels += read_kernels(tool, path, args.arch)
    name_kernels(kernels)
    rows = []
    for kernel in kernels:
        if kernel.code and re.search(args.kernel, kernel.name):
            graph = Graph(kernel)
            rows.append((kernel, graph, Count(graph, *graph.main())))
    if not rows:
        fail("no such kernel")
    rows.sort(key=lambda r: -r[2].worst() if args.worst else 0)
    size = 8 if args.double else 4
    if args.check:
        return check(rows)
    if args.worst:
        rows = [r for r in rows if HOT.search(r[0].name)][:args.worst]
    show(rows, size, args.loops, args.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
