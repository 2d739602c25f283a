/* pool_ops.c: max and average pooling of images, with windows of one size or adaptive ones.
   SPDX-License-Identifier: MIT

   Planes, n·c of them, are dealt to threads. Max pooling keeps the winner of each window as output 1: its place in
   the window, or in the plane if windows have more than 256 places. It does so only while the tape records. */
#include <stdatomic.h>
#include <stdio.h>

#include "gpu.h"
#include "pool_kernels.h"
#include "tape.h"

enum {
    BLOCK = 16384, /* elements that a thread takes at once */
    MOST = 256     /* places of a window that u8 can tell apart */
};

typedef struct pool_attr {
    hk_pool2d_config config; /* complete */
    hk_pair out;             /* of adaptive pooling; 0 otherwise */
} pool_attr;

/* --- settings and sizes --------------------------------------------------------------------------------- */

static bool within(hk_pair p, int64_t low) {
    return p.h >= low && p.w >= low && p.h <= INT32_MAX && p.w <= INT32_MAX;
}

static hk_status out_of_range(hk_context *ctx, const char *where, const char *what, hk_pair p,
                              const char *rule) {
    return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s (%lld, %lld) must be %s", what, (long long)p.h,
                   (long long)p.w, rule);
}

hk_status hk__pool2d_settings(hk_context *ctx, const char *where, bool max,
                              const hk_pool2d_config *config, hk_pool2d_config *full) {
    if (!config) return hk_fail(ctx, HK_ERR_ARGUMENT, where, "no settings were given");
    hk_pool2d_config c = *config;
    if (!within(c.kernel, 1)) return out_of_range(ctx, where, "kernel", c.kernel, "1 or more");
    if (c.stride.h == 0) c.stride.h = c.kernel.h;
    if (c.stride.w == 0) c.stride.w = c.kernel.w;
    if (c.dilation.h == 0) c.dilation.h = 1;
    if (c.dilation.w == 0) c.dilation.w = 1;
    if (!within(c.stride, 1)) return out_of_range(ctx, where, "stride", c.stride, "0 or more");
    if (!within(c.dilation, 1))
        return out_of_range(ctx, where, "dilation", c.dilation, "0 or more");
    if (!max && (c.dilation.h != 1 || c.dilation.w != 1))
        return out_of_range(ctx, where, "dilation", c.dilation, "1: it is of max pooling alone");
    if (!within(c.padding, 0) || c.padding.h > c.kernel.h / 2 || c.padding.w > c.kernel.w / 2)
        return out_of_range(ctx, where, "padding", c.padding, "0 to half of the kernel");
    *full = c;
    return HK_OK;
}

hk_status hk__pool2d_settings_out(hk_context *ctx, const char *where, hk_pair out) {
    return within(out, 1) ? HK_OK : out_of_range(ctx, where, "the output", out, "1 or more");
}

/* Windows along one axis. With ceil_mode one may end beyond the image, but not begin there. */
static int64_t size_of(int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                       int64_t dilation, bool ceil_mode) {
    const int64_t room = in + 2 * padding - dilation * (kernel - 1) - 1;
    const int64_t over = room + (ceil_mode ? stride - 1 : 0);
    if (in < 1 || over < 0) return 0;
    const int64_t windows = over / stride + 1;
    return ceil_mode && (windows - 1) * stride >= in + padding ? windows - 1 : windows;
}

hk_status hk__pool2d_size(hk_context *ctx, const char *where, const hk_pool2d_config *config,
                          const char *image, int64_t h, int64_t w, hk_pair *out) {
    const hk_pool2d_config *c = config;
    out->h = out->w = -1;
    if (h >= 0)
        out->h = size_of(h, c->kernel.h, c->stride.h, c->padding.h, c->dilation.h, c->ceil_mode);
    if (w >= 0)
        out->w = size_of(w, c->kernel.w, c->stride.w, c->padding.w, c->dilation.w, c->ceil_mode);
    if (out->h != 0 && out->w != 0) return HK_OK;
    return hk_fail(ctx, HK_ERR_SHAPE, where,
                   "no window (%lld, %lld) of dilation (%lld, %lld) fits into %s with padding "
                   "(%lld, %lld): h + 2·padding must be dilation·(kernel - 1) + 1 or more%s",
                   (long long)c->kernel.h, (long long)c->kernel.w, (long long)c->dilation.h,
                   (long long)c->dilation.w, image, (long long)c->padding.h,
                   (long long)c->padding.w, c->ceil_mode ? ", less stride - 1 with ceil_mode" : "");
}

