/* cublas.h: matrix products by cuBLAS, opened when the first one is asked for.
   SPDX-License-Identifier: MIT */
#ifndef HK_CUBLAS_H
#define HK_CUBLAS_H

#include "gpu.h"

HK_BEGIN_DECLS

/* One shape of products, `count` of them at equal distances (in elements; 0: the same matrix each time), row-major:
   c (m, n) = a (m, k) · b (k, n), + c if accumulate, + bias (n) in each row if given; sums (m), if given, gets or has added
   the sums of a's rows, with count 1 alone. trans: the matrix lies in memory as
   its transpose. ld: elements from row to row of what lies in memory. Zeroed before it is filled, as arguments of launches
   are. */
typedef struct hk__gpu_product {
    int64_t m, n, k, count;
    int64_t lda, ldb, ldc, step_a, step_b, step_c;
    const void *a, *b, *bias;
    void *c, *sums;
    int32_t dtype; /* HK_F32, HK_F64 */
    bool trans_a, trans_b, accumulate, accumulate_sums;
} hk__gpu_product;

/* Without bias and sums. HK_ERR_DEVICE, sticky, if there is no cuBLAS. */
hk_status hk__cublas_product(hk_context *ctx, const hk__gpu_product *p);

/* "cuBLAS 13.0", or why there is none; *there: which. */
const char *hk__cublas_text(bool *there);
void hk__cublas_close(hk_context *ctx);

HK_END_DECLS
#endif
