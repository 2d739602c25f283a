#!/usr/bin/env python3
"""torch_mlp.py: PyTorch's side of mlp.py: the training of mnist_mlp timed, or its accuracy.
SPDX-License-Identifier: MIT

Runs in the Python that has torch. The last line it prints is one JSON object.
"""

import argparse
import itertools

import torch

import torch_train


def make_net(hidden, seed):
    torch.manual_seed(seed)
    layers = []
    for n_in, n_out in itertools.pairwise([784] + hidden + [10]):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch_train.initialise(torch.nn.Sequential(*layers[:-1]))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--hidden", required=True, type=lambda s: [int(v) for v in s.split("-")])
    torch_train.add_options(ap)
    args = ap.parse_args()
    torch_train.main(args, lambda seed: make_net(args.hidden, seed), (784,))


if __name__ == "__main__":
    main()
