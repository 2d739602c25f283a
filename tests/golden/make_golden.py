#!/usr/bin/env python3
"""make_golden.py: writes the golden tests' values (mlp.txt, optim.txt, ops.txt) with PyTorch.
SPDX-License-Identifier: MIT

Run it with any PyTorch 2.x; the results are committed, so building and testing hillock never
needs PyTorch:

    python3 tests/golden/make_golden.py            # rewrites the files beside this script
    python3 tests/golden/make_golden.py --out DIR  # or elsewhere, to compare

Every input is a multiple of 1/256, hence exact in float32 too, and short to write. The script
repeats each run in float32 and stops unless it stays within 2e-6 of float64: the tests' gate for
float32 is 1e-5, and a net that amplifies rounding would make that gate unfair.
"""

import argparse
import math
import os

import torch
import torch.nn.functional as F

STEPS = 10
SIZES = (12, 9, 7, 5)
BATCH = 6
LR = 0.1
F32_GATE = 2e-6

FORMAT = """\
Made by tests/golden/{script} with PyTorch {version}, computed in float64. Do not edit.
Format: lines that start with # are comments; every other line is one tensor:
    name rank dim[0] ... dim[rank-1] value[0] ... value[count-1]
separated by single spaces, row-major, written with %.17g (exact in float64). Rank 0 is one scalar.
Labels and indices are written as whole numbers. All other inputs are multiples of 1/256.
"""


class Writer:
    """Collects the lines of one file."""

    def __init__(self, comment, script="make_golden.py"):
        text = FORMAT.format(version=torch.__version__, script=script) + "\n" + comment
        self.lines = [("# " + line).rstrip() for line in text.strip().splitlines()]

    def put(self, name, value):
        if not torch.is_tensor(value):
            value = torch.tensor(value, dtype=torch.float64)
        t = value.detach().to(torch.float64)
        assert torch.isfinite(t).all(), name
        words = [name, str(t.dim())] + [str(d) for d in t.shape]
        words += ["%.17g" % v for v in t.contiguous().reshape(-1).tolist()]
        self.lines.append(" ".join(words))

    def save(self, path, most=60000):
        text = "\n".join(self.lines) + "\n"
        assert len(text) < most, (path, len(text))
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        print("%s: %d bytes" % (path, len(text)))


def grid(g, *shape, scale=1.0):
    """Normal numbers rounded to multiples of 1/256."""
    return (torch.randn(*shape, generator=g, dtype=torch.float64) * scale * 256).round() / 256


def close(a, b, what):
    """Stops when the float32 repetition left the float64 run: then it is a poor golden case."""
    err = (a.double() - b.double()).abs().max().item()
    top = b.double().abs().max().item()
    if not err <= F32_GATE * max(1.0, top):
        raise SystemExit("%s: float32 differs from float64 by %.3g" % (what, err))


# --- the network ---------------------------------------------------------------------------------


def make_net():
    g = torch.Generator().manual_seed(20)
    net = {}
    for i, (n_in, n_out) in enumerate(zip(SIZES[:-1], SIZES[1:])):
        net["%d.weight" % (2 * i)] = grid(g, n_out, n_in, scale=math.sqrt(2 / n_in))
        net["%d.bias" % (2 * i)] = grid(g, n_out, scale=0.2)
    x = grid(g, BATCH, SIZES[0])
    labels = torch.tensor([3, 0, 4, 1, 1, 2])
    return net, x, labels


def copy_net(net, dtype):
    return {k: v.to(dtype).clone().requires_grad_(True) for k, v in net.items()}


def forward(p, x, act):
    h = x
    for i in range(len(SIZES) - 1):
        h = F.linear(h, p["%d.weight" % (2 * i)], p["%d.bias" % (2 * i)])
        if i < len(SIZES) - 2:
            if act is torch.relu:
                # A value at the kink would make float32 and float64 disagree on the gradient.
                assert h.abs().min() > 1e-3, "move the seed: a relu input is too near 0"
            h = act(h)
    return h


