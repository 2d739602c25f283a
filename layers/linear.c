/* linear.c: y = x · weightᵀ + bias.
   SPDX-License-Identifier: MIT */
#include "module.h"

typedef struct linear {
    int64_t in, out;
    int64_t
        width; /* out, or wider for the activation behind it: a maxout makes it out again; 0: not asked yet */
    bool has_bias;
    hk_tensor *weight, *bias;
} linear;

static hk_status linear_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    linear *l = state;
    if (in.rank >= 0) {
        const int64_t last = in.rank > 0 ? in.dim[in.rank - 1] : 1;
        char text[160];
        if (in.rank < 1 || (last != -1 && last != l->in))
            return hk_fail(m->object.ctx, HK_ERR_SHAPE, "linear", "%s takes (..., %lld), not %s",
                           hk__place_of(m), (long long)l->in,
                           hk__shape_pattern(in, text, sizeof text));
    }
    if (l->width == 0) l->width = l->out * hk__widening_after(m);
    *out = in.rank >= 0 ? in : HK_SHAPE(-1, -1);
    out->dim[out->rank - 1] = l->width;
    return HK_OK;
}

static hk_status linear_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    linear *l = state;
    HK_TRY(linear_shape(m, state, in, out));
    const hk_init weight = {.kind = HK_INIT_WEIGHT, .fan_in = l->in, .fan_out = l->width},
                  bias = {.kind = HK_INIT_BIAS, .fan_in = l->in, .fan_out = l->width};
    l->weight = hk_module_parameter(m, "weight", HK_SHAPE(l->width, l->in), weight);
    l->bias = l->has_bias ? hk_module_parameter(m, "bias", HK_SHAPE(l->width), bias) : HK_NO_BIAS;
    return hk_error(hk_module_context(m));
}

static hk_tensor *linear_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    const linear *l = state;
    return hk_affine(x, l->weight, l->bias);
}

static const hk_module_class linear_class = {.name = "linear",
                                             .state_size = sizeof(linear),
                                             .build = linear_build,
                                             .shape = linear_shape,
                                             .forward = linear_forward};

bool hk__is_linear(const hk_module *m, hk_tensor **weight, hk_tensor **bias) {
    if (m->cls != &linear_class) return false;
    const linear *l = m->state;
    *weight = l->weight;
    *bias = l->bias;
    return true;
}

static hk_module *create(hk_context *ctx, int64_t in, int64_t out, bool has_bias) {
    const linear l = {.in = in, .out = out, .has_bias = has_bias};
    if (in < 1 || out < 1) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "linear", "sizes must be 1 or more, not %lld in and %lld out",
                (long long)in, (long long)out);
        return NULL;
    }
    return hk_module_create(ctx, &linear_class, &l);
}

hk_module *hk_linear(hk_context *ctx, int64_t in, int64_t out) {
    return create(ctx, in, out, true);
}
hk_module *hk_linear_no_bias(hk_context *ctx, int64_t in, int64_t out) {
    return create(ctx, in, out, false);
}
