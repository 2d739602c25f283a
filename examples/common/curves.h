/* curves.h: the curves of activations that learn, as they started and as they became.
   SPDX-License-Identifier: MIT

   Those that are functions of one number, and mixtures of them. With a parameter for each channel
   there is a curve for each. */
#ifndef EXAMPLES_CURVES_H
#define EXAMPLES_CURVES_H

#include "gnuplot.h"
#include "rows.h"

enum { CURVES_MOST = 12, CURVE_POINTS = 161 };

typedef struct curves {
    int count;
    struct {
        const net_row *row;
        int64_t channels; /* at most one curve for each */
        int axes;         /* of the tensor that has so many channels */
        float start[CURVE_POINTS];
    } item[CURVES_MOST];
} curves;

/* Looks for them, and at how they start. Errors are the context's. */
void curves_open(curves *c, training *run, const net_rows *r);
/* How they are now: data and script; false if there is nothing to draw. */
bool curves_script(curves *c, training *run, gnuplot *plot);

#endif