def write_mlp(path):
    net, x, labels = make_net()
    w = Writer("""\
Net: Linear 12-9, act, Linear 9-7, act, Linear 7-5; parameters named as in PyTorch's Sequential
(0, 2, 4; weights are [out, in]); batch of 6. For act = relu, tanh, sigmoid:
    ACT.logits, ACT.loss (cross-entropy, mean over the batch), ACT.grad.NAME for each parameter,
    ACT.grad.x""")
    w.put("x", x)
    w.put("labels", labels)
    for k, v in net.items():
        w.put(k, v)
    for name, act in (("relu", torch.relu), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid)):
        runs = []
        for dtype in (torch.float64, torch.float32):
            p = copy_net(net, dtype)
            xi = x.to(dtype).clone().requires_grad_(True)
            logits = forward(p, xi, act)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            out = {"logits": logits, "loss": loss}
            out.update({"grad." + k: v.grad for k, v in p.items()})
            out["grad.x"] = xi.grad
            runs.append(out)
        for k, v in runs[0].items():
            close(runs[1][k], v, name + "." + k)
            w.put(name + "." + k, v)
    w.save(path)


# --- optimizers, schedules, clipping -------------------------------------------------------------


def groups(p):
    """Two parameter groups: weights with decay, biases without and with half the rate."""
    return [
        {"params": [v for k, v in p.items() if k.endswith("weight")], "weight_decay": 1e-2},
        {"params": [v for k, v in p.items() if k.endswith("bias")], "lr": LR / 2},
    ]


OPTIMIZERS = {
    "sgd": ("SGD lr .1", lambda p: torch.optim.SGD(p.values(), lr=LR)),
    "sgd_momentum": (
        "SGD lr .1, momentum .9",
        lambda p: torch.optim.SGD(p.values(), lr=LR, momentum=0.9),
    ),
    "sgd_nesterov": (
        "SGD lr .1, momentum .9, Nesterov",
        lambda p: torch.optim.SGD(p.values(), lr=LR, momentum=0.9, nesterov=True),
    ),
    "sgd_decay": (
        "SGD lr .1, weight decay 1e-2",
        lambda p: torch.optim.SGD(p.values(), lr=LR, weight_decay=1e-2),
    ),
    "sgd_momentum_decay": (
        "SGD lr .1, momentum .9, weight decay 1e-2",
        lambda p: torch.optim.SGD(p.values(), lr=LR, momentum=0.9, weight_decay=1e-2),
    ),
    "sgd_dampening": (
        "SGD lr .1, momentum .9, dampening .3",
        lambda p: torch.optim.SGD(p.values(), lr=LR, momentum=0.9, dampening=0.3),
    ),
    "sgd_groups": (
        "SGD, two groups: weights lr .1, weight decay 1e-2; biases lr .05, no decay",
        lambda p: torch.optim.SGD(groups(p), lr=LR),
    ),
    "adam": (
        "Adam lr 1e-2, betas .9 .999, eps 1e-8",
        lambda p: torch.optim.Adam(p.values(), lr=1e-2),
    ),
    "adam_decay": (
        "Adam lr 1e-2, weight decay 1e-2 (added to the gradient)",
        lambda p: torch.optim.Adam(p.values(), lr=1e-2, weight_decay=1e-2),
    ),
    "adamw": (
        "AdamW lr 1e-2, weight decay 1e-2 (decoupled)",
        lambda p: torch.optim.AdamW(p.values(), lr=1e-2, weight_decay=1e-2),
    ),
    "rmsprop": (
        "RMSprop lr 1e-2, alpha .99, eps 1e-8",
        lambda p: torch.optim.RMSprop(p.values(), lr=1e-2),
    ),
    "rmsprop_momentum": (
        "RMSprop lr 1e-2, alpha .99, momentum .9",
        lambda p: torch.optim.RMSprop(p.values(), lr=1e-2, momentum=0.9),
    ),
    "rmsprop_decay": (
        "RMSprop lr 1e-2, weight decay 1e-2",
        lambda p: torch.optim.RMSprop(p.values(), lr=1e-2, weight_decay=1e-2),
    ),
}


