/* conv_layers.c: convolutions as modules.
   SPDX-License-Identifier: MIT */
#include "conv_ops.h"
#include "module.h"

typedef struct conv {
    int64_t in, out;
    int64_t width; /* out, or wider for the activation behind it; 0: not asked yet */
    hk_pair kernel;
    hk_conv2d_config config;
    bool has_bias;
    hk_tensor *weight, *bias;
} conv;

static hk_status check_input(const hk_module *m, const conv *l, hk_shape in) {
    char text[160];
    const bool fits = in.rank < 0 || (in.rank == 4 && (in.dim[1] < 0 || in.dim[1] == l->in));
    if (fits && (in.rank < 0 || (in.dim[2] <= INT32_MAX && in.dim[3] <= INT32_MAX))) return HK_OK;
    return hk_fail(m->object.ctx, HK_ERR_SHAPE, m->cls->name,
                   "%s takes (n, %lld, height, width), not %s", hk__place_of(m), (long long)l->in,
                   hk__shape_pattern(in, text, sizeof text));
}

/* weight: `first` by `second` by the kernel; the fans are those of one output element and one input element. */
static hk_status declare(hk_module *m, conv *l, int64_t first, int64_t second) {
    const hk_shape shape = HK_SHAPE(first, second, l->kernel.h, l->kernel.w);
    const bool fits = hk_shape_count(shape) > 0; /* or it is refused below */
    const int64_t area = fits ? l->kernel.h * l->kernel.w : 0, groups = l->config.groups;
    const hk_init weight = {.kind = HK_INIT_WEIGHT,
                            .fan_in = l->in / groups * area,
                            .fan_out = l->width / groups * area};
    const hk_init bias = {.kind = HK_INIT_BIAS, .fan_in = weight.fan_in, .fan_out = weight.fan_out};
    l->weight = hk_module_parameter(m, "weight", shape, weight);
    l->bias = l->has_bias ? hk_module_parameter(m, "bias", HK_SHAPE(l->width), bias) : HK_NO_BIAS;
    return hk_error(hk_module_context(m));
}

/* --- conv2d ---------------------------------------------------------------------------------------------- */

static hk_status conv_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    conv *l = state;
    const hk_conv2d_config *s = &l->config;
    HK_TRY(check_input(m, l, in));
    if (l->width == 0) l->width = l->out * hk__widening_after(m);
    const int64_t h = in.rank < 0 ? -1 : in.dim[2], w = in.rank < 0 ? -1 : in.dim[3];
    *out = HK_SHAPE(in.rank < 0 ? -1 : in.dim[0], l->width,
                    hk__conv_size(h, l->kernel.h, s->stride.h, s->padding.h, s->dilation.h),
                    hk__conv_size(w, l->kernel.w, s->stride.w, s->padding.w, s->dilation.w));
    if (out->dim[2] == 0 || out->dim[3] == 0) {
        char text[160];
        return hk_fail(
            m->object.ctx, HK_ERR_SHAPE, "conv2d",
            "%s: a kernel of %lld x %lld, dilated, does not fit into the padded image of %s",
            hk__place_of(m), (long long)l->kernel.h, (long long)l->kernel.w,
            hk__shape_pattern(in, text, sizeof text));
    }
    return HK_OK;
}

static hk_status conv_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    conv *l = state;
    HK_TRY(conv_shape(m, state, in, out));
    return declare(m, l, l->width, l->in / l->config.groups);
}

static hk_tensor *conv_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    const conv *l = state;
    return hk_conv2d_op(x, l->weight, l->bias, &l->config);
}

static const hk_module_class conv_class = {.name = "conv2d",
                                           .state_size = sizeof(conv),
                                           .build = conv_build,
                                           .shape = conv_shape,
                                           .forward = conv_forward};

