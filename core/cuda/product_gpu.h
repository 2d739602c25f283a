/* product_gpu.h: matrix products of tensors on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_PRODUCT_GPU_H
#define HK_PRODUCT_GPU_H

#include "cublas.h"
#include "product.h"

HK_BEGIN_DECLS

/* hk__product for matrices that lie as they have to. */
hk_status hk__product_gpu(hk_context *ctx, hk_tensor *out, const hk__matrix *a, const hk__matrix *b,
                          hk_tensor *bias, bool accumulate);

/* out (+)= a · b, of rank 2, written down for hillock's own kernel (gemm_kernels.h); false if that is not the one to take. */
bool hk__own_product_gpu(hk_context *ctx, hk_tensor *out, hk_tensor *a, hk_tensor *b,
                         bool accumulate, hk__gpu_product *p);

HK_END_DECLS
#endif
