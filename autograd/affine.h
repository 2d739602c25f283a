/* affine.h: the parts of the operation of linear layers, for what joins more to it.
   SPDX-License-Identifier: MIT

   Inputs of a call are x, w and perhaps the bias; y has its shape from hk__affine_shape. */
#ifndef HK_AFFINE_H
#define HK_AFFINE_H

#include "product_gpu.h"
#include "tape.h"

HK_BEGIN_DECLS

/* Checks the inputs; *shape: of y. */
hk_status hk__affine_shape(hk_op_call *c, hk_shape *shape);
/* y = x·wᵀ + b. On a GPU where `later` is given and hillock's own kernel is the one to take, it is only written down there:
   later->m > 0 says so. */
hk_status hk__affine_into(hk_op_call *c, hk_tensor *y, hk__gpu_product *later);
/* Adds to the gradients of all inputs, with g that of y. */
hk_status hk__affine_back(hk_op_call *c, hk_tensor *g);
/* On a GPU: the same as one or two products for a single launch, and how many; 0: it cannot be one. The caller runs them. */
int hk__affine_back_gpu(hk_op_call *c, hk_tensor *g, hk__gpu_product p[2]);
/* t (+)= the direction of y by that of input i. */
hk_status hk__affine_along(hk_op_call *c, int i, hk_tensor *t, bool accumulate);

HK_END_DECLS
#endif
