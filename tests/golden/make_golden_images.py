#!/usr/bin/env python3
"""make_golden_images.py: writes the golden values of images (images.txt) with PyTorch.
SPDX-License-Identifier: MIT

    python3 tests/golden/make_golden_images.py            # rewrites the file beside this script
    python3 tests/golden/make_golden_images.py --out DIR  # or elsewhere, to compare

See make_golden.py for what both have in common. Here too every input is a multiple of 1/256, and
each case is repeated in float32, which must stay within 2e-6 of float64.
"""

import argparse
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

from make_golden import Writer, close, grid

STEPS = 5
BATCH = 4
CLASSES = 10
STRIDE = 61  # of the weights, every so many are written
KINK = 2e-5  # no input of relu may come nearer to 0, no maximum nearer to the second

COMMENT = """\
Operations on images. A case KIND.NAME has:
    .settings    numbers that depend on the kind, below
    .x, .w, .b   input, weights, bias; .w and .b are absent where there are none
    .y           result
    .v           the vector that the result is weighed with
    .dx .dw .db  gradients of sum(v * y)
KIND and its settings:
conv2d               stride h w, padding h w, dilation h w, groups
conv_transpose2d     the same, then output_padding h w
max_pool2d           kernel h w, stride h w, padding h w, dilation h w, ceil_mode
avg_pool2d           kernel h w, stride h w, padding h w, ceil_mode, padding does not count
adaptive_avg_pool2d, adaptive_max_pool2d    rows and columns of the result
global_avg_pool      0
zero_pad2d           top, bottom, left, right
batch_norm_eval      eps; .mean and .var are given
layer_norm           axes, eps
group_norm           groups, eps
batch_norm           eps, momentum: a module. Two steps in training mode, on .x0 and .x1 with the
                     vectors .v0 and .v1: .y0, .dx0, .running_mean0, .running_var0, .y1, ...; .dw
                     and .db are the sums of both steps. Then .y2 of .x0 in evaluation mode.

Networks on random 8x8 images, named by PyTorch's paths. small: conv 1-8 3x3 padding 1, relu,
max pool 2, conv 8-16 3x3 padding 1, relu, max pool 2, flatten, linear 64-10. residual: conv 1-6,
batch norm, relu, block 6-6, relu, block 6-8 of stride 2, relu, mean of each channel, flatten,
linear 8-10; a block is body + shortcut; body is conv, batch norm, relu, conv, batch norm; shortcut
is the block's input, or conv 1x1 of stride 2 and batch norm; other convs are 3x3 with padding 1,
and none has a bias.
    NET.x, NET.labels, NET.start.PARAMETER; for ALGO = sgd (lr .02, momentum .9), adam (lr 1e-3):
    NET.ALGO.losses       cross-entropy (mean) before each of five steps on that batch
    NET.ALGO.weights      after each step, every 61st of all parameters in the order of NET.start
    NET.ALGO.eval         logits in evaluation mode at the end
    NET.ALGO.end.BUFFER   running statistics at the end"""


def flat(values):
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


# --- operations ----------------------------------------------------------------------------------


class Cases:
    def __init__(self, writer, g):
        self.w, self.g = writer, g
        self.step = 256

    def put(self, name, fn, settings, inputs, given=None):
        """inputs: {"x": ..., "w": ...}, what gradients are taken for; given: what they are not."""
        given = given or {}
        runs, v = [], None
        for dtype in (torch.float64, torch.float32):
            leaves = {k: t.to(dtype).clone().requires_grad_(True) for k, t in inputs.items()}
            y = fn(**leaves, **{k: t.to(dtype) for k, t in given.items()})
            v = self.grid(*y.shape) if v is None else v
            (y * v.to(dtype)).sum().backward()
            runs.append({"y": y, **{"d" + k: t.grad for k, t in leaves.items()}})
        self.w.put(name + ".settings", flat(settings))
        for k, t in {**inputs, **given, "v": v}.items():
            self.w.put("%s.%s" % (name, k), t)
        for k, t in runs[0].items():
            close(runs[1][k], t, "%s.%s" % (name, k))
            self.w.put("%s.%s" % (name, k), t)

    def grid(self, *shape, scale=1.0):
        return (grid(self.g, *shape, scale=scale) * self.step).round() / self.step


