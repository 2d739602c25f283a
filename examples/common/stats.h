/* stats.h: what --stats and --out record while a network trains: gradients, updates, units.
   SPDX-License-Identifier: MIT

   Gradients and updates (hk_flow.h) at least 20 times an epoch, in its first and in its last step;
   units (hk_units.h) over the probe images, the first 2,000 training images as they are, before
   training and at the end of each epoch. Nothing of it changes what is learned.

   Without --stats and --out the functions do nothing. */
#ifndef EXAMPLES_STATS_H
#define EXAMPLES_STATS_H

#include "rows.h"

enum { STATS_PROBE = 2000, STATS_RECORDS = 20 };

/* Of a row (rows.h), over the epoch so far; NaN and -1 where there is nothing. */
typedef struct stats_row {
    /* Means over the recorded steps: L2 norm of the weight's gradient; update ratio. */
    double gradient, update;
    int64_t records, updates; /* that they are over */
    /* Of the output: the activation's over the probe images, else as last recorded. */
    double mean, deviation;
    int64_t units, dead, zero, saturated, dormant, died, revived;
} stats_row;

typedef struct stats {
    hk_flow *flow;
    hk_units *units;
    hk_loader *probe;
    net_rows rows;
    stats_row *now;
    double *scratch; /* three numbers for each net_row */
    int64_t every, per_epoch, step;
    int64_t images; /* in the probe */
    /* The time of steps with and without a look, of the third step and later ones; of all else
       that was done. */
    double looked, plain, spent;
    int64_t n_looked, n_plain, all_looked;
    double step_began;
    bool recorded, looks; /* the newest step is recorded; something looks at it */
    bool epoch_over, legend_shown;
} stats;

/* Before training, with a built network and the log: looks at how it starts. */
void stats_open(training *run);
/* Around a step of training; last: of the epoch. */
void stats_step_begin(training *run, bool last);
void stats_step_end(training *run);
/* After an epoch that has been reported. */
void stats_epoch(training *run);
/* Seconds that all of this took, and what share of the training without it. NaN: cannot be told, as
   every step was recorded. */
double stats_seconds(const training *run, double *share);
void stats_report(const training *run);
void stats_close(training *run);

/* stats_table.c: the table of an epoch, also as cells of text for a page. */
enum { STATS_COLUMNS = 11, STATS_CELL = 64 };
extern const char *const stats_headings[STATS_COLUMNS];
void stats_cells(const stats *s, int i, char cell[STATS_COLUMNS][STATS_CELL]);
void stats_print(training *run);

/* stats_log.c: lines of the log (runlog.h says what is in them). */
void stats_log_flow(training *run, const hk_flow_record *record, double epoch);
void stats_log_units(training *run, int64_t epoch);

#endif
