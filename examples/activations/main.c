/* main.c: activations: every activation function, as list, numbers, facts, curves and speed.
   SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "options.h"
#include "subcommands.h"

static const subcommand list[] = {
    {"list", "", "name, formula, parameters, what backward keeps", command_list},
    {"eval", "NAME X...", "f, f' and the parameters' derivatives at each X", command_eval},
    {"table", "[NAME...]", "range, slopes, kinks, saturation, moments, cost: computed",
     command_table},
    {"plot", "[NAME...]", "curves of f and f' as SVG and PNG", command_plot},
    {"bench", "[NAME...]", "forward and backward against this machine's memory", command_bench},
    {NULL, NULL, NULL, NULL},
};

static const char *const examples[] = {
    "list",
    "eval gelu -1 0 0.5",
    "eval prelu:alpha=0.1 -2 inf nan",
    "table --textbook",
    "plot --overlay relu,gelu,mish --out plots",
    "plot swish --vary beta=0.1,1,10 --range -6:6",
    "bench gelu,tanh --shape 4096x4096 --threads 2",
    NULL,
};

/* Some numbers of one activation are no work for a GPU. */
static bool wants_device(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "bench") == 0) return false;
    for (int i = 2; i < argc; i++)
        if (strncmp(argv[i], "--device", 8) == 0) return true;
    return false;
}

int main(int argc, char **argv) {
    if (wants_device(argc, argv)) {
        fprintf(stderr,
                "activations %s: --device: a GPU would gain nothing here (bench takes it)\n",
                argv[1]);
        return EXIT_BAD_INPUT;
    }
    return subcommands_run(
        &(subcommands){
            .name = "activations",
            .purpose = "every activation function: list, numbers, facts, curves, speed",
            .usage = "...",
            .note =
                "A NAME is a specification as in training: gelu, prelu:alpha=0.1, mix:relu+tanh.",
            .list = list,
            .examples = examples},
        argc, argv);
}
