#!/usr/bin/env python3
"""torch_mnist.py: seconds of an epoch of MNIST by PyTorch on the GPU: eager, with CUDA graphs, compiled.
SPDX-License-Identifier: MIT

The images lie on the GPU as bytes, as hillock's do; a batch is gathered there. Prints lines for run.sh, hillock's times
(lines "hillock SECONDS" in a file) over the best of PyTorch's among them.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

NETS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)),
    "small": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 10),
    ),
    "lenet": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10),
    ),
}


class Run:
    def __init__(self, args, way):
        torch.manual_seed(1)
        self.device = args.device
        def raw(name, header):
            return np.fromfile(os.path.join(args.data, name), np.uint8)[header:].copy()
        self.images = torch.from_numpy(raw("train-images-idx3-ubyte", 16)).to(args.device)
        self.images = self.images.view(-1, 1, 28, 28)
        self.labels = torch.from_numpy(raw("train-labels-idx1-ubyte", 8)).long().to(args.device)
        self.batch = min(args.batch, len(self.labels))
        self.net = NETS[args.net]().to(args.device)
        self.opt = torch.optim.Adam(
            self.net.parameters(), lr=1e-3, fused=args.device == "cuda", capturable=way == "graph"
        )
        self.items = torch.arange(self.batch, device=args.device)
        self.graph = None
        if way == "compiled":
            torch._dynamo.reset()
            self.loss = torch.compile(self.plain_loss, mode="reduce-overhead")
        else:
            self.loss = self.plain_loss
        if way == "graph":
            self.capture()

    def plain_loss(self, items):
        x = self.images[items].float() / 255
        return F.cross_entropy(self.net(x), self.labels[items])

    def plain(self, items):
        self.opt.zero_grad(set_to_none=True)
        self.loss(items).backward()
        self.opt.step()

    def capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.plain(self.items)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.plain(self.items)

    def epoch(self):
        order = torch.randperm(len(self.labels), device=self.device)
        for at in range(0, len(self.labels) - self.batch + 1, self.batch):
            items = order[at : at + self.batch]
            if self.graph:
                self.items.copy_(items)
                self.graph.replay()
            else:
                self.plain(items)
        if self.device == "cuda":
            torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--net", choices=NETS, default="mlp")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--times", required=True)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("not run: PyTorch's side: this torch sees no GPU")
        return
    with open(args.times) as f:
        lines = [line.split() for line in f]
    ours = statistics.median(float(seconds) for of, seconds in lines if of == "hillock")
    best = {}
    for way in ("eager", "graph", "compiled") if args.device == "cuda" else ("eager",):
        try:
            run = Run(args, way)
            run.epoch()  # what is done once
            times = []
            for _ in range(max(2, args.epochs - 1)):
                begin = time.perf_counter()
                run.epoch()
                times.append(time.perf_counter() - begin)
        except Exception as error:
            print(f"not run: {way}: {str(error).splitlines()[0][:120]}")
            continue
        best[way] = statistics.median(times)
        print(f"RESULT seconds of an epoch/{args.net} {args.batch}, torch {way} {best[way]:.6g}")
    asked = args.net == "mlp" and args.batch == 64 and args.device == "cuda"
    if "eager" in best:
        gate = " >= 5" if asked else ""
        print(f"RESULT faster than torch eager/{args.net} {args.batch} {best['eager'] / ours:.4g}{gate}")
    if best:
        gate = " >= 1.2" if asked else ""
        least = min(best.values())
        print(f"RESULT faster than the best torch/{args.net} {args.batch} {least / ours:.4g}{gate}")


main()
