/* conv_ops.c: conv2d and conv_transpose2d.
   SPDX-License-Identifier: MIT

   One is the other's gradient by its input, so both run the same kernels (conv.h). */
#include <stdio.h>

#include "conv_ops.h"

/* --- settings and shapes -------------------------------------------------------------------------------- */

static int64_t or_one(int64_t n) { return n == 0 ? 1 : n; }

hk_conv2d_config hk__conv2d_settings(const hk_conv2d_config *config) {
    hk_conv2d_config c = config ? *config : (hk_conv2d_config){.groups = 1};
    c.stride = (hk_pair){or_one(c.stride.h), or_one(c.stride.w)};
    c.dilation = (hk_pair){or_one(c.dilation.h), or_one(c.dilation.w)};
    c.groups = or_one(c.groups);
    return c;
}

/* Nothing overflows in products of two of them. */
static bool is_within(hk_pair p, int64_t least) {
    return p.h >= least && p.w >= least && p.h <= INT32_MAX && p.w <= INT32_MAX;
}

hk_status hk__conv2d_check_settings(hk_context *ctx, const char *name, const hk_conv2d_config *s,
                                    bool transposed) {
    const hk_pair out = s->output_padding;
    if (!is_within(s->stride, 1) || !is_within(s->dilation, 1) || !is_within(s->padding, 0) ||
        s->groups < 1)
        return hk_fail(
            ctx, HK_ERR_ARGUMENT, name,
            "stride (%lld, %lld), dilation (%lld, %lld) and groups %lld must be 1 or more, padding "
            "(%lld, %lld) 0 or more, and none of them above 2147483647",
            (long long)s->stride.h, (long long)s->stride.w, (long long)s->dilation.h,
            (long long)s->dilation.w, (long long)s->groups, (long long)s->padding.h,
            (long long)s->padding.w);
    if (!transposed && (out.h != 0 || out.w != 0))
        return hk_fail(ctx, HK_ERR_ARGUMENT, name, "output_padding is for transposed convolutions");
    const int64_t below_h = s->stride.h > s->dilation.h ? s->stride.h : s->dilation.h;
    const int64_t below_w = s->stride.w > s->dilation.w ? s->stride.w : s->dilation.w;
    if (!is_within(out, 0) || out.h >= below_h || out.w >= below_w)
        return hk_fail(ctx, HK_ERR_ARGUMENT, name,
                       "output_padding (%lld, %lld) must be below stride or dilation",
                       (long long)out.h, (long long)out.w);
    return HK_OK;
}

/* Sizes along an axis, such that products with settings do not overflow. */
static bool has_usual_sizes(const hk_tensor *t) {
    for (int a = 0; a < 4; a++)
        if (t->shape.dim[a] > INT32_MAX) return false;
    return true;
}

/* Types, ranks, channels: w's first axis is `front` of x's or y's channels. */
static hk_status check_inputs(hk_op_call *c, const hk_conv2d_config *s, bool transposed) {
    hk_tensor *x = c->in[0], *w = c->in[1], *b = c->n_in == 3 ? c->in[2] : NULL;
    HK_TRY(hk__need_real(c, 0, c->n_in - 1));
    HK_TRY(hk__conv2d_check_settings(c->ctx, c->op->name, s, transposed));
    if (x->shape.rank != 4 || w->shape.rank != 4)
        return hk__shapes_differ(c, "x is (n, channels, height, width) and w has rank 4", x, w);
    if (!has_usual_sizes(x) || !has_usual_sizes(w))
        return hk__shapes_differ(c, "no size may be above 2147483647", x, w);
    const int64_t in = x->shape.dim[1], first = w->shape.dim[0], second = w->shape.dim[1];
    char rule[160];
    snprintf(rule, sizeof rule,
             transposed ? "w's axis 0 is x's channels, a multiple of groups (%lld)"
                        : "w's axis 1 is x's channels over groups (%lld), which divides w's axis 0",
             (long long)s->groups);
    if (transposed ? first != in || in % s->groups != 0
                   : second * s->groups != in || first % s->groups != 0)
        return hk__shapes_differ(c, rule, x, w);
    const int64_t out = transposed ? second * s->groups : first;
    if (b && (b->shape.rank != 1 || b->shape.dim[0] != out))
        return hk__shapes_differ(c, "the bias needs one element for each output channel", w, b);
    return HK_OK;
}