def warmup(t):
    return min((t + 1) / 3, 1.0)


def warmup_cosine(t):
    return warmup(t) if t < 3 else 0.5 * (1 + math.cos(math.pi * (t - 3) / (STEPS - 3)))


S = torch.optim.lr_scheduler
SCHEDULES = {
    "constant": ("rate(t) = lr", lambda o: S.ConstantLR(o, factor=1.0)),
    "step": (
        "StepLR size 3, gamma .5: rate(t) = lr * .5^floor(t/3)",
        lambda o: S.StepLR(o, 3, gamma=0.5),
    ),
    "cosine": (
        "CosineAnnealingLR T_max 10, eta_min 0: rate(t) = lr * (1 + cos(pi t/10)) / 2",
        lambda o: S.CosineAnnealingLR(o, STEPS, eta_min=0.0),
    ),
    "warmup": ("rate(t) = lr * (t+1)/3 for t < 3, then lr", lambda o: S.LambdaLR(o, warmup)),
    "warmup_cosine": (
        "rate(t) = lr * (t+1)/3 for t < 3, then lr * (1 + cos(pi (t-3)/7)) / 2",
        lambda o: S.LambdaLR(o, warmup_cosine),
    ),
    "onecycle": (
        "OneCycleLR max_lr .1, total_steps 10, pct_start .3, cosine, div_factor 25,\n"
        "        final_div_factor 1e4, no momentum cycling: rises from .1/25 at t = 0 to\n"
        "        .1 at t = .3*10 - 1 = 2, falls to "
        ".1/25/1e4 at t = 9, both along a half cosine",
        lambda o: S.OneCycleLR(
            o,
            max_lr=LR,
            total_steps=STEPS,
            pct_start=0.3,
            anneal_strategy="cos",
            cycle_momentum=False,
            div_factor=25.0,
            final_div_factor=1e4,
        ),
    ),
}


def clip_norm(limit):
    return lambda p: torch.nn.utils.clip_grad_norm_(list(p.values()), limit)


def clip_value(p):
    torch.nn.utils.clip_grad_value_(list(p.values()), 0.05)


def train(net, x, labels, make_opt, make_sched=None, clip=None, dtype=torch.float64):
    """Ten steps on one batch: the loss before each update, its rate, the norm before clipping."""
    p = copy_net(net, dtype)
    opt = make_opt(p)
    sched = make_sched(opt) if make_sched else None
    losses, rates, norms = [], [], []
    for _ in range(STEPS):
        opt.zero_grad()
        loss = F.cross_entropy(forward(p, x.to(dtype), torch.tanh), labels)
        loss.backward()
        norms.append(math.sqrt(sum(float((v.grad.double() ** 2).sum()) for v in p.values())))
        if clip:
            clip(p)
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        if sched:
            sched.step()
        losses.append(loss.item())
    return (
        torch.tensor(losses, dtype=torch.float64),
        torch.tensor(rates, dtype=torch.float64),
        norms,
    )


