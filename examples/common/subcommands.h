/* subcommands.h: a program that is several: PROGRAM SUBCOMMAND ...
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_SUBCOMMANDS_H
#define EXAMPLES_SUBCOMMANDS_H

/* run: argv[0] is the program and the subcommand as one can paste them, "build/activations plot"; what follows are the
   subcommand's own arguments. Returns the code to exit with. form: what these are, or NULL. */
typedef struct subcommand {
    const char *name, *form, *purpose;
    int (*run)(int argc, char **argv);
} subcommand;

typedef struct subcommands {
    const char *name, *purpose, *usage, *note; /* the program's; usage: what follows its name */
    const subcommand *list;                    /* until a NULL name */
    const char *const *examples;               /* without the program's name, until NULL */
} subcommands;

/* Runs what the command line asks for: a subcommand, or help. Returns the code to exit with. */
int subcommands_run(const subcommands *all, int argc, char **argv);

#endif
