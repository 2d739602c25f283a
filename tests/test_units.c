/* test_units.c: dead, dormant, constant and saturated units of nets made by hand, where each is known.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 */
#include "net_fixture.h"

#include "hk_units.h"

/* --- nets and images made by hand ------------------------------------------------------------------------- */

static void set(hk_module *net, const char *name, int64_t i, double value) {
    hk_tensor *t = hk_module_find(net, name);
    assert_non_null(t);
    if (t->dtype == HK_F64)
        ((double *)t->data)[i] = value;
    else
        ((float *)t->data)[i] = (float)value;
}

/* 1 - units - 1 with an activation in between: z[k] = w[k]·x + b[k]. */
static hk_module *ladder(hk_context *ctx, const char *activation, int64_t units, const double *w,
                         const double *b) {
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
static void add(hk_units *units, hk_context *ctx, hk_shape shape, const double *x) {
    hk_tensor *t = hk_full(ctx, ctx->config.dtype, shape, 0);
    for (int64_t i = 0; i < hk_shape_count(shape); i++)
        if (t->dtype == HK_F64)
            ((double *)t->data)[i] = x[i];
        else
            ((float *)t->data)[i] = (float)x[i];
    assert_int_equal(hk_units_add(units, t), HK_OK);
    assert_int_equal(hk_step_end(ctx), HK_OK);
}

static const hk_units_layer *only_layer(hk_units *units) {
    assert_int_equal(hk_units_end(units), HK_OK);
    assert_int_equal(hk_units_count(units), 1);
    return hk_units_layer_at(units, 0);
}

#define N_X 11
static const double between[N_X] = {-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1};

/* --- categories --------------------------------------------------------------------------------------------- */

/* Unit 0 lives; 1 is dead by its bias; 2 is dead by its bias, but not by 3 deviations; 3 has |z| < 0.01 yet lives; 4 is
   constant and lives. */
static void relu_units(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    const double w[5] = {1, 1, 1, 0.005, 0}, b[5] = {0, -5, -1.5, 0, 0.5};
    hk_units *units = hk_units_create(ladder(ctx, "relu", 5, w, b), NULL);
    assert_ok(ctx);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    const hk_units_layer *l = only_layer(units);
    assert_string_equal(l->name, "1");
    assert_string_equal(l->activation, "relu");
    assert_int_equal(l->units, 5);
    assert_int_equal(l->positions, 1);
    assert_int_equal(l->samples, N_X);
    assert_int_equal(l->dead, 2);
    assert_int_equal(l->zero, 2);
    assert_int_equal(l->dead_by_bias, 1);
    assert_int_equal(l->constant, 3);
    assert_int_equal(l->quiet, 1);
    assert_int_equal(l->saturated_left, 2);
    assert_int_equal(l->saturated_right, 0);
    assert_int_equal(l->died, -1);
    assert_int_equal(l->dead_positions, 0);
    assert_true(fabs(l->zero_share - (2.0 * N_X + 6 + 6) / (5 * N_X)) < 1e-12);
    assert_true(hk_units_at(units, 0, 1)->dead && hk_units_at(units, 0, 2)->dead);
    assert_true(hk_units_at(units, 0, 4)->constant && !hk_units_at(units, 0, 4)->dead);
    assert_true(hk_units_at(units, 0, 0)->max_slope == 1);
    assert_null(hk_units_at(units, 0, 5));
    assert_null(hk_units_at(units, 1, 0));
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu_units),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
