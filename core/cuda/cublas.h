/* cublas.h: matrix products by cuBLAS, opened when the first one is asked for.
   SPDX-License-Identifier: MIT */
#ifndef HK_CUBLAS_H
#define HK_CUBLAS_H

#include "gpu.h"

HK_BEGIN_DECLS

/* One shape of products, `count` of them at equal distances (in elements; 0: the same matrix each time), row-major:
   c (m, n) = a (m, k) · b (k, n), or c += if accumulate. trans: the matrix lies in memory as its transpose. ld: elements
   from row to row of what lies in memory. */
typedef struct hk__gpu_product {
    hk_dtype dtype;
    bool trans_a, trans_b, accumulate;
    int64_t m, n, k, count;
    const void *a, *b;
    void *c;
    int64_t lda, ldb, ldc, step_a, step_b, step_c;
} hk__gpu_product;
hk_status hk__cublas_product(hk_context *ctx, const hk__gpu_product *p);

/* "cuBLAS 13.0", or why there is none. */
const char *hk__cublas_text(hk_context *ctx);
struct hk__cublas;
void hk__cublas_close(struct hk__cublas *blas);

HK_END_DECLS
#endif
