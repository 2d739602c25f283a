#!/usr/bin/env python3
"""make_golden_stats.py: writes the golden values of statistics (stats.txt) with PyTorch.
SPDX-License-Identifier: MIT

    python3 tests/golden/make_golden_stats.py            # rewrites the file beside this script
    python3 tests/golden/make_golden_stats.py --out DIR  # or elsewhere, to compare

See make_golden.py for what all such scripts have in common. Each run is repeated in float32, whose
statistics must stay within 2e-6 of float64's, relative to the root mean square.
"""

import argparse
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

from make_golden import F32_GATE, Writer, grid

LR = 0.1
KINK = 2e-5  # no input of relu may come nearer to 0

COMMENT = """\
Statistics of gradients, outputs and updates of one training step. Two networks with dead units:
mlp: linear 12-16, relu, linear 16-14, relu, linear 14-5. cnn: conv 1-6 3x3 padding 1, relu,
max pool 2, conv 6-8 3x3, relu, flatten, linear 32-5, on 8x8 images. Cross-entropy, mean over the
batch; one step of plain SGD with rate .1. Layers and parameters are named as in Sequential.
    NET.x, NET.labels, NET.start.PARAMETER
    NET.grad.PARAMETER    nine statistics of the gradient
    NET.out.LAYER         of a layer's output
    NET.outgrad.LAYER     of the gradient there
    NET.update.PARAMETER  |w| before the step and |w after - w before| / |w before|
The nine: elements, zeros, elements not finite, mean, std (with n - 1), min, max, largest |x|,
sqrt of the sum of squares."""


def mlp():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 14), nn.ReLU(), nn.Linear(14, 5))


def cnn():
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3),
                         nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))


def stats(t):
    t = t.detach()
    return torch.tensor([t.numel(), (t == 0).sum(), (~torch.isfinite(t)).sum(), t.mean(), t.std(),
                         t.min(), t.max(), t.abs().max(), t.norm()], dtype=torch.float64)


def start_of(make, g):
    """Parameters on the grid; the bias of every fifth unit of a hidden layer keeps it dead."""
    start = {}
    weights = [k for k in make().state_dict() if k.endswith("weight")]
    for k, p in make().state_dict().items():
        fan_in = p[0].numel() if p.dim() > 1 else 25
        start[k] = grid(g, *p.shape, scale=(2 / fan_in) ** 0.5)
        if k.endswith("bias") and k != weights[-1].replace("weight", "bias"):
            start[k][1::5] = -12
    return start


def run(make, start, x, labels, dtype):
    net = make().to(dtype)
    net.load_state_dict(start)
    outs = {}
    h = x.to(dtype)
    for name, layer in net.named_children():
        if isinstance(layer, nn.ReLU):
            assert h.detach().abs().min() > KINK, "move the seed: a relu input is too near 0"
        h = layer(h)
        if h.requires_grad:
            h.retain_grad()
        outs[name] = h
    F.cross_entropy(h, labels).backward()
    found = {"grad." + k: stats(p.grad) for k, p in net.named_parameters()}
    found.update({"out." + k: stats(t) for k, t in outs.items()})
    found.update({"outgrad." + k: stats(t.grad) for k, t in outs.items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    optimizer.step()
    for k, p in net.named_parameters():
        before = start[k].to(dtype)
        found["update." + k] = torch.tensor(
            [before.norm(), (p.detach() - before).norm() / before.norm()], dtype=torch.float64)
    return found


def gate(name, wide, narrow):
    if name.split(".")[0] == "update":
        # A difference of weights: float32 has rounded the weights themselves.
        assert abs(narrow[1] - wide[1]) <= 1e-4 * wide[1], name
        return
    rms = wide[8] / wide[0].sqrt()
    assert torch.equal(wide[:3], narrow[:3]), name
    for i in range(3, 9):
        scale = wide[i].abs() if i in (4, 7, 8) else rms
        assert (wide[i] - narrow[i]).abs() <= F32_GATE * scale, (name, i, wide[i], narrow[i])


def write_stats(path):
    w = Writer(COMMENT, "make_golden_stats.py")
    g = torch.Generator().manual_seed(31)
    for net, make, shape in (("mlp", mlp, (12,)), ("cnn", cnn, (1, 8, 8))):
        x = grid(g, 8, *shape)
        labels = torch.tensor([3, 0, 4, 1, 1, 2, 0, 3])
        start = start_of(make, g)
        w.put(net + ".x", x)
        w.put(net + ".labels", labels)
        for k, v in start.items():
            w.put(net + ".start." + k, v)
        wide = run(make, start, x, labels, torch.float64)
        narrow = run(make, start, x, labels, torch.float32)
        for k, v in wide.items():
            gate(k, v, narrow[k])
            w.put(net + "." + k, v)
            if k.startswith("grad.0."):
                assert v[1] > 0, "no dead unit"
    w.save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    write_stats(os.path.join(parser.parse_args().out, "stats.txt"))
