/* norm_ops.c: batch norm, layer norm, group norm as operations.
   SPDX-License-Identifier: MIT

   y = x̂·w + b with x̂ = (x - mean)/σ. Output 1 keeps the statistics, in double. */
#include <math.h>

#include "gpu.h"
#include "hk_image_ops.h"
#include "norm.h"

/* GIVEN: batch norm whose inputs 1 and 2 are mean and variance; weight and bias follow. */
typedef enum norm_kind { BATCH, GIVEN, LAYER, GROUP } norm_kind;

typedef struct norm_attr {
    norm_kind kind;
    double eps;
    int64_t groups; /* group norm */
    int axes;       /* layer norm */
} norm_attr;

/* --- what the drivers share ----------------------------------------------------------------------------------- */

double hk__norm_number(const hk_tensor *t, int64_t i, double none) {
    return t ? hk__number_at(t, i) : none;
}

hk__scale hk__scale_of(const hk__norm *s, int64_t i) {
    const double mean = s->stats[2 * i], rate = 1 / sqrt(s->stats[2 * i + 1] + s->eps);
    const double centre = s->dtype == HK_F64 ? mean : (double)(float)mean;
    return (hk__scale){centre, rate, (centre - mean) * rate};
}

typedef struct all_tasks {
    hk__task *task;
    void *arg;
    int64_t tasks;
} all_tasks;

static void run_all(void *arg, int64_t block, int worker) {
    (void)block;
    const all_tasks *a = arg;
    for (int64_t i = 0; i < a->tasks; i++) a->task(a->arg, i, worker);
}

void hk__norm_run(const hk__norm *s, int64_t tasks, hk__task *task, void *arg) {
    if (s->n * s->c * s->plane < HK__NORM_ALONE)
        hk__run(s->ctx, 1, run_all, &(all_tasks){task, arg, tasks});
    else
        hk__run(s->ctx, tasks, task, arg);
}

/* --- checks ---------------------------------------------------------------------------------------------------- */

static norm_kind kind_of(const hk_op_call *c) { return ((const norm_attr *)c->attr)->kind; }

/* Which input the weight is; the bias comes behind it. 0: there are none. */
static int weight_of(const hk_op_call *c) {
    const int at = kind_of(c) == GIVEN ? 3 : 1;
    return c->n_in > at ? at : 0;
}

/* The shape of weight and bias. */
static hk_shape params_shape(const hk_op_call *c) {
    const hk_shape x = c->in[0]->shape;
    if (kind_of(c) != LAYER) return HK_SHAPE(x.dim[1]);
    const int axes = ((const norm_attr *)c->attr)->axes;
    hk_shape shape = {.rank = axes};
    for (int i = 0; i < axes; i++) shape.dim[i] = x.dim[x.rank - axes + i];
    return shape;
}

static hk_status check_x(hk_op_call *c) {
    const norm_attr *a = c->attr;
    const hk_tensor *x = c->in[0];
    char text[160];
    HK_TRY(hk__need_real(c, 0, c->n_in - 1));
    hk__tensor_text(x, text, sizeof text);
    if (kind_of(c) == LAYER && (a->axes < 1 || a->axes > x->shape.rank))
        return hk_fail(c->ctx, a->axes < 1 ? HK_ERR_ARGUMENT : HK_ERR_SHAPE, c->op->name,
                       "%d axes of %s; from 1 to %d are possible", a->axes, text, x->shape.rank);
    if (kind_of(c) != LAYER && x->shape.rank < 2)
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "x must be (n, c) or (n, c, ...), not %s",
                       text);
    if (kind_of(c) == GROUP && a->groups < 1)
        return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name, "%lld groups; 1 or more are possible",
                       (long long)a->groups);
    if (kind_of(c) == GROUP && x->shape.dim[1] % a->groups != 0)
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name,
                       "%lld groups do not divide the channels (axis 1) of %s",
                       (long long)a->groups, text);
    if (!(a->eps >= 0 && isfinite(a->eps)))
        return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name,
                       "eps must be finite and not negative, not %g", a->eps);
    return HK_OK;
}

static hk_status check_inputs(hk_op_call *c) {
    HK_TRY(check_x(c));
    static const char *const rules[] = {"the mean needs one element for each channel of x",
                                        "the variance needs one element for each channel of x",
                                        "the weight needs one element for each channel of x",
                                        "the bias needs one element for each channel of x",
                                        "the weight needs the shape of x's last axes",
                                        "the bias needs the shape of x's last axes"};
    const hk_shape want = params_shape(c);
    const int first = kind_of(c) == LAYER ? 4 : weight_of(c) == 1 ? 2 : 0;
    for (int i = 1; i < c->n_in; i++)
        if (!hk_shape_equal(c->in[i]->shape, want))
            return hk__shapes_differ(c, rules[first + i - 1], c->in[0], c->in[i]);
    return HK_OK;
}

