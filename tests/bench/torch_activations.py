#!/usr/bin/env python3
"""torch_activations.py: PyTorch's side of activations.py: forward and backward of its activations, timed.
SPDX-License-Identifier: MIT

Runs in the Python that has torch. The last line it prints is one JSON object, microseconds by name.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

# PyTorch's own function for each row of hillock's list that it has one for.
FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
    "log_sigmoid": F.logsigmoid,
    "tanh": torch.tanh,
    "hard_tanh": F.hardtanh,
    "softsign": F.softsign,
    "relu": torch.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "rrelu": lambda x: F.rrelu(x, training=True),
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "softplus": F.softplus,
    "silu": F.silu,
    "hard_swish": F.hardswish,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "mish": F.mish,
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "glu": lambda x: F.glu(x, 1),
}
# Those with parameters: a function of x and its parameters, and their starts.
LEARNED = {
    "prelu": (F.prelu, [0.25]),
    "swish": (lambda x, b: x * torch.sigmoid(b * x), [1.0]),
    "swish_skip": (lambda x, a, b: x * torch.sigmoid(b * x) + a * x, [0.1, 1.0]),
    "acon_c": (
        lambda x, p, q, b: (p - q) * x * torch.sigmoid(b * (p - q) * x) + q * x,
        [1.0, 0.0, 1.0],
    ),
}


def median_us(run, runs, warmup):
    times = []
    for i in range(runs + warmup):
        begin = time.perf_counter()
        run()
        if i >= warmup:
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def measure(f, params, shape, runs, warmup):
    x = torch.empty(shape).uniform_(-3, 3).requires_grad_()
    y = f(x, *params)
    gy = torch.rand_like(y)
    forward = median_us(lambda: f(x, *params), runs, warmup)
    backward = median_us(
        lambda: torch.autograd.grad(y, [x, *params], gy, retain_graph=True), runs, warmup
    )
    return {"forward": forward, "backward": backward}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--shape", default="1000x1000")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--runs", type=int, default=100)
    ap.add_argument("--warmup", type=int, default=10)
    ap.add_argument("names", nargs="*")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    shape = [int(v) for v in args.shape.split("x")]
    results = {}
    for name in args.names or [*FUNCTIONS, *LEARNED]:
        f, starts = LEARNED.get(name, (FUNCTIONS.get(name), []))
        if not f:
            continue
        params = [torch.tensor([v]).requires_grad_() for v in starts]
        results[name] = measure(f, params, shape, args.runs, args.warmup)
    print(json.dumps({"torch": torch.__version__, "results": results}))


if __name__ == "__main__":
    main()
