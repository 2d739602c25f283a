/* stats_kernels.h: the inner loops of statistics, one table per stamp; on a GPU whole drivers.
   SPDX-License-Identifier: MIT */
#ifndef HK_STATS_KERNELS_H
#define HK_STATS_KERNELS_H

#include <stdint.h>

#include "context.h"

HK_BEGIN_DECLS

enum {
    HK_STATS_BLOCK = 4096
}; /* elements, so that a second look at them is one into the nearest cache */

/* What is known of some elements; two of these can be joined without loss. */
typedef struct hk__moments {
    int64_t count; /* finite ones */
    int64_t zeros, nonfinite;
    double mean, squares; /* Σ (x - mean)² */
    double min, max;
} hk__moments;

/* Chan, Golub and LeVeque 1983. */
HK_HOST_DEVICE static inline void hk__moments_add(hk__moments *a, const hk__moments *b) {
    const int64_t zeros = a->zeros + b->zeros, nonfinite = a->nonfinite + b->nonfinite;
    if (a->count == 0) {
        *a = *b;
    } else if (b->count > 0) {
        const double na = (double)a->count, nb = (double)b->count, n = na + nb;
        const double d = b->mean - a->mean;
        a->squares += b->squares + d * d * (na * nb / n);
        a->mean += d * (nb / n);
        a->min = b->min < a->min ? b->min : a->min;
        a->max = b->max > a->max ? b->max : a->max;
        a->count += b->count;
    }
    a->zeros = zeros;
    a->nonfinite = nonfinite;
}

/* Some element is above 0, below 0, NaN. */
enum { HK_SIGN_PLUS = 1, HK_SIGN_MINUS = 2, HK_SIGN_NONE = 4 };

/* Rows of an array: row r is number r % group of group r / group, and has parts of n elements side by side. */
typedef struct hk__sign_rows {
    int64_t rows, group, parts, n;
    int64_t to_group, to_row, to_part; /* elements from one to the next */
} hk__sign_rows;

typedef struct hk__tally {
    int64_t one, all; /* rows of one sign; rows with an element that is not 0 */
} hk__tally;

/* x, y: n contiguous elements of the stamp's type, n from 1, and up to HK_STATS_BLOCK for moments. */
typedef struct hk__stats_kernels {
    void (*moments)(int64_t n, const void *x, hk__moments *out);
    double (*distance)(int64_t n, const void *x, const void *y); /* Σ (x - y)²; y may be NULL: 0 */
    int (*signs)(int64_t n, const void *x);
    int64_t (*nonzero)(int64_t n, const void *x); /* elements that are not 0 */
} hk__stats_kernels;

HK_STAMP_TABLES(hk__stats_kernels, hk__stats);

/* As the functions of stats.h, x contiguous, any n. */
typedef struct hk__stats_gpu_table {
    void (*moments)(hk_context *ctx, int64_t n, const void *x, hk__moments *to);
    void (*squares)(hk_context *ctx, int64_t n, const void *x, const void *y, double *to);
    void (*signs)(hk_context *ctx, const void *x, const hk__sign_rows *rows, const void *g,
                  int64_t width, hk__tally *to);
} hk__stats_gpu_table;

HK_GPU_TABLES(hk__stats_gpu_table, hk__stats_gpu);

HK_END_DECLS
#endif
