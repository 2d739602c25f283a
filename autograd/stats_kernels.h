/* stats_kernels.h: the inner loops of statistics, one table per stamp.
   SPDX-License-Identifier: MIT */
#ifndef HK_STATS_KERNELS_H
#define HK_STATS_KERNELS_H

#include <stdint.h>

#include "stamp.h"

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

/* Some element is above 0, below 0, NaN. */
enum { HK_SIGN_PLUS = 1, HK_SIGN_MINUS = 2, HK_SIGN_NONE = 4 };

/* x, y: n contiguous elements of the stamp's type, n from 1, and up to HK_STATS_BLOCK for moments. */
typedef struct hk__stats_kernels {
    void (*moments)(int64_t n, const void *x, hk__moments *out);
    double (*distance)(int64_t n, const void *x, const void *y); /* Σ (x - y)²; y may be NULL: 0 */
    int (*signs)(int64_t n, const void *x);
    int64_t (*nonzero)(int64_t n, const void *x); /* elements that are not 0 */
} hk__stats_kernels;

HK_STAMP_TABLES(hk__stats_kernels, hk__stats);

#endif
