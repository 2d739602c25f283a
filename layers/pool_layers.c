/* pool_layers.c: pooling layers: max, average, adaptive, global.
   SPDX-License-Identifier: MIT */
#include "module.h"
#include "pool_kernels.h"

typedef struct pool_layer {
    hk_pool2d_config config; /* complete */
    hk_pair out;             /* of adaptive pooling */
    hk_tensor *(*op)(hk_tensor *, const hk_pool2d_config *);
    hk_tensor *(*adaptive_op)(hk_tensor *, hk_pair);
} pool_layer;

static hk_status wants(hk_module *m, const char *what, hk_shape in) {
    char text[160];
    return hk_fail(hk_module_context(m), HK_ERR_SHAPE, m->cls->name, "%s takes %s, not %s",
                   hk__place_of(m), what, hk__shape_pattern(in, text, sizeof text));
}

static hk_status pool_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    const pool_layer *l = state;
    if (in.rank < 0) in = HK_SHAPE(-1, -1, -1, -1);
    if (in.rank != 4) return wants(m, "(n, c, h, w)", in);
    hk_pair size = l->out;
    char text[160];
    if (l->op)
        HK_TRY(hk__pool2d_size(hk_module_context(m), m->cls->name, &l->config,
                               hk__shape_pattern(in, text, sizeof text), in.dim[2], in.dim[3],
                               &size));
    else if (in.dim[2] == 0 || in.dim[3] == 0)
        return wants(m, "images with rows and columns", in);
    *out = HK_SHAPE(in.dim[0], in.dim[1], size.h, size.w);
    return HK_OK;
}

static hk_tensor *pool_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    const pool_layer *l = state;
    return l->op ? l->op(x, &l->config) : l->adaptive_op(x, l->out);
}

#define POOL_CLASS(kind)                                                                           \
    static const hk_module_class kind##_class = {.name = #kind,                                    \
                                                 .state_size = sizeof(pool_layer),                 \
                                                 .shape = pool_shape,                              \
                                                 .forward = pool_forward,                          \
                                                 .passes_on = true}
POOL_CLASS(max_pool2d);
POOL_CLASS(avg_pool2d);
POOL_CLASS(adaptive_max_pool2d);
POOL_CLASS(adaptive_avg_pool2d);

bool hk__is_max_pool_2x2(const hk_module *m) {
    if (m->cls != &max_pool2d_class) return false;
    const hk_pool2d_config *c = &((const pool_layer *)m->state)->config;
    return c->kernel.h == 2 && c->kernel.w == 2 && c->stride.h == 2 && c->stride.w == 2 &&
           c->padding.h == 0 && c->padding.w == 0 && c->dilation.h == 1 && c->dilation.w == 1 &&
           !c->ceil_mode;
}

static hk_module *fixed(hk_context *ctx, const hk_module_class *cls, bool max,
                        const hk_pool2d_config *config) {
    pool_layer l = {.op = max ? hk_max_pool2d_op : hk_avg_pool2d_op};
    if (hk__pool2d_settings(ctx, cls->name, max, config, &l.config) != HK_OK) return NULL;
    return hk_module_create(ctx, cls, &l);
}

static hk_module *adaptive(hk_context *ctx, const hk_module_class *cls, bool max, hk_pair out) {
    const pool_layer l = {
        .out = out, .adaptive_op = max ? hk_adaptive_max_pool2d_op : hk_adaptive_avg_pool2d_op};
    if (hk__pool2d_settings_out(ctx, cls->name, out) != HK_OK) return NULL;
    return hk_module_create(ctx, cls, &l);
}

hk_module *hk_max_pool2d(hk_context *ctx, const hk_pool2d_config *config) {
    return fixed(ctx, &max_pool2d_class, true, config);
}
hk_module *hk_avg_pool2d(hk_context *ctx, const hk_pool2d_config *config) {
    return fixed(ctx, &avg_pool2d_class, false, config);
}
hk_module *hk_adaptive_max_pool2d(hk_context *ctx, hk_pair out) {
    return adaptive(ctx, &adaptive_max_pool2d_class, true, out);
}
hk_module *hk_adaptive_avg_pool2d(hk_context *ctx, hk_pair out) {
    return adaptive(ctx, &adaptive_avg_pool2d_class, false, out);
}

/* --- the mean of each channel ------------------------------------------------------------------------------ */

/* The elements of a channel; 0 if x has none or no channels, -1 if that is not known. */
static int64_t channel_size(hk_shape x) {
    int64_t count = x.rank < 2 ? 0 : 1;
    for (int i = 2; i < x.rank; i++) {
        if (x.dim[i] == 0) return 0;
        count = count < 0 || x.dim[i] < 0 ? -1 : count * x.dim[i];
    }
    return count;
}

static hk_status global_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)state;
    if (in.rank < 0) in = HK_SHAPE(-1, -1, -1);
    if (channel_size(in) == 0) return wants(m, "(n, c, ...) with elements", in);
    *out = HK_SHAPE(in.dim[0], in.dim[1]);
    return HK_OK;
}

/* As a plane of one column, whatever axes the channel has. */
static hk_tensor *global_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)state;
    const hk_shape in = hk_tensor_shape(x);
    const int64_t n = in.dim[0], c = in.dim[1], size = channel_size(in);
    if (size == 0) {
        (void)wants(m, "(n, c, ...) with elements", in);
        return NULL;
    }
    if (in.rank != 4) x = hk_reshape(x, HK_SHAPE(n, c, size, 1));
    return hk_reshape(hk_adaptive_avg_pool2d_op(x, HK_SQUARE(1)), HK_SHAPE(n, c));
}

static const hk_module_class global_class = {
    .name = "global_avg_pool", .shape = global_shape, .forward = global_forward, .passes_on = true};

hk_module *hk_global_avg_pool(hk_context *ctx) {
    return hk_module_create(ctx, &global_class, NULL);
}
