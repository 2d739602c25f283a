#!/usr/bin/env python3
"""torch_train.py: what torch_mlp.py and torch_cnn.py share: data, initialiser, training, timing.
SPDX-License-Identifier: MIT

Runs in the Python that has torch.
"""

import gzip
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

FLAVOURS = ("loop", "foreach", "fused", "loss-compiled", "step-compiled")
PROBE = 40  # steps


def read_idx(folder, name, header):
    path = os.path.join(folder, name)
    if os.path.exists(path + ".gz"):
        with gzip.open(path + ".gz") as f:
            raw = f.read()
    else:
        with open(path, "rb") as f:
            raw = f.read()
    return np.frombuffer(raw, np.uint8, offset=header)


def load(folder, shape):
    """Images as one float tensor of byte/255, each of `shape`; labels as one int64 tensor."""
    out = []
    for part in ("train", "t10k"):
        images = read_idx(folder, part + "-images-idx3-ubyte", 16).astype(np.float32) / 255
        labels = read_idx(folder, part + "-labels-idx1-ubyte", 8).astype(np.int64)
        out += [torch.from_numpy(images.reshape(len(labels), *shape)), torch.from_numpy(labels)]
    return out


def initialise(net):
    """hillock's default: normal, std = gain/sqrt(fan_in), sqrt(2) before a relu; biases 0."""
    layers = [m for m in net.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    for m in layers:
        gain = 1.0 if m is layers[-1] else math.sqrt(2.0)
        torch.nn.init.normal_(m.weight, 0.0, gain / math.sqrt(m.weight[0].numel()))
        torch.nn.init.zeros_(m.bias)
    return net


def make_optimizer(name, params, lr, flavour):
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    return kind(params, lr=lr, fused=flavour == "fused", foreach=flavour == "foreach")


class Trainer:
    """One way to train: a net, an optimizer, and a step that may be compiled.

    flavour: loop, foreach or fused for PyTorch's optimizers in eager mode; loss-compiled for
    torch.compile on forward, loss and backward with the fused optimizer; step-compiled for one
    compiled graph of the whole step, update included. With "-nhwc" behind it, weights and images
    are channels_last.
    """

    def __init__(self, net, args, flavour, seed=1):
        self.layout = torch.contiguous_format
        if flavour.endswith("-nhwc"):
            flavour, self.layout = flavour[: -len("-nhwc")], torch.channels_last
            net = net.to(memory_format=self.layout)
        assert flavour in FLAVOURS, flavour
        self.net = net
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
                if self.layout != torch.contiguous_format:
                    x = x.contiguous(memory_format=self.layout)
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


def timing(args, data, make_net):
    """One epoch of each variant, after a warm-up that has a short batch as the epoch does.

    With args.prune, a variant whose first steps behind the warm-up take more than that times the
    fastest so far has no epoch.
    """
    images, labels, test_images, test_labels = data
    short = len(labels) % args.batch
    warm, probe = 30 * args.batch + short, PROBE * args.batch
    seconds, quality, probes = {}, {}, {}
    for variant in args.variants.split(","):
        flavour, threads = variant.split(":")
        torch.set_num_threads(int(threads))
        if "compiled" in flavour:
            torch._dynamo.reset()  # the compiled code is made for one number of threads
        trainer = Trainer(make_net(1), args, flavour)
        trainer.epoch(images[:warm], labels[:warm])
        if args.prune:
            probes[variant] = trainer.epoch(images[:probe], labels[:probe])[0]
            if probes[variant] > args.prune * min(probes.values()):
                continue
        seconds[variant], loss = trainer.epoch(images, labels)
        quality[variant] = {"loss": loss, "accuracy": trainer.accuracy(test_images, test_labels)}
    return {"seconds": seconds, "after_one_epoch": quality, "probes": probes}


def accuracy(args, data, make_net):
    images, labels, test_images, test_labels = data
    if args.val:
        images, labels = images[: -args.val], labels[: -args.val]
    results = []
    for seed in range(1, args.seeds + 1):
        trainer = Trainer(make_net(seed), args, "fused", seed)
        for _ in range(args.epochs):
            trainer.epoch(images, labels)
        results.append(trainer.accuracy(test_images, test_labels))
    return {"accuracy": results}


def add_options(ap):
    ap.add_argument("--data", required=True)
    ap.add_argument("--batch", required=True, type=int)
    ap.add_argument("--optimizer", required=True, choices=["sgd", "adam"])
    ap.add_argument("--lr", required=True, type=float)
    ap.add_argument("--variants", help="FLAVOUR:THREADS, comma-separated: time these")
    ap.add_argument("--prune", type=float, help="drop variants so many times slower at once")
    ap.add_argument("--seeds", type=int, default=0, help="instead: accuracy over seeds 1..N")
    ap.add_argument("--epochs", type=int, default=5)
    ap.add_argument("--val", type=int, default=0)


def main(args, make_net, shape):
    """make_net(seed) gives a fresh net for images of `shape`. Prints one JSON object."""
    torch.set_flush_denormal(True)
    data = load(args.data, shape)
    out = (accuracy if args.seeds else timing)(args, data, make_net)
    onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    out["torch"] = "%s, oneDNN %s" % (torch.__version__, "on" if onednn else "off")
    print(json.dumps(out))
