/* product.h: matrix products of tensors.
   SPDX-License-Identifier: MIT */
#ifndef HK_PRODUCT_H
#define HK_PRODUCT_H

#include "tensor.h"

HK_BEGIN_DECLS

/* out (..., m, n) = a (..., m, k) · b (..., k, n), += if accumulate, + bias (n) in each row if not NULL.
   Leading axes of a and b broadcast to out's. out is contiguous; a and b may have any strides: a transposed
   matrix is read as it lies. Shapes were checked by the caller. */
hk_status hk__product(hk_context *ctx, hk_tensor *out, hk_tensor *a, hk_tensor *b, hk_tensor *bias,
                      bool accumulate);

/* How the last two axes of a tensor lie in memory: as they are or transposed, and the elements from row to row. */
typedef struct hk__matrix {
    hk_tensor *t;
    bool transposed;
    int64_t ld;
} hk__matrix;
/* Row-major or column-major as it is; of anything else a copy is made. False on error. */
bool hk__as_matrix(hk_context *ctx, hk_tensor *t, hk__matrix *m);

/* A view of t with its last two axes exchanged. NULL on error. */
hk_tensor *hk__transposed(hk_tensor *t);

HK_END_DECLS
#endif
