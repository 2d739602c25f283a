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

/* Gradients of y = x·wᵀ + b, with g (rows, out) that of y: gx (+)= g·w, gw (+)= gᵀ·x, gb (+)= the sums of g's columns. */
typedef struct hk__affine_gradients {
    hk_tensor *g, *x, *w;    /* rank 2 */
    hk_tensor *gx, *gw, *gb; /* gx, gb: NULL where not needed */
    bool add_x, add_w, add_b;
} hk__affine_gradients;
/* As one or two products for a single launch; how many. 0: hillock's own kernel is not the one to take. */
int hk__affine_products_gpu(hk_context *ctx, const hk__affine_gradients *of, hk__gpu_product p[2]);
/* Runs them. False if there are none; then nothing was done. */
bool hk__affine_backward_gpu(hk_context *ctx, const hk__affine_gradients *of);

HK_END_DECLS
#endif
