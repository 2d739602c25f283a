/* figures.h: curves of a training run: loss and accuracy, gradients, updates and units by epoch.
   SPDX-License-Identifier: MIT

   Numbers go to files of data as they come, so that a long run needs no memory for them. */
#ifndef EXAMPLES_FIGURES_H
#define EXAMPLES_FIGURES_H

#include "gnuplot.h"
#include "rows.h"

/* The least and the greatest of what was written, for axes. */
typedef struct span {
    double low, high; /* low > high: nothing yet */
} span;

enum { FIGURES_UNITS = 3 }; /* dead, saturated, dormant */

typedef struct figures {
    gnuplot *plot;
    const net_rows *rows;
    FILE *epochs, *gradients, *updates, *units[FIGURES_UNITS];
    span loss, accuracy, gradient, update, unit[FIGURES_UNITS];
    double last_epoch;
    bool validated;
} figures;

/* Starts the files of data. False if that fails. */
bool figures_open(figures *f, gnuplot *plot, const net_rows *rows);
void figures_epoch(figures *f, const epoch_result *r);
/* value[i]: of row i, NaN where there is none; at: in epochs, 0.5 is in the middle of the first.
   gradient: L2 norms; update: ratios. */
void figures_step(figures *f, double at, const double *gradient, const double *update);
/* Shares in percent of a row's units: dead, saturated, dormant. */
void figures_units(figures *f, double at, const double *const share[FIGURES_UNITS]);
/* Writes the scripts of what there are numbers of; returns bits of which they are. */
enum { FIGURES_TRAINING = 1, FIGURES_GRADIENTS = 2, FIGURES_UPDATES = 4, FIGURES_DEAD = 8 };
unsigned figures_scripts(figures *f);

void figures_close(figures *f);

/* Pieces that other pictures share. */
extern const span span_empty;
void span_take(span *s, double value);
/* Of a logarithmic axis: some room around it, and two powers of ten at least. */
span span_decades(span s);
/* The step from tick to tick of such an axis, a factor. */
double figures_decades(span s);
/* "set label ..." with a text at screen coordinates; more: gnuplot's settings. */
void figures_label(FILE *file, const char *text, double x, double y, const char *more);
/* A title in the upper left corner of a picture. */
void figures_title(FILE *file, const char *text);
/* Where the panel goes, in shares of the picture. */
void figures_panel(FILE *file, double left, double right, double bottom, double top);
/* Row i of n in the legend at the right: a line and the row's title, if there is room for it. */
void figures_key(FILE *file, const char *text, int i, int n, const char *colour);

#endif
