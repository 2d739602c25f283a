#!/usr/bin/env python3
"""torch_mnist.py: seconds of an epoch of MNIST by PyTorch on the GPU: eager, with CUDA graphs, compiled.
SPDX-License-Identifier: MIT

The images lie on the GPU as bytes, as hillock's do; a batch is gathered there. Prints lines for run.sh, hillock's times
(lines "hillock SECONDS" in a file) over the best of PyTorch's among them.
"""

import argparse
import pathlib
import statistics
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import torch_cnn
import torch_mlp
import torch_train

# The shape that an image has there, and the network.
NETS = {
    "mlp": ((784,), lambda: torch_mlp.make_net([128], 1)),
    "small": ((1, 28, 28), lambda: torch_cnn.make_net("small", "auto", 1)),
    "lenet": ((1, 28, 28), lambda: torch_cnn.make_net("lenet", "auto", 1)),
}


class Run:
    def __init__(self, args, way):
        self.device = args.device
        shape, make_net = NETS[args.net]
        self.images = self.bytes_of(args.data, "train-images-idx3-ubyte", 16).view(-1, *shape)
        self.labels = self.bytes_of(args.data, "train-labels-idx1-ubyte", 8).long()
        self.batch = min(args.batch, len(self.labels))
        self.net = make_net().to(args.device)
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

    def bytes_of(self, folder, name, header):
        return torch.from_numpy(torch_train.read_idx(folder, name, header).copy()).to(self.device)

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
    # Like with like: in float32. PyTorch's convolutions are rounded to TF32 if nothing is said.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
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
