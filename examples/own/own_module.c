/* own_module.c: a module of one's own: y = x + gain · inner(x), with one gain for each feature.
   SPDX-License-Identifier: MIT

       hk_sequential(ctx, residual(ctx, 64, hk_linear(ctx, 64, 64)), hk_linear(ctx, 64, 10)) */
#include <hillock/hillock.h>

typedef struct residual_state {
    int64_t width;
    hk_tensor *gain;
} residual_state;

/* Called once, when the network is built: declares parameters, and says what shape comes out. */
static hk_status residual_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    residual_state *s = state;
    const hk_init one = {.kind = HK_INIT_CONSTANT, .value = 1};
    s->gain = hk_module_parameter(m, "gain", HK_SHAPE(s->width), one);
    return hk_module_shape(hk_module_child_at(m, 0), in, out);
}

/* Shapes are checked by the operations, and gradients follow from them. */
static hk_tensor *residual_forward(hk_module *m, void *state, hk_tensor *x) {
    const residual_state *s = state;
    return hk_add(x, hk_mul(s->gain, hk_forward(hk_module_child_at(m, 0), x)));
}

static const hk_module_class residual_class = {
    .name = "residual",
    .state_size = sizeof(residual_state),
    .build = residual_build,
    .forward = residual_forward,
};

/* Takes `inner`. NULL and a sticky error if it cannot. */
static hk_module *residual(hk_context *ctx, int64_t width, hk_module *inner) {
    hk_module *m = hk_module_create(ctx, &residual_class, &(residual_state){.width = width});
    return hk_module_adopt(m, "inner", inner) ? m : NULL;
}
