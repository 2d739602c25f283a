/* row_kernels.h: softmax and its kin, over contiguous rows.
   SPDX-License-Identifier: MIT */
#ifndef HK_ROW_KERNELS_H
#define HK_ROW_KERNELS_H

#include <stdint.h>

#include "stamp.h"

/* Rows have n elements of the stamp's type. out overlaps nothing. */
typedef struct hk__row_kernels {
    void (*softmax)(int64_t n, const void *x, void *y);
    void (*log_softmax)(int64_t n, const void *x, void *y);
    /* out (+)= y·(g - Σ g·y), and out (+)= g - e^y·Σ g. */
    void (*softmax_slope)(int64_t n, const void *y, const void *g, void *out, int accumulate);
    void (*log_softmax_slope)(int64_t n, const void *y, const void *g, void *out, int accumulate);
    /* p = softmax(x); returns log Σ e^x - (1 - smoothing)·x[label] - smoothing·mean(x). */
    double (*cross_entropy)(int64_t n, const void *x, int32_t label, double smoothing, void *p);
    /* out (+)= scale·(p - target), target = (1 - smoothing)·onehot(label) + smoothing/n. */
    void (*cross_entropy_slope)(int64_t n, const void *p, int32_t label, double smoothing,
                                double scale, void *out, int accumulate);
} hk__row_kernels;

HK_STAMP_TABLES(hk__row_kernels, hk__row);

#endif
