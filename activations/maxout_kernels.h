/* maxout_kernels.h: the largest of each k neighbours.
   SPDX-License-Identifier: MIT */
#ifndef HK_MAXOUT_KERNELS_H
#define HK_MAXOUT_KERNELS_H

#include <stdint.h>

#include "stamp.h"

/* A run of n outputs whose candidates lie alike: candidate i of output o stands at z[o·step + i·apart], i < k. */
typedef struct hk__maxout_run {
    int64_t n, k, step, apart;
} hk__maxout_run;

typedef struct hk__maxout_kernels {
    /* y = the largest, winner = which: a NaN, else the first of the largest. */
    void (*value)(hk__maxout_run r, const void *z, void *y, uint8_t *winner);
    /* z = g where it won, else 0. */
    void (*spread)(hk__maxout_run r, void *z, const void *g, const uint8_t *winner);
    /* y = what stands in z where it won. */
    void (*pick)(hk__maxout_run r, const void *z, void *y, const uint8_t *winner);
} hk__maxout_kernels;

HK_STAMP_TABLES(hk__maxout_kernels, hk__maxout);

#endif