/* The convolution from a large image (h, w) to a small one (oh, ow); of a transposed one, x is the small. */
static hk__conv sizes_of(const hk_conv2d_config *s, hk_shape large, hk_shape small, hk_shape w) {
    return (hk__conv){.n = large.dim[0],
                      .groups = s->groups,
                      .ic = w.dim[1],
                      .oc = w.dim[0] / s->groups,
                      .h = large.dim[2],
                      .w = large.dim[3],
                      .kh = w.dim[2],
                      .kw = w.dim[3],
                      .sh = s->stride.h,
                      .sw = s->stride.w,
                      .ph = s->padding.h,
                      .pw = s->padding.w,
                      .dh = s->dilation.h,
                      .dw = s->dilation.w,
                      .oh = small.dim[2],
                      .ow = small.dim[3]};
}

static bool is_empty(const hk_tensor *x, const hk_tensor *w, const hk_tensor *y) {
    return hk_shape_count(x->shape) == 0 || hk_shape_count(w->shape) == 0 ||
           hk_shape_count(y->shape) == 0;
}

/* b: (oc) as it broadcasts to (n, oc, h, w). */
static hk_tensor *along_channels(hk_tensor *b) {
    return b ? hk_reshape(b, HK_SHAPE(1, b->shape.dim[0], 1, 1)) : NULL;
}

/* --- conv2d: y = x * w + b ---------------------------------------------------------------------------------- */

int64_t hk__conv_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                      int64_t dilation) {
    const int64_t reach = size + 2 * padding - dilation * (kernel - 1) - 1;
    return size < 0 ? -1 : reach < 0 ? 0 : reach / stride + 1;
}

int64_t hk__conv_transpose_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                                int64_t dilation, int64_t output_padding) {
    if (size < 0) return -1;
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1;
}

hk__conv hk__conv2d_sizes(const hk_op_call *c, const hk_conv2d_config *s) {
    const hk_shape x = c->in[0]->shape, w = c->in[1]->shape;
    const hk_shape y =
        HK_SHAPE(x.dim[0], w.dim[0],
                 hk__conv_size(x.dim[2], w.dim[2], s->stride.h, s->padding.h, s->dilation.h),
                 hk__conv_size(x.dim[3], w.dim[3], s->stride.w, s->padding.w, s->dilation.w));
    return sizes_of(s, x, y, w);
}

hk_status hk__conv2d_check(hk_op_call *c, const hk_conv2d_config *s, hk__conv *sizes) {
    HK_TRY(check_inputs(c, s, false));
    *sizes = hk__conv2d_sizes(c, s);
    if (sizes->oh < 1 || sizes->ow < 1 || sizes->kh < 1 || sizes->kw < 1)
        return hk__shapes_differ(c, "the kernel, dilated, does not fit into the padded image",
                                 c->in[0], c->in[1]);
    return HK_OK;
}

hk_status hk__conv2d_into(hk_op_call *c, const hk__conv *sizes, hk_tensor *x, hk_tensor *w,
                          hk_tensor *b, hk_tensor *y) {
    x = hk_contiguous(x);
    w = hk_contiguous(w);
    if (b) b = hk_contiguous(b);
    if (hk_error(c->ctx) != HK_OK) return hk_error(c->ctx);
    if (is_empty(x, w, y)) {
        hk__fill(c->ctx, y, 0);
        if (b && (b = along_channels(b))) hk__copy(c->ctx, y, b, true);
        return hk_error(c->ctx);
    }
    return hk__conv_forward(c->ctx, y->dtype, sizes, x->data, w->data, b ? b->data : NULL, y->data,
                            NULL, NULL);
}

static hk_status conv_forward(hk_op_call *c) {
    hk__conv s;
    HK_TRY(hk__conv2d_check(c, c->attr, &s));
    hk_tensor *y = hk_op_output(c, 0, c->in[0]->dtype, HK_SHAPE(s.n, s.groups * s.oc, s.oh, s.ow));
    if (!y) return hk_error(c->ctx);
    return hk__conv2d_into(c, &s, c->in[0], c->in[1], c->n_in == 3 ? c->in[2] : NULL, y);
}

