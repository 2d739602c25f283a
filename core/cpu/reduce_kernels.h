/* reduce_kernels.h: the inner loops of reductions, one table per stamp.
   SPDX-License-Identifier: MIT */
#ifndef HK_REDUCE_KERNELS_H
#define HK_REDUCE_KERNELS_H

#include "reduce.h"

HK_BEGIN_DECLS

/* x: n contiguous elements of the stamp's type; n is at most a few ten thousand in one call. */
typedef struct hk__reduce_kernels {
    double (*sum)(int64_t n, const void *x);
    double (*sum_squares)(int64_t n, const void *x);
    double (*max)(int64_t n, const void *x); /* NaN wins */
    /* acc[i] += Σ_r x[r·stride + i], or the maximum, for i < n and r < rows. */
    void (*add_rows)(int64_t n, int64_t rows, const void *x, int64_t stride, double *acc);
    void (*max_rows)(int64_t n, int64_t rows, const void *x, int64_t stride, double *acc);
    int64_t (*first_nonfinite)(int64_t n, const void *x); /* or -1 */
} hk__reduce_kernels;

HK_STAMP_TABLES(hk__reduce_kernels, hk__reduce);

/* The same on a GPU, whole: see reduce.h. sum_squares leaves its result on the device. */
typedef struct hk__reduce_gpu {
    bool (*reduce)(hk_context *ctx, hk__reduction kind, hk_tensor *out, hk_tensor *x, unsigned axes,
                   double scale, bool accumulate);
    void (*sum_squares)(hk_context *ctx, const void *x, int64_t n, double *to);
    int64_t (*first_nonfinite)(hk_context *ctx, hk_tensor *x);
} hk__reduce_gpu;

HK_GPU_TABLES(hk__reduce_gpu, hk__reduce_gpu);

HK_END_DECLS
#endif
