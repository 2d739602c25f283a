/* arguments.h: a subcommand's command line: options, with names of activations among them.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_ARGUMENTS_H
#define EXAMPLES_ARGUMENTS_H

#include <hillock/hillock.h>

#include "options.h"

/* A growing list of names; {0} is empty. */
typedef struct names {
    int count;
    char **item;
} names;

/* Adds the names of a list such as "relu,prelu:alpha=0.1". Candidates of a mixture may have commas of
   their own (mix:relu+elu,alpha=2): what follows those is a setting, with an = in it. False if memory
   is exhausted. */
bool names_add(names *list, const char *text);
void names_free(names *list);

/* options_parse for a subcommand that also takes names, anywhere among its options. `form` says so in
   the help: "[NAME...]". */
int arguments_parse(options *opts, const char *form, int argc, char **argv, names *list);

/* Prints the context's error as one line, and returns the exit code: 2 for what a user typed. */
int report_error(const char *program, const hk_context *ctx);

#endif
