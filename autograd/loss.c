/* loss.c: losses, and the accuracy of a classifier.
   SPDX-License-Identifier: MIT */
#include <math.h>

#include "pointwise_kernels.h"
#include "row_kernels.h"
#include "tape.h"

/* --- the mean of a row of pointwise.def --------------------------------------------------------- */

static hk_tensor *mean_of(hk_tensor *terms) { return hk_mean(terms, HK_ALL_AXES, false); }

hk_tensor *hk_mse(hk_tensor *x, hk_tensor *target) {
    return mean_of(hk__pointwise_two(HK__PW_mse, x, target, 0));
}
hk_tensor *hk_l1(hk_tensor *x, hk_tensor *target) {
    return mean_of(hk__pointwise_two(HK__PW_l1, x, target, 0));
}
hk_tensor *hk_bce_with_logits(hk_tensor *x, hk_tensor *target) {
    return mean_of(hk__pointwise_two(HK__PW_bce_with_logits, x, target, 0));
}
hk_tensor *hk_huber(hk_tensor *x, hk_tensor *target, double delta) {
    if (x && !(delta > 0 && isfinite(delta))) {
        hk_fail(x->ctx, HK_ERR_ARGUMENT, "huber", "delta must be above 0, not %g", delta);
        return NULL;
    }
    return mean_of(hk__pointwise_two(HK__PW_huber, x, target, delta));
}

/* --- cross-entropy ------------------------------------------------------------------------------------------

   Output 1 keeps the probabilities for backward. On a GPU it is the gradient of the logits itself, for a gradient of the
   loss of 1: where that is what comes, as it nearly always is, backward has nothing to launch. */

static hk_status check_labels(hk_op_call *c, const hk_tensor *logits, const hk_tensor *labels) {
    HK_TRY(hk__need_real(c, 0, 0));
    if (labels->dtype != HK_I32)
        return hk_fail(c->ctx, HK_ERR_DTYPE, c->op->name, "labels are i32 class numbers, not %s",
                       hk_dtype_name(labels->dtype));
    if (logits->shape.rank != 2 || labels->shape.rank != 1 ||
        logits->shape.dim[0] != labels->shape.dim[0])
        return hk__shapes_differ(c, "logits are (n, classes) and labels (n)", logits, labels);
    const int64_t n = logits->shape.dim[0], classes = logits->shape.dim[1];
    if (n == 0) return hk__shapes_differ(c, "an empty batch has no mean loss", logits, labels);
    if (classes == 0)
        return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name,
                       "no class to choose from: logits (%lld, 0)", (long long)n);
    const int32_t *label = labels->data;
    for (int64_t i = 0; i < n && !HK_ON_GPU(c->ctx); i++) /* a GPU looks at them as it goes */
        if (label[i] < 0 || label[i] >= classes)
            return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name,
                           "label %d at position %lld is outside of 0 to %lld", (int)label[i],
                           (long long)i, (long long)classes - 1);
    return HK_OK;
}

typedef struct loss_job {
    hk__rows rows;
    const char *x; /* logits; probabilities in a slope */
    char *out;     /* output 1; gradient in a slope */
    const int32_t *labels;
    double smoothing, scale;
    double *losses;
    int accumulate;
} loss_job;

static loss_job job_for(hk_op_call *c, const hk_tensor *x, const hk_tensor *labels) {
    return (loss_job){.rows = hk__rows_of(x),
                      .x = x->data,
                      .labels = labels->data,
                      .smoothing = *(const double *)c->attr};
}

static void loss_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const loss_job *j = arg;
    const hk__rows *rows = &j->rows;
    const int64_t end = hk__rows_end(rows, block);
    for (int64_t r = block * rows->block; r < end; r++)
        j->losses[r] = rows->k->cross_entropy(rows->n, j->x + r * rows->bytes, j->labels[r],
                                              j->smoothing, j->out + r * rows->bytes);
}

static hk_status cross_entropy_forward(hk_op_call *c) {
    hk_tensor *x = hk_contiguous(c->in[0]), *labels = hk_contiguous(c->in[1]);
    if (!x || !labels) return c->ctx->status;
    HK_TRY(check_labels(c, x, labels));
    if (!hk_op_output(c, 0, x->dtype, HK_SCALAR) || !hk_op_output(c, 1, x->dtype, x->shape))
        return c->ctx->status;
    loss_job j = job_for(c, x, labels);
    j.out = c->out[1]->data;
    if (HK_ON_GPU(c->ctx)) {
        hk__row_gpu_tables[x->dtype]->cross_entropy(c->ctx, j.rows.rows, j.rows.n, j.x, j.labels,
                                                    j.smoothing, j.out, c->out[0]->data);
        return c->ctx->status;
    }
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    j.losses = hk__scratch(c->ctx, (size_t)j.rows.rows * sizeof(double));
    if (!j.losses) return c->ctx->status;
    hk__rows_run(c->ctx, &j.rows, loss_block, &j);
    double total = 0;
    for (int64_t r = 0; r < j.rows.rows; r++) total += j.losses[r];
    hk__arena_rewind(&c->ctx->scratch, mark);
    hk__fill(c->ctx, c->out[0], total / (double)j.rows.rows);
    return c->ctx->status;
}