/* --- one call, as the drivers see it --------------------------------------------------------------------------- */

static const hk__norm_driver *driver_of(const hk_op_call *c) {
    return kind_of(c) == LAYER || kind_of(c) == GROUP ? &hk__norm_by_row : &hk__norm_by_channel;
}

static hk__norm norm_of(const hk_op_call *c) {
    const norm_attr *a = c->attr;
    const hk_shape x = c->in[0]->shape;
    const int64_t count = hk_shape_count(x);
    hk__norm s = {.ctx = c->ctx,
                  .dtype = c->in[0]->dtype,
                  .given = a->kind == GIVEN,
                  .c = hk_shape_count(params_shape(c)),
                  .plane = 1,
                  .groups = kind_of(c) == GROUP ? a->groups : 1,
                  .eps = a->eps};
    for (int i = 2; kind_of(c) != LAYER && i < x.rank; i++) s.plane *= x.dim[i];
    s.n = count > 0 ? count / (s.c * s.plane) : 0;
    if (c->out[1]) s.stats = c->out[1]->data;
    return s;
}

/* Weight (k = 0) or bias (1), contiguous; NULL if there is none. */
static hk_tensor *param_of(const hk_op_call *c, int k) {
    const int at = weight_of(c);
    return at ? hk_contiguous(c->in[at + k]) : NULL;
}

/* What a GPU is told of a call. w and b may be NULL. */
static hk__norm_job job_of(const hk_op_call *c, const hk__norm *s, const hk_tensor *x,
                           const hk_tensor *w, const hk_tensor *b, const hk_tensor *out) {
    return (hk__norm_job){.n = s->n,
                          .c = s->c,
                          .plane = s->plane,
                          .groups = s->groups,
                          .by_row = driver_of(c) == &hk__norm_by_row,
                          .given = s->given,
                          .eps = s->eps,
                          .stats = s->stats,
                          .x = x->data,
                          .w = w ? w->data : NULL,
                          .b = b ? b->data : NULL,
                          .out = out ? out->data : NULL};
}

static const hk__norm_gpu *gpu_of(const hk__norm *s) { return hk__norm_gpu_tables[s->dtype]; }

/* x̂ from statistics that are known, and the gradient of x for g of x̂. */
static void normal(const hk_op_call *c, const hk__norm *s, hk_tensor *x, hk_tensor *out) {
    if (HK_ON_GPU(c->ctx)) {
        const hk__norm_job job = job_of(c, s, x, NULL, NULL, out);
        gpu_of(s)->value(c->ctx, &job);
    } else {
        driver_of(c)->value(s, false, x, NULL, NULL, out);
    }
}
static void pull_normal(const hk_op_call *c, const hk__norm *s, hk_tensor *x, hk_tensor *g,
                        hk_tensor *out) {
    if (HK_ON_GPU(c->ctx)) {
        hk__norm_job job = job_of(c, s, x, NULL, NULL, out);
        job.g = g->data;
        gpu_of(s)->pull(c->ctx, &job);
    } else {
        driver_of(c)->pull(s, x, g, NULL, out, false, NULL);
    }
}

/* --- forward ---------------------------------------------------------------------------------------------------- */

static hk_status forward(hk_op_call *c) {
    HK_TRY(check_inputs(c));
    hk__norm s = norm_of(c);
    const bool rows = driver_of(c) == &hk__norm_by_row;
    if (!hk_op_output(c, 0, s.dtype, c->in[0]->shape) ||
        !hk_op_output(c, 1, HK_F64, HK_SHAPE(rows ? s.n * s.groups : s.c, 2)))
        return c->ctx->status;
    s.stats = c->out[1]->data;
    hk_tensor *mean = s.given ? hk_contiguous(c->in[1]) : NULL;
    hk_tensor *var = s.given ? hk_contiguous(c->in[2]) : NULL;
    hk_tensor *x = hk_contiguous(c->in[0]), *w = param_of(c, 0), *b = param_of(c, 1);
    if (c->ctx->status != HK_OK) return c->ctx->status;
    if (HK_ON_GPU(c->ctx)) {
        hk__norm_job job = job_of(c, &s, x, w, b, c->out[0]);
        job.measure = !s.given;
        job.mean = mean ? mean->data : NULL;
        job.var = var ? var->data : NULL;
        if (hk_shape_count(x->shape) > 0) gpu_of(&s)->value(c->ctx, &job);
        return c->ctx->status;
    }
    if (s.given)
        for (int64_t i = 0; i < s.c; i++) {
            s.stats[2 * i] = hk__number_at(mean, i);
            s.stats[2 * i + 1] = hk__number_at(var, i);
        }
    if (hk_shape_count(x->shape) == 0) return HK_OK;
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    driver_of(c)->value(&s, !s.given, x, w, b, c->out[0]);
    hk__arena_rewind(&c->ctx->scratch, mark);
    return c->ctx->status;
}

