/* options.h: command-line options from one table: parsing, --help, errors, settings of a log.
   SPDX-License-Identifier: MIT

   A row says what an option is called, what it takes, where it is stored and what it is for;
   everything else is derived. What the value holds before options_parse is its default.

       int64_t batch = 64;
       const option_row rows[] = {
           {.name = "batch", .form = "N", .help = "images in a step", .kind = OPTION_INT,
            .value = &batch, .low = 1, .high = 65536, .example = "64", .flags = OPTION_EVERYDAY},
       };

   A wrong value is one line on stderr and exit code 2:

       mnist_mlp: --batch 0: must be a whole number from 1 to 65536 (try --batch 64) */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

#include "json.h"

typedef enum option_kind {
    OPTION_FLAG,   /* bool; takes no value */
    OPTION_INT,    /* int64_t, from low to high */
    OPTION_NUMBER, /* double, finite, from low to high (HUGE_VAL: no upper limit) */
    OPTION_TEXT    /* const char *, left in argv; NULL if there is no default; never empty */
} option_kind;

enum {
    OPTION_EVERYDAY = 1, /* shown by --help; the rest by --help all */
    OPTION_ABOVE = 2,    /* low itself is not legal */
    OPTION_BELOW = 4,    /* high itself is not legal */
    OPTION_OPEN = 8      /* `choice` is for the help alone: the program checks the value */
};

typedef struct option_row {
    const char *name; /* "batch" */
    const char *form; /* "N": what it takes, in the help */
    const char *help; /* starts small, no full stop */
    option_kind kind;
    void *value;
    double low, high;
    const char *example;          /* a good value, for errors: "try --batch 64" */
    const char *shown;            /* the default in words, where the stored one stands for them */
    const char *(*choice)(int i); /* OPTION_TEXT: name i of those it may be, NULL at the end */
    unsigned flags;
} option_row;

enum { OPTIONS_MOST = 48, OPTION_DEFAULT_MOST = 64 };

typedef struct options {
    const char *program;         /* last part of argv[0] */
    const char *command;         /* argv[0] as one can paste it */
    const char *purpose;         /* one line for the help */
    const char *const *examples; /* NULL at the end: "--epochs 10  what it shows" */
    const char *notes;           /* behind the whole help; may be NULL */
    int count;
    option_row rows[OPTIONS_MOST];
    char defaults[OPTIONS_MOST][OPTION_DEFAULT_MOST]; /* as text, for the help */
} options;

/* Adds rows behind those there are. */
void options_add(options *opts, int count, const option_row *rows);

/* Stores what the command line says. OPTIONS_GO, or the code to exit with: 0 after --help, 2 after
   an error (which has been printed). */
enum { OPTIONS_GO = -1, EXIT_BAD_INPUT = 2, EXIT_INTERRUPTED = 130 };
int options_parse(options *opts, int argc, char **argv);

/* Prints "program: --name value: must be ... (try --name example)" and returns EXIT_BAD_INPUT.
   Programs use it for values that only they can check. */
int options_bad_value(const options *opts, const char *name, const char *value,
                      const char *must_be);

/* Prints "program: text" and returns EXIT_BAD_INPUT. */
int options_refuse(const options *opts, const char *text);

/* The help, short or whole. */
void options_help(const options *opts, bool all);

/* A value as text: "0.001", "yes", "none". */
void options_value(const option_row *row, char *text, size_t size);

/* All values as an object under `key`: dashes in names become underscores. */
void options_log(const options *opts, json *line, const char *key);

#endif
