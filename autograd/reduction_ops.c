/* reduction_ops.c: sum, mean, var, max, argmax.
   SPDX-License-Identifier: MIT */
#include "tape.h"

typedef struct reduction_attr {
    unsigned axes;
    bool keep;
    double correction; /* of var */
} reduction_attr;

/* x's shape with the reduced axes of size 1, and with them gone; how many elements each result sums. */
typedef struct reduced_shape {
    hk_shape kept, out;
    unsigned axes;
    int64_t count;
} reduced_shape;

static reduced_shape shape_of(const hk_op_call *c) {
    const reduction_attr *attr = c->attr;
    const hk_shape x = c->in[0]->shape;
    reduced_shape s = {.kept = x, .out = {.rank = 0}, .count = 1};
    for (int i = 0; i < x.rank; i++) {
        const bool reduced = attr->axes >> i & 1;
        if (reduced) {
            s.axes |= 1u << i;
            s.count *= x.dim[i];
            s.kept.dim[i] = 1;
        }
        if (!reduced || attr->keep) s.out.dim[s.out.rank++] = s.kept.dim[i];
    }
    return s;
}

/* t, of the output's shape, with the reduced axes back in their places. */
static hk_tensor *with_axes(hk_op_call *c, hk_tensor *t) {
    return t ? hk_reshape(t, shape_of(c).kept) : NULL;
}

/* A tensor of the output's shape that aliases `kept`. */
static hk_status reduce(hk_op_call *c, hk__reduction kind, hk_tensor *x, hk_tensor *out,
                        double scale, bool accumulate) {
    const reduced_shape s = shape_of(c);
    hk_tensor *kept = hk__view(out);
    if (!kept) return c->ctx->status;
    kept->shape = s.kept;
    hk__contiguous_strides(s.kept, kept->stride);
    hk__reduce(c->ctx, kind, kept, x, s.axes, scale, accumulate);
    return c->ctx->status;
}

static hk_status check_reduction(hk_op_call *c, bool needs_elements) {
    const reduction_attr *attr = c->attr;
    const hk_shape x = c->in[0]->shape;
    HK_TRY(hk__need_real(c, 0, 0));
    if (attr->axes != HK_ALL_AXES && attr->axes >> x.rank)
        return hk_fail(c->ctx, HK_ERR_ARGUMENT, c->op->name,
                       "the set 0x%x names an axis beyond rank %d", attr->axes, x.rank);
    if (!needs_elements || shape_of(c).count > 0) return HK_OK;
    char text[160];
    return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "%s has nothing to reduce",
                   hk__tensor_text(c->in[0], text, sizeof text));
}

/* --- sum and mean: y = s·Σ x with s = 1 or 1/count ------------------------------------------------------ */

static double scale_of(const hk_op_call *c, bool mean) {
    return mean ? 1.0 / (double)shape_of(c).count : 1;
}

static hk_status sum_or_mean(hk_op_call *c, bool mean) {
    HK_TRY(check_reduction(c, mean));
    if (!hk_op_output(c, 0, c->in[0]->dtype, shape_of(c).out)) return c->ctx->status;
    return reduce(c, HK__SUM, c->in[0], c->out[0], scale_of(c, mean), false);
}

/* Every element of x got the same weight s: ∂L/∂x = s·g, stretched. */
static hk_status sum_or_mean_backward(hk_op_call *c, bool mean) {
    hk_tensor *g = with_axes(c, c->gout[0]);
    if (mean) g = hk_scale(g, scale_of(c, true), 0);
    return hk_op_add_grad(c, 0, hk_broadcast_to(g, c->in[0]->shape));
}

static hk_status sum_or_mean_jvp(hk_op_call *c, bool mean) {
    bool accumulate;
    hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
    return t ? reduce(c, HK__SUM, c->tin[0], t, scale_of(c, mean), accumulate) : c->ctx->status;
}

static hk_status sum_forward(hk_op_call *c) { return sum_or_mean(c, false); }
static hk_status sum_backward(hk_op_call *c) { return sum_or_mean_backward(c, false); }
static hk_status sum_jvp(hk_op_call *c) { return sum_or_mean_jvp(c, false); }
static const hk_op sum_op = {"sum", sum_forward, sum_backward, sum_jvp};

static hk_status mean_forward(hk_op_call *c) { return sum_or_mean(c, true); }
static hk_status mean_backward(hk_op_call *c) { return sum_or_mean_backward(c, true); }
static hk_status mean_jvp(hk_op_call *c) { return sum_or_mean_jvp(c, true); }
static const hk_op mean_op = {"mean", mean_forward, mean_backward, mean_jvp};

hk_tensor *hk_sum(hk_tensor *x, unsigned axes, bool keep) {
    const reduction_attr attr = {axes, keep, 0};
    return HK_APPLY(&sum_op, &attr, x);
}

hk_tensor *hk_mean(hk_tensor *x, unsigned axes, bool keep) {
    const reduction_attr attr = {axes, keep, 0};
    return HK_APPLY(&mean_op, &attr, x);
}

