/* main.c: activations: every activation function, as list, numbers, facts, curves and speed.
   SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "options.h"

typedef struct command {
    const char *name, *form, *purpose;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"list", "", "name, formula, parameters, what backward keeps", command_list},
    {"eval", "NAME X...", "f, f' and the parameters' derivatives at each X", command_eval},
    {"table", "[NAME...]", "range, slopes, kinks, saturation, moments, cost: computed",
     command_table},
    {"plot", "[NAME...]", "curves of f and f' as SVG and PNG", command_plot},
    {"bench", "[NAME...]", "forward and backward against this machine's memory", command_bench},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const char *const examples[] = {
    "list",
    "eval gelu -1 0 0.5",
    "eval prelu:alpha=0.1 -2 inf nan",
    "table --textbook",
    "plot --overlay relu,gelu,mish --out plots",
    "plot swish --vary beta=0.1,1,10 --range -6:6",
    "bench gelu,tanh --shape 4096x4096 --threads 2",
};

static void help(const char *program) {
    printf("activations: every activation function: list, numbers, facts, curves, speed\n\n"
           "usage: %s SUBCOMMAND ...\n\n",
           program);
    for (int i = 0; i < COMMANDS; i++)
        printf("  %-6s%-12s%s\n", commands[i].name, commands[i].form, commands[i].purpose);
    printf("\n"
           "A NAME is a specification as in training: gelu, prelu:alpha=0.1, mix:relu+tanh.\n"
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
    const char *program = argc > 0 ? argv[0] : "activations";
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
