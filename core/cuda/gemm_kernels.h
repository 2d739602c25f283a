/* gemm_kernels.h: hillock's own matrix products on a GPU, one table per dtype.
   SPDX-License-Identifier: MIT */
#ifndef HK_GEMM_GPU_KERNELS_H
#define HK_GEMM_GPU_KERNELS_H

#include "cublas.h"

HK_BEGIN_DECLS

typedef struct hk__gemm_gpu {
    /* Any p with count <= 65535, bias and sums included, in one launch; two of them with count 1 alone. */
    void (*run)(hk_context *ctx, int n, const hk__gpu_product *p);
} hk__gemm_gpu;

HK_GPU_TABLES(hk__gemm_gpu, hk__gemm_gpu);

HK_END_DECLS
#endif
