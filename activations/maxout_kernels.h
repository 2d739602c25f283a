/* maxout_kernels.h: the largest of each k neighbours.
   SPDX-License-Identifier: MIT */
#ifndef HK_MAXOUT_KERNELS_H
#define HK_MAXOUT_KERNELS_H

#include "context.h"

HK_BEGIN_DECLS

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

/* The same on a GPU, of the whole: z: (n, k, inner), y and winner: (n, inner). */
typedef void hk__maxout_launch(hk_context *ctx, int64_t n, int64_t k, int64_t inner, void *z,
                               void *y, uint8_t *winner);
typedef struct hk__maxout_gpu {
    hk__maxout_launch *value, *spread, *pick;
} hk__maxout_gpu;
HK_GPU_TABLES(hk__maxout_gpu, hk__maxout_gpu);

HK_END_DECLS

#endif
