/* activation_layer.c: an activation as a module, with its learnable parameters.
   SPDX-License-Identifier: MIT */
#include "activation_module.h"

#include <stdio.h>
#include <stdlib.h>

hk_tensor *hk__activation_parameter(hk_module *m, const char *name, bool per_channel, hk_shape in,
                                    hk_init init) {
    hk_shape shape = HK_SHAPE(1);
    if (per_channel) {
        if (in.rank < 2 || in.dim[1] < 1) {
            hk_fail(
                hk_module_context(m), HK_ERR_SHAPE, hk__activation_name(m),
                "%s: the number of channels (axis 1) must be known: call hk_module_build with the "
                "input's shape",
                hk__place_of(m));
            return NULL;
        }
        shape.dim[0] = in.dim[1];
        for (int i = 2; i < in.rank; i++) shape.dim[shape.rank++] = 1;
    }
    return hk_module_parameter(m, name, shape, init);
}

/* Axis 1 as maxout and gated units narrow it. */
static hk_status activation_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    const hk__activation_state *a = state;
    const int by = hk_activation_widens(&a->spec), axis = in.rank > 1 ? 1 : 0;
    *out = in;
    if (by == 1 || in.rank < 1 || in.dim[axis] < 0) return HK_OK;
    if (in.dim[axis] % by != 0)
        return hk_fail(m->object.ctx, HK_ERR_SHAPE, a->spec.info->name,
                       "%s: axis %d is %lld, not a multiple of %d", hk__place_of(m), axis,
                       (long long)in.dim[axis], by);
    out->dim[axis] = in.dim[axis] / by;
    return HK_OK;
}

static hk_status activation_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    hk__activation_state *a = state;
    const hk_activation_info *info = a->spec.info;
    HK_TRY(activation_shape(m, state, in, out));
    snprintf(a->stream, sizeof a->stream, "%s/%s", info->name, m->stream);
    if (info->kind == HK_ACTIVATION_NETWORK) return hk__network_build(m, a, in);
    const hk_activation_init *start = &info->inits[a->spec.init];
    for (int k = 0; k < info->n_params; k++) {
        if (!a->spec.learns[k]) continue;
        const hk_init init = {.kind = HK_INIT_CONSTANT,
                              .value = a->spec.value[k],
                              .normal = start->normal[k],
                              .uniform = start->uniform[k]};
        a->params[k] =
            hk__activation_parameter(m, info->params[k].name, a->spec.per_channel, in, init);
    }
    return hk_error(hk_module_context(m));
}

/* A number from between parameters 0 and 1 for every element, as both of these. */
static hk_tensor *forward_random(const hk__activation_state *a, hk_tensor *x) {
    hk_tensor *drawn = hk_uniform_like(x, a->spec.value[0], a->spec.value[1], a->stream);
    if (!drawn) return NULL;
    hk_tensor *params[HK_ACTIVATION_MAX_PARAMS] = {drawn, drawn};
    return hk_activate_with(x, &a->spec, params);
}

static hk_tensor *activation_forward(hk_module *m, void *state, hk_tensor *x) {
    hk__activation_state *a = state;
    if (!x) return NULL;
    if (a->spec.info->kind == HK_ACTIVATION_NETWORK) return hk__network_forward(m, a, x);
    if (a->spec.info->random && m->training) return forward_random(a, x);
    return hk_activate_with(x, &a->spec, a->params);
}

static void activation_destroy(hk_module *m, void *state) {
    (void)m;
    hk__activation_state *a = state;
    free(a->candidates);
    free(a->mean);
    free(a->deviation);
}

const hk_module_class hk__activation_class = {.name = "activation",
                                              .state_size = sizeof(hk__activation_state),
                                              .build = activation_build,
                                              .shape = activation_shape,
                                              .forward = activation_forward,
                                              .destroy = activation_destroy};

hk_module *hk_activation(hk_context *ctx, const char *spec) {
    hk__activation_state a = {.fc1 = NULL};
    if (!ctx || hk_activation_parse(ctx, spec, &a.spec) != HK_OK) return NULL;
    return hk_module_create(ctx, &hk__activation_class, &a);
}

/* --- what other modules ask ------------------------------------------------------------------------------------- */

const hk_activation_spec *hk__activation_spec_of(const hk_module *m) {
    return &((const hk__activation_state *)m->state)->spec;
}

const char *hk__activation_name(const hk_module *m) {
    return hk__activation_spec_of(m)->info->name;
}

bool hk__is_plain_activation(const hk_module *m) {
    if (m->cls != &hk__activation_class) return false;
    const hk__activation_state *a = m->state;
    const hk_activation_info *info = a->spec.info;
    if (info->kind != HK_ACTIVATION_POINTWISE || info->random || info->surrogate) return false;
    for (int k = 0; k < info->n_params; k++)
        if (a->params[k]) return false;
    return true;
}

double hk__gain_after(const hk_module *m) {
    return m->following ? hk_activation_gain(m->object.ctx, hk__activation_spec_of(m->following))
                        : 1;
}

int hk__widening_after(const hk_module *m) {
    return m->following ? hk_activation_widens(hk__activation_spec_of(m->following)) : 1;
}