/* --- plans -------------------------------------------------------------------------------------------------- */

static bool is_adaptive(const pool_attr *attr) { return attr->out.h > 0; }

/* Sizes of x (n, c, h, w) and of what comes out; rows and cols stay empty. */
static hk_status plan_of(hk_op_call *c, hk__pool2d_plan *plan) {
    const pool_attr *attr = c->attr;
    const hk_shape x = c->in[0]->shape;
    char text[160];
    hk__tensor_text(c->in[0], text, sizeof text);
    if (x.rank != 4)
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "x must be (n, c, h, w), not %s", text);
    hk_pair out = attr->out;
    if (!is_adaptive(attr))
        HK_TRY(hk__pool2d_size(c->ctx, c->op->name, &attr->config, text, x.dim[2], x.dim[3], &out));
    else if (x.dim[2] < 1 || x.dim[3] < 1)
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name,
                       "an image must have rows and columns, %s has none", text);
    *plan = (hk__pool2d_plan){
        .h = x.dim[2], .w = x.dim[3], .oh = out.h, .ow = out.w, .dilation = {1, 1}};
    if (!is_adaptive(attr)) plan->dilation = attr->config.dilation;
    return HK_OK;
}

/* The longest of the windows that cut `in` elements into `out`. */
static int64_t longest(int64_t in, int64_t out) { return in / out + (in % out == 0 ? 0 : 2); }

static bool is_wide(const pool_attr *attr, const hk__pool2d_plan *p) {
    if (is_adaptive(attr)) return longest(p->h, p->oh) * longest(p->w, p->ow) > MOST;
    return attr->config.kernel.h * attr->config.kernel.w > MOST;
}

static bool is_two(bool adaptive, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                   int64_t padding, int64_t dilation) {
    if (adaptive) return in == 2 * out;
    return kernel == 2 && stride == 2 && padding == 0 && dilation == 1 && out == in / 2;
}

/* Windows of two rows and two columns, one after the other. */
static bool is_two_by_two(const pool_attr *attr, const hk__pool2d_plan *p) {
    const hk_pool2d_config *c = &attr->config;
    const bool adaptive = is_adaptive(attr);
    return is_two(adaptive, p->h, p->oh, c->kernel.h, c->stride.h, c->padding.h, c->dilation.h) &&
           is_two(adaptive, p->w, p->ow, c->kernel.w, c->stride.w, c->padding.w, c->dilation.w);
}

/* One window that is the plane. */
static bool is_plane(const pool_attr *attr, const hk__pool2d_plan *p) {
    const hk_pool2d_config *c = &attr->config;
    if (is_adaptive(attr)) return p->oh == 1 && p->ow == 1;
    return c->kernel.h == p->h && c->kernel.w == p->w && c->padding.h == 0 && c->padding.w == 0;
}

/* One axis of them. */
static hk__pool2d_axis axis_of(const pool_attr *attr, const hk__pool2d_plan *p, bool rows) {
    const hk_pool2d_config *c = &attr->config;
    if (is_adaptive(attr))
        return (hk__pool2d_axis){
            .in = rows ? p->h : p->w, .out = rows ? p->oh : p->ow, .dilation = 1};
    return (hk__pool2d_axis){.in = rows ? p->h : p->w,
                             .out = rows ? p->oh : p->ow,
                             .kernel = rows ? c->kernel.h : c->kernel.w,
                             .stride = rows ? c->stride.h : c->stride.w,
                             .padding = rows ? c->padding.h : c->padding.w,
                             .dilation = rows ? c->dilation.h : c->dilation.w,
                             .exclude = c->exclude_padding};
}

