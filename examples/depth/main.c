/* main.c: depth: what depth does to signals and gradients under each activation.
   SPDX-License-Identifier: MIT */
#include <stddef.h>

#include "commands.h"
#include "subcommands.h"

static const subcommand list[] = {
    {"signal", NULL, "signal and gradient through the layers of random nets, over theory",
     command_signal},
    {"train", NULL, "accuracy on MNIST by depth", command_train},
    {"dead", NULL, "dead units by learning rate and by where biases start", command_dead},
    {"spectrum", NULL, "singular values of the Jacobian, gaussian and orthogonal weights",
     command_spectrum},
    {NULL, NULL, NULL, NULL},
};

static const char *const examples[] = {
    "signal                                  seven activations, 50 layers, 20 seconds",
    "signal gelu,silu,mish --init kaiming    their collapse under relu's gain",
    "signal relu tanh selu --out pictures    draws pictures/signal.svg and .png",
    "train --depths 1,5,20 --epochs 2",
    "dead relu,leaky_relu --rates 0.001,0.01,0.1",
    "spectrum tanh,relu --out pictures       tanh with orthogonal weights: isometry",
    NULL,
};

int main(int argc, char **argv) {
    return subcommands_run(
        &(subcommands){
            .name = "depth",
            .purpose = "what depth does to signals and gradients under each activation",
            .usage = "[NAME...] [options]",
            .note =
                "A NAME is a specification as in training: gelu, leaky_relu:negative_slope=0.2.",
            .list = list,
            .examples = examples},
        argc, argv);
}
