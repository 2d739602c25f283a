/* softmax.c: softmax and log-softmax.
   SPDX-License-Identifier: MIT */
#include "row_kernels.h"
#include "tape.h"

/* Rows of n elements, a block of rows for each task. */
enum { BLOCK = 8192 };

typedef struct rows_job {
    const hk__row_kernels *k;
    int64_t rows, n, block;
    size_t size;
    bool log;
    int accumulate;
    const char *x, *g; /* inputs (x: logits, or the result in a slope) */
    char *out;
} rows_job;

static rows_job job_for(hk_op_call *c, const hk_tensor *t) {
    rows_job j = {.k = hk__row_tables[hk__stamp_of(c->ctx, t->dtype)],
                  .n = t->shape.rank > 0 ? t->shape.dim[t->shape.rank - 1] : 1,
                  .size = hk_dtype_size(t->dtype)};
    j.rows = j.n > 0 ? hk_shape_count(t->shape) / j.n : 0;
    j.block = j.n >= BLOCK ? 1 : BLOCK / (j.n > 0 ? j.n : 1);
    return j;
}

static void run_rows(hk_op_call *c, rows_job *j, hk__task *task) {
    hk__run(c->ctx, (j->rows + j->block - 1) / j->block, task, j);
}

static int64_t last_row(const rows_job *j, int64_t block) {
    return (block + 1) * j->block < j->rows ? (block + 1) * j->block : j->rows;
}

/* --- softmax over the last axis ---------------------------------------------------------------------- */

static void value_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const rows_job *j = arg;
    const int64_t bytes = j->n * (int64_t)j->size, end = last_row(j, block);
    for (int64_t r = block * j->block; r < end; r++)
        (j->log ? j->k->log_softmax : j->k->softmax)(j->n, j->x + r * bytes, j->out + r * bytes);
}

static void slope_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const rows_job *j = arg;
    const int64_t bytes = j->n * (int64_t)j->size, end = last_row(j, block);
    for (int64_t r = block * j->block; r < end; r++)
        (j->log ? j->k->log_softmax_slope : j->k->softmax_slope)(
            j->n, j->x + r * bytes, j->g + r * bytes, j->out + r * bytes, j->accumulate);
}

static hk_status value_forward(hk_op_call *c, bool log) {
    HK_TRY(hk__need_real(c, 0, 0));
    hk_tensor *x = hk_contiguous(c->in[0]);
    if (!x || !hk_op_output(c, 0, x->dtype, x->shape)) return c->ctx->status;
    rows_job j = job_for(c, x);
    j.log = log;
    j.x = x->data;
    j.out = c->out[0]->data;
    run_rows(c, &j, value_block);
    return c->ctx->status;
}

static hk_status value_backward(hk_op_call *c, bool log) {
    hk_tensor *g = hk_contiguous(c->gout[0]);
    if (!g) return c->ctx->status;
    bool accumulate;
    rows_job j = job_for(c, g);
    j.log = log;
    j.x = c->out[0]->data;
    j.g = g->data;
    j.out = hk__grad_target(c, 0, &accumulate)->data;
    j.accumulate = accumulate;
    run_rows(c, &j, slope_block);
    return c->ctx->status;
}

/* softmax: J = diag(y) - y·yᵀ is symmetric, so forward mode is backward's formula on the direction:
   y·(t - Σ t·y). log-softmax: t - Σ softmax·t. */
static hk_status softmax_jvp(hk_op_call *c) {
    hk_tensor *y = c->out[0], *t = c->tin[0];
    const unsigned last = y->shape.rank > 0 ? HK_AXIS(y->shape.rank - 1) : 0;
    return hk_op_add_tangent(c, 0, hk_mul(y, hk_sub(t, hk_sum(hk_mul(t, y), last, true))));
}
static hk_status log_softmax_jvp(hk_op_call *c) {
    hk_tensor *y = c->out[0], *t = c->tin[0];
    const unsigned last = y->shape.rank > 0 ? HK_AXIS(y->shape.rank - 1) : 0;
    return hk_op_add_tangent(c, 0, hk_sub(t, hk_sum(hk_mul(t, hk_exp(y)), last, true)));
}

static hk_status softmax_forward(hk_op_call *c) { return value_forward(c, false); }
static hk_status softmax_backward(hk_op_call *c) { return value_backward(c, false); }
static const hk_op softmax_op = {"softmax", softmax_forward, softmax_backward, softmax_jvp};
static hk_status log_softmax_forward(hk_op_call *c) { return value_forward(c, true); }
static hk_status log_softmax_backward(hk_op_call *c) { return value_backward(c, true); }
static const hk_op log_softmax_op = {"log_softmax", log_softmax_forward, log_softmax_backward,
                                     log_softmax_jvp};

/* Another axis is brought to the end and back. */
static hk_tensor *along_axis(const hk_op *op, hk_tensor *x, int axis) {
    if (!x || hk__check(x->ctx, x, op->name) != HK_OK) return NULL;
    const int a = hk__axis(x->ctx, op->name, axis, x->shape.rank), last = x->shape.rank - 1;
    if (a < 0) return NULL;
    if (a == last) return HK_APPLY_PLAIN(op, x);
    hk_tensor *turned = hk_transpose(x, a, last);
    return hk_transpose(HK_APPLY_PLAIN(op, turned), a, last);
}

hk_tensor *hk_softmax(hk_tensor *x, int axis) { return along_axis(&softmax_op, x, axis); }
hk_tensor *hk_log_softmax(hk_tensor *x, int axis) { return along_axis(&log_softmax_op, x, axis); }