/* ∂L/∂b = Σ g over images and places. */
static hk_status bias_backward(hk_op_call *c) {
    if (c->n_in < 3 || !hk_op_needs(c, 2)) return HK_OK;
    return hk_op_add_grad(c, 2, hk_sum(c->gout[0], HK_AXIS(0) | HK_AXIS(2) | HK_AXIS(3), false));
}

/* y = x * w + b: ∂L/∂x = g *ᵀ w, ∂L/∂w = x * g, ∂L/∂b = Σ g, all in one pass. */
static hk_status conv_backward(hk_op_call *c) {
    if (is_empty(c->in[0], c->in[1], c->out[0])) return bias_backward(c); /* y may be all bias */
    const hk__conv sizes = hk__conv2d_sizes(c, c->attr);
    hk_tensor *x = hk_contiguous(c->in[0]), *w = hk_contiguous(c->in[1]);
    hk_tensor *g = hk_contiguous(c->gout[0]);
    if (!x || !w || !g) return hk_error(c->ctx);
    hk__conv_gradients to = {.x = x->data, .w = w->data, .g = g->data};
    hk_tensor *gx = hk__grad_target(c, 0, &to.add_x), *gw = hk__grad_target(c, 1, &to.add_w);
    hk_tensor *gb = c->n_in == 3 ? hk__grad_target(c, 2, &to.add_b) : NULL;
    to.gx = gx ? gx->data : NULL;
    to.gw = gw ? gw->data : NULL;
    to.gb = gb ? gb->data : NULL;
    return hk__conv_backward(c->ctx, g->dtype, &sizes, &to);
}

/* Direction of y: tx * w + x * tw + tb. */
static hk_status conv_jvp(hk_op_call *c) {
    for (int i = 0; i < 2; i++) {
        if (!c->tin[i]) continue;
        hk_tensor *t = hk__empty(c->ctx, c->in[0]->dtype, c->out[0]->shape);
        if (!t) return hk_error(c->ctx);
        const hk__conv sizes = hk__conv2d_sizes(c, c->attr);
        HK_TRY(hk__conv2d_into(c, &sizes, i == 0 ? c->tin[0] : c->in[0],
                               i == 0 ? c->in[1] : c->tin[1], NULL, t));
        HK_TRY(hk_op_add_tangent(c, 0, t));
    }
    if (c->n_in == 3 && c->tin[2])
        HK_TRY(hk_op_add_tangent(c, 0,
                                 hk_reshape(c->tin[2], HK_SHAPE(1, c->in[2]->shape.dim[0], 1, 1))));
    return HK_OK;
}

static const hk_op conv_op = {"conv2d", conv_forward, conv_backward, conv_jvp};

static hk_tensor *apply(const hk_op *op, hk_tensor *x, hk_tensor *w, hk_tensor *b,
                        const hk_conv2d_config *config) {
    const hk_conv2d_config s = hk__conv2d_settings(config);
    return b == HK_NO_BIAS ? HK_APPLY(op, &s, x, w) : HK_APPLY(op, &s, x, w, b);
}

hk_tensor *hk_conv2d_op(hk_tensor *x, hk_tensor *w, hk_tensor *b, const hk_conv2d_config *config) {
    return apply(&conv_op, x, w, b, config);
}

/* --- conv_transpose2d: y = x *ᵀ w + b ------------------------------------------------------------------------ */

static hk__conv transposed_of(const hk_op_call *c) {
    return sizes_of(c->attr, c->out[0]->shape, c->in[0]->shape, c->in[1]->shape);
}

/* y = x *ᵀ w, or the gradient of w if gw is given: then y is the output's gradient. */
static hk_status convolve_back(hk_op_call *c, hk_tensor *x, hk_tensor *w, hk_tensor *y,
                               hk_tensor *gw, bool accumulate) {
    const hk__conv sizes = transposed_of(c);
    x = hk_contiguous(x);
    w = hk_contiguous(w);
    if (!x || !w) return hk_error(c->ctx);
    hk__conv_gradients to = {.x = y->data, .w = w->data, .g = x->data};
    if (gw) {
        to.gw = gw->data;
        to.add_w = accumulate;
    } else {
        to.gx = y->data;
        to.add_x = accumulate;
    }
    return hk__conv_backward(c->ctx, x->dtype, &sizes, &to);
}

