/* norm_layers.c: batch norm, layer norm, group norm.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>

#include "gpu.h"
#include "module.h"
#include "norm_kernels.h"

typedef struct norm {
    double eps, momentum;
    bool plain;
    int axes;       /* layer norm */
    int64_t groups; /* group norm */
    hk_tensor *weight, *bias;
    hk_tensor *mean, *var, *batches; /* batch norm's buffers */
} norm;

static const hk_module_class batch_norm1d_class, batch_norm2d_class, layer_norm_class,
    group_norm_class;

/* --- shapes ------------------------------------------------------------------------------------------------ */

/* The shape of weight and bias for an input. */
static hk_shape params_shape(const hk_module *m, hk_shape in) {
    const norm *a = m->state;
    if (m->cls != &layer_norm_class) return HK_SHAPE(in.dim[1]);
    hk_shape shape = {.rank = a->axes};
    for (int i = 0; i < a->axes; i++) shape.dim[i] = in.dim[in.rank - a->axes + i];
    return shape;
}

/* Whether the ranks that m takes include this one. */
static bool takes_rank(const hk_module *m, int rank) {
    if (m->cls == &batch_norm2d_class) return rank == 4;
    if (m->cls == &batch_norm1d_class) return rank == 2 || rank == 3;
    if (m->cls == &layer_norm_class) return rank >= ((const norm *)m->state)->axes;
    return rank >= 2;
}

static hk_status check_rank(const hk_module *m, hk_shape in) {
    if (takes_rank(m, in.rank)) return HK_OK;
    char text[160], layer[64];
    snprintf(layer, sizeof layer, "%d axes or more", ((const norm *)m->state)->axes);
    return hk_fail(m->object.ctx, HK_ERR_SHAPE, m->cls->name, "%s takes %s, not %s",
                   hk__place_of(m),
                   m->cls == &batch_norm2d_class   ? "(n, c, h, w)"
                   : m->cls == &batch_norm1d_class ? "(n, c) or (n, c, l)"
                   : m->cls == &layer_norm_class   ? layer
                                                   : "(n, c) or (n, c, ...)",
                   hk__shape_pattern(in, text, sizeof text));
}

/* The sizes that m's statistics and parameters have one element for are known, and fit. */
static hk_status check_sizes(const hk_module *m, hk_shape in) {
    const norm *a = m->state;
    bool known = in.rank >= 0;
    if (known) HK_TRY(check_rank(m, in));
    const hk_shape shape = known ? params_shape(m, in) : HK_UNKNOWN;
    for (int i = 0; i < shape.rank; i++) known = known && shape.dim[i] >= 1;
    if (!known && m->cls == &layer_norm_class)
        return hk_fail(m->object.ctx, HK_ERR_SHAPE, m->cls->name,
                       "%s: the sizes of the last %d axes must be known: call hk_module_build with "
                       "the input's shape",
                       hk__place_of(m), a->axes);
    if (!known)
        return hk_fail(m->object.ctx, HK_ERR_SHAPE, m->cls->name,
                       "%s: the number of channels (axis 1) must be known: call hk_module_build "
                       "with the input's shape",
                       hk__place_of(m));
    if (m->cls == &group_norm_class && in.dim[1] % a->groups != 0)
        return hk_fail(m->object.ctx, HK_ERR_SHAPE, m->cls->name,
                       "%s: %lld groups do not divide %lld channels", hk__place_of(m),
                       (long long)a->groups, (long long)in.dim[1]);
    return HK_OK;
}

/* What stands in two places normalises as many channels, or the same last axes, in both. */
static hk_status norm_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)state;
    *out = in;
    if (in.rank < 0) return HK_OK;
    HK_TRY(check_rank(m, in));
    const hk_shape first = params_shape(m, m->input), here = params_shape(m, in);
    for (int i = 0; i < first.rank; i++) {
        char a[160], b[160];
        if (here.dim[i] < 0 || here.dim[i] == first.dim[i]) continue;
        return hk_fail(m->object.ctx, HK_ERR_SHAPE, m->cls->name,
                       "%s stands in two places, for %s and for %s: their parameters differ",
                       hk__place_of(m), hk__shape_pattern(m->input, a, sizeof a),
                       hk__shape_pattern(in, b, sizeof b));
    }
    return HK_OK;
}

/* --- building ------------------------------------------------------------------------------------------------- */

static hk_status norm_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    norm *a = state;
    HK_TRY(check_sizes(m, in));
    const hk_shape shape = params_shape(m, in);
    const hk_init one = {.kind = HK_INIT_CONSTANT, .value = 1}, zero = {.kind = HK_INIT_CONSTANT};
    a->weight = a->plain ? HK_NO_BIAS : hk_module_parameter(m, "weight", shape, one);
    a->bias = a->plain ? HK_NO_BIAS : hk_module_parameter(m, "bias", shape, zero);
    *out = in;
    return hk_error(m->object.ctx);
}

static hk_status batch_norm_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    norm *a = state;
    HK_TRY(norm_build(m, state, in, out));
    const hk_dtype dtype = m->object.ctx->config.dtype;
    a->mean = hk_module_buffer(m, "running_mean", dtype, HK_SHAPE(in.dim[1]), 0);
    a->var = hk_module_buffer(m, "running_var", dtype, HK_SHAPE(in.dim[1]), 1);
    a->batches = hk_module_buffer(m, "num_batches_tracked", HK_I32, HK_SCALAR, 0);
    return hk_error(m->object.ctx);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* running = (1 - momentum)·running + momentum·scale·batch. */
