/* dropout.c: dropout of elements and of channels, alpha-dropout.
   SPDX-License-Identifier: MIT

   Both are y = mask ? scale·x + on : off with a random mask of bytes, which output 1 keeps for backward. */
#include <math.h>

#include "dropout_kernels.h"
#include "gpu.h"
#include "hk_image_ops.h"
#include "random.h"
#include "pointwise_kernels.h"
#include "tape.h"

typedef struct dropout_attr {
    hk_random stream;
    double p;
    double param[3]; /* scale, on, off */
    bool channels;   /* one draw for each of (n, c) */
} dropout_attr;

enum { BLOCK = 4096 };

typedef struct mask_job {
    hk_random stream;
    uint32_t threshold; /* of the 24-bit draw: below it the element is dropped */
    int64_t count;
    uint8_t *mask;
} mask_job;

static void mask_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const mask_job *j = arg;
    const int64_t end = (block + 1) * BLOCK < j->count ? (block + 1) * BLOCK : j->count;
    uint32_t bits[BLOCK];
    const int64_t first = block * BLOCK;
    hk__random_fill(j->stream, (uint64_t)first, end - first, bits);
    for (int64_t i = first; i < end; i++) j->mask[i] = (bits[i - first] >> 8) >= j->threshold;
}

static void masked(hk_op_call *c, hk_tensor *out, hk_tensor *x, const double *param,
                   bool accumulate) {
    hk_tensor *operands[] = {x, c->out[1]};
    hk__map(c->ctx, hk__pointwise_tables[hk__stamp_of(c->ctx, x->dtype)]->masked, param, out, 2,
            operands, accumulate);
}

static hk_status dropout_forward(hk_op_call *c) {
    const dropout_attr *attr = c->attr;
    HK_TRY(hk__need_real(c, 0, 0));
    hk_tensor *x = c->in[0];
    hk_shape drawn = x->shape;
    char text[160];
    if (attr->channels && x->shape.rank < 2)
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "x must be (n, c) or (n, c, ...), not %s",
                       hk__tensor_text(x, text, sizeof text));
    for (int i = 2; attr->channels && i < drawn.rank; i++) drawn.dim[i] = 1;
    if (!hk_op_output(c, 0, x->dtype, x->shape) || !hk_op_output(c, 1, HK_U8, drawn))
        return c->ctx->status;
    mask_job j = {.stream = attr->stream,
                  .threshold = (uint32_t)ceil(attr->p * 0x1p24),
                  .count = hk_shape_count(drawn),
                  .mask = c->out[1]->data};
    if (HK_ON_GPU(c->ctx)) {
        const int64_t plane = j.count > 0 ? hk_shape_count(x->shape) / j.count : 0;
        x = hk_contiguous(x);
        if (x)
            hk__dropout_tables[x->dtype]->drop(c->ctx, j.stream.key, j.threshold, attr->param,
                                               j.count, plane, x->data, j.mask, c->out[0]->data);
        return c->ctx->status;
    }
    hk__run(c->ctx, (j.count + BLOCK - 1) / BLOCK, mask_block, &j);
    masked(c, c->out[0], x, attr->param, false);
    return c->ctx->status;
}

/* y = mask ? scale·x + on : off, so ∂y/∂x = mask ? scale : 0. */
static hk_status dropout_backward(hk_op_call *c) {
    const double param[3] = {((const dropout_attr *)c->attr)->param[0], 0, 0};
    bool accumulate;
    hk_tensor *gin = hk__grad_target(c, 0, &accumulate);
    if (gin) masked(c, gin, c->gout[0], param, accumulate);
    return c->ctx->status;
}

static hk_status dropout_jvp(hk_op_call *c) {
    const double param[3] = {((const dropout_attr *)c->attr)->param[0], 0, 0};
    bool accumulate;
    hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
    if (t) masked(c, t, c->tin[0], param, accumulate);
    return c->ctx->status;
}

static const hk_op dropout_op = {"dropout", dropout_forward, dropout_backward, dropout_jvp};
static const hk_op alpha_dropout_op = {"alpha_dropout", dropout_forward, dropout_backward,
                                       dropout_jvp};

static const hk_op dropout2d_op = {"dropout2d", dropout_forward, dropout_backward, dropout_jvp};

static hk_tensor *drop(const hk_op *op, hk_tensor *x, double p, const char *stream, double scale,
                       double on, double off) {
    if (!x) return NULL;
    if (!(p >= 0 && p < 1)) {
        hk_fail(x->ctx, HK_ERR_ARGUMENT, op->name, "p must be in [0, 1), not %g", p);
        return NULL;
    }
    const dropout_attr attr = {
        .stream = hk_random_stream(x->ctx->config.seed, stream, x->ctx->train_step),
        .p = p,
        .param = {scale, on, off},
        .channels = op == &dropout2d_op};
    return hk_apply(op, &attr, sizeof attr, 1, &x, 2, NULL);
}

hk_tensor *hk_dropout_op(hk_tensor *x, double p, const char *stream) {
    return drop(&dropout_op, x, p, stream, 1 / (1 - p), 0, 0);
}

hk_tensor *hk_dropout2d_op(hk_tensor *x, double p, const char *stream) {
    return drop(&dropout2d_op, x, p, stream, 1 / (1 - p), 0, 0);
}

hk_tensor *hk_alpha_dropout_op(hk_tensor *x, double p, const char *stream) {
    const double dropped = -1.7580993408473766; /* α' = -λα of SELU */
    const double a = 1 / sqrt((1 - p) * (1 + p * dropped * dropped)), b = -a * p * dropped;
    return drop(&alpha_dropout_op, x, p, stream, a, b, a * dropped + b);
}

/* --- uniform draws ---------------------------------------------------------------------------------------- */

typedef struct uniform_job {
    hk_random stream;
    double low, width;
    hk_tensor *out;
} uniform_job;

static void uniform_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const uniform_job *j = arg;
    const int64_t count = hk_shape_count(j->out->shape), first = block * BLOCK;
    const int64_t n = count - first < BLOCK ? count - first : BLOCK;
    uint32_t bits[BLOCK];
    hk__random_fill(j->stream, (uint64_t)first, n, bits);
    for (int64_t i = 0; i < n; i++) {
        const double v = j->low + j->width * ((double)(bits[i] >> 8) * 0x1p-24);
        hk__number_put(j->out, first + i, v);
    }
}

hk_tensor *hk_uniform_like(hk_tensor *x, double low, double high, const char *stream) {
    if (!x || hk__check(x->ctx, x, "uniform_like") != HK_OK) return NULL;
    if (x->dtype != HK_F32 && x->dtype != HK_F64) {
        hk_fail(x->ctx, HK_ERR_DTYPE, "uniform_like", "x must be f32 or f64, not %s",
                hk_dtype_name(x->dtype));
        return NULL;
    }
    uniform_job j = {hk_random_stream(x->ctx->config.seed, stream, x->ctx->train_step), low,
                     high - low, hk__empty(x->ctx, x->dtype, x->shape)};
    if (!j.out) return NULL;
    if (HK_ON_GPU(x->ctx)) {
        hk__dropout_tables[x->dtype]->uniform(x->ctx, j.stream.key, j.low, j.width,
                                              hk_shape_count(x->shape), j.out->data);
        return j.out;
    }
    hk__run(x->ctx, (hk_shape_count(x->shape) + BLOCK - 1) / BLOCK, uniform_block, &j);
    return j.out;
}
