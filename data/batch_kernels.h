/* batch_kernels.h: items of any type become numbers of the stamp's type.
   SPDX-License-Identifier: MIT */
#ifndef HK_BATCH_KERNELS_H
#define HK_BATCH_KERNELS_H

#include "context.h"

/* out[i] = (real)x[i] * (real)scale + (real)shift for n elements, rounded after each step: the same
   bits with every instruction set. */
typedef void hk__scale_fn(int64_t n, const void *x, double scale, double shift, void *out);

typedef struct hk__batch_kernels {
    hk__scale_fn *f32, *f64, *u8; /* by the type of x */
} hk__batch_kernels;

HK_STAMP_TABLES(hk__batch_kernels, hk__batch);

/* On a GPU, a batch in one launch. All memory is the device's. */
typedef struct hk__gather {
    hk_dtype from;         /* type of the items */
    const void *items;     /* of the root, or of this batch alone */
    const int32_t *labels; /* in the same order; NULL: all 0 */
    const int64_t *order;  /* numbers of the items; NULL: they lie in this order */
    int cell;              /* of the place in `order` where the batch begins */
    int64_t size, count;   /* items, elements of one */
    bool scaled;           /* else elements are copied */
    double scale, shift;
    void *x;
    int32_t *y;
} hk__gather;

typedef struct hk__batch_gpu {
    void (*gather)(hk_context *ctx, const hk__gather *job);
} hk__batch_gpu;

HK_GPU_TABLES(hk__batch_gpu, hk__batch_gpu);

#endif