def convolutions(c):
    def conv(name, x, w, bias=True, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        inputs = {"x": c.grid(*x), "w": c.grid(*w, scale=0.5)}
        if bias:
            inputs["b"] = c.grid(w[0])
        c.put(
            "conv2d." + name,
            lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups),
            (*stride, *padding, *dilation, groups),
            inputs,
        )

    conv("plain", (2, 3, 5, 6), (4, 3, 3, 3))
    conv("padded", (2, 1, 6, 5), (8, 1, 3, 3), padding=(1, 1))
    conv("channels", (1, 8, 4, 4), (5, 8, 3, 3), padding=(1, 1))
    conv("five", (1, 2, 7, 8), (3, 2, 5, 5), padding=(2, 2), bias=False)
    conv("strided", (2, 2, 7, 8), (3, 2, 3, 2), stride=(2, 3), padding=(1, 0))
    conv("dilated", (1, 2, 8, 7), (2, 2, 3, 2), dilation=(2, 3), padding=(2, 1))
    conv("groups", (1, 4, 4, 5), (6, 2, 3, 3), groups=2, padding=(1, 1))
    conv("depthwise", (1, 5, 5, 4), (5, 1, 3, 3), groups=5, padding=(1, 1))
    conv("depthwise_twice", (1, 3, 5, 5), (6, 1, 3, 3), groups=3, stride=(2, 2), bias=False)
    conv("pointwise", (2, 5, 3, 3), (7, 5, 1, 1))
    conv("pointwise_strided", (2, 3, 5, 4), (4, 3, 1, 1), stride=(2, 2), bias=False)
    conv("row", (1, 2, 3, 17), (3, 2, 1, 5), padding=(0, 2))
    conv("column", (1, 2, 9, 3), (2, 2, 4, 1), padding=(3, 0), stride=(1, 2))
    conv("whole_image", (2, 2, 4, 3), (3, 2, 4, 3))
    conv("wide_padding", (1, 1, 2, 3), (2, 1, 2, 2), padding=(3, 2))
    conv(
        "everything",
        (1, 4, 8, 7),
        (4, 2, 4, 3),
        stride=(2, 1),
        padding=(2, 3),
        dilation=(1, 2),
        groups=2,
    )


def transposed_convolutions(c):
    def conv(name, x, w, bias=True, groups=1, **pairs):
        p = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "output_padding": (0, 0)}
        p.update(pairs)
        inputs = {"x": c.grid(*x), "w": c.grid(*w, scale=0.5)}
        if bias:
            inputs["b"] = c.grid(w[1] * groups)
        c.put(
            "conv_transpose2d." + name,
            lambda x, w, b=None: F.conv_transpose2d(
                x, w, b, p["stride"], p["padding"], p["output_padding"], groups, p["dilation"]
            ),
            (*p["stride"], *p["padding"], *p["dilation"], groups, *p["output_padding"]),
            inputs,
        )

    conv("plain", (2, 3, 3, 4), (3, 2, 3, 3))
    conv("doubling", (2, 2, 3, 3), (2, 3, 2, 2), stride=(2, 2), bias=False)
    double = {"stride": (2, 2), "padding": (1, 1), "output_padding": (1, 1)}
    conv("strided", (1, 2, 4, 3), (2, 3, 3, 3), **double)
    conv("groups", (1, 4, 3, 3), (4, 3, 2, 3), groups=2, stride=(1, 2), bias=False)
    conv("depthwise", (1, 4, 3, 4), (4, 1, 3, 3), groups=4, stride=(2, 1), padding=(1, 1))
    conv("dilated", (1, 2, 4, 4), (2, 3, 3, 2), dilation=(2, 1), padding=(1, 1))
    conv(
        "everything",
        (1, 4, 3, 4),
        (4, 2, 2, 3),
        stride=(2, 3),
        padding=(1, 2),
        dilation=(1, 2),
        groups=2,
        output_padding=(1, 2),
    )


