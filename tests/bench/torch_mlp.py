#!/usr/bin/env python3
"""torch_mlp.py: PyTorch's side of mlp.py: the training of mnist_mlp timed, or its accuracy.
SPDX-License-Identifier: MIT

Runs in the Python that has torch. The last line it prints is one JSON object.
"""

import argparse
import gzip
import itertools
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

GAIN = {"relu": math.sqrt(2.0), "last": 1.0}


def read_idx(folder, name, header):
    path = os.path.join(folder, name)
    if os.path.exists(path + ".gz"):
        with gzip.open(path + ".gz") as f:
            raw = f.read()
    else:
        with open(path, "rb") as f:
            raw = f.read()
    return np.frombuffer(raw, np.uint8, offset=header)


def load(folder):
    """Images as one float tensor of byte/255, labels as one int64 tensor."""
    out = []
    for part in ("train", "t10k"):
        images = read_idx(folder, part + "-images-idx3-ubyte", 16).astype(np.float32) / 255
        labels = read_idx(folder, part + "-labels-idx1-ubyte", 8).astype(np.int64)
        out += [torch.from_numpy(images.reshape(len(labels), -1)), torch.from_numpy(labels)]
    return out


def make_net(hidden, seed):
    """hillock's default initialiser: normal, std = gain / sqrt(fan_in), biases 0."""
    torch.manual_seed(seed)
    widths = [784] + hidden + [10]
    layers = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        linear = torch.nn.Linear(n_in, n_out)
        last = k == len(widths) - 2
        torch.nn.init.normal_(
            linear.weight, 0.0, GAIN["last" if last else "relu"] / math.sqrt(n_in)
        )
        torch.nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers)


def make_optimizer(name, params, lr, flavour):
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    return kind(params, lr=lr, fused=flavour == "fused", foreach=flavour == "foreach")


class Trainer:
    """One way to train: a net, an optimizer, and a step that may be compiled.

    flavour: loop, foreach or fused for PyTorch's optimizers in eager mode; loss-compiled for
    torch.compile on forward, loss and backward with the fused optimizer; step-compiled for one
    compiled graph of the whole step, update included.
    """

    def __init__(self, args, flavour, seed=1):
        self.net = make_net(args.hidden, seed)
        self.batch = args.batch
        self.generator = torch.Generator().manual_seed(seed)
        self.grad = flavour != "step-compiled"
        if flavour == "step-compiled":
            self.step = self.whole_step(args.optimizer, args.lr)
            return
        eager = "fused" if flavour == "loss-compiled" else flavour
        self.opt = make_optimizer(args.optimizer, self.net.parameters(), args.lr, eager)
        self.step = self.plain_step
        if flavour == "loss-compiled":
            self.loss = torch.compile(self.loss, dynamic=False)

    def loss(self, x, y):
        return F.cross_entropy(self.net(x), y)

    def plain_step(self, x, y):
        self.opt.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.opt.step()
        return loss.detach()

    def whole_step(self, optimizer, lr):
        """The step as one function of tensors, which torch.compile turns into one graph."""
        params = {k: p.detach() for k, p in self.net.named_parameters()}
        m = {k: torch.zeros_like(p) for k, p in params.items()}
        v = {k: torch.zeros_like(p) for k, p in params.items()}
        count = torch.zeros(())

        def loss_of(p, x, y):
            return F.cross_entropy(torch.func.functional_call(self.net, p, (x,)), y)

        def sgd(x, y):
            grads, loss = torch.func.grad_and_value(loss_of)(params, x, y)
            for k, p in params.items():
                p.sub_(grads[k], alpha=lr)
            return loss

        def adam(x, y):
            grads, loss = torch.func.grad_and_value(loss_of)(params, x, y)
            count.add_(1)
            rate = lr / (1 - 0.9**count)
            root = torch.rsqrt(1 - 0.999**count)
            for k, p in params.items():
                m[k].lerp_(grads[k], 0.1)
                v[k].mul_(0.999).addcmul_(grads[k], grads[k], value=0.001)
                p.sub_(rate * m[k] / (v[k].sqrt() * root + 1e-8))
            return loss

        return torch.compile(adam if optimizer == "adam" else sgd, dynamic=False, fullgraph=True)

    def epoch(self, images, labels):
        """Shuffle, gather, forward, loss, backward, step: what hillock's `seconds` counts."""
        start = time.perf_counter()
        order = torch.randperm(len(labels), generator=self.generator)
        total = torch.zeros(())
        with torch.set_grad_enabled(self.grad):
            for at in range(0, len(labels), self.batch):
                index = order[at : at + self.batch]
                x = torch.index_select(images, 0, index)
                y = torch.index_select(labels, 0, index)
                total.add_(self.step(x, y), alpha=len(index))
        mean = total.item() / len(labels)
        return time.perf_counter() - start, mean

    @torch.no_grad()
    def accuracy(self, images, labels):
        right = 0
        for x, y in zip(images.split(1000), labels.split(1000)):
            right += (self.net(x).argmax(1) == y).sum().item()
        return 100.0 * right / len(labels)


def timing(args, data):
    """One epoch of each variant, after a warm-up that has a short batch as the epoch does."""
    images, labels, test_images, test_labels = data
    short = len(labels) % args.batch
    warm = 30 * args.batch + short
    seconds, quality = {}, {}
    for variant in args.variants.split(","):
        flavour, threads = variant.split(":")
        torch.set_num_threads(int(threads))
        if flavour.endswith("compiled"):
            torch._dynamo.reset()  # the compiled code is made for one number of threads
        trainer = Trainer(args, flavour)
        trainer.epoch(images[:warm], labels[:warm])
        seconds[variant], loss = trainer.epoch(images, labels)
        quality[variant] = {"loss": loss, "accuracy": trainer.accuracy(test_images, test_labels)}
    return {"seconds": seconds, "after_one_epoch": quality}


def accuracy(args, data):
    images, labels, test_images, test_labels = data
    if args.val:
        images, labels = images[: -args.val], labels[: -args.val]
    results = []
    for seed in range(1, args.seeds + 1):
        trainer = Trainer(args, "fused", seed)
        for _ in range(args.epochs):
            trainer.epoch(images, labels)
        results.append(trainer.accuracy(test_images, test_labels))
    return {"accuracy": results}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--hidden", required=True, type=lambda s: [int(v) for v in s.split("-")])
    ap.add_argument("--batch", required=True, type=int)
    ap.add_argument("--optimizer", required=True, choices=["sgd", "adam"])
    ap.add_argument("--lr", required=True, type=float)
    ap.add_argument("--variants", help="FLAVOUR:THREADS, comma-separated: time these")
    ap.add_argument("--seeds", type=int, default=0, help="instead: accuracy over seeds 1..N")
    ap.add_argument("--epochs", type=int, default=5)
    ap.add_argument("--val", type=int, default=0)
    args = ap.parse_args()
    torch.set_flush_denormal(True)
    data = load(args.data)
    out = accuracy(args, data) if args.seeds else timing(args, data)
    out["torch"] = torch.__version__
    print(json.dumps(out))


if __name__ == "__main__":
    main()