static void loss_slope_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const loss_job *j = arg;
    const hk__rows *rows = &j->rows;
    const int64_t end = hk__rows_end(rows, block);
    for (int64_t r = block * rows->block; r < end; r++)
        rows->k->cross_entropy_slope(rows->n, j->x + r * rows->bytes, j->labels[r], j->smoothing,
                                     j->scale, j->out + r * rows->bytes, j->accumulate);
}

/* out (+)= g/n·(p - target), the gradient of the logits; g: a scalar, NULL for 1. */
static void loss_slope(hk_op_call *c, hk_tensor *out, hk_tensor *g, bool accumulate) {
    hk_tensor *labels = hk_contiguous(c->in[1]);
    if (!labels) return;
    loss_job j = job_for(c, c->out[1], labels);
    j.out = out->data;
    j.accumulate = accumulate;
    j.scale = (g ? hk_tensor_item(g) : 1) / (double)j.rows.rows;
    hk__rows_run(c->ctx, &j.rows, loss_slope_block, &j);
}

static hk_status backward_on_gpu(hk_op_call *c) {
    if (!HK_ON_GPU(c->ctx) || !hk_op_needs(c, 0)) return c->ctx->status;
    hk_tensor *g = c->gout[0], *slope = c->out[1];
    const bool is_one = g->data == hk__gpu_one(c->ctx, g->dtype);
    return hk__hand_grad(c, 0, is_one ? slope : hk_mul(slope, g));
}

static hk_status cross_entropy_backward(hk_op_call *c) {
    if (HK_ON_GPU(c->ctx)) return backward_on_gpu(c);
    bool accumulate;
    hk_tensor *gin = hk__grad_target(c, 0, &accumulate);
    if (gin) loss_slope(c, gin, c->gout[0], accumulate);
    return c->ctx->status;
}

/* Σ (p - target)·t/n. */
static hk_status cross_entropy_jvp(hk_op_call *c) {
    hk_tensor *slope = c->out[1];
    if (!HK_ON_GPU(c->ctx)) {
        slope = hk__empty(c->ctx, slope->dtype, slope->shape);
        if (!slope) return c->ctx->status;
        loss_slope(c, slope, NULL, false);
    }
    return hk_op_add_tangent(c, 0, hk_sum(hk_mul(slope, c->tin[0]), HK_ALL_AXES, false));
}

static const hk_op cross_entropy_op = {"cross_entropy", cross_entropy_forward,
                                       cross_entropy_backward, cross_entropy_jvp};

hk_tensor *hk_cross_entropy_smooth(hk_tensor *logits, hk_tensor *labels, double smoothing) {
    if (logits && !(smoothing >= 0 && smoothing <= 1)) {
        hk_fail(logits->ctx, HK_ERR_ARGUMENT, "cross_entropy",
                "label smoothing must be from 0 to 1, not %g", smoothing);
        return NULL;
    }
    hk_tensor *in[] = {logits, labels};
    return hk_apply(&cross_entropy_op, &smoothing, sizeof smoothing, 2, in, 2, NULL);
}

hk_tensor *hk_cross_entropy(hk_tensor *logits, hk_tensor *labels) {
    return hk_cross_entropy_smooth(logits, labels, 0);
}

/* --- accuracy ---------------------------------------------------------------------------------------- */

double hk_accuracy(hk_tensor *logits, hk_tensor *labels) {
    const double none = (double)__builtin_nanf("");
    hk_tensor *answers = hk_contiguous(hk_argmax(logits, -1, false));
    labels = hk_contiguous(labels);
    if (!answers || !labels) return none;
    if (labels->dtype != HK_I32 || !hk_shape_equal(answers->shape, labels->shape)) {
        char a[160], b[160];
        hk_fail(logits->ctx, HK_ERR_SHAPE, "accuracy",
                "logits are (n, classes) and labels i32 (n): %s and %s",
                hk__tensor_text(logits, a, sizeof a), hk__tensor_text(labels, b, sizeof b));
        return none;
    }
    const int64_t n = hk_shape_count(labels->shape);
    int64_t right = 0;
    if (HK_ON_GPU(logits->ctx)) {
        const hk__mark mark = hk__arena_mark(&logits->ctx->gpu_scratch);
        int64_t *count = hk__gpu_scratch(logits->ctx, sizeof *count);
        if (!count) return none;
        hk__row_gpu_tables[HK_F32]->equal(logits->ctx, n, answers->data, labels->data, count);
        hk__gpu_read(logits->ctx, &right, count, sizeof right);
        hk__arena_rewind(&logits->ctx->gpu_scratch, mark);
        return n > 0 && logits->ctx->status == HK_OK ? (double)right / (double)n : none;
    }
    for (int64_t i = 0; i < n; i++)
        right += ((int32_t *)answers->data)[i] == ((int32_t *)labels->data)[i];
    return n > 0 ? (double)right / (double)n : none;
}