def poolings(c):
    def largest(name, x, kernel, stride=None, padding=(0, 0), dilation=(1, 1), ceil=False):
        stride = stride or kernel
        c.put(
            "max_pool2d." + name,
            lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil),
            (*kernel, *stride, *padding, *dilation, ceil),
            {"x": x},
        )

    def mean(name, x, kernel, stride=None, padding=(0, 0), ceil=False, skip=False):
        stride = stride or kernel
        c.put(
            "avg_pool2d." + name,
            lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, not skip),
            (*kernel, *stride, *padding, ceil, skip),
            {"x": x},
        )

    largest("two", c.grid(2, 3, 4, 6), (2, 2))
    largest("rest", c.grid(1, 2, 5, 7), (2, 2))
    largest("overlapping", c.grid(2, 2, 7, 6), (3, 3), (2, 2), (1, 1))
    largest("ceil", c.grid(1, 2, 6, 7), (3, 2), (2, 2), ceil=True)
    # Rows: a third window would begin in the padding behind the image. Columns: the last window
    # ends beyond it.
    largest("ceil_padded", c.grid(1, 2, 5, 5), (2, 3), (3, 2), (1, 1), ceil=True)
    largest("dilated", c.grid(1, 2, 8, 7), (3, 2), (1, 2), (1, 1), (2, 3))
    largest("negative", -c.grid(1, 1, 4, 4).abs() - 1, (3, 3), (1, 1), (1, 1))
    ties = torch.randint(0, 2, (1, 2, 5, 6), generator=c.g).double()
    largest("ties", ties, (3, 3), (1, 1), (1, 1))
    mean("two", c.grid(2, 3, 4, 6), (2, 2))
    mean("overlapping", c.grid(1, 2, 7, 6), (3, 2), (2, 1))
    for skip in (False, True):
        end = "_skipped" if skip else ""
        mean("padded" + end, c.grid(1, 2, 5, 6), (3, 3), (2, 2), (1, 1), skip=skip)
        mean("ceil" + end, c.grid(1, 2, 6, 7), (3, 2), (2, 2), ceil=True, skip=skip)
        mean(
            "ceil_padded" + end,
            c.grid(1, 2, 5, 6),
            (4, 3),
            (3, 2),
            (2, 1),
            ceil=True,
            skip=skip,
        )
    for kind, fn in (
        ("adaptive_avg_pool2d", F.adaptive_avg_pool2d),
        ("adaptive_max_pool2d", F.adaptive_max_pool2d),
    ):
        for name, x, out in (
            ("one", (2, 3, 4, 5), (1, 1)),
            ("even", (1, 2, 6, 4), (3, 2)),
            ("uneven", (1, 2, 7, 5), (3, 4)),
            ("larger", (1, 2, 2, 3), (3, 5)),
        ):
            name = "%s.%s" % (kind, name)
            c.put(name, lambda x, fn=fn, out=out: fn(x, out), out, {"x": c.grid(*x)})
    c.put("global_avg_pool.image", lambda x: x.mean((2, 3)), (0,), {"x": c.grid(2, 3, 4, 5)})
    c.put("global_avg_pool.row", lambda x: x.mean(2), (0,), {"x": c.grid(2, 3, 7)})
    for name, (top, bottom, left, right) in (("all", (1, 2, 3, 0)), ("left", (0, 0, 1, 0))):
        c.put(
            "zero_pad2d." + name,
            lambda x, p=(left, right, top, bottom): F.pad(x, p),
            (top, bottom, left, right),
            {"x": c.grid(2, 2, 3, 4)},
        )


