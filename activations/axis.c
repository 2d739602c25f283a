/* axis.c: activations that are functions of a row along axis 1: softmax, maxout, gated linear units.
   SPDX-License-Identifier: MIT */
#include <string.h>

#include "activation.h"
#include "gpu.h"
#include "maxout_kernels.h"
#include "pointwise_kernels.h"

/* Axis 1, which are the features or channels of a batch; a vector has but one axis. */
static int feature_axis(const hk_tensor *x) { return x->shape.rank > 1 ? 1 : 0; }

/* --- maxout: y[n, j, i] = the largest of z[n, jk .. jk + k - 1, i] ---------------------------------------------- */

typedef struct maxout_job {
    const hk__maxout_kernels *kernels;
    const hk__maxout_gpu *gpu;
    int64_t k, groups, inner; /* z: (outer, groups·k, inner) */
    size_t size;              /* bytes of an element */
    char *z, *y;              /* of the wide and the narrow side */
    uint8_t *winner;
} maxout_job;

static maxout_job job_for(const hk_op_call *c, hk_tensor *wide, hk_tensor *narrow) {
    const int axis = feature_axis(wide);
    maxout_job j = {.gpu = hk__maxout_gpu_tables[wide->dtype],
                    .k = *(const int64_t *)c->attr,
                    .inner = 1,
                    .size = hk_dtype_size(wide->dtype),
                    .z = wide->data,
                    .y = narrow->data,
                    .winner = c->out[1]->data};
    if (!HK_ON_GPU(c->ctx)) j.kernels = hk__maxout_tables[hk__stamp_of(c->ctx, wide->dtype)];
    j.groups = wide->shape.dim[axis] / j.k;
    for (int i = axis + 1; i < wide->shape.rank; i++) j.inner *= wide->shape.dim[i];
    return j;
}

static void run_rows(hk_op_call *c, maxout_job *j, hk__task *task) {
    const int64_t row = j->groups * j->inner;
    if (row > 0) hk__run(c->ctx, hk_shape_count(c->out[0]->shape) / row, task, j);
}
static void run_on_gpu(hk_op_call *c, const maxout_job *j, hk__maxout_launch *launch) {
    const int64_t count = hk_shape_count(c->out[0]->shape);
    if (count > 0) launch(c->ctx, count / j->inner, j->k, j->inner, j->z, j->y, j->winner);
}
/* run_rows by kernel value, spread or pick. */
#define HK_RUN(c, j, what)                                                                         \
    do {                                                                                           \
        if (HK_ON_GPU((c)->ctx))                                                                   \
            run_on_gpu(c, j, (j)->gpu->what);                                                      \
        else                                                                                       \
            run_rows(c, j, what##_row);                                                            \
    } while (0)

/* One run is all groups of a row if nothing is behind the axis, else the elements of a group. */
static hk__maxout_run run_of(const maxout_job *j) {
    return j->inner == 1 ? (hk__maxout_run){j->groups, j->k, j->k, 1}
                         : (hk__maxout_run){j->inner, j->k, 1, j->inner};
}

#define HK_MAXOUT(what)                                                                            \
    static void what##_row(void *arg, int64_t b, int worker) {                                     \
        (void)worker;                                                                              \
        const maxout_job *j = arg;                                                                 \
        const hk__maxout_run r = run_of(j);                                                        \
        const int64_t first = b * j->groups * j->inner, end = first + j->groups * j->inner;        \
        for (int64_t o = first; o < end; o += r.n)                                                 \
            j->kernels->what(r, j->z + (size_t)(o * j->k) * j->size, j->y + (size_t)o * j->size,   \
                             j->winner + o);                                                       \
    }
HK_MAXOUT(value)
HK_MAXOUT(spread)
HK_MAXOUT(pick)

