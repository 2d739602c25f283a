/* pointwise.c: operations element by element: the rows of pointwise.def, comparisons, where, cast.
   SPDX-License-Identifier: MIT */
#include "tape.h"

#include "pointwise_kernels.h"

typedef struct pointwise_attr {
    hk__pointwise_id id;
    double param[2];
} pointwise_attr;

static const hk__pointwise_kernels *kernels(const hk_op_call *c, const hk_tensor *real) {
    return hk__pointwise_tables[hk__stamp_of(c->ctx, real->dtype)];
}

static hk_status pointwise_forward(hk_op_call *c) {
    const pointwise_attr *attr = c->attr;
    HK_TRY(hk__need_real(c, 0, c->n_in - 1));
    hk_shape shape = c->in[0]->shape;
    if (c->n_in == 2 && !hk__broadcast(shape, c->in[1]->shape, &shape))
        return hk__shapes_differ(c, "shapes do not broadcast", c->in[0], c->in[1]);
    if (!hk_op_output(c, 0, c->in[0]->dtype, shape)) return c->ctx->status;
    hk__map(c->ctx, kernels(c, c->in[0])->row[attr->id].value, attr->param, c->out[0], c->n_in,
            c->in, false);
    return c->ctx->status;
}

/* out (+)= along · ∂y/∂in[i], all of y's shape: backward with along = ∂L/∂y, forward mode with along = the
   direction of in[i]. */
static void along_slope(hk_op_call *c, int i, hk_tensor *out, hk_tensor *along, bool accumulate) {
    const pointwise_attr *attr = c->attr;
    hk_tensor *operands[4] = {along, c->in[0]};
    int n = 2;
    if (c->n_in == 2) operands[n++] = c->in[1];
    operands[n++] = c->out[0];
    hk__map(c->ctx, kernels(c, out)->row[attr->id].slope[i], attr->param, out, n, operands,
            accumulate);
}

static hk_status pointwise_backward(hk_op_call *c) {
    for (int i = 0; i < c->n_in; i++) {
        if (!hk_op_needs(c, i)) continue;
        if (hk_shape_equal(c->in[i]->shape, c->out[0]->shape)) {
            bool accumulate;
            hk_tensor *gin = hk__grad_target(c, i, &accumulate);
            along_slope(c, i, gin, c->gout[0], accumulate);
        } else { /* in[i] was broadcast: its gradient is summed back */
            hk_tensor *wide = hk__empty(c->ctx, c->out[0]->dtype, c->out[0]->shape);
            if (!wide) return c->ctx->status;
            along_slope(c, i, wide, c->gout[0], false);
            HK_TRY(hk_op_add_grad(c, i, wide));
        }
    }
    return c->ctx->status;
}

static hk_status pointwise_jvp(hk_op_call *c) {
    for (int i = 0; i < c->n_in; i++) {
        if (!c->tin[i]) continue;
        bool accumulate;
        hk_tensor *tout = hk__tangent_target(c, 0, &accumulate);
        if (!tout) return c->ctx->status;
        along_slope(c, i, tout, c->tin[i], accumulate);
    }
    return c->ctx->status;
}

