/* signal_report.h: what depth signal prints and draws.
   SPDX-License-Identifier: MIT */
#ifndef DEPTH_SIGNAL_REPORT_H
#define DEPTH_SIGNAL_REPORT_H

#include "study.h"

typedef struct signal_layer {
    spread q, g, ratio; /* measured; ratio: g here over g of the next layer, which estimates χ₁ */
    double q_theory, g_theory, chi;
} signal_layer;

typedef struct signal_result {
    const char *name;
    double weight_variance, bias_variance;
    hk_mean_field field;
    int depth;
    signal_layer *layers; /* 0 to depth */
} signal_result;

/* Of all s->names. `way`: how weights were drawn, in words. */
void signal_report(study *s, const signal_result *results, const char *way, int64_t width);

#endif
