/* softmax.c: softmax, log-softmax and cross-entropy.
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
    const int32_t *labels;
    double smoothing, scale;
    double *losses;
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
        (j->log ? j->k->log_softmax_slope : j->k->softmax_slope)(j->n, j->x + r * bytes, j->g + r * bytes,
                                                                 j->out + r * bytes, j->accumulate);
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

/* --- cross-entropy: output 1 keeps the probabilities for backward ------------------------------------------ */

static hk_status check_labels(hk_op_call *c, const hk_tensor *logits, const hk_tensor *labels) {
    HK_TRY(hk__need_real(c, 0, 0));
    if (labels->dtype != HK_I32)
        return hk_fail(c->ctx, HK_ERR_DTYPE, c->op->name, "labels are i32 class numbers, not %s",
                       hk_dtype_name(labels->dtype));
    if (logits->shape.rank != 2 || labels->shape.rank != 1 || logits->shape.dim[0] != labels->shape.dim[0])
        return hk__shapes_differ(c, "logits are (n, classes) and labels (n)", logits, labels);
    const int64_t n = logits->shape.dim[0], classes = logits->shape.dim[1];
    if (n == 0) return hk__shapes_differ(c, "an empty batch has no mean loss", logits, labels);
    const int32_t *label = labels->data;
    for (int64_t i = 0; i < n; i++)
        if (label[i] < 0 || label[i] >= classes)
            return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name,
                           "label %d at position %lld is outside of 0 to %lld", (int)label[i], (long long)i,
                           (long long)classes - 1);
    return HK_OK;
}

static void loss_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const rows_job *j = arg;
    const int64_t bytes = j->n * (int64_t)j->size, end = last_row(j, block);
    for (int64_t r = block * j->block; r < end; r++)
        j->losses[r] = j->k->cross_entropy(j->n, j->x + r * bytes, j->labels[r], j->smoothing,
                                           j->out + r * bytes);
}

static hk_status cross_entropy_forward(hk_op_call *c) {
    hk_tensor *x = hk_contiguous(c->in[0]), *labels = hk_contiguous(c->in[1]);
    if (!x || !labels) return c->ctx->status;
    HK_TRY(check_labels(c, x, labels));
    if (!hk_op_output(c, 0, x->dtype, HK_SCALAR) || !hk_op_output(c, 1, x->dtype, x->shape))
        return c->ctx->status;
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    rows_job j = job_for(c, x);
    j.x = x->data;
    j.out = c->out[1]->data;
    j.labels = labels->data;
    j.smoothing = *(const double *)c->attr;
    j.losses = hk__scratch(c->ctx, (size_t)j.rows * sizeof(double));
    if (!j.losses) return c->ctx->status;
    run_rows(c, &j, loss_block);
    double total = 0;
    for (int64_t r = 0; r < j.rows; r++) total += j.losses[r];
    hk__arena_rewind(&c->ctx->scratch, mark);
    hk__fill(c->ctx, c->out[0], total / (double)j.rows);
    return c->ctx->status;
}

static void loss_slope_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const rows_job *j = arg;
    const int64_t bytes = j->n * (int64_t)j->size, end = last_row(j, block);
    for (int64_t r = block * j->block; r < end; r++)
        j->k->cross_entropy_slope(j->n, j->x + r * bytes, j->labels[r], j->smoothing, j->scale,
                                  j->out + r * bytes, j->accumulate);
}

/* out (+)= scale·(p - target): with scale = g/n the gradient of the logits. */
static void loss_slope(hk_op_call *c, hk_tensor *out, double scale, bool accumulate) {
    hk_tensor *labels = hk_contiguous(c->in[1]);
    if (!labels) return;
    rows_job j = job_for(c, c->out[1]);
    j.x = c->out[1]->data;
    j.out = out->data;
    j.labels = labels->data;
    j.smoothing = *(const double *)c->attr;
    j.scale = scale;
    j.accumulate = accumulate;
    run_rows(c, &j, loss_slope_block);
}

static hk_status cross_entropy_backward(hk_op_call *c) {
    bool accumulate;
    hk_tensor *gin = hk__grad_target(c, 0, &accumulate);
    if (gin) loss_slope(c, gin, hk_tensor_item(c->gout[0]) / (double)c->in[1]->shape.dim[0], accumulate);
    return c->ctx->status;
}

/* Σ (p - target)·t/n. */
static hk_status cross_entropy_jvp(hk_op_call *c) {
    hk_tensor *slope = hk__empty(c->ctx, c->out[1]->dtype, c->out[1]->shape);
    if (!slope) return c->ctx->status;
    loss_slope(c, slope, 1.0 / (double)c->in[1]->shape.dim[0], false);
    return hk_op_add_tangent(c, 0, hk_sum(hk_mul(slope, c->tin[0]), HK_ALL_AXES, false));
}

static const hk_op cross_entropy_op = {"cross_entropy", cross_entropy_forward, cross_entropy_backward,
                                       cross_entropy_jvp};

hk_tensor *hk_cross_entropy_smooth(hk_tensor *logits, hk_tensor *labels, double smoothing) {
    if (logits && !(smoothing >= 0 && smoothing <= 1)) {
        hk_fail(logits->ctx, HK_ERR_ARGUMENT, "cross_entropy", "label smoothing must be from 0 to 1, not %g",
                smoothing);
        return NULL;
    }
    hk_tensor *in[] = {logits, labels};
    return hk_apply(&cross_entropy_op, &smoothing, sizeof smoothing, 2, in, 2, NULL);
}

hk_tensor *hk_cross_entropy(hk_tensor *logits, hk_tensor *labels) {
    return hk_cross_entropy_smooth(logits, labels, 0);
}

double hk_accuracy(hk_tensor *logits, hk_tensor *labels) {
    const double none = (double)__builtin_nanf("");
    hk_tensor *answers = hk_contiguous(hk_argmax(logits, -1, false));
    labels = hk_contiguous(labels);
    if (!answers || !labels) return none;
    if (labels->dtype != HK_I32 || !hk_shape_equal(answers->shape, labels->shape)) {
        char a[160], b[160];
        hk_fail(logits->ctx, HK_ERR_SHAPE, "accuracy", "logits are (n, classes) and labels i32 (n): %s and %s",
                hk__tensor_text(logits, a, sizeof a), hk__tensor_text(labels, b, sizeof b));
        return none;
    }
    const int64_t n = hk_shape_count(labels->shape);
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) right += ((int32_t *)answers->data)[i] == ((int32_t *)labels->data)[i];
    return n > 0 ? (double)right / (double)n : none;
}