/* Fills in rows and cols, in scratch memory. */
static hk_status add_spans(hk_op_call *c, hk__pool2d_plan *p) {
    const hk__pool2d_axis rows = axis_of(c->attr, p, true), cols = axis_of(c->attr, p, false);
    hk__pool2d_span *spans = hk__scratch(c->ctx, (size_t)(p->oh + p->ow) * sizeof *spans);
    if (!spans) return c->ctx->status;
    for (int64_t i = 0; i < p->oh; i++) spans[i] = hk__pool2d_span_of(&rows, i);
    for (int64_t j = 0; j < p->ow; j++) spans[p->oh + j] = hk__pool2d_span_of(&cols, j);
    p->rows = spans;
    p->cols = spans + p->oh;
    return HK_OK;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static atomic_uint_fast64_t chosen[HK__POOL2D_KIND_COUNT];

uint64_t hk__pool2d_chosen(hk__pool2d_kind kind) {
    return atomic_load_explicit(&chosen[kind], memory_order_relaxed);
}

const char *hk__pool2d_kind_name(hk__pool2d_kind kind) {
#define NAME(name, text) text,
    static const char *const names[] = {HK__POOL2D_KINDS(NAME)};
#undef NAME
    return names[kind];
}

typedef struct pool_job {
    hk__pool2d_kind kind;
    hk__pool2d_plan plan;
    const hk__pool2d_kernels *k;
    const hk__pool2d_any_kernels *any;
    char *image, *pooled, *winner; /* x, y or their gradients; winner may be NULL */
    int64_t planes, block, image_bytes, pooled_bytes, winner_bytes; /* of a plane each */
    bool accumulate;
} pool_job;

static void pool_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const pool_job *j = arg;
    const hk__pool2d_plan *p = &j->plan;
    const int64_t first = block * j->block;
    const int64_t end = first + j->block < j->planes ? first + j->block : j->planes;
    const bool add = j->accumulate;
    for (int64_t i = first; i < end; i++) {
        void *x = j->image + i * j->image_bytes, *y = j->pooled + i * j->pooled_bytes;
        void *w = j->winner ? j->winner + i * j->winner_bytes : NULL;
        switch (j->kind) {
        case HK__POOL2D_MAX_2X2: j->k->max_2x2(x, p->h, p->w, y, w); break;
        case HK__POOL2D_MAX_2X2_BACKWARD: j->k->max_2x2_backward(y, w, p->h, p->w, x); break;
        case HK__POOL2D_AVG_2X2: j->k->avg_2x2(x, p->h, p->w, y); break;
        case HK__POOL2D_AVG_2X2_BACKWARD: j->k->avg_2x2_backward(y, p->h, p->w, x); break;
        case HK__POOL2D_MEAN: j->k->mean(x, end - first, p->h * p->w, y); return;
        case HK__POOL2D_MEAN_BACKWARD:
            j->k->mean_backward(y, end - first, p->h * p->w, x, add);
            return;
        case HK__POOL2D_MAX: j->any->max(p, x, y, w); break;
        case HK__POOL2D_MAX_BACKWARD: j->any->max_backward(p, y, w, x, add); break;
        case HK__POOL2D_PICK: j->any->pick(p, x, w, y); break;
        case HK__POOL2D_AVG: j->any->avg(p, x, y); break;
        case HK__POOL2D_AVG_BACKWARD: j->any->avg_backward(p, y, x, add); break;
        default: return;
        }
    }
}

