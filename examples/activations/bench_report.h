/* bench_report.h: results of activations bench, as tables, JSON or CSV.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATIONS_BENCH_REPORT_H
#define ACTIVATIONS_BENCH_REPORT_H

#include <hillock/hillock.h>

#include "bandwidth.h"

/* Seconds of many runs. runs == 0: there is no such pass. */
typedef struct timing {
    int runs;
    double mean, sd, median, q1, q3;
    double bytes; /* of one run */
} timing;

enum { FORWARD, BACKWARD, BOTH, PASSES };

typedef struct bench_row {
    const char *name;
    timing pass[PASSES];
    double cpu[PASSES]; /* on a GPU: seconds of the CPU; 0: not measured */
} bench_row;

enum { COMPOSED_MOST = 2 };

typedef struct bench_report {
    hk_context_info machine;
    const char *shape;
    int64_t elements;
    int runs, warmup, count;
    int composed; /* rows behind the names: the same functions, made of several operations */
    const char *const *composes; /* of which ones */
    hk_context_info cpu;         /* on a GPU: what it was held against; threads 0: nothing */
    bench_row *rows;
    timing memory[BANDWIDTH_KINDS];
} bench_report;

/* Sorts the seconds. */
timing timing_of(int runs, double *seconds, double bytes);

/* All of them sort the rows, fastest forward first. */
void report_tables(bench_report *r);
bool report_json(bench_report *r);
void report_csv(bench_report *r);

#endif