def normalisations(c):
    def affine(shape):
        return {"w": c.grid(*shape), "b": c.grid(*shape)}

    for name, x, eps in (("image", (3, 4, 3, 2), 1e-5), ("flat", (5, 3), 1e-3)):
        c.put(
            "batch_norm_eval." + name,
            lambda x, mean, var, w, b, eps=eps: F.batch_norm(x, mean, var, w, b, False, 0.0, eps),
            (eps,),
            {"x": c.grid(*x), **affine(x[1:2])},
            {"mean": c.grid(x[1]), "var": c.grid(x[1]).abs() + 0.25},
        )
    for name, x, axes, eps, plain in (
        ("last", (3, 2, 5), 1, 1e-5, False),
        ("image", (2, 3, 2, 4), 3, 1e-3, False),
        ("plain", (2, 3, 4, 3), 2, 1e-5, True),
    ):
        c.put(
            "layer_norm." + name,
            lambda x, w=None, b=None, n=axes, eps=eps: F.layer_norm(x, x.shape[-n:], w, b, eps),
            (axes, eps),
            {"x": c.grid(*x) + 3, **({} if plain else affine(x[-axes:]))},
        )
    for name, x, groups, eps, plain in (
        ("two", (2, 6, 3, 2), 2, 1e-5, False),
        ("one", (2, 4, 2, 3), 1, 1e-3, False),
        ("instance", (2, 3, 3, 4), 3, 1e-5, True),
        ("row", (2, 4, 5), 2, 1e-5, False),
    ):
        c.put(
            "group_norm." + name,
            lambda x, w=None, b=None, n=groups, eps=eps: F.group_norm(x, n, w, b, eps),
            (groups, eps),
            {"x": c.grid(*x) - 2, **({} if plain else affine(x[1:2]))},
        )


def batch_norms(c):
    def run(make, dtype, x, v, w, b):
        m = make().to(dtype)
        if m.affine:
            with torch.no_grad():
                m.weight.copy_(w)
                m.bias.copy_(b)
        out = {}
        for step in range(2):
            xi = x[step].to(dtype).clone().requires_grad_(True)
            y = m(xi)
            (y * v[step].to(dtype)).sum().backward()
            out["y%d" % step], out["dx%d" % step] = y, xi.grad
            out["running_mean%d" % step] = m.running_mean.clone()
            out["running_var%d" % step] = m.running_var.clone()
        if m.affine:
            out["dw"], out["db"] = m.weight.grad, m.bias.grad
        assert m.num_batches_tracked.item() == 2
        m.eval()
        out["y2"] = m(x[0].to(dtype))
        return out

    for name, kind, shape, eps, momentum, plain in (
        ("image", nn.BatchNorm2d, (3, 4, 3, 2), 1e-5, 0.1, False),
        ("image_plain", nn.BatchNorm2d, (2, 3, 2, 4), 1e-3, 0.25, True),
        ("flat", nn.BatchNorm1d, (6, 3), 1e-5, 0.1, False),
        ("row", nn.BatchNorm1d, (2, 3, 5), 1e-2, 0.5, False),
    ):
        n = shape[1]
        x = [c.grid(*shape, scale=s) + s for s in (1, 2)]
        v = [c.grid(*shape) for _ in range(2)]
        w, b = c.grid(n), c.grid(n)
        make = lambda: kind(n, eps=eps, momentum=momentum, affine=not plain)  # noqa: E731
        wide, narrow = (run(make, t, x, v, w, b) for t in (torch.float64, torch.float32))
        name = "batch_norm." + name
        c.w.put(name + ".settings", flat((eps, momentum)))
        given = {"x0": x[0], "x1": x[1], "v0": v[0], "v1": v[1]}
        given.update({} if plain else {"w": w, "b": b})
        for k, t in given.items():
            c.w.put("%s.%s" % (name, k), t)
        for k, t in wide.items():
            close(narrow[k], t, "%s.%s" % (name, k))
            c.w.put("%s.%s" % (name, k), t)


# --- networks ------------------------------------------------------------------------------------


class Kinks:
    """Relu and max pooling that remember how near to a kink they came."""

    def __init__(self):
        self.nearest = float("inf")

    def relu(self):
        return Watched(self, nn.ReLU(), lambda x: x.detach().abs().min())

    def pool(self):
        def gap(x):
            # Of four relus: where the largest is 0, so is every gradient.
            four = F.unfold(x.detach().flatten(0, 1)[:, None], 2, stride=2).sort(1).values
            return (four[:, 3] - four[:, 2])[four[:, 3] > 0].min()

        return Watched(self, nn.MaxPool2d(2), gap)


class Watched(nn.Module):
    def __init__(self, kinks, inner, measure):
        super().__init__()
        self.kinks, self.measure, self.inner = kinks, measure, inner

    def forward(self, x):
        if self.training:
            self.kinks.nearest = min(self.kinks.nearest, float(self.measure(x)))
        return self.inner(x)