/* Runs job->kind on all planes. */
static hk_status pool(hk_op_call *c, pool_job *j, hk_tensor *image, hk_tensor *pooled,
                      hk_tensor *winner) {
    if (!image || !pooled) return c->ctx->status;
    atomic_fetch_add_explicit(&chosen[j->kind], 1, memory_order_relaxed);
    if (HK_ON_GPU(c->ctx)) {
        const hk__pool2d_axis rows = axis_of(c->attr, &j->plan, true),
                              cols = axis_of(c->attr, &j->plan, false);
        hk__pool2d_gpu_tables[image->dtype]->run(
            c->ctx, j->kind, &rows, &cols, j->plan.wide, image->shape.dim[0] * image->shape.dim[1],
            image->data, pooled->data, winner ? winner->data : NULL, j->accumulate);
        return c->ctx->status;
    }
    const hk__mark mark = hk__arena_mark(&c->ctx->scratch);
    if (j->kind >= HK__POOL2D_MAX) HK_TRY(add_spans(c, &j->plan));
    const hk__pool2d_plan *p = &j->plan;
    const int64_t in = p->h * p->w, out = p->oh * p->ow,
                  size = (int64_t)hk_dtype_size(image->dtype);
    const hk__stamp stamp = hk__stamp_of(c->ctx, image->dtype);
    j->k = hk__pool2d_tables[stamp];
    j->any = hk__pool2d_any_tables[stamp];
    j->image = image->data;
    j->pooled = pooled->data;
    j->winner = winner ? winner->data : NULL;
    j->planes = image->shape.dim[0] * image->shape.dim[1];
    j->image_bytes = in * size;
    j->pooled_bytes = out * size;
    j->winner_bytes = winner ? out * (int64_t)hk_dtype_size(winner->dtype) : 0;
    j->block = in + out >= BLOCK ? 1 : BLOCK / (in + out);
    if (j->planes * (in + out) <= 2 * BLOCK) j->block = j->planes; /* too little for two threads */
    if (j->planes > 0) hk__run(c->ctx, (j->planes + j->block - 1) / j->block, pool_block, j);
    hk__arena_rewind(&c->ctx->scratch, mark);
    return c->ctx->status;
}

/* --- operations ---------------------------------------------------------------------------------------------------- */

static hk_shape out_shape(const hk_op_call *c, const hk__pool2d_plan *p) {
    return HK_SHAPE(c->in[0]->shape.dim[0], c->in[0]->shape.dim[1], p->oh, p->ow);
}

static hk__pool2d_kind max_kind(const hk_op_call *c, const hk__pool2d_plan *p) {
    return is_two_by_two(c->attr, p) ? HK__POOL2D_MAX_2X2 : HK__POOL2D_MAX;
}

static hk_status max_forward(hk_op_call *c) {
    pool_job j = {.kind = HK__POOL2D_MAX};
    HK_TRY(hk__need_real(c, 0, 0));
    HK_TRY(plan_of(c, &j.plan));
    j.kind = max_kind(c, &j.plan);
    j.plan.wide = is_wide(c->attr, &j.plan);
    if (j.plan.wide && j.plan.h * j.plan.w > INT32_MAX)
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name,
                       "an image of %lld elements is beyond 2147483647",
                       (long long)(j.plan.h * j.plan.w));
    hk_tensor *x = hk_contiguous(c->in[0]), *winner = NULL;
    hk_tensor *y = hk_op_output(c, 0, c->in[0]->dtype, out_shape(c, &j.plan));
    if (c->n_out == 2)
        winner = hk_op_output(c, 1, j.plan.wide ? HK_I32 : HK_U8, out_shape(c, &j.plan));
    HK_TRY(c->ctx->status);
    return pool(c, &j, x, y, winner);
}

static hk_status max_backward(hk_op_call *c) {
    hk_tensor *g = hk_contiguous(c->gout[0]);
    pool_job j = {.kind = HK__POOL2D_MAX};
    HK_TRY(plan_of(c, &j.plan));
    j.plan.wide = c->out[1]->dtype == HK_I32;
    hk_tensor *gin = g ? hk__grad_target(c, 0, &j.accumulate) : NULL;
    j.kind = max_kind(c, &j.plan) == HK__POOL2D_MAX_2X2 && !j.accumulate
                 ? HK__POOL2D_MAX_2X2_BACKWARD
                 : HK__POOL2D_MAX_BACKWARD;
    return pool(c, &j, gin, g, c->out[1]);
}

static hk_status max_jvp(hk_op_call *c) {
    pool_job j = {.kind = HK__POOL2D_PICK};
    HK_TRY(plan_of(c, &j.plan));
    j.plan.wide = c->out[1]->dtype == HK_I32;
    hk_tensor *t = hk__empty(c->ctx, c->out[0]->dtype, c->out[0]->shape);
    HK_TRY(pool(c, &j, hk_contiguous(c->tin[0]), t, c->out[1]));
    return hk_op_add_tangent(c, 0, t);
}

