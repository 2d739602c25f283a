/* gather.c: rows of a tensor by index.
   SPDX-License-Identifier: MIT */
#include <string.h>

#include "gather_kernels.h"
#include "gpu.h"
#include "tape.h"

static int64_t row_length(const hk_tensor *x) {
    int64_t n = 1;
    for (int i = 1; i < x->shape.rank; i++) n *= x->shape.dim[i];
    return n;
}

static hk__gather_job job_of(const hk_tensor *x, const hk_tensor *index) {
    return (hk__gather_job){.index = index->data,
                            .count = hk_shape_count(index->shape),
                            .rows = x->shape.dim[0],
                            .n = row_length(x)};
}

/* out[i] = x[index[i]] for rows of n elements. */
static hk_tensor *gathered(hk_op_call *c, hk_tensor *x, hk_tensor *out) {
    const hk_tensor *index = hk_contiguous(c->in[1]);
    x = hk_contiguous(x);
    if (!index || !x || !out) return NULL;
    if (HK_ON_GPU(c->ctx)) {
        const hk__gather_job j = job_of(x, index);
        hk__gather_gpu_tables[x->dtype == HK_F64]->forward(c->ctx, &j, x->data, out->data,
                                                           hk_dtype_size(x->dtype));
        return out;
    }
    const size_t bytes = (size_t)row_length(x) * hk_dtype_size(x->dtype);
    const int32_t *at = index->data;
    const int64_t count = hk_shape_count(index->shape);
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)out->data + (size_t)i * bytes, (const char *)x->data + (size_t)at[i] * bytes,
               bytes);
    return out;
}

static hk_status gather_forward(hk_op_call *c) {
    hk_tensor *x = c->in[0], *index = hk_contiguous(c->in[1]);
    if (!index) return c->ctx->status;
    if (index->dtype != HK_I32)
        return hk_fail(c->ctx, HK_ERR_DTYPE, "gather_rows", "the index is %s, not i32",
                       hk_dtype_name(index->dtype));
    hk_shape shape = index->shape;
    if (x->shape.rank < 1 || shape.rank + x->shape.rank - 1 > HK_MAX_RANK)
        return hk__shapes_differ(c, "the result would have a rank below 0 or above 6", x, index);
    for (int i = 1; i < x->shape.rank; i++) shape.dim[shape.rank++] = x->shape.dim[i];
    const int32_t *at = index->data;
    const int64_t to_check = HK_ON_GPU(c->ctx) ? 0 : hk_shape_count(index->shape);
    for (int64_t i = 0; i < to_check; i++)
        if (at[i] < 0 || at[i] >= x->shape.dim[0])
            return hk_fail(c->ctx, HK_ERR_ARGUMENT, "gather_rows",
                           "index %d at position %lld is outside of 0 to %lld", (int)at[i],
                           (long long)i, (long long)x->shape.dim[0] - 1);
    gathered(c, x, hk_op_output(c, 0, x->dtype, shape));
    return c->ctx->status;
}

typedef struct scatter_job {
    const int32_t *at;
    int64_t count, n;
    bool f64;
    const void *g;
    void *out;
} scatter_job;

/* Rows are added one after the other: an index that occurs twice adds twice, in order. */
static void scatter_add(void *arg, int64_t block, int worker) {
    (void)block, (void)worker;
    const scatter_job *j = arg;
    for (int64_t i = 0; i < j->count; i++) {
        const int64_t from = i * j->n, to = j->at[i] * j->n;
        if (j->f64)
            for (int64_t k = 0; k < j->n; k++)
                ((double *)j->out)[to + k] += ((const double *)j->g)[from + k];
        else
            for (int64_t k = 0; k < j->n; k++)
                ((float *)j->out)[to + k] += ((const float *)j->g)[from + k];
    }
}

static hk_status gather_backward(hk_op_call *c) {
    hk_tensor *g = hk_contiguous(c->gout[0]), *index = hk_contiguous(c->in[1]);
    if (!g || !index) return c->ctx->status;
    if (HK_ON_GPU(c->ctx)) {
        bool accumulate;
        const hk_tensor *gin = hk__grad_target(c, 0, &accumulate);
        const hk__gather_job j = job_of(c->in[0], index);
        if (gin)
            hk__gather_gpu_tables[g->dtype == HK_F64]->backward(c->ctx, &j, g->data, gin->data,
                                                                accumulate);
        return c->ctx->status;
    }
    hk__grad_settle(c->gin[0]); /* rows that nobody asked for get nothing */
    scatter_job j = {.at = index->data,
                     .count = hk_shape_count(index->shape),
                     .n = row_length(c->in[0]),
                     .f64 = g->dtype == HK_F64,
                     .g = g->data,
                     .out = c->gin[0]->data};
    hk__run(c->ctx, 1, scatter_add, &j);
    return c->ctx->status;
}

static hk_status gather_jvp(hk_op_call *c) {
    hk_tensor *t = hk__empty(c->ctx, c->out[0]->dtype, c->out[0]->shape);
    return hk_op_add_tangent(c, 0, gathered(c, c->tin[0], t));
}

static const hk_op gather_op = {"gather_rows", gather_forward, gather_backward, gather_jvp};

hk_tensor *hk_gather_rows(hk_tensor *x, hk_tensor *index) {
    return HK_APPLY_PLAIN(&gather_op, x, index);
}
