/* test_units_kinds.c: units of nets of several kinds, and bad use.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "units_fixture.h"

/* A norm, dropout in training mode and a way around: the linear layer is found behind the norm alone. */
static void norms_dropout_and_ways_around(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *body = hk_sequential(ctx, hk_linear(ctx, 4, 4), hk_dropout(ctx, 0.5),
                                    hk_activation(ctx, "relu"), hk_linear(ctx, 4, 4));
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 2, 4), hk_batch_norm1d(ctx, NULL),
                                   hk_activation(ctx, "relu"), hk_residual(ctx, body, NULL),
                                   hk_activation(ctx, "relu"), hk_linear(ctx, 4, 3),
                                   hk_activation(ctx, "softmax"));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2), NULL), HK_OK);
    for (int k = 0; k < 4; k++) set(net, "1.bias", k, k < 3 ? -100 : 0);
    for (int k = 0; k < 8; k++) set(net, "0.weight", k, k < 6 ? 0.001 : 1);
    hk_units *units = hk_units_create(net, NULL);
    const double x[6] = {1, 2, -1, 0.5, 0.25, -2};
    add(units, ctx, HK_SHAPE(3, 2), x);
    assert_int_equal(hk_units_end(units), HK_OK);
    assert_int_equal(hk_units_count(units), 4);
    const char *names[4] = {"2", "3.body.2", "4", "6"};
    for (int i = 0; i < 4; i++) assert_string_equal(hk_units_layer_at(units, i)->name, names[i]);
    const hk_units_layer *l = hk_units_layer_at(units, 0);
    assert_int_equal(l->dead, 3);
    assert_int_equal(l->quiet, 3);
    assert_int_equal(l->dead_by_bias, -1);
    assert_true(hk_units_layer_at(units, 1)->dead_by_bias >= 0);
    assert_int_equal(hk_units_layer_at(units, 2)->quiet, -1);
    assert_int_equal(hk_units_layer_at(units, 2)->dead_by_bias, -1);
    l = hk_units_layer_at(units, 3);
    assert_int_equal(l->units, 3);
    assert_int_equal(l->dead, -1);
    assert_int_equal(l->saturated + l->saturated_left + l->saturated_right, -3);
    assert_int_equal(l->dead_positions, -1);
    assert_int_equal(l->zero, 0);
    assert_true(isnan(hk_units_at(units, 3, 0)->max_slope));
    assert_int_equal(hk_units_end(units), HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "nothing was added");
    hk_context_destroy(ctx);
}

/* One relu behind two layers is two places; one layer and its relu, run twice, is one. */
static void shared_modules(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *relu = hk_activation(ctx, "relu"), *linear = hk_linear(ctx, 3, 3);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 3, 3), relu, linear, relu, linear, relu);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), NULL), HK_OK);
    for (int k = 0; k < 9; k++) set(net, "2.weight", k, k % 4 == 0 ? 1 : 0);
    /* Unit 1 is 0 the first time, and 1 the second; unit 2 is 0 at both. */
    set(net, "2.bias", 2, -50);
    for (int k = 0; k < 9; k++) set(net, "0.weight", k, k % 4 == 0 ? 1 : 0);
    set(net, "0.bias", 1, -20);
    hk_units *units = hk_units_create(net, NULL);
    const double x[6] = {1, 2, 3, 3, 2, 1};
    add(units, ctx, HK_SHAPE(2, 3), x);
    assert_int_equal(hk_units_end(units), HK_OK);
    assert_int_equal(hk_units_count(units), 2);
    assert_string_equal(hk_units_layer_at(units, 0)->name, "1");
    assert_string_equal(hk_units_layer_at(units, 1)->name, "1#2");
    assert_int_equal(hk_units_layer_at(units, 0)->dead, 1);
    assert_int_equal(hk_units_layer_at(units, 1)->dead, 2);
    assert_int_equal(hk_units_layer_at(units, 1)->samples, 2);
    assert_true(hk_units_at(units, 1, 0)->mean == 2);
    hk_context_destroy(ctx);
}