static hk_status maxout_forward(hk_op_call *c) {
    HK_TRY(hk__need_real(c, 0, 0));
    const int64_t k = *(const int64_t *)c->attr;
    hk_tensor *z = hk_contiguous(c->in[0]);
    if (!z) return c->ctx->status;
    hk_shape shape = z->shape;
    const int axis = feature_axis(z);
    if (shape.rank < 1 || shape.dim[axis] % k != 0) {
        char text[96];
        return hk_fail(c->ctx, HK_ERR_SHAPE, "maxout",
                       "axis %d of %s is not a multiple of k = %lld", axis,
                       hk__tensor_text(z, text, sizeof text), (long long)k);
    }
    shape.dim[axis] /= k;
    if (!hk_op_output(c, 0, z->dtype, shape) || !hk_op_output(c, 1, HK_U8, shape))
        return c->ctx->status;
    maxout_job j = job_for(c, z, c->out[0]);
    HK_RUN(c, &j, value);
    return c->ctx->status;
}

static hk_status maxout_backward(hk_op_call *c) {
    bool accumulate;
    hk_tensor *g = hk_contiguous(c->gout[0]);
    hk_tensor *to = hk__grad_target(c, 0, &accumulate);
    if (!g || !to) return c->ctx->status;
    hk_tensor *gz = accumulate ? hk__empty(c->ctx, to->dtype, to->shape) : to;
    if (!gz) return c->ctx->status;
    maxout_job j = job_for(c, gz, g);
    HK_RUN(c, &j, spread);
    if (accumulate) hk__copy(c->ctx, to, gz, true);
    return c->ctx->status;
}

static hk_status maxout_jvp(hk_op_call *c) {
    hk_tensor *tz = c->tin[0] ? hk_contiguous(c->tin[0]) : NULL;
    hk_tensor *ty = tz ? hk__empty(c->ctx, tz->dtype, c->out[0]->shape) : NULL;
    if (!ty) return c->ctx->status;
    maxout_job j = job_for(c, tz, ty);
    HK_RUN(c, &j, pick);
    return hk_op_add_tangent(c, 0, ty);
}

static const hk_op maxout_op = {"maxout", maxout_forward, maxout_backward, maxout_jvp};

static hk_tensor *maxout(hk_tensor *z, int64_t k) {
    hk_tensor *out[2] = {NULL, NULL};
    hk_apply(&maxout_op, &k, sizeof k, 1, &z, 2, out);
    return out[0];
}

/* --- gated linear units: z = [a, b], y = a·h(b), h(b) kept as output 1 --------------------------------------------- */

typedef struct gated_attr {
    hk_activation_spec gate; /* h */
    bool first;              /* the first half gates */
} gated_attr;

static const hk__activation_kernels_row *gate_kernels(const hk_op_call *c) {
    const gated_attr *attr = c->attr;
    return &hk__activation_tables[hk__stamp_of(c->ctx, c->in[0]->dtype)]
                ->row[hk__row_of(attr->gate.info)];
}

/* A half of a tensor of z's shape, as a view: what is gated (0), or the gate (1). */
static hk_tensor *half_of(const hk_op_call *c, hk_tensor *t, int which) {
    const gated_attr *attr = c->attr;
    const int axis = feature_axis(t);
    const int64_t half = t->shape.dim[axis] / 2;
    return hk_slice(t, axis, (which == 1) != attr->first ? half : 0, half);
}

/* out (+)= x·y. */
static void multiply(const hk_op_call *c, hk_tensor *out, hk_tensor *x, hk_tensor *y,
                     bool accumulate) {
    hk__map(c->ctx, hk__pointwise_tables[hk__stamp_of(c->ctx, out->dtype)]->row[HK__PW_mul].value,
            NULL, out, 2, (hk_tensor *[]){x, y}, accumulate);
}

/* out (+)= along·h'(b). */
static void along_gate(const hk_op_call *c, hk_tensor *out, hk_tensor *along, hk_tensor *b,
                       bool accumulate) {
    const gated_attr *attr = c->attr;
    hk__map(c->ctx, gate_kernels(c)->plain_slope, attr->gate.value, out, 3,
            (hk_tensor *[]){along, b, c->out[1]}, accumulate);
}

