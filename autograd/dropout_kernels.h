/* dropout_kernels.h: random draws of whole tensors on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_DROPOUT_KERNELS_H
#define HK_DROPOUT_KERNELS_H

#include "context.h"

/* Draws are those of the stream with this key, at the moment of the step. x and y are contiguous. */
typedef struct hk__dropout_kernels {
    /* Draw i keeps `plane` elements side by side if its 24 bits are not below the threshold: mask[i] = 1 and
       y = param0·x + param1; else 0 and y = param2. */
    void (*drop)(hk_context *ctx, uint64_t key, uint32_t threshold, const double *param,
                 int64_t draws, int64_t plane, const void *x, uint8_t *mask, void *y);
    /* y = low + width·draw. */
    void (*uniform)(hk_context *ctx, uint64_t key, double low, double width, int64_t count,
                    void *y);
} hk__dropout_kernels;

HK_GPU_TABLES(hk__dropout_kernels, hk__dropout);

#endif
