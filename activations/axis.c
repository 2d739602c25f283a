/* axis.c: activations that are functions of a row along axis 1: softmax, maxout, gated linear units.
   SPDX-License-Identifier: MIT */
#include <string.h>

#include "activation.h"

/* Axis 1, which are the features or channels of a batch; a vector has but one axis. */
static int feature_axis(const hk_tensor *x) { return x->shape.rank > 1 ? 1 : 0; }

/* --- maxout: y[n, j, i] = the largest of z[n, jk .. jk + k - 1, i] ---------------------------------------------- */

typedef struct maxout_job {
    int64_t k, groups, inner; /* z: (outer, groups·k, inner) */
    bool f64;
    void *z, *y; /* of the wide and the narrow side */
    uint8_t *winner;
} maxout_job;

static maxout_job job_for(const hk_op_call *c, hk_tensor *wide, hk_tensor *narrow) {
    const int axis = feature_axis(wide);
    maxout_job j = {.k = *(const int64_t *)c->attr,
                    .inner = 1,
                    .f64 = wide->dtype == HK_F64,
                    .z = wide->data,
                    .y = narrow->data,
                    .winner = c->out[1]->data};
    j.groups = wide->shape.dim[axis] / j.k;
    for (int i = axis + 1; i < wide->shape.rank; i++) j.inner *= wide->shape.dim[i];
    return j;
}

static void run_rows(hk_op_call *c, maxout_job *j, hk__task *task) {
    const int64_t row = j->groups * j->inner;
    if (row > 0) hk__run(c->ctx, hk_shape_count(c->out[0]->shape) / row, task, j);
}

/* Goes through the outputs of row b: at the o-th of y, the i-th candidate stands at z[from + i·inner]. */
#define HK_EACH_OUTPUT(j, b)                                                                       \
    for (int64_t o = (b) * (j)->groups * (j)->inner, left = (j)->groups * (j)->inner,              \
                 from = (b) * (j)->groups * (j)->k * (j)->inner;                                   \
         left > 0; left--, o++, from += o % (j)->inner ? 1 : ((j)->k - 1) * (j)->inner + 1)

#define HK_MAXOUT(type)                                                                            \
    static void value_##type(void *arg, int64_t b, int worker) {                                   \
        (void)worker;                                                                              \
        const maxout_job *j = arg;                                                                 \
        const type *z = j->z;                                                                      \
        type *y = j->y;                                                                            \
        HK_EACH_OUTPUT(j, b) {                                                                     \
            int64_t best = 0; /* a NaN wins, else the first of the largest */                      \
            for (int64_t i = 1; i < j->k; i++) {                                                   \
                const type most = z[from + best * j->inner];                                       \
                if (!(z[from + i * j->inner] <= most) && most == most) best = i;                   \
            }                                                                                      \
            y[o] = z[from + best * j->inner];                                                      \
            j->winner[o] = (uint8_t)best;                                                          \
        }                                                                                          \
    }                                                                                              \
    static void spread_##type(void *arg, int64_t b, int worker) { /* z: g where it won, else 0 */  \
        (void)worker;                                                                              \
        const maxout_job *j = arg;                                                                 \
        type *z = j->z;                                                                            \
        const type *g = j->y;                                                                      \
        HK_EACH_OUTPUT(j, b)                                                                       \
        for (int64_t i = 0; i < j->k; i++) z[from + i * j->inner] = i == j->winner[o] ? g[o] : 0;  \
    }                                                                                              \
    static void pick_##type(void *arg, int64_t b, int worker) { /* y: the winner's direction */    \
        (void)worker;                                                                              \
        const maxout_job *j = arg;                                                                 \
        const type *z = j->z;                                                                      \
        type *y = j->y;                                                                            \
        HK_EACH_OUTPUT(j, b) y[o] = z[from + j->winner[o] * j->inner];                             \
    }
HK_MAXOUT(float)
HK_MAXOUT(double)

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
    run_rows(c, &j, j.f64 ? value_double : value_float);
    return c->ctx->status;
}

static hk_status maxout_backward(hk_op_call *c) {
    if (!hk_op_needs(c, 0)) return HK_OK;
    hk_tensor *g = hk_contiguous(c->gout[0]);
    hk_tensor *gz = g ? hk__empty(c->ctx, c->in[0]->dtype, c->in[0]->shape) : NULL;
    if (!gz) return c->ctx->status;
    maxout_job j = job_for(c, gz, g);
    run_rows(c, &j, j.f64 ? spread_double : spread_float);
    return hk_op_add_grad(c, 0, gz);
}

static hk_status maxout_jvp(hk_op_call *c) {
    hk_tensor *tz = c->tin[0] ? hk_contiguous(c->tin[0]) : NULL;
    hk_tensor *ty = tz ? hk__empty(c->ctx, tz->dtype, c->out[0]->shape) : NULL;
    if (!ty) return c->ctx->status;
    maxout_job j = job_for(c, tz, ty);
    run_rows(c, &j, j.f64 ? pick_double : pick_float);
    return hk_op_add_tangent(c, 0, ty);
}

static const hk_op maxout_op = {"maxout", maxout_forward, maxout_backward, maxout_jvp};

static hk_tensor *maxout(hk_tensor *z, int64_t k) {
    hk_tensor *out[2] = {NULL, NULL};
    hk_apply(&maxout_op, &k, sizeof k, 1, &z, 2, out);
    return out[0];
}

/* --- gated linear units: y = a·h(b) ------------------------------------------------------------------------------- */

static hk_tensor *gated(hk_tensor *z, const hk_activation_spec *spec) {
    const int axis = feature_axis(z);
    if (z->shape.rank < 1 || z->shape.dim[axis] % 2 != 0) {
        char text[96];
        hk_fail(z->ctx, HK_ERR_SHAPE, spec->info->name,
                "axis %d of %s is not even: it has no halves", axis,
                hk__tensor_text(z, text, sizeof text));
        return NULL;
    }
    const int64_t half = z->shape.dim[axis] / 2, first = spec->value[0] == 1 ? half : 0;
    hk_tensor *a = hk_slice(z, axis, first, half), *b = hk_slice(z, axis, half - first, half);
    return hk_mul(a, hk_activate(b, spec->info->gate));
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