static hk_status batch_norm_forward(hk_op_call *c) {
    HK_TRY(check_inputs(c));
    const hk__norm s = norm_of(c);
    char text[160];
    if (s.n * s.plane < 2)
        return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name,
                       "%s has %lld value(s) for each channel; a variance needs 2 or more",
                       hk__tensor_text(c->in[0], text, sizeof text), (long long)(s.n * s.plane));
    return forward(c);
}

/* --- backward --------------------------------------------------------------------------------------------------- */

/* Adds the sums to the gradient of weight (k = 0) or bias (1). */
static void add_param_grad(hk_op_call *c, int k, const double *sums) {
    bool accumulate;
    hk_tensor *grad = hk__grad_target(c, weight_of(c) + k, &accumulate);
    if (!grad) return;
    const int64_t count = hk_shape_count(grad->shape);
    for (int64_t i = 0; i < count; i++)
        hk__number_put(grad, i,
                       sums[k * count + i] + (accumulate ? hk__norm_number(grad, i, 0) : 0));
}

static hk_status backward_gpu(hk_op_call *c, const hk__norm *s, hk_tensor *x, hk_tensor *g,
                              hk_tensor *w) {
    const int at = weight_of(c);
    bool accumulate = false, add[2] = {false, false};
    hk_tensor *gx = hk__grad_target(c, 0, &accumulate);
    hk_tensor *gw = at ? hk__grad_target(c, at, &add[0]) : NULL;
    hk_tensor *gb = at ? hk__grad_target(c, at + 1, &add[1]) : NULL;
    hk__norm_job job = job_of(c, s, x, w, NULL, gx);
    job.g = g->data;
    job.accumulate = accumulate;
    job.gw = gw ? gw->data : NULL;
    job.gb = gb ? gb->data : NULL;
    job.add_w = add[0];
    job.add_b = add[1];
    gpu_of(s)->pull(c->ctx, &job);
    return c->ctx->status;
}

static hk_status backward(hk_op_call *c) {
    const hk__norm s = norm_of(c);
    const int at = weight_of(c);
    const bool params = at && (hk_op_needs(c, at) || hk_op_needs(c, at + 1));
    hk_tensor *g = c->gout[0] ? hk_contiguous(c->gout[0]) : NULL;
    hk_tensor *x = hk_contiguous(c->in[0]), *w = param_of(c, 0);
    if (!g || c->ctx->status != HK_OK || hk_shape_count(g->shape) == 0) return c->ctx->status;
    if (HK_ON_GPU(c->ctx)) return backward_gpu(c, &s, x, g, w);
    bool accumulate = false;
    hk_tensor *gx = hk__grad_target(c, 0, &accumulate);
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    double *sums = params ? hk__scratch(c->ctx, sizeof *sums * 2 * (size_t)s.c) : NULL;
    if ((gx || sums) && c->ctx->status == HK_OK &&
        driver_of(c)->pull(&s, x, g, w, gx, accumulate, sums) && sums) {
        add_param_grad(c, 0, sums);
        add_param_grad(c, 1, sums);
    }
    hk__arena_rewind(&c->ctx->scratch, mark);
    return c->ctx->status;
}

/* --- forward mode: w·(direction of x̂) + tw·x̂ + tb, made of operations ------------------------------------------- */

/* A tensor of the parameters' shape, as it broadcasts to x. */
static hk_tensor *along_x(const hk_op_call *c, hk_tensor *t) {
    if (!t || kind_of(c) == LAYER) return t;
    hk_shape shape = t->shape;
    for (int i = 2; i < c->in[0]->shape.rank; i++) shape.dim[shape.rank++] = 1;
    return hk_reshape(t, shape);
}

