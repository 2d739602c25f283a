/* stats.h: what others use of statistics beyond hk_tensor_stats.
   SPDX-License-Identifier: MIT

   Results go to memory of the context (values.h): so on a GPU many can be asked for one after the other, and read in one
   piece. Nothing here waits. All sums are in double, in an order that the sizes alone decide. */
#ifndef HK_STATS_PRIVATE_H
#define HK_STATS_PRIVATE_H

#include "hk_stats.h"
#include "stats_kernels.h"
#include "tape.h"

HK_BEGIN_DECLS

/* Of a usable tensor of f32 or f64, of any layout, and what they say. */
void hk__moments_of(hk_tensor *t, hk__moments *to);
hk_stats hk__stats_of(const hk__moments *m);
/* Σ (x - y)² over two contiguous arrays; Σ x² if y is NULL. The sticky error if memory is out. */
void hk__squares_apart(hk_context *ctx, hk_dtype dtype, const void *x, const void *y, int64_t n,
                       double *to);
/* Adds to *to how many rows of x have an element that is not 0, and how many of these elements of one sign alone. Where g
   is given, (rows, width), a row counts once for each element of its row of g that is not 0. All contiguous. */
void hk__tally_signs(hk_context *ctx, hk_dtype dtype, const void *x, const hk__sign_rows *rows,
                     const void *g, int64_t width, hk__tally *to);

HK_END_DECLS
#endif