static void move(hk_tensor *running, hk_tensor *batch, double momentum, double scale) {
    for (int64_t i = 0; i < hk_shape_count(running->shape); i++)
        hk__number_put(running, i,
                       (1 - momentum) * hk__number_at(running, i) +
                           momentum * scale * hk__number_at(batch, i));
}

/* The running variance takes the unbiased variance of the batch. */
static void move_buffers(const norm *a, const hk_tensor *x, hk_tensor *mean, hk_tensor *var) {
    const double count = (double)hk_shape_count(x->shape) / (double)x->shape.dim[1];
    if (HK_ON_GPU(x->ctx)) {
        hk__norm_gpu_tables[x->dtype]->move(x->ctx, x->shape.dim[1], mean->data, var->data,
                                            a->momentum, count / (count - 1), a->mean->data,
                                            a->var->data, a->batches->data);
        return;
    }
    move(a->mean, mean, a->momentum, 1);
    move(a->var, var, a->momentum, count / (count - 1));
    int32_t *batches = a->batches->data;
    if (*batches < INT32_MAX) ++*batches;
}

static hk_tensor *batch_norm_forward(hk_module *m, void *state, hk_tensor *x) {
    norm *a = state;
    hk_context *ctx = m->object.ctx;
    if (check_rank(m, x->shape) != HK_OK) return NULL;
    if (x->dtype != a->mean->dtype || x->shape.dim[1] != a->mean->shape.dim[0]) {
        char text[160];
        hk_fail(ctx, x->dtype != a->mean->dtype ? HK_ERR_DTYPE : HK_ERR_SHAPE, m->cls->name,
                "%s normalises %lld channels of %s, not %s of %s", hk__place_of(m),
                (long long)a->mean->shape.dim[0], hk_dtype_name(a->mean->dtype),
                hk__tensor_text(x, text, sizeof text), hk_dtype_name(x->dtype));
        return NULL;
    }
    if (!m->training) return hk_batch_norm_eval_op(x, a->mean, a->var, a->weight, a->bias, a->eps);
    hk_tensor *mean, *var;
    hk_tensor *y = hk_batch_norm_op(x, a->weight, a->bias, a->eps, &mean, &var);
    if (y && hk_buffers_enabled(ctx)) move_buffers(a, x, mean, var);
    return y;
}

static hk_tensor *layer_norm_forward(hk_module *m, void *state, hk_tensor *x) {
    const norm *a = state;
    (void)m;
    return hk_layer_norm_op(x, a->axes, a->weight, a->bias, a->eps);
}

static hk_tensor *group_norm_forward(hk_module *m, void *state, hk_tensor *x) {
    const norm *a = state;
    (void)m;
    return hk_group_norm_op(x, a->groups, a->weight, a->bias, a->eps);
}

/* --- classes ------------------------------------------------------------------------------------------------------ */

#define HK_NORM_CLASS(kind, builds, runs)                                                          \
    {                                                                                              \
        .name = kind, .state_size = sizeof(norm), .build = (builds), .shape = norm_shape,          \
        .forward = (runs), .passes_on = true                                                       \
    }
static const hk_module_class batch_norm1d_class =
    HK_NORM_CLASS("batch_norm1d", batch_norm_build, batch_norm_forward);
static const hk_module_class batch_norm2d_class =
    HK_NORM_CLASS("batch_norm2d", batch_norm_build, batch_norm_forward);
static const hk_module_class layer_norm_class =
    HK_NORM_CLASS("layer_norm", norm_build, layer_norm_forward);
static const hk_module_class group_norm_class =
    HK_NORM_CLASS("group_norm", norm_build, group_norm_forward);

static hk_module *create(hk_context *ctx, const hk_module_class *cls, const hk_norm_config *config,
                         int axes, int64_t groups) {
    norm a = {.eps = 1e-5, .momentum = 0.1, .axes = axes, .groups = groups};
    if (config && config->eps != 0) a.eps = config->eps;
    if (config && config->momentum != 0) a.momentum = config->momentum;
    if (config) a.plain = config->plain;
    if (!(a.eps > 0 && isfinite(a.eps)))
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "eps must be positive and finite, not %g", a.eps);
    else if (!(a.momentum > 0 && a.momentum <= 1))
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "momentum must be in (0, 1], not %g", a.momentum);
    else if (axes < 1 || axes > HK_MAX_RANK)
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "axes must be from 1 to %d, not %d", HK_MAX_RANK,
                axes);
    else if (groups < 1)
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "groups must be 1 or more, not %lld",
                (long long)groups);
    return hk_module_create(ctx, cls, &a);
}

hk_module *hk_batch_norm1d(hk_context *ctx, const hk_norm_config *config) {
    return create(ctx, &batch_norm1d_class, config, 1, 1);
}
hk_module *hk_batch_norm2d(hk_context *ctx, const hk_norm_config *config) {
    return create(ctx, &batch_norm2d_class, config, 1, 1);
}
hk_module *hk_layer_norm(hk_context *ctx, int axes, const hk_norm_config *config) {
    return create(ctx, &layer_norm_class, config, axes, 1);
}
hk_module *hk_group_norm(hk_context *ctx, int64_t groups, const hk_norm_config *config) {
    return create(ctx, &group_norm_class, config, 1, groups);
}