static hk_status transpose_forward(hk_op_call *c) {
    const hk_conv2d_config *s = c->attr;
    HK_TRY(check_inputs(c, s, true));
    hk_tensor *x = c->in[0], *w = c->in[1], *b = c->n_in == 3 ? c->in[2] : NULL;
    const int64_t *xd = x->shape.dim, *wd = w->shape.dim;
    const int64_t oh = hk__conv_transpose_size(xd[2], wd[2], s->stride.h, s->padding.h,
                                               s->dilation.h, s->output_padding.h);
    const int64_t ow = hk__conv_transpose_size(xd[3], wd[3], s->stride.w, s->padding.w,
                                               s->dilation.w, s->output_padding.w);
    if (oh < 1 || ow < 1 || wd[2] < 1 || wd[3] < 1)
        return hk__shapes_differ(c, "nothing is left of the image after its padding", x, w);
    hk_tensor *y = hk_op_output(c, 0, x->dtype, HK_SHAPE(xd[0], wd[1] * s->groups, oh, ow));
    if (!y) return hk_error(c->ctx);
    if (is_empty(x, w, y))
        hk__fill(c->ctx, y, 0);
    else
        HK_TRY(convolve_back(c, x, w, y, NULL, false));
    if (b && (b = along_channels(b))) hk__copy(c->ctx, y, b, true);
    return hk_error(c->ctx);
}

/* y = x *ᵀ w + b: ∂L/∂x = g * w, ∂L/∂w as of the convolution from y to x, ∂L/∂b = Σ g. */
static hk_status transpose_backward(hk_op_call *c) {
    hk_tensor *g = hk_contiguous(c->gout[0]);
    if (!g) return hk_error(c->ctx);
    HK_TRY(bias_backward(c));
    if (is_empty(c->in[0], c->in[1], c->out[0])) return HK_OK;
    if (hk_op_needs(c, 0)) {
        const hk__conv sizes = transposed_of(c);
        hk_tensor *w = hk_contiguous(c->in[1]);
        hk_tensor *gx = hk__empty(c->ctx, g->dtype, c->in[0]->shape);
        if (!w || !gx) return hk_error(c->ctx);
        HK_TRY(hk__conv_forward(c->ctx, g->dtype, &sizes, g->data, w->data, NULL, gx->data, NULL,
                                NULL));
        HK_TRY(hk_op_add_grad(c, 0, gx));
    }
    bool accumulate;
    hk_tensor *gw = hk__grad_target(c, 1, &accumulate);
    return gw ? convolve_back(c, c->in[0], c->in[1], g, gw, accumulate) : HK_OK;
}

/* Direction of y: tx *ᵀ w + x *ᵀ tw + tb. */
static hk_status transpose_jvp(hk_op_call *c) {
    const bool empty = is_empty(c->in[0], c->in[1], c->out[0]);
    for (int i = 0; i < 2 && !empty; i++) {
        if (!c->tin[i]) continue;
        hk_tensor *t = hk__empty(c->ctx, c->in[0]->dtype, c->out[0]->shape);
        if (!t) return hk_error(c->ctx);
        HK_TRY(convolve_back(c, i == 0 ? c->tin[0] : c->in[0], i == 0 ? c->in[1] : c->tin[1], t,
                             NULL, false));
        HK_TRY(hk_op_add_tangent(c, 0, t));
    }
    if (c->n_in == 3 && c->tin[2]) HK_TRY(hk_op_add_tangent(c, 0, along_channels(c->tin[2])));
    return HK_OK;
}

static const hk_op transpose_op = {"conv_transpose2d", transpose_forward, transpose_backward,
                                   transpose_jvp};

hk_tensor *hk_conv_transpose2d_op(hk_tensor *x, hk_tensor *w, hk_tensor *b,
                                  const hk_conv2d_config *config) {
    return apply(&transpose_op, x, w, b, config);
}
