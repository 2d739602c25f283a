# machine_code.py: kernels as cuobjdump shows them, and the main path through each, for gpu_code.py.
# SPDX-License-Identifier: MIT
import functools
import glob
import os
import re
import shutil
import subprocess

REGISTERS, THREADS, SHARED, BLOCKS = 65536, 2048, 228 * 1024, 32 # of a multiprocessor of an H100


class Unreadable(Exception):
    pass


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
        raise Unreadable(f"{path}: cuobjdump {how}: {(done.stderr.strip() or 'failed').splitlines()[0]}")
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
    """One line of cuobjdump -sass, and which registers and predicates it reads and writes, as far as paths ask."""
    LINE = re.compile(r"^\s+/\*([0-9a-f]{4,5})\*/\s+(@!?U?P\w+ )?\s*([A-Z0-9_.]+)\s*(.*?)\s*;")

    def __init__(self, match):
        self.address, self.guard = int(match[1], 16), match[2]
        self.name, self.rest = match[3], match[4]
        self.op = self.name.split(".")[0]
        self.op = {"LD": "LDG", "ST": "STG"}.get(self.op, self.op) # by a pointer that came from memory

    @functools.cached_property
    def written(self):
        results = 0 if self.op in STORES else 2 if re.search("SETP|PLOP", self.op) else 1
        of = re.findall(r"\bU?[RP]\d+|\bU?[RP]Z|\bPT\b", self.rest)[:results]
        if re.fullmatch("U?(IADD3|LEA|IMAD)", self.op):
            of += re.findall(r"^\w+, (U?P\d)\b", self.rest) # a carry
        return [name for name in of if name[-1].isdigit()]

    @functools.cached_property
    def writes(self):
        names = set(self.written)
        for _ in range((self.width() // 4 if self.op in LOADS else 2 if ".WIDE" in self.name else 1) - 1):
            names |= {next_register(n) for n in names if "P" not in n}
        return names

    @functools.cached_property
    def reads(self):
        names = re.findall(r"\b(U?[RP]\d+)(\.64)?", self.rest)
        here = {n for n, _ in names} | {next_register(n) for n, two in names if two}
        again = {n for n in self.written if len(re.findall(rf"\b{n}\b", self.rest)) > 1}
        return (here - set(self.written)) | again | set(re.findall(r"U?P\d", self.guard or ""))

    def width(self):
        bits = re.search(r"\.(128|64)\b", self.name)
        if bits:
            return int(bits[1]) // 8
        return 1 if re.search(r"\.[US]8\b", self.name) else 2 if re.search(r"\.[US]16\b", self.name) else 4


class Kernel:
    def __init__(self, symbol, text):
        self.symbol, self.text = symbol, text
        self.name, self.registers, self.stack, self.shared, self.threads = symbol, 0, 0, 0, 0

    @functools.cached_property
    def code(self):
        found = (Instruction.LINE.match(line) for line in self.text.splitlines())
        return [Instruction(match) for match in found if match]

    def spills(self):
        return sum(i.op in ("STL", "LDL") for i in self.code)

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
        kernels[symbol.strip()] = Kernel(symbol.strip(), text)
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
        self.code, self.next = {}, {}
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
        return sum(widest for i in path
                   if i.op in ("LDG", "STG") and i.width() == widest and i.address not in self.added)