bool hk__is_conv2d(const hk_module *m, hk_conv2d_config *config, hk_tensor **weight,
                   hk_tensor **bias) {
    if (m->cls != &conv_class) return false;
    const conv *l = m->state;
    *config = l->config;
    *weight = l->weight;
    *bias = l->bias;
    return true;
}

/* --- conv_transpose2d ---------------------------------------------------------------------------------------- */

static hk_status transpose_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    conv *l = state;
    const hk_conv2d_config *s = &l->config;
    HK_TRY(check_input(m, l, in));
    if (l->width == 0) l->width = l->out * hk__widening_after(m);
    const int64_t h = in.rank < 0 ? -1 : in.dim[2], w = in.rank < 0 ? -1 : in.dim[3];
    *out = HK_SHAPE(in.rank < 0 ? -1 : in.dim[0], l->width,
                    hk__conv_transpose_size(h, l->kernel.h, s->stride.h, s->padding.h,
                                            s->dilation.h, s->output_padding.h),
                    hk__conv_transpose_size(w, l->kernel.w, s->stride.w, s->padding.w,
                                            s->dilation.w, s->output_padding.w));
    if ((h >= 0 && out->dim[2] < 1) || (w >= 0 && out->dim[3] < 1)) {
        char text[160];
        return hk_fail(m->object.ctx, HK_ERR_SHAPE, "conv_transpose2d",
                       "%s: nothing is left of %s after its padding", hk__place_of(m),
                       hk__shape_pattern(in, text, sizeof text));
    }
    return HK_OK;
}

static hk_status transpose_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    conv *l = state;
    HK_TRY(transpose_shape(m, state, in, out));
    return declare(m, l, l->in, l->width / l->config.groups);
}

static hk_tensor *transpose_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    const conv *l = state;
    return hk_conv_transpose2d_op(x, l->weight, l->bias, &l->config);
}

static const hk_module_class transpose_class = {.name = "conv_transpose2d",
                                                .state_size = sizeof(conv),
                                                .build = transpose_build,
                                                .shape = transpose_shape,
                                                .forward = transpose_forward};

/* --- making ------------------------------------------------------------------------------------------------------ */

static hk_module *create(hk_context *ctx, const hk_module_class *cls, int64_t in, int64_t out,
                         hk_pair kernel, const hk_conv2d_config *config, bool has_bias) {
    const conv l = {.in = in,
                    .out = out,
                    .kernel = kernel,
                    .config = hk__conv2d_settings(config),
                    .has_bias = has_bias};
    const int64_t groups = l.config.groups;
    if (in < 1 || out < 1 || kernel.h < 1 || kernel.w < 1 || kernel.h > INT32_MAX ||
        kernel.w > INT32_MAX) {
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name,
                "channels and kernel must be 1 or more, the kernel below 2^31, not %lld to %lld by "
                "%lld x %lld",
                (long long)in, (long long)out, (long long)kernel.h, (long long)kernel.w);
        return NULL;
    }
    if (hk__conv2d_check_settings(ctx, cls->name, &l.config, cls == &transpose_class) != HK_OK)
        return NULL;
    if (in % groups != 0 || out % groups != 0) {
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "%lld groups do not divide %lld and %lld channels",
                (long long)groups, (long long)in, (long long)out);
        return NULL;
    }
    return hk_module_create(ctx, cls, &l);
}

hk_module *hk_conv2d(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                     const hk_conv2d_config *config) {
    return create(ctx, &conv_class, in, out, kernel, config, true);
}
hk_module *hk_conv2d_no_bias(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                             const hk_conv2d_config *config) {
    return create(ctx, &conv_class, in, out, kernel, config, false);
}
hk_module *hk_conv_transpose2d(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                               const hk_conv2d_config *config) {
    return create(ctx, &transpose_class, in, out, kernel, config, true);
}
hk_module *hk_conv_transpose2d_no_bias(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                                       const hk_conv2d_config *config) {
    return create(ctx, &transpose_class, in, out, kernel, config, false);
}