/* (n, t, features): units are features behind a linear layer. A lone activation has axis 1. */
static void more_axes(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 2, 3), hk_activation(ctx, "relu"));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4, 2), NULL), HK_OK);
    set(net, "0.bias", 1, -100);
    hk_units *units = hk_units_create(net, NULL);
    double x[16];
    for (int i = 0; i < 16; i++) x[i] = i % 5 - 2;
    add(units, ctx, HK_SHAPE(2, 4, 2), x);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->units, 3);
    assert_int_equal(l->positions, 1);
    assert_int_equal(l->samples, 2);
    assert_true(hk_units_at(units, 0, 1)->dead);

    hk_module *alone = hk_activation(ctx, "relu");
    assert_int_equal(hk_module_build(alone, HK_SHAPE(-1, 4, 2), NULL), HK_OK);
    units = hk_units_create(alone, NULL);
    add(units, ctx, HK_SHAPE(2, 4, 2), x);
    l = only_layer(units);
    assert_string_equal(l->name, "");
    assert_int_equal(l->units, 4);
    assert_int_equal(l->positions, 2);
    assert_int_equal(l->quiet, -1);
    hk_context_destroy(ctx);
}

/* --- bad use ----------------------------------------------------------------------------------------------------- */

static void bad_use(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    assert_null(hk_units_create(NULL, NULL));
    assert_int_equal(hk_units_add(NULL, NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_units_end(NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_units_count(NULL), 0);
    assert_null(hk_units_layer_at(NULL, 0));
    assert_null(hk_units_at(NULL, 0, 0));
    hk_units_destroy(NULL);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 1, 2), hk_activation(ctx, "relu"));
    assert_null(hk_units_create(net, NULL));
    expect_error(ctx, HK_ERR_STATE, "build the module first");
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1), NULL), HK_OK);
    assert_null(hk_units_create(hk_module_child_at(net, 1), NULL));
    expect_error(ctx, HK_ERR_STATE, "root of the tree");
    hk_module *linear = hk_linear(ctx, 1, 2);
    assert_int_equal(hk_module_build(linear, HK_SHAPE(-1, 1), NULL), HK_OK);
    assert_null(hk_units_create(linear, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "no activation module");
    const hk_units_config wrong[] = {{.saturation = -1}, {.saturation = 1.5}, {.saturated = 1},
                                     {.saturated = NAN}, {.tau = NAN},        {.slope = NAN},
                                     {.threshold = -1},  {.threshold = NAN}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(hk_units_create(net, &wrong[i]));
        expect_error(ctx, HK_ERR_ARGUMENT, i < 4 ? "saturat" : "threshold");
    }
    hk_units *units = hk_units_create(net, NULL);
    assert_int_equal(hk_units_end(units), HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "nothing was added");
    assert_int_equal(hk_units_add(units, NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "a batch");
    hk_context_destroy(ctx);
}

/* The network is destroyed first: what was counted stays, counting ends. */
static void net_goes_first(void **state) {
    (void)state;
    const double w[] = {1, -1}, b[] = {0, -3};
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = ladder(ctx, "relu", 2, w, b);
    hk_units *units = hk_units_create(net, NULL);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    assert_int_equal(only_layer(units)->dead, 1);
    hk_module_destroy(net);
    assert_int_equal(hk_units_layer_at(units, 0)->dead, 1);
    assert_int_equal(hk_units_add(units, normal(ctx, "x", HK_SHAPE(2, 1))), HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "the network was destroyed");
    assert_int_equal(hk_units_end(units), HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "the network was destroyed");
    hk_units_destroy(units);
    hk_context_destroy(ctx);
}

/* After an add that failed everything is as before, and the round begins anew. */
static void after_an_error(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    const double w[2] = {1, 1}, b[2] = {0, -5};
    hk_module *net = ladder(ctx, "relu", 2, w, b);
    hk_module_train(hk_module_child_at(net, 1), false);
    hk_units *units = hk_units_create(net, NULL);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    assert_int_not_equal(hk_units_add(units, hk_full(ctx, HK_F32, HK_SHAPE(3, 7), 0)), HK_OK);
    expect_error(ctx, HK_ERR_SHAPE, "");
    assert_true(hk_module_is_training(net) && hk_module_is_training(hk_module_child_at(net, 0)));
    assert_false(hk_module_is_training(hk_module_child_at(net, 1)));
    assert_true(hk_buffers_enabled(ctx));
    assert_true(hk_grad_enable(ctx, true));
    assert_int_equal(hk_step_end(ctx), HK_OK);
    add(units, ctx, HK_SHAPE(4, 1), between);
    assert_int_equal(only_layer(units)->samples, 4);
    assert_int_equal(hk_units_layer_at(units, 0)->dead, 2);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_dropout_and_ways_around),
        cmocka_unit_test(shared_modules),
        cmocka_unit_test(more_axes),
        cmocka_unit_test(bad_use),
        cmocka_unit_test(net_goes_first),
        cmocka_unit_test(after_an_error),
    };
    return cmocka_run_group_tests_name("units of kinds of nets", tests, NULL, NULL);
}