class Residual(nn.Module):
    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + (self.shortcut(x) if self.shortcut else x)


def small(kinks):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        kinks.relu(),
        kinks.pool(),
        nn.Conv2d(8, 16, 3, padding=1),
        kinks.relu(),
        kinks.pool(),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


def residual(kinks):
    def conv(n_in, n_out, kernel=3, stride=1):
        return nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)

    def body(n_in, n_out, stride):
        return nn.Sequential(
            conv(n_in, n_out, 3, stride),
            nn.BatchNorm2d(n_out),
            kinks.relu(),
            conv(n_out, n_out),
            nn.BatchNorm2d(n_out),
        )

    return nn.Sequential(
        conv(1, 6),
        nn.BatchNorm2d(6),
        kinks.relu(),
        Residual(body(6, 6, 1)),
        kinks.relu(),
        Residual(body(6, 8, 2), nn.Sequential(conv(6, 8, 1, 2), nn.BatchNorm2d(8))),
        kinks.relu(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
}


def train(make, start, x, labels, optimizer, dtype):
    kinks = Kinks()
    net = make(kinks).to(dtype)
    with torch.no_grad():
        for k, p in net.named_parameters():
            p.copy_(start[k])
    opt = OPTIMIZERS[optimizer](net.parameters())
    losses, weights = [], []
    for _ in range(STEPS):
        opt.zero_grad()
        loss = F.cross_entropy(net(x.to(dtype)), labels)
        loss.backward()
        opt.step()
        losses.append(loss.item())
        weights.append(torch.cat([p.detach().reshape(-1) for p in net.parameters()])[::STRIDE])
    out = {"losses": flat(losses), "weights": torch.stack(weights)}
    out["eval"] = net.eval()(x.to(dtype))
    for k, t in net.named_buffers():
        if not k.endswith("num_batches_tracked"):
            out["end." + k] = t
    return out, kinks.nearest


def runs_of(make, seed):
    """Everything of one network; None if it comes so near a kink that float32 may differ."""
    g = torch.Generator().manual_seed(seed)
    start = {}
    for k, p in make(Kinks()).named_parameters():
        fan_in = p[0].numel()
        scale = (2 / fan_in) ** 0.5 if p.dim() > 1 else 0.25
        start[k] = grid(g, *p.shape, scale=scale)
        if p.dim() == 1 and k.endswith("weight"):
            start[k] += 1  # batch norm's
    x = grid(g, BATCH, 1, 8, 8)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=g)
    runs = {}
    for name in OPTIMIZERS:
        wide, nearest = train(make, start, x, labels, name, torch.float64)
        if nearest < KINK:
            return None
        narrow = train(make, start, x, labels, name, torch.float32)[0]
        for k, t in wide.items():
            close(narrow[k], t, "%s.%s" % (name, k))
        runs[name] = wide
    return start, x, labels, runs


def networks(w):
    for name, make in (("small", small), ("residual", residual)):
        seed = next(s for s in range(1, 1000) if runs_of(make, s))
        print("%s: seed %d" % (name, seed))
        start, x, labels, runs = runs_of(make, seed)
        w.put(name + ".x", x)
        w.put(name + ".labels", labels)
        for k, t in start.items():
            w.put("%s.start.%s" % (name, k), t)
        for optimizer, run in runs.items():
            for k, t in run.items():
                w.put("%s.%s.%s" % (name, optimizer, k), t)


def main():
    ap = argparse.ArgumentParser(description="Writes images.txt with PyTorch in float64.")
    ap.add_argument(
        "--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write to"
    )
    out = ap.parse_args().out
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(11)
    w = Writer(COMMENT, "make_golden_images.py")
    c = Cases(w, g)
    # Sums of products of such numbers are exact in float32 too, in any order, and short to write.
    c.step = 16
    convolutions(c)
    transposed_convolutions(c)
    poolings(c)
    c.step = 256
    normalisations(c)
    batch_norms(c)
    networks(w)
    w.save(os.path.join(out, "images.txt"), 300000)


if __name__ == "__main__":
    main()