static hk_status jvp(hk_op_call *c) {
    hk__norm s = norm_of(c);
    const int at = weight_of(c);
    hk_tensor *x = hk_contiguous(c->in[0]), *t = c->tin[0] ? hk_contiguous(c->tin[0]) : NULL;
    if (c->ctx->status != HK_OK || hk_shape_count(x->shape) == 0) return c->ctx->status;
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    if (t) {
        hk_tensor *u = hk__empty(c->ctx, s.dtype, x->shape);
        if (u) pull_normal(c, &s, x, t, u);
        hk_op_add_tangent(c, 0, at ? hk_mul(u, along_x(c, c->in[at])) : u);
    }
    if (at && c->tin[at]) {
        hk_tensor *xhat = hk__empty(c->ctx, s.dtype, x->shape);
        if (xhat) normal(c, &s, x, xhat);
        hk_op_add_tangent(c, 0, hk_mul(xhat, along_x(c, c->tin[at])));
    }
    hk__arena_rewind(&c->ctx->scratch, mark);
    if (at && c->tin[at + 1]) hk_op_add_tangent(c, 0, along_x(c, c->tin[at + 1]));
    return c->ctx->status;
}

static const hk_op batch_norm_op = {"batch_norm", batch_norm_forward, backward, jvp};
static const hk_op batch_norm_eval_op = {"batch_norm_eval", forward, backward, jvp};
static const hk_op layer_norm_op = {"layer_norm", forward, backward, jvp};
static const hk_op group_norm_op = {"group_norm", forward, backward, jvp};

/* --- doors -------------------------------------------------------------------------------------------------------- */

/* in: x and what goes with it, n of them, then weight and bias if there are any. */
static hk_tensor *apply(const hk_op *op, const norm_attr *attr, int n, hk_tensor **in,
                        hk_tensor *weight, hk_tensor *bias, hk_tensor **outs) {
    if (!in[0] || !weight || !bias) return NULL;
    if ((weight == HK_NO_BIAS) != (bias == HK_NO_BIAS)) {
        hk_fail(in[0]->ctx, HK_ERR_ARGUMENT, op->name,
                "weight and bias go together: tensors both, or HK_NO_BIAS both");
        return NULL;
    }
    in[n] = weight;
    in[n + 1] = bias;
    return hk_apply(op, attr, sizeof *attr, weight == HK_NO_BIAS ? n : n + 2, in, 2, outs);
}

/* Mean and variance of each channel, as tensors of x's type. */
static void split_stats(const hk_tensor *x, const hk_tensor *stats, hk_tensor **mean,
                        hk_tensor **var) {
    const int64_t c = stats->shape.dim[0];
    *mean = hk__empty(x->ctx, x->dtype, HK_SHAPE(c));
    *var = hk__empty(x->ctx, x->dtype, HK_SHAPE(c));
    if (!*mean || !*var) return;
    if (HK_ON_GPU(x->ctx)) {
        hk__norm_gpu_tables[x->dtype]->split(x->ctx, c, stats->data, (*mean)->data, (*var)->data);
        return;
    }
    for (int64_t i = 0; i < c; i++) {
        hk__number_put(*mean, i, hk__norm_number(stats, 2 * i, 0));
        hk__number_put(*var, i, hk__norm_number(stats, 2 * i + 1, 0));
    }
}

hk_tensor *hk_batch_norm_op(hk_tensor *x, hk_tensor *weight, hk_tensor *bias, double eps,
                            hk_tensor **mean, hk_tensor **var) {
    const norm_attr attr = {.kind = BATCH, .eps = eps};
    hk_tensor *in[3] = {x}, *out[2], *stats[2] = {NULL};
    if (mean) *mean = NULL;
    if (var) *var = NULL;
    if (!apply(&batch_norm_op, &attr, 1, in, weight, bias, out)) return NULL;
    if (mean || var) split_stats(x, out[1], &stats[0], &stats[1]);
    if (mean) *mean = stats[0];
    if (var) *var = stats[1];
    return x->ctx->status == HK_OK ? out[0] : NULL;
}

hk_tensor *hk_batch_norm_eval_op(hk_tensor *x, hk_tensor *mean, hk_tensor *var, hk_tensor *weight,
                                 hk_tensor *bias, double eps) {
    const norm_attr attr = {.kind = GIVEN, .eps = eps};
    hk_tensor *in[5] = {x, mean, var};
    return apply(&batch_norm_eval_op, &attr, 3, in, weight, bias, NULL);
}

hk_tensor *hk_layer_norm_op(hk_tensor *x, int axes, hk_tensor *weight, hk_tensor *bias,
                            double eps) {
    const norm_attr attr = {.kind = LAYER, .eps = eps, .axes = axes};
    hk_tensor *in[3] = {x};
    return apply(&layer_norm_op, &attr, 1, in, weight, bias, NULL);
}

hk_tensor *hk_group_norm_op(hk_tensor *x, int64_t groups, hk_tensor *weight, hk_tensor *bias,
                            double eps) {
    const norm_attr attr = {.kind = GROUP, .eps = eps, .groups = groups};
    hk_tensor *in[3] = {x};
    return apply(&group_norm_op, &attr, 1, in, weight, bias, NULL);
}