/* --- var: y = Σ (x - m)²/(count - correction), m = mean of x; two passes, so nothing cancels ------------- */

/* x - m. Output 1 keeps it for backward and forward mode. */
static hk_tensor *centred(hk_op_call *c) {
    const reduced_shape s = shape_of(c);
    hk_tensor *mean = hk__empty(c->ctx, c->in[0]->dtype, s.kept);
    if (!mean) return NULL;
    hk__reduce(c->ctx, HK__SUM, mean, c->in[0], s.axes, 1.0 / (double)s.count, false);
    return hk_sub(c->in[0], mean);
}

static double var_scale(const hk_op_call *c) {
    return 1.0 / ((double)shape_of(c).count - ((const reduction_attr *)c->attr)->correction);
}

static hk_status var_forward(hk_op_call *c) {
    const reduction_attr *attr = c->attr;
    HK_TRY(check_reduction(c, true));
    if (!((double)shape_of(c).count - attr->correction > 0))
        return hk_fail(c->ctx, HK_ERR_ARGUMENT, "var",
                       "%lld element(s) less the correction %g leave nothing",
                       (long long)shape_of(c).count, attr->correction);
    hk_tensor *d = c->out[1] = centred(c);
    hk_tensor *squares = hk_mul(d, d);
    if (!squares || !hk_op_output(c, 0, c->in[0]->dtype, shape_of(c).out)) return c->ctx->status;
    return reduce(c, HK__SUM, squares, c->out[0], var_scale(c), false);
}

/* ∂y/∂x = 2(x - m)·scale; the part through m is Σ (x - m) = 0. */
static hk_status var_backward(hk_op_call *c) {
    hk_tensor *g = with_axes(c, c->gout[0]);
    return hk_op_add_grad(c, 0, hk_mul(hk_scale(c->out[1], 2 * var_scale(c), 0), g));
}

static hk_status var_jvp(hk_op_call *c) {
    hk_tensor *terms = hk_mul(c->out[1], c->tin[0]);
    bool accumulate;
    hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
    return terms && t ? reduce(c, HK__SUM, terms, t, 2 * var_scale(c), accumulate) : c->ctx->status;
}

static const hk_op var_op = {"var", var_forward, var_backward, var_jvp};

hk_tensor *hk_var(hk_tensor *x, unsigned axes, double correction, bool keep) {
    const reduction_attr attr = {axes, keep, correction};
    return hk_apply(&var_op, &attr, sizeof attr, 1, &x, 2, NULL);
}

/* --- max: ties share the gradient equally ---------------------------------------------------------------- */

static hk_status max_forward(hk_op_call *c) {
    HK_TRY(check_reduction(c, true));
    if (!hk_op_output(c, 0, c->in[0]->dtype, shape_of(c).out)) return c->ctx->status;
    return reduce(c, HK__MAX, c->in[0], c->out[0], 1, false);
}

/* Of each maximum, the share of each element: 1/ties where x = y, else 0. */
static hk_tensor *shares(hk_op_call *c) {
    hk_tensor *winners = hk_cast(hk_equal(c->in[0], with_axes(c, c->out[0])), c->in[0]->dtype);
    return hk_div(winners, hk_sum(winners, shape_of(c).axes, true));
}

static hk_status max_backward(hk_op_call *c) {
    return hk_op_add_grad(c, 0, hk_mul(shares(c), with_axes(c, c->gout[0])));
}

static hk_status max_jvp(hk_op_call *c) {
    hk_tensor *terms = hk_mul(shares(c), c->tin[0]);
    bool accumulate;
    hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
    return terms && t ? reduce(c, HK__SUM, terms, t, 1, accumulate) : c->ctx->status;
}

static const hk_op max_op = {"max", max_forward, max_backward, max_jvp};

hk_tensor *hk_max(hk_tensor *x, unsigned axes, bool keep) {
    const reduction_attr attr = {axes, keep, 0};
    return HK_APPLY(&max_op, &attr, x);
}

/* --- argmax ------------------------------------------------------------------------------------------------ */

static hk_status argmax_forward(hk_op_call *c) {
    HK_TRY(check_reduction(c, true));
    if (!hk_op_output(c, 0, HK_I32, shape_of(c).out)) return c->ctx->status;
    return reduce(c, HK__ARGMAX, c->in[0], c->out[0], 1, false);
}

static const hk_op argmax_op = {"argmax", argmax_forward, NULL, NULL};

hk_tensor *hk_argmax(hk_tensor *x, int axis, bool keep) {
    if (!x || hk__check(x->ctx, x, "argmax") != HK_OK) return NULL;
    const int a = hk__axis(x->ctx, "argmax", axis, x->shape.rank);
    if (a < 0) return NULL;
    const reduction_attr attr = {HK_AXIS(a), keep, 0};
    return HK_APPLY(&argmax_op, &attr, x);
}
