/* activation_layer.c: an activation as a module, with its learnable parameters.
   SPDX-License-Identifier: MIT */
#include "module.h"

typedef struct activation {
    hk_activation_spec spec;
    bool learns;
    hk_tensor *params[HK_ACTIVATION_MAX_PARAMS];
} activation;

/* An activation has parameters of the module if one of them learns, or is wanted for each channel. */
static hk_status activation_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    activation *a = state;
    hk_context *ctx = hk_module_context(m);
    const hk_activation_info *row = hk_activation_row(a->spec.row);
    *out = in;
    if (!a->learns) return HK_OK;
    hk_shape shape = HK_SHAPE(1);
    if (a->spec.per_channel) {
        if (in.rank < 2 || in.dim[1] < 1)
            return hk_fail(
                ctx, HK_ERR_SHAPE, row->name,
                "%s: the number of channels (axis 1) must be known: call hk_module_build with the "
                "input's shape",
                hk__place_of(m));
        shape.dim[0] = in.dim[1];
        for (int i = 2; i < in.rank; i++) shape.dim[shape.rank++] = 1;
    }
    for (int k = 0; k < row->n_params; k++)
        a->params[k] = hk_module_parameter(m, row->params[k].name, shape,
                                           (hk_init){HK_INIT_CONSTANT, 0, 0, a->spec.value[k]});
    return hk_error(ctx);
}

static hk_tensor *activation_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    const activation *a = state;
    return hk_activate_with(x, &a->spec, a->learns ? a->params : NULL);
}

const hk_module_class hk__activation_class = {"activation", sizeof(activation), activation_build,
                                              activation_forward, NULL};

hk_module *hk_activation(hk_context *ctx, const char *spec) {
    activation a = {.learns = false};
    if (!ctx || hk_activation_parse(ctx, spec, &a.spec) != HK_OK) return NULL;
    const hk_activation_info *row = hk_activation_row(a.spec.row);
    for (int k = 0; k < row->n_params; k++) a.learns |= row->params[k].learns && a.spec.learn;
    return hk_module_create(ctx, &hk__activation_class, &a);
}

const char *hk__activation_name(const hk_module *m) {
    return hk_activation_row(((const activation *)m->state)->spec.row)->name;
}

double hk__gain_after(const hk_module *m) {
    return m->following ? hk_activation_gain(&((const activation *)m->following->state)->spec) : 1;
}
