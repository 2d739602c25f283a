/* linear_block_kernels.h: a linear layer's products with its activation in the same launch, on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_LINEAR_BLOCK_KERNELS_H
#define HK_LINEAR_BLOCK_KERNELS_H

#include "cublas.h"

HK_BEGIN_DECLS

typedef struct hk__linear_block_activation {
    int row; /* its number among the pointwise ones */
    const double *param;
    void *z,
        *y; /* what lies side by side as c does in forward, and g in backward; NULL: is not kept */
} hk__linear_block_activation;

typedef struct hk__linear_block_gpu {
    /* p->c = f(what p says), which is itself kept in z. */
    void (*forward)(hk_context *ctx, const hk__gpu_product *p,
                    const hk__linear_block_activation *f);
    /* Products (gemm_kernels.h) whose left side is g: g·f' is taken in its place. */
    void (*backward)(hk_context *ctx, int n, const hk__gpu_product *p,
                     const hk__linear_block_activation *f);
} hk__linear_block_gpu;

HK_GPU_TABLES(hk__linear_block_gpu, hk__linear_block_gpu);

HK_END_DECLS
#endif
