/* units_fixture.h: nets made by hand, for the tests of units.
   SPDX-License-Identifier: MIT */
#ifndef HK_UNITS_FIXTURE_H
#define HK_UNITS_FIXTURE_H

#include "net_fixture.h"

#include "hk_units.h"

static inline void set(hk_module *net, const char *name, int64_t i, double value) {
    hk_tensor *t = hk_module_find(net, name);
    assert_non_null(t);
    element_put(t, i, value);
}

/* 1 - units - 1 with an activation in between: z[k] = w[k]·x + b[k]. */
static inline hk_module *ladder(hk_context *ctx, const char *activation, int64_t units,
                                const double *w, const double *b) {
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 1, units), hk_activation(ctx, activation),
                                   hk_linear(ctx, units, 1));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1), NULL), HK_OK);
    for (int64_t k = 0; k < units; k++) {
        set(net, "0.weight", k, w[k]);
        set(net, "0.bias", k, b[k]);
    }
    return net;
}

/* Adds x, of `count` values as (rows, count / rows), and ends the step. */
static inline void add(hk_units *units, hk_context *ctx, hk_shape shape, const double *x) {
    hk_tensor *t = hk_full(ctx, ctx->config.dtype, shape, 0);
    for (int64_t i = 0; i < hk_shape_count(shape); i++) element_put(t, i, x[i]);
    assert_int_equal(hk_units_add(units, t), HK_OK);
    assert_int_equal(hk_step_end(ctx), HK_OK);
}

static inline const hk_units_layer *only_layer(hk_units *units) {
    assert_int_equal(hk_units_end(units), HK_OK);
    assert_int_equal(hk_units_count(units), 1);
    return hk_units_layer_at(units, 0);
}

enum { N_X = 11 };
static const double between[N_X] = {-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1};

#endif