/* One hk_op for each row: they differ in name alone, so that errors and listings name the operation. */
static const hk_op pointwise_ops[HK__PW_COUNT] = {
#define HK_ONE(id, y, da)                                                                          \
    [HK__PW_##id] = {#id, pointwise_forward, pointwise_backward, pointwise_jvp},
#define HK_TWO(id, y, da, db) HK_ONE(id, y, da)
#include "pointwise.def"
#undef HK_ONE
#undef HK_TWO
};

static hk_tensor *one(hk__pointwise_id id, hk_tensor *a, double p0, double p1) {
    const pointwise_attr attr = {id, {p0, p1}};
    return HK_APPLY(&pointwise_ops[id], &attr, a);
}

hk_tensor *hk__pointwise_two(hk__pointwise_id id, hk_tensor *a, hk_tensor *b, double p0) {
    const pointwise_attr attr = {id, {p0, 0}};
    return HK_APPLY(&pointwise_ops[id], &attr, a, b);
}

hk_tensor *hk_add(hk_tensor *a, hk_tensor *b) { return hk__pointwise_two(HK__PW_add, a, b, 0); }
hk_tensor *hk_sub(hk_tensor *a, hk_tensor *b) { return hk__pointwise_two(HK__PW_sub, a, b, 0); }
hk_tensor *hk_mul(hk_tensor *a, hk_tensor *b) { return hk__pointwise_two(HK__PW_mul, a, b, 0); }
hk_tensor *hk_div(hk_tensor *a, hk_tensor *b) { return hk__pointwise_two(HK__PW_div, a, b, 0); }
hk_tensor *hk_pow(hk_tensor *a, hk_tensor *b) { return hk__pointwise_two(HK__PW_pow, a, b, 0); }
hk_tensor *hk_maximum(hk_tensor *a, hk_tensor *b) {
    return hk__pointwise_two(HK__PW_maximum, a, b, 0);
}
hk_tensor *hk_minimum(hk_tensor *a, hk_tensor *b) {
    return hk__pointwise_two(HK__PW_minimum, a, b, 0);
}
hk_tensor *hk_neg(hk_tensor *x) { return one(HK__PW_neg, x, 0, 0); }
hk_tensor *hk_abs(hk_tensor *x) { return one(HK__PW_abs, x, 0, 0); }
hk_tensor *hk_exp(hk_tensor *x) { return one(HK__PW_exp, x, 0, 0); }
hk_tensor *hk_log(hk_tensor *x) { return one(HK__PW_log, x, 0, 0); }
hk_tensor *hk_sqrt(hk_tensor *x) { return one(HK__PW_sqrt, x, 0, 0); }
hk_tensor *hk_scale(hk_tensor *x, double scale, double shift) {
    return one(HK__PW_scale, x, scale, shift);
}

hk_tensor *hk_clamp(hk_tensor *x, double low, double high) {
    if (!x) return NULL;
    if (!(low <= high)) {
        hk_fail(x->ctx, HK_ERR_ARGUMENT, "clamp", "low %g is not below high %g", low, high);
        return NULL;
    }
    return one(HK__PW_clamp, x, low, high);
}

/* --- comparisons: no gradient ------------------------------------------------------------------------- */

static hk_status compare_forward(hk_op_call *c) {
    HK_TRY(hk__need_real(c, 0, 1));
    hk_shape shape;
    if (!hk__broadcast(c->in[0]->shape, c->in[1]->shape, &shape))
        return hk__shapes_differ(c, "shapes do not broadcast", c->in[0], c->in[1]);
    if (!hk_op_output(c, 0, HK_U8, shape)) return c->ctx->status;
    const hk__comparison *which = c->attr;
    hk__map(c->ctx, kernels(c, c->in[0])->compare[*which], NULL, c->out[0], 2, c->in, false);
    return c->ctx->status;
}

/* They differ in name alone, for messages. */
static const hk_op compare_ops[HK__COMPARISONS] = {
    [HK__LT] = {"less", compare_forward, NULL, NULL},
    [HK__LE] = {"less_equal", compare_forward, NULL, NULL},
    [HK__GT] = {"greater", compare_forward, NULL, NULL},
    [HK__GE] = {"greater_equal", compare_forward, NULL, NULL},
    [HK__EQ] = {"equal", compare_forward, NULL, NULL},
    [HK__NE] = {"not_equal", compare_forward, NULL, NULL},
};

static hk_tensor *compare(hk__comparison which, hk_tensor *a, hk_tensor *b) {
    return HK_APPLY(&compare_ops[which], &which, a, b);
}

hk_tensor *hk_less(hk_tensor *a, hk_tensor *b) { return compare(HK__LT, a, b); }
hk_tensor *hk_less_equal(hk_tensor *a, hk_tensor *b) { return compare(HK__LE, a, b); }
hk_tensor *hk_greater(hk_tensor *a, hk_tensor *b) { return compare(HK__GT, a, b); }
hk_tensor *hk_greater_equal(hk_tensor *a, hk_tensor *b) { return compare(HK__GE, a, b); }
hk_tensor *hk_equal(hk_tensor *a, hk_tensor *b) { return compare(HK__EQ, a, b); }
hk_tensor *hk_not_equal(hk_tensor *a, hk_tensor *b) { return compare(HK__NE, a, b); }

/* --- where: y = cond ? a : b --------------------------------------------------------------------------- */

static hk_status where_forward(hk_op_call *c) {
    HK_TRY(hk__need_real(c, 1, 2));
    if (c->in[0]->dtype != HK_U8)
        return hk_fail(c->ctx, HK_ERR_DTYPE, "where", "the condition is %s, not a u8 mask",
                       hk_dtype_name(c->in[0]->dtype));
    hk_shape shape;
    if (!hk__broadcast(c->in[1]->shape, c->in[2]->shape, &shape))
        return hk__shapes_differ(c, "shapes do not broadcast", c->in[1], c->in[2]);
    if (!hk__broadcast(shape, c->in[0]->shape, &shape))
        return hk__shapes_differ(c, "the condition does not broadcast", c->in[0], c->in[1]);
    if (!hk_op_output(c, 0, c->in[1]->dtype, shape)) return c->ctx->status;
    hk__map(c->ctx, kernels(c, c->in[1])->where, NULL, c->out[0], 3, c->in, false);
    return c->ctx->status;
}

/* g where the choice fell on this operand, else 0: a in[1] if the condition holds, in[2] if not. */
static hk_tensor *where_part(hk_op_call *c, int i, hk_tensor *g) {
    hk_tensor *out = hk__empty(c->ctx, c->out[0]->dtype, c->out[0]->shape);
    if (!out) return NULL;
    hk_tensor *operands[] = {g, c->in[0]};
    hk__map(c->ctx, kernels(c, out)->where_part[i - 1], NULL, out, 2, operands, false);
    return out;
}

static hk_status where_backward(hk_op_call *c) {
    for (int i = 1; i <= 2; i++)
        if (hk_op_needs(c, i)) HK_TRY(hk_op_add_grad(c, i, where_part(c, i, c->gout[0])));
    return c->ctx->status;
}

static hk_status where_jvp(hk_op_call *c) {
    for (int i = 1; i <= 2; i++)
        if (c->tin[i]) HK_TRY(hk_op_add_tangent(c, 0, where_part(c, i, c->tin[i])));
    return c->ctx->status;
}

static const hk_op where_op = {"where", where_forward, where_backward, where_jvp};

hk_tensor *hk_where(hk_tensor *cond, hk_tensor *a, hk_tensor *b) {
    return HK_APPLY_PLAIN(&where_op, cond, a, b);
}

/* --- cast ---------------------------------------------------------------------------------------------- */

static hk_status cast_forward(hk_op_call *c) {
    const hk_dtype *dtype = c->attr;
    if (hk_dtype_size(*dtype) == 0)
        return hk_fail(c->ctx, HK_ERR_DTYPE, "cast", "%d is no element type", (int)*dtype);
    if (!hk_op_output(c, 0, *dtype, c->in[0]->shape)) return c->ctx->status;
    hk__convert(c->ctx, c->out[0], c->in[0]);
    return c->ctx->status;
}

static hk_tensor *converted(hk_context *ctx, hk_tensor *x, hk_dtype dtype) {
    hk_tensor *y = hk__empty(ctx, dtype, x->shape);
    if (y) hk__convert(ctx, y, x);
    return y;
}

static hk_status cast_backward(hk_op_call *c) {
    return hk_op_add_grad(c, 0, converted(c->ctx, c->gout[0], c->in[0]->dtype));
}

static hk_status cast_jvp(hk_op_call *c) {
    return hk_op_add_tangent(c, 0, converted(c->ctx, c->tin[0], c->out[0]->dtype));
}

static const hk_op cast_op = {"cast", cast_forward, cast_backward, cast_jvp};

hk_tensor *hk_cast(hk_tensor *x, hk_dtype dtype) {
    if (x && x->dtype == dtype && hk__check(x->ctx, x, "cast") == HK_OK) return x;
    return HK_APPLY(&cast_op, &dtype, x);
}
