/* samples.h: how activations and gradients are distributed at the start of training and at its end.
   SPDX-License-Identifier: MIT

   Of activations a sample of their values over the probe images; of gradients every element,
   counted by its size, powers of two. */
#ifndef EXAMPLES_SAMPLES_H
#define EXAMPLES_SAMPLES_H

#include "gnuplot.h"
#include "rows.h"

enum {
    PANELS_MOST = 12,    /* layers whose activations are shown */
    SAMPLE_MOST = 32768, /* values kept of each */
    SAMPLE_BATCH = 800,  /* of one batch; there are 40 */
    SIZES = 160,         /* of gradients: 2^(k - SIZE_ZERO) */
    SIZE_ZERO = 130
};

typedef struct sample {
    int count;
    float value[SAMPLE_MOST];
} sample;

/* How many elements of a gradient are 0, and how many of each size. */
typedef struct sizes {
    int64_t count, zeros, of[SIZES];
} sizes;

enum { SAMPLE_START, SAMPLE_END, SAMPLE_TIMES };

typedef struct samples samples;

typedef struct panel {
    const net_row *row;
    samples *all;
    hk_hook *hook;
    sample *sample; /* [SAMPLE_TIMES] */
} panel;

struct samples {
    training *run;
    const net_rows *rows;
    int panels, when;
    panel panel[PANELS_MOST];
    sizes (*size)[SAMPLE_TIMES]; /* of each net_row */
    hk_hook *gradients;
};

/* Hooks the network. Errors are the context's. */
void samples_open(samples *s, training *run, const net_rows *r);
/* Forward passes from here on are looked at, as the start or the end. */
void samples_watch_values(samples *s, int when);
void samples_stop_values(samples *s);
/* The same for the next backward pass. */
void samples_watch_gradients(samples *s, int when);
void samples_stop_gradients(samples *s);
/* Data and scripts. False if there is nothing to draw. */
bool samples_script_values(samples *s, gnuplot *plot);
bool samples_script_gradients(samples *s, gnuplot *plot);
void samples_close(samples *s);

#endif
