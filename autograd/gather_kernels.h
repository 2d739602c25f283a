/* gather_kernels.h: rows by index on a GPU, one table per dtype.
   SPDX-License-Identifier: MIT */
#ifndef HK_GATHER_KERNELS_H
#define HK_GATHER_KERNELS_H

#include "tensor.h"

HK_BEGIN_DECLS

/* Rows of n elements, of which x has `rows`; count of them are asked for. A bad index raises the flag and gives zeros. */
typedef struct hk__gather_job {
    const int32_t *index;
    int64_t count, rows, n;
} hk__gather_job;

typedef struct hk__gather_gpu {
    /* out[i] = x[index[i]], elements of `size` bytes. */
    void (*forward)(hk_context *ctx, const hk__gather_job *j, const void *x, void *out,
                    size_t size);
    /* out[r] (+)= Σ g[i] over all i with index[i] = r, in their order. */
    void (*backward)(hk_context *ctx, const hk__gather_job *j, const void *g, void *out,
                     bool accumulate);
} hk__gather_gpu;

HK_GPU_TABLES(hk__gather_gpu, hk__gather_gpu);

HK_END_DECLS
#endif
