/* spectrum_report.h: what depth spectrum prints and draws.
   SPDX-License-Identifier: MIT */
#ifndef DEPTH_SPECTRUM_REPORT_H
#define DEPTH_SPECTRUM_REPORT_H

#include "study.h"

typedef enum way { GAUSSIAN, ORTHOGONAL, WAYS } way;

/* Of the nets of all seeds: one activation, depth and way to draw weights. */
typedef struct spectrum_cell {
    spread smallest, median, largest, mean_square; /* mean_square: over the outputs */
    double theory;                                 /* of the mean square */
} spectrum_cell;

typedef struct spectrum_result {
    int64_t width;
    int names, count; /* count: of depths */
    double depths[DEPTHS_MOST];
    double *weight_variance, *bias_variance; /* of each name */
    char weights_by[128];
    spectrum_cell *cells;
    double *room; /* for one spectrum */
} spectrum_result;

spectrum_cell *spectrum_cell_of(const spectrum_result *r, way how, int name, int column);
void spectrum_report(study *s, const spectrum_result *r);

#endif
