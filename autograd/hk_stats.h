/* hk_stats.h: statistics of a tensor's elements, in one pass.
   SPDX-License-Identifier: MIT */
#ifndef HK_STATS_H
#define HK_STATS_H

#include "hk_tensor.h"

HK_BEGIN_DECLS

/* Of a gradient, a weight, an activation. mean to max_abs are over the finite elements, summed in double, in an order
   that depends on the size alone: any number of threads gives the same bits. All are 0 if there is no such element. */
typedef struct hk_stats {
    int64_t count;     /* elements */
    int64_t zeros;     /* that are exactly 0 */
    int64_t nonfinite; /* that are NaN or infinite */
    double mean;
    double std; /* with count - 1 below, as PyTorch's; 0 for a single element */
    double min, max;
    double max_abs;
    double l2; /* sqrt(Σ x²) */
} hk_stats;

/* t: f32 or f64, of any layout. All 0, and a sticky error, if it cannot be read. */
HK_API hk_stats hk_tensor_stats(hk_tensor *t);

HK_END_DECLS
#endif
