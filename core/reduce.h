/* reduce.h: sums, maxima and norms in a fixed order.
   SPDX-License-Identifier: MIT

   Every reduction is cut into blocks whose size depends on the shape alone; a block is summed in the
   element type and blocks are added in double, in order. So results do not depend on threads. */
#ifndef HK_REDUCE_H
#define HK_REDUCE_H

#include "tensor.h"

HK_BEGIN_DECLS

typedef enum hk__reduction { HK__SUM, HK__MAX, HK__ARGMAX } hk__reduction;

/* out (shape of x with the reduced axes of size 1) = scale · Σ x, or the maximum; out += if accumulate
   (sums only). For HK__ARGMAX out is i32 and exactly one axis is reduced. False if out of memory. */
bool hk__reduce(hk_context *ctx, hk__reduction kind, hk_tensor *out, hk_tensor *x, unsigned axes,
                double scale, bool accumulate);

/* out (+)= x summed back to out's shape, which broadcasts to x's. */
bool hk__sum_to(hk_context *ctx, hk_tensor *out, hk_tensor *x, bool accumulate);

/* Σ x² over a contiguous array of n elements, in double. */
double hk__sum_squares(hk_context *ctx, hk_dtype dtype, const void *x, int64_t n);
/* Index of the first element that is not finite, or -1; any strides. */
int64_t hk__first_nonfinite(hk_context *ctx, hk_tensor *x);

HK_END_DECLS
#endif