def write_optim(path):
    net, x, labels = make_net()
    sgd = OPTIMIZERS["sgd"][1]
    comment = [
        "The net, batch and labels of mlp.txt with act = tanh, cross-entropy (mean), ten steps on",
        "that one batch.",
        "losses[t] is the loss before update t, t = 0 .. 9; rates[t] the rate update t uses.",
        "",
        "optim.NAME.losses:",
    ]
    comment += ["    %-18s  %s" % (k, v[0]) for k, v in OPTIMIZERS.items()]
    comment += [
        "",
        "schedule.NAME.rates and schedule.NAME.losses, SGD with lr = .1, t counts updates from 0:",
    ]
    comment += ["    %-14s  %s" % (k, v[0]) for k, v in SCHEDULES.items()]
    comment += [
        "",
        "clip.norm.losses: SGD lr .1; where the norm n of all gradients together makes",
        "c = .5/(n + 1e-6) < 1, every gradient is multiplied by c. clip.norm.norms[t]: n before",
        "clipping. clip.norm_some: the same with limit 1.2, which the later steps stay under.",
        "clip.value.losses: SGD lr .1; every gradient element is cut to [-.05, .05].",
    ]
    w = Writer("\n".join(comment))

    def both(name, *args):
        f64 = train(net, x, labels, *args)
        close(train(net, x, labels, *args, dtype=torch.float32)[0], f64[0], name)
        return f64

    for name, (_, make) in OPTIMIZERS.items():
        w.put("optim.%s.losses" % name, both(name, make)[0])
    for name, (_, make) in SCHEDULES.items():
        losses, rates, _ = both(name, sgd, make)
        w.put("schedule.%s.rates" % name, rates)
        w.put("schedule.%s.losses" % name, losses)
    for name, limit in (("clip.norm", 0.5), ("clip.norm_some", 1.2)):
        losses, _, norms = both(name, sgd, None, clip_norm(limit))
        assert max(norms) > limit, "clipping must act"
        w.put(name + ".losses", losses)
        w.put(name + ".norms", norms)
    assert min(norms) < 1.2, "clipping must not act in every step"
    plain = train(net, x, labels, sgd)[0]
    losses = both("clip value", sgd, None, clip_value)[0]
    assert not torch.equal(plain, losses)
    w.put("clip.value.losses", losses)
    w.save(path)


# --- ops and losses ------------------------------------------------------------------------------


