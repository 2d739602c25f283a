/* main.c: depth: what depth does to signals and gradients under each activation.
   SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "options.h"

typedef struct command {
    const char *name, *purpose;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"signal", "signal and gradient through the layers of random nets, over theory",
     command_signal},
    {"train", "accuracy on MNIST by depth", command_train},
    {"dead", "dead units by learning rate and by where biases start", command_dead},
    {"spectrum", "singular values of the Jacobian, gaussian and orthogonal weights",
     command_spectrum},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const char *const examples[] = {
    "signal                                  seven activations, 50 layers, 20 seconds",
    "signal gelu,silu,mish --init kaiming    their collapse under relu's gain",
    "signal relu tanh selu --out pictures    draws pictures/signal.svg and .png",
    "train --depths 1,5,20 --epochs 2",
    "dead relu,leaky_relu --rates 0.001,0.01,0.1",
    "spectrum tanh,relu --out pictures       tanh with orthogonal weights: isometry",
};

static void help(const char *program) {
    printf("depth: what depth does to signals and gradients under each activation\n\n"
           "usage: %s SUBCOMMAND [NAME...] [options]\n\n",
           program);
    for (int i = 0; i < COMMANDS; i++) printf("  %-10s%s\n", commands[i].name, commands[i].purpose);
    printf("\n"
           "A NAME is a specification as in training: gelu, leaky_relu:negative_slope=0.2.\n"
           "`%s SUBCOMMAND --help` shows what a subcommand takes.\n\nexamples:\n",
           program);
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        printf("  %s %s\n", program, examples[i]);
}

static int unknown(const char *program, const char *name) {
    const char *slash = strrchr(program, '/');
    fprintf(stderr, "%s: unknown subcommand '%s'; there are:", slash ? slash + 1 : program, name);
    for (int i = 0; i < COMMANDS; i++) fprintf(stderr, "%s %s", i ? "," : "", commands[i].name);
    fputs(" (see --help)\n", stderr);
    return EXIT_BAD_INPUT;
}

int main(int argc, char **argv) {
    const char *program = argc > 0 ? argv[0] : "depth";
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(program);
        return EXIT_SUCCESS;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) continue;
        char path[4096]; /* the subcommand's argv[0] */
        snprintf(path, sizeof path, "%s %s", program, commands[i].name);
        argv[1] = path;
        return commands[i].run(argc - 1, argv + 1);
    }
    return unknown(program, argv[1]);
}
