/* conv_block_kernels.h: convolution, activation and 2 x 2 max pooling in one launch on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONV_BLOCK_KERNELS_H
#define HK_CONV_BLOCK_KERNELS_H

#include "conv.h"

HK_BEGIN_DECLS

typedef struct hk__conv_block_gpu {
    /* y, winner and, if not NULL, chosen are what conv_block.c keeps. row: the activation's number among the pointwise
       ones; param: its parameters. */
    void (*forward)(hk_context *ctx, const hk__conv *c, int row, const double *param, const void *x,
                    const void *w, const void *bias, void *y, uint8_t *winner, void *chosen);
} hk__conv_block_gpu;

HK_GPU_TABLES(hk__conv_block_gpu, hk__conv_block_gpu);

HK_END_DECLS
#endif
