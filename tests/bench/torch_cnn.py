#!/usr/bin/env python3
"""torch_cnn.py: PyTorch's side of cnn.py: the training of mnist_cnn timed, or its accuracy.
SPDX-License-Identifier: MIT

    python tests/bench/torch_cnn.py --data data/mnist --model small --batch 64 --optimizer adam \\
        --lr 0.001 --variants fused:2,fused-nhwc:2,step-compiled:2

Runs in the Python that has torch. The last line it prints is one JSON object.
"""

import argparse

import torch
from torch import nn

import torch_train


def small():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    )


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )


MODELS = {"small": small, "lenet": lenet}


def make_net(model, init, seed):
    """init: "auto" is hillock's default, "torch" PyTorch's."""
    torch.manual_seed(seed)
    net = MODELS[model]()
    return torch_train.initialise(net) if init == "auto" else net


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True, choices=list(MODELS))
    ap.add_argument("--init", default="auto", choices=["auto", "torch"])
    torch_train.add_options(ap)
    args = ap.parse_args()
    torch_train.main(args, lambda seed: make_net(args.model, args.init, seed), (1, 28, 28))


if __name__ == "__main__":
    main()
