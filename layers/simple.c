/* simple.c: layers without parameters: flatten, dropout.
   SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "module.h"

/* --- flatten: (n, ...) -> (n, rest) -------------------------------------------------------------------- */

static hk_status flatten_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)m, (void)state;
    *out = HK_SHAPE(in.rank > 0 ? in.dim[0] : -1, in.rank < 0 ? -1 : 1);
    for (int i = 1; i < in.rank; i++) out->dim[1] = in.dim[i] < 0 ? -1 : out->dim[1] * in.dim[i];
    return HK_OK;
}

static hk_tensor *flatten_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m, (void)state;
    return hk_tensor_rank(x) == 2 ? x : hk_flatten_from(x, 1);
}

static const hk_module_class flatten_class = {
    .name = "flatten", .shape = flatten_shape, .forward = flatten_forward, .passes_on = true};

hk_module *hk_flatten(hk_context *ctx) { return hk_module_create(ctx, &flatten_class, NULL); }

/* --- dropout of elements and of channels, alpha-dropout ---------------------------------------------------- */

typedef struct dropout {
    double p;
    hk_tensor *(*op)(hk_tensor *, double, const char *);
    char stream[160];
} dropout;

static hk_status dropout_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)m, (void)state;
    *out = in;
    return HK_OK;
}

/* The stream is named by the module's place among its like, "dropout/dropout0". */
static hk_status dropout_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    dropout *d = state;
    snprintf(d->stream, sizeof d->stream, "dropout/%s", m->stream);
    return dropout_shape(m, state, in, out);
}

static hk_tensor *dropout_forward(hk_module *m, void *state, hk_tensor *x) {
    const dropout *d = state;
    return m->training && d->p > 0 ? d->op(x, d->p, d->stream) : x;
}

static const hk_module_class dropout_class = {.name = "dropout",
                                              .state_size = sizeof(dropout),
                                              .build = dropout_build,
                                              .shape = dropout_shape,
                                              .forward = dropout_forward,
                                              .passes_on = true};
static const hk_module_class dropout2d_class = {.name = "dropout2d",
                                                .state_size = sizeof(dropout),
                                                .build = dropout_build,
                                                .shape = dropout_shape,
                                                .forward = dropout_forward,
                                                .passes_on = true};
static const hk_module_class alpha_dropout_class = {.name = "alpha_dropout",
                                                    .state_size = sizeof(dropout),
                                                    .build = dropout_build,
                                                    .shape = dropout_shape,
                                                    .forward = dropout_forward,
                                                    .passes_on = true};

static hk_module *create(hk_context *ctx, const hk_module_class *cls, dropout d) {
    if (!(d.p >= 0 && d.p < 1)) {
        hk_fail(ctx, HK_ERR_ARGUMENT, cls->name, "p must be in [0, 1), not %g", d.p);
        return NULL;
    }
    return hk_module_create(ctx, cls, &d);
}

hk_module *hk_dropout(hk_context *ctx, double p) {
    return create(ctx, &dropout_class, (dropout){.p = p, .op = hk_dropout_op});
}

hk_module *hk_dropout2d(hk_context *ctx, double p) {
    return create(ctx, &dropout2d_class, (dropout){.p = p, .op = hk_dropout2d_op});
}

hk_module *hk_alpha_dropout(hk_context *ctx, double p) {
    return create(ctx, &alpha_dropout_class, (dropout){.p = p, .op = hk_alpha_dropout_op});
}
