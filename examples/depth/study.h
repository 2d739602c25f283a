/* study.h: what the subcommands share: names, options, progress, Ctrl-C, means, rows of a file.
   SPDX-License-Identifier: MIT */
#ifndef DEPTH_STUDY_H
#define DEPTH_STUDY_H

#include <hillock/hillock.h>

#include "arguments.h"
#include "json.h"

enum { SEEDS_MOST = 1000 };

typedef struct study {
    options opts;
    names names;
    const char *out; /* folder for pictures; NULL: none */
    bool as_csv, as_json;
    int64_t seed, seeds, threads;
    const char *device;
    int code;         /* to exit with; 0 while all is well */
    double started;   /* when work began */
    bool interrupted; /* by Ctrl-C */
    int columns;      /* of the row being written */
    bool headed;
    char head[512], line[1024];
    json object;
} study;

/* Parses: the subcommand's rows are in s->opts already; names default to the list `defaults`, and are
   checked. False: exit with s->code. */
bool study_begin(study *s, const char *defaults, int argc, char **argv);
/* Frees all, says so if it was interrupted, returns the code. */
int study_end(study *s);
/* A context for one part of the work; in error it is reported, and NULL. */
hk_context *study_context(study *s, hk_dtype dtype, uint64_t seed);
/* True if ctx is in error, which is printed; a network that cannot be made or trained was badly asked for. */
bool study_failed(study *s, const hk_context *ctx);
/* Prints "program: message" and sets the code, unless one is set. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 3, 4)))
#endif
void study_fail(study *s, int code, const char *format, ...);

/* Call it often; false when work should stop. Shows a bar on a terminal. */
bool study_goes_on(study *s, double done, double total, const char *what);
/* Takes the bar off the terminal. */
void study_clear(void);
bool study_prints(const study *s); /* tables, rather than rows for programs */

/* Numbers such as "1,2,5", rising, from low to high, into v. False if they are not. */
bool numbers_read(const char *text, double low, double high, int most, double *v, int *count);

/* The same of whole numbers from 1 to 1000: depths of networks. */
enum { DEPTHS_MOST = 32 };
bool depths_read(const char *text, double v[DEPTHS_MOST], int *count);
extern const char depths_must_be[];
/* "(1,2,5)", for an axis of gnuplot. */
enum { TICKS_MOST = DEPTHS_MOST * 8 };
void depths_ticks(const double *depths, int count, char text[TICKS_MOST]);

/* Mean and spread of what was added. */
typedef struct spread {
    int n;
    double mean, squares;
} spread;
void spread_add(spread *s, double value);
double spread_deviation(const spread *s); /* with n - 1; 0 for one value */
double spread_error(const spread *s);     /* of the mean */

/* A row of a CSV file with a header, or of JSON Lines, on stdout; nothing unless --csv or --json. */
void row_begin(study *s);
void row_text(study *s, const char *key, const char *value);
void row_int(study *s, const char *key, int64_t value);
void row_number(study *s, const char *key, double value);
void row_end(study *s);

const char *plural(int64_t count); /* "s" unless it is 1 */

/* A number for a table, in at most 9 letters: 0.0123, 3.6e-17, inf, - for NaN. Returns buffer. */
enum { SHORT_MOST = 16 };
const char *short_number(double value, char buffer[SHORT_MOST]);

#endif