/* y is linear in x, so forward mode is forward. */
static hk_status average(hk_op_call *c, hk_tensor *x, hk_tensor *y, const hk__pool2d_plan *plan) {
    pool_job j = {.kind = HK__POOL2D_AVG, .plan = *plan};
    if (is_plane(c->attr, plan))
        j.kind = HK__POOL2D_MEAN;
    else if (is_two_by_two(c->attr, plan))
        j.kind = HK__POOL2D_AVG_2X2;
    return pool(c, &j, hk_contiguous(x), y, NULL);
}

static hk_status avg_forward(hk_op_call *c) {
    hk__pool2d_plan plan;
    HK_TRY(hk__need_real(c, 0, 0));
    HK_TRY(plan_of(c, &plan));
    return average(c, c->in[0], hk_op_output(c, 0, c->in[0]->dtype, out_shape(c, &plan)), &plan);
}

static hk_status avg_backward(hk_op_call *c) {
    hk_tensor *g = hk_contiguous(c->gout[0]);
    pool_job j = {.kind = HK__POOL2D_AVG_BACKWARD};
    HK_TRY(plan_of(c, &j.plan));
    hk_tensor *gin = g ? hk__grad_target(c, 0, &j.accumulate) : NULL;
    if (is_plane(c->attr, &j.plan))
        j.kind = HK__POOL2D_MEAN_BACKWARD;
    else if (is_two_by_two(c->attr, &j.plan) && !j.accumulate)
        j.kind = HK__POOL2D_AVG_2X2_BACKWARD;
    return pool(c, &j, gin, g, NULL);
}

static hk_status avg_jvp(hk_op_call *c) {
    hk__pool2d_plan plan;
    HK_TRY(plan_of(c, &plan));
    hk_tensor *t = hk__empty(c->ctx, c->out[0]->dtype, c->out[0]->shape);
    HK_TRY(average(c, c->tin[0], t, &plan));
    return hk_op_add_tangent(c, 0, t);
}

static const hk_op max_op = {"max_pool2d", max_forward, max_backward, max_jvp};
static const hk_op avg_op = {"avg_pool2d", avg_forward, avg_backward, avg_jvp};
static const hk_op adaptive_max_op = {"adaptive_max_pool2d", max_forward, max_backward, max_jvp};
static const hk_op adaptive_avg_op = {"adaptive_avg_pool2d", avg_forward, avg_backward, avg_jvp};

/* Whether the winners will be asked for. */
static bool is_recorded(const hk_tensor *x) {
    const struct hk__tape *tape = x->ctx->tape;
    return x->requires && !(tape && (tape->off || tape->inside > 0));
}

static hk_tensor *apply(const hk_op *op, bool max, hk_tensor *x, const hk_pool2d_config *config,
                        const hk_pair *out) {
    if (!x || hk__check(x->ctx, x, op->name) != HK_OK) return NULL;
    pool_attr attr = {.out = out ? *out : (hk_pair){0, 0}};
    const hk_status status = out ? hk__pool2d_settings_out(x->ctx, op->name, *out)
                                 : hk__pool2d_settings(x->ctx, op->name, max, config, &attr.config);
    if (status != HK_OK) return NULL;
    return hk_apply(op, &attr, sizeof attr, 1, &x, max && is_recorded(x) ? 2 : 1, NULL);
}

hk_tensor *hk_max_pool2d_op(hk_tensor *x, const hk_pool2d_config *config) {
    return apply(&max_op, true, x, config, NULL);
}
hk_tensor *hk_avg_pool2d_op(hk_tensor *x, const hk_pool2d_config *config) {
    return apply(&avg_op, false, x, config, NULL);
}
hk_tensor *hk_adaptive_max_pool2d_op(hk_tensor *x, hk_pair out) {
    return apply(&adaptive_max_op, true, x, NULL, &out);
}
hk_tensor *hk_adaptive_avg_pool2d_op(hk_tensor *x, hk_pair out) {
    return apply(&adaptive_avg_op, false, x, NULL, &out);
}
