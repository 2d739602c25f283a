/* subcommands.c: a program that is several.
   SPDX-License-Identifier: MIT */
#include "subcommands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static void help(const subcommands *all, const char *program) {
    printf("%s: %s\n\nusage: %s SUBCOMMAND %s\n\n", all->name, all->purpose, program, all->usage);
    for (const subcommand *c = all->list; c->name; c++)
        printf("  %-10s%-*s%s\n", c->name, c->form ? 11 : 0, c->form ? c->form : "", c->purpose);
    printf("\n%s\n`%s SUBCOMMAND --help` shows what a subcommand takes.\n\nexamples:\n", all->note,
           program);
    for (const char *const *e = all->examples; *e; e++) printf("  %s %s\n", program, *e);
}

static int unknown(const subcommands *all, const char *program, const char *name) {
    const char *slash = strrchr(program, '/');
    fprintf(stderr, "%s: unknown subcommand '%s'; there are:", slash ? slash + 1 : program, name);
    for (const subcommand *c = all->list; c->name; c++)
        fprintf(stderr, "%s %s", c == all->list ? "" : ",", c->name);
    fputs(" (see --help)\n", stderr);
    return EXIT_BAD_INPUT;
}

int subcommands_run(const subcommands *all, int argc, char **argv) {
    const char *program = argc > 0 ? argv[0] : all->name;
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(all, program);
        return EXIT_SUCCESS;
    }
    for (const subcommand *c = all->list; c->name; c++) {
        if (strcmp(argv[1], c->name) != 0) continue;
        char path[4096]; /* the subcommand's argv[0] */
        snprintf(path, sizeof path, "%s %s", program, c->name);
        argv[1] = path;
        return c->run(argc - 1, argv + 1);
    }
    return unknown(all, program, argv[1]);
}
