/* product.c: from tensors to jobs for the product kernels.
   SPDX-License-Identifier: MIT */
#include "product.h"

#include "gemm.h"
#include "gpu.h"
#include "map.h"
#include "product_gpu.h"

bool hk__as_matrix(hk_context *ctx, hk_tensor *t, hk__matrix *m) {
    const int r = t->shape.rank;
    const int64_t rows = t->shape.dim[r - 2], cols = t->shape.dim[r - 1];
    const int64_t row = rows == 1 ? cols : t->stride[r - 2], col = cols == 1 ? 1 : t->stride[r - 1];
    if (col == 1 && row >= cols) {
        *m = (hk__matrix){t, false, row > 0 ? row : 1};
        return true;
    }
    const int64_t col_step = cols == 1 ? rows : t->stride[r - 1],
                  row_step = rows == 1 ? 1 : t->stride[r - 2];
    if (row_step == 1 && col_step >= rows) {
        *m = (hk__matrix){t, true, col_step > 0 ? col_step : 1};
        return true;
    }
    hk_tensor *copy = hk__empty(ctx, t->dtype, t->shape);
    if (!copy) return false;
    hk__copy(ctx, copy, t, false);
    *m = (hk__matrix){copy, false, cols > 0 ? cols : 1};
    return true;
}

/* Where matrix number i of the broadcast batch begins. */
static char *matrix_at(const hk_tensor *t, const hk_tensor *out, int64_t i) {
    int64_t at = 0;
    for (int axis = out->shape.rank - 3; axis >= 0; axis--) {
        const int own = axis - (out->shape.rank - t->shape.rank);
        const int64_t index = i % out->shape.dim[axis];
        i /= out->shape.dim[axis];
        if (own >= 0 && t->shape.dim[own] != 1) at += index * t->stride[own];
    }
    return (char *)t->data + at * (int64_t)hk_dtype_size(t->dtype);
}

hk_status hk__product(hk_context *ctx, hk_tensor *out, hk_tensor *a, hk_tensor *b, hk_tensor *bias,
                      bool accumulate) {
    const int r = out->shape.rank;
    const int64_t m = out->shape.dim[r - 2], n = out->shape.dim[r - 1];
    int64_t jobs = 1;
    for (int i = 0; i < r - 2; i++) jobs *= out->shape.dim[i];
    if (jobs * m * n == 0) return ctx->status;
    hk__matrix left, right;
    if (!hk__as_matrix(ctx, a, &left) || !hk__as_matrix(ctx, b, &right)) return ctx->status;
    if (HK_ON_GPU(ctx)) return hk__product_gpu(ctx, out, &left, &right, bias, accumulate);
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    hk__gemm *job = hk__scratch(ctx, (size_t)jobs * sizeof *job);
    for (int64_t i = 0; job && i < jobs; i++)
        job[i] = (hk__gemm){.trans_a = left.transposed,
                            .trans_b = right.transposed,
                            .accumulate = accumulate,
                            .m = m,
                            .n = n,
                            .k = a->shape.dim[a->shape.rank - 1],
                            .a = matrix_at(left.t, out, i),
                            .lda = left.ld,
                            .b = matrix_at(right.t, out, i),
                            .ldb = right.ld,
                            .c = (char *)out->data + i * m * n * (int64_t)hk_dtype_size(out->dtype),
                            .ldc = n,
                            .bias = bias ? bias->data : NULL};
    if (job) {
        const hk__stamp stamp = hk__stamp_of(ctx, out->dtype);
        const size_t need = hk__gemm_scratch(stamp, job, jobs, hk__pool_threads(ctx->pool));
        void *scratch = hk__scratch(ctx, need);
        if (scratch) {
            const hk_status status =
                hk__gemm_run(ctx->pool, stamp, ctx->use_blas, job, jobs, scratch, need);
            if (status != HK_OK) hk_fail(ctx, status, "product", "%s", hk_status_meaning(status));
        }
    }
    hk__arena_rewind(&ctx->scratch, mark);
    return ctx->status;
}

hk_tensor *hk__transposed(hk_tensor *t) {
    hk_tensor *v = hk__view(t);
    if (!v) return NULL;
    const int r = t->shape.rank;
    v->shape.dim[r - 2] = t->shape.dim[r - 1];
    v->shape.dim[r - 1] = t->shape.dim[r - 2];
    v->stride[r - 2] = t->stride[r - 1];
    v->stride[r - 1] = t->stride[r - 2];
    return v;
}
