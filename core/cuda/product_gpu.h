/* product_gpu.h: matrix products of tensors on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_PRODUCT_GPU_H
#define HK_PRODUCT_GPU_H

#include "product.h"

HK_BEGIN_DECLS

/* hk__product for matrices that lie as they have to. */
hk_status hk__product_gpu(hk_context *ctx, hk_tensor *out, const hk__matrix *a, const hk__matrix *b,
                          hk_tensor *bias, bool accumulate);

/* out (m, n) (+)= a · b, and sums (m) (+)= the sums of a's rows, in one launch: the gradients of a linear layer. False where
   hillock's own kernel is not the one to take; then nothing was done. */
bool hk__product_sums_gpu(hk_context *ctx, hk_tensor *out, hk_tensor *a, hk_tensor *b,
                          bool accumulate, hk_tensor *sums, bool accumulate_sums);

HK_END_DECLS
#endif
