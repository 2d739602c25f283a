/* stats.h: what others use of statistics beyond hk_tensor_stats.
   SPDX-License-Identifier: MIT */
#ifndef HK_STATS_PRIVATE_H
#define HK_STATS_PRIVATE_H

#include "hk_stats.h"
#include "stats_kernels.h"
#include "tape.h"

HK_BEGIN_DECLS

/* Elements [first, first + n) of t in row-major order, side by side: where they are, or copied to room. */
const void *hk__elements(const hk_tensor *t, int64_t first, int64_t n, void *room);
/* sqrt(Σ (x - y)²) over two contiguous arrays, or sqrt(Σ x²) if y is NULL, in double, in an order that n alone decides. NaN and the sticky error if
   memory is out. */
double hk__distance(hk_context *ctx, hk_dtype dtype, const void *x, const void *y, int64_t n);

HK_END_DECLS
#endif