static hk_status gated_forward(hk_op_call *c) {
    HK_TRY(hk__need_real(c, 0, 0));
    hk_tensor *z = c->in[0];
    hk_shape shape = z->shape;
    const gated_attr *attr = c->attr;
    const int axis = feature_axis(z);
    if (shape.rank < 1 || shape.dim[axis] % 2 != 0) {
        char text[96];
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name,
                       "axis %d of %s is not even: it has no halves", axis,
                       hk__tensor_text(z, text, sizeof text));
    }
    shape.dim[axis] /= 2;
    hk_tensor *a = half_of(c, z, 0), *b = half_of(c, z, 1);
    hk_tensor *y = hk_op_output(c, 0, z->dtype, shape), *h = hk_op_output(c, 1, z->dtype, shape);
    if (!a || !b || !y || !h) return c->ctx->status;
    hk__map(c->ctx, gate_kernels(c)->plain_value, attr->gate.value, h, 1, &b, false);
    multiply(c, y, a, h, false);
    return c->ctx->status;
}

/* y = a·h(b): ∂L/∂a = g·h(b), ∂L/∂b = g·a·h'(b), each written into its half. */
static hk_status gated_backward(hk_op_call *c) {
    bool accumulate;
    hk_tensor *gz = hk__grad_target(c, 0, &accumulate), *g = c->gout[0];
    hk_tensor *ga_b = gz ? hk__empty(c->ctx, g->dtype, g->shape) : NULL;
    if (!ga_b) return c->ctx->status;
    hk_tensor *a = half_of(c, c->in[0], 0), *b = half_of(c, c->in[0], 1);
    hk_tensor *ga = half_of(c, gz, 0), *gb = half_of(c, gz, 1);
    if (!a || !b || !ga || !gb) return c->ctx->status;
    multiply(c, ga, g, c->out[1], accumulate);
    multiply(c, ga_b, g, a, false);
    along_gate(c, gb, ga_b, b, accumulate);
    return c->ctx->status;
}

static hk_status gated_jvp(hk_op_call *c) {
    bool accumulate;
    hk_tensor *ty = hk__tangent_target(c, 0, &accumulate);
    hk_tensor *ta = half_of(c, c->tin[0], 0), *tb = half_of(c, c->tin[0], 1);
    hk_tensor *a = half_of(c, c->in[0], 0), *b = half_of(c, c->in[0], 1);
    hk_tensor *by = hk_mul(a, tb);
    if (!ty || !ta || !by) return c->ctx->status;
    multiply(c, ty, ta, c->out[1], accumulate);
    along_gate(c, ty, by, b, true);
    return c->ctx->status;
}

/* One hk_op for each, by name alone different. */
static const hk_op gated_ops[] = {
#define HK_GATED(name)                                                                             \
    [HK__WIDE_##name - HK__WIDE_glu] = {#name, gated_forward, gated_backward, gated_jvp}
    HK_GATED(glu), HK_GATED(reglu), HK_GATED(geglu), HK_GATED(swiglu), HK_GATED(bilinear),
};

static hk_tensor *gated(hk_tensor *z, const hk_activation_spec *spec) {
    gated_attr attr = {.first = spec->value[0] == 1};
    hk_tensor *out[2] = {NULL, NULL};
    if (hk_activation_parse(z->ctx, spec->info->gate, &attr.gate) != HK_OK) return NULL;
    hk_apply(&gated_ops[hk__row_of(spec->info) - HK__WIDE_glu], &attr, sizeof attr, 1, &z, 2, out);
    return out[0];
}

/* --- all of them --------------------------------------------------------------------------------------------------- */

hk_tensor *hk__activate_axis(hk_tensor *x, const hk_activation_spec *spec) {
    if (!x || hk__check(x->ctx, x, spec->info->name) != HK_OK) return NULL;
    if (spec->info->gate) return gated(x, spec);
    switch (hk__row_of(spec->info)) {
    case HK__WIDE_softmax: return hk_softmax(x, feature_axis(x));
    case HK__WIDE_log_softmax: return hk_log_softmax(x, feature_axis(x));
    case HK__WIDE_maxout: return maxout(x, (int64_t)spec->value[0]);
    default:
        hk_fail(
            x->ctx, HK_ERR_ARGUMENT, spec->info->name,
            "is a small network with weights of its own: make a module, hk_activation(ctx, \"%s\")",
            spec->info->name);
        return NULL;
    }
}