def write_ops(path):
    g = torch.Generator().manual_seed(7)
    w = Writer("""\
Losses and ops at odd shapes. For an op NAME with input x (and second operand b where there is one):
    NAME.x, NAME.b: inputs; NAME.y: result;
    NAME.v: the vector the result is weighed with (absent for a scalar y);
    NAME.dx, NAME.db: gradients of sum(v * y), or of y where y is a scalar.
Losses take the mean.
ce            cross-entropy of logits x and class indices labels
ce_smooth     the same with label smoothing .1
ce_extreme    logits to +-10000
mse, l1       of x against target b (l1: ties give gradient 0)
huber         delta .7
bce           binary cross-entropy of logits x and targets b in [0, 1]
bce_extreme   logits to +-80
softmax, log_softmax    last axis; softmax_axis1: middle axis of rank 3
var_unbiased, var_biased    over axis 1, divided by n-1, by n; var_all: over everything, n-1
pow           x > 0, exponent b of the same shape
pow_square, pow_cube, pow_half    exponents 2, 3, .5
maximum, minimum    every third pair is a tie, which gives half the gradient to each
clamp         to [-.5, .75], no element on a border (PyTorch's versions differ there)
alpha_dropout p = .1: keep.a * x + keep.b for a kept element, drop for a dropped one""")

    def case(name, fn, x, b=None, labels=None):
        outs = []
        v = None
        for dtype in (torch.float64, torch.float32):
            xi = x.to(dtype).clone().requires_grad_(True)
            bi = None
            if b is not None:
                bi = b.to(dtype).clone().requires_grad_(True)
            y = fn(xi, bi) if b is not None else fn(xi)
            if y.dim():
                v = grid(g, *y.shape) if v is None else v
                (y * v.to(dtype)).sum().backward()
            else:
                y.backward()
            outs.append((y.detach(), xi.grad, bi.grad if bi is not None else None))
        for a64, a32 in zip(*outs):
            if a64 is not None:
                close(a32, a64, name)
        w.put(name + ".x", x)
        if b is not None:
            w.put(name + ".b", b)
        if labels is not None:
            w.put(name + ".labels", labels)
        w.put(name + ".y", outs[0][0])
        if v is not None:
            w.put(name + ".v", v)
        w.put(name + ".dx", outs[0][1])
        if outs[0][2] is not None:
            w.put(name + ".db", outs[0][2])

    labels = torch.tensor([10, 0, 3, 3, 7, 1, 9])
    x = grid(g, 7, 11, scale=2.0)
    case("ce", lambda a: F.cross_entropy(a, labels), x, labels=labels)
    case("ce_smooth", lambda a: F.cross_entropy(a, labels, label_smoothing=0.1), x, labels=labels)
    extreme = torch.tensor(
        [[10000.0, -10000, 0], [-10000, 10000, 9999], [-10000, -10000, -10000]], dtype=torch.float64
    )
    case(
        "ce_extreme",
        lambda a: F.cross_entropy(a, torch.tensor([1, 2, 0])),
        extreme,
        labels=torch.tensor([1, 2, 0]),
    )

    x, b = grid(g, 5, 3, 3), grid(g, 5, 3, 3)
    b[0, 0, :2] = x[0, 0, :2]
    case("mse", F.mse_loss, x, b)
    case("l1", F.l1_loss, x, b)
    case("huber", lambda a, t: F.huber_loss(a, t, delta=0.7), x, b)

    targets = (torch.rand(3, 7, generator=g, dtype=torch.float64) * 256).round() / 256
    targets[0, :2] = torch.tensor([0.0, 1.0])
    case("bce", F.binary_cross_entropy_with_logits, grid(g, 3, 7, scale=2.0), targets)
    x = torch.tensor([-80.0, 80, -80, 80, 0, -20, 20], dtype=torch.float64)
    t = torch.tensor([0.0, 1, 1, 0, 0.5, 0.25, 1], dtype=torch.float64)
    case("bce_extreme", F.binary_cross_entropy_with_logits, x, t)

    x = grid(g, 5, 13, scale=2.0)
    x[1] += 1000
    x[2, 3] = -1000
    case("softmax", lambda a: F.softmax(a, -1), x)
    case("log_softmax", lambda a: F.log_softmax(a, -1), x)
    case("softmax_axis1", lambda a: F.softmax(a, 1), grid(g, 2, 5, 3))
    x = grid(g, 3, 7, 2)
    case("var_unbiased", lambda a: torch.var(a, 1, correction=1), x)
    case("var_biased", lambda a: torch.var(a, 1, correction=0), x)
    case("var_all", lambda a: torch.var(a), x)
    base = grid(g, 4, 5).abs() + 0.25
    case("pow", torch.pow, base, grid(g, 4, 5))
    x = grid(g, 3, 5)
    case("pow_square", lambda a: a**2, x)
    case("pow_cube", lambda a: a**3, x)
    case("pow_half", lambda a: a**0.5, base)
    x, b = grid(g, 3, 7), grid(g, 3, 7)
    x.view(-1)[::3] = b.view(-1)[::3]
    case("maximum", torch.maximum, x, b)
    case("minimum", torch.minimum, x, b)
    x = grid(g, 3, 7)
    assert (
        (x != -0.5) & (x != 0.75)
    ).all(), "move the seed: PyTorch's versions differ on the borders"
    case("clamp", lambda a: torch.clamp(a, -0.5, 0.75), x)

    # The affine constants, read off PyTorch's output at inputs 0 and 1, not from a formula.
    torch.manual_seed(1)
    zero = F.alpha_dropout(torch.zeros(4096, dtype=torch.float64), 0.1, True).unique()
    one = F.alpha_dropout(torch.ones(4096, dtype=torch.float64), 0.1, True).unique()
    assert len(zero) == 2 and len(one) == 2
    # zero = {dropped, b}, one = {dropped, a + b}; a > 0, and the dropped value is the smaller one.
    drop = min(zero.tolist())
    b_keep = max(zero.tolist())
    w.put("alpha_dropout.p", 0.1)
    w.put("alpha_dropout.keep.a", max(one.tolist()) - b_keep)
    w.put("alpha_dropout.keep.b", b_keep)
    w.put("alpha_dropout.drop", drop)
    w.save(path)


def main():
    ap = argparse.ArgumentParser(description="Writes the golden values with PyTorch in float64.")
    ap.add_argument(
        "--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write to"
    )
    out = ap.parse_args().out
    torch.set_num_threads(1)
    write_mlp(os.path.join(out, "mlp.txt"))
    write_optim(os.path.join(out, "optim.txt"))
    write_ops(os.path.join(out, "ops.txt"))


if __name__ == "__main__":
    main()
