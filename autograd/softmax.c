/* softmax.c: softmax and log-softmax.
   SPDX-License-Identifier: MIT */
#include "row_kernels.h"
#include "tape.h"

typedef struct softmax_job {
    hk__rows rows;
    bool log;
    int accumulate;
    const char *x, *g; /* inputs (x: logits, or the result in a slope) */
    char *out;
} softmax_job;

/* --- softmax over the last axis ---------------------------------------------------------------------- */

static void value_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const softmax_job *j = arg;
    const hk__rows *rows = &j->rows;
    const int64_t end = hk__rows_end(rows, block);
    for (int64_t r = block * rows->block; r < end; r++)
        (j->log ? rows->k->log_softmax : rows->k->softmax)(rows->n, j->x + r * rows->bytes,
                                                           j->out + r * rows->bytes);
}

static void slope_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const softmax_job *j = arg;
    const hk__rows *rows = &j->rows;
    const int64_t end = hk__rows_end(rows, block);
    for (int64_t r = block * rows->block; r < end; r++) {
        const int64_t at = r * rows->bytes;
        (j->log ? rows->k->log_softmax_slope : rows->k->softmax_slope)(
            rows->n, j->x + at, j->g + at, j->out + at, j->accumulate);
    }
}

static hk_status value_forward(hk_op_call *c, bool log) {
    HK_TRY(hk__need_real(c, 0, 0));
    hk_tensor *x = hk_contiguous(c->in[0]);
    if (!x || !hk_op_output(c, 0, x->dtype, x->shape)) return c->ctx->status;
    softmax_job j = {.rows = hk__rows_of(x), .log = log, .x = x->data, .out = c->out[0]->data};
    if (HK_ON_GPU(c->ctx))
        hk__row_gpu_tables[x->dtype]->softmax(c->ctx, j.rows.rows, j.rows.n, log, j.x, j.out);
    else
        hk__rows_run(c->ctx, &j.rows, value_block, &j);
    return c->ctx->status;
}

static hk_status value_backward(hk_op_call *c, bool log) {
    hk_tensor *g = hk_contiguous(c->gout[0]);
    if (!g) return c->ctx->status;
    bool accumulate;
    hk_tensor *gin = hk__grad_target(c, 0, &accumulate);
    softmax_job j = {.rows = hk__rows_of(g),
                     .log = log,
                     .x = c->out[0]->data,
                     .g = g->data,
                     .out = gin->data,
                     .accumulate = accumulate};
    if (HK_ON_GPU(c->ctx))
        hk__row_gpu_tables[g->dtype]->slope(c->ctx, j.rows.rows, j.rows.n, log, j.x, j.g, j.out,
                                            accumulate);
    else
        hk__rows_run(c->ctx, &j.rows, slope_block, &j);
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
