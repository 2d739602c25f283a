/* test_units.c: dead, dormant, constant and saturated units of nets made by hand, where each is known.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "units_fixture.h"

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

/* 0: lives, on the edge of saturation; 1: stuck at 1; 2: always the same 0.5; 3: stuck at 0. None is dead: f' = 1e-6 is
   z = 13.8. 4 is. */
static void sigmoid_units(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    const double w[5] = {2.9, 1, 0, 1, 1}, b[5] = {0, 6, 0, -6, -20};
    hk_units *units = hk_units_create(ladder(ctx, "sigmoid", 5, w, b), NULL);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->dead, 1);
    assert_int_equal(l->dead_by_bias, 1);
    assert_int_equal(l->zero, 0);
    assert_int_equal(l->constant, 2); /* 2, and 4, whose values are below 1e-8 */
    assert_int_equal(l->saturated, 3);
    assert_int_equal(l->saturated_left, 2);
    assert_int_equal(l->saturated_right, 1);
    assert_true(hk_units_at(units, 0, 1)->saturated_right);
    assert_true(hk_units_at(units, 0, 2)->constant && hk_units_at(units, 0, 2)->std == 0);
    assert_true(hk_units_at(units, 0, 3)->saturated_left);
    assert_true(hk_units_at(units, 0, 4)->dead && hk_units_at(units, 0, 4)->dormant);
    assert_true(fabs(hk_units_at(units, 0, 2)->max_slope - 0.25) < 1e-15);
    assert_true(l->zero_share == 0);
    hk_context_destroy(ctx);
}

/* 0 left, 1 right, 2 both sides, 3 exactly as often as the bound allows, 4 alive. */
static void tanh_units(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    const double w[5] = {1, 1, 100, 1, 1}, b[5] = {-4, 4, 50, 0, 0};
    const hk_units_config config = {.saturated = 0.5};
    hk_units *units = hk_units_create(ladder(ctx, "tanh", 5, w, b), &config);
    const double x[4] = {-1, -0.5 - 0.25, 1, 0.75};
    add(units, ctx, HK_SHAPE(4, 1), x);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->saturated, 3);
    assert_int_equal(l->saturated_left, 1);
    assert_int_equal(l->saturated_right, 1);
    assert_true(hk_units_at(units, 0, 0)->saturated_left);
    assert_true(hk_units_at(units, 0, 1)->saturated_right);
    const hk_unit *both = hk_units_at(units, 0, 2);
    assert_true(both->saturated && !both->saturated_left && !both->saturated_right);
    assert_int_equal(l->dead, 1); /* unit 2: even z = -25 is too far */
    assert_true(both->dead && !both->constant && both->max < 1.0000001 && both->min > -1.0000001);
    /* A share of exactly the bound is not above it. */
    const double edge[4] = {3, -3, 0, 0.1};
    hk_units *half = hk_units_create(ladder(ctx, "tanh", 1, (double[]){1}, (double[]){0}), &config);
    add(half, ctx, HK_SHAPE(4, 1), edge);
    assert_int_equal(only_layer(half)->saturated, 0);
    hk_context_destroy(ctx);
}

/* Mean |h| is 0.25 to 1.75 by unit, the layer's 1: so are the scores. */
static void dormant_at_the_bound(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    const double w[4] = {0.25, 0.5, 1.5, 1.75}, b[4] = {0};
    const double x[4] = {-1, 1, 1, -1};
    for (int i = 0; i < 3; i++) {
        const hk_units_config config = {.tau = (const double[]){0.5, 0.499999, 0.025}[i]};
        hk_units *units = hk_units_create(ladder(ctx, "identity", 4, w, b), &config);
        add(units, ctx, HK_SHAPE(4, 1), x);
        const hk_units_layer *l = only_layer(units);
        assert_int_equal(l->dormant, 2 - i);
        assert_int_equal(l->dormant_mean_free, l->dormant);
        for (int k = 0; k < 4; k++) {
            assert_true(fabs(hk_units_at(units, 0, k)->score - w[k]) < 1e-15);
            assert_true(fabs(hk_units_at(units, 0, k)->score_mean_free - w[k]) < 1e-15);
        }
        assert_int_equal(l->saturated, 0);
        assert_int_equal(l->dead, 0);
        hk_units_destroy(units);
    }
    hk_context_destroy(ctx);
}

/* A large constant hides a dormant unit from the score, but not from the mean-free one; constants are not dormant. */
static void mean_free_and_constant(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    const double w[3] = {1, 1e-3, 0}, b[3] = {5, 5, 5};
    hk_units *units = hk_units_create(ladder(ctx, "leaky_relu", 3, w, b), NULL);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->dormant, 0);
    assert_int_equal(l->dormant_mean_free, 2);
    assert_int_equal(l->constant, 1);
    assert_int_equal(l->dead, 0);
    assert_true(hk_units_at(units, 0, 2)->constant);
    assert_true(hk_units_at(units, 0, 2)->mean == 5 && hk_units_at(units, 0, 2)->std == 0);
    assert_true(fabs(hk_units_at(units, 0, 0)->std - sqrt(0.4)) < 1e-14);
    double sum = 0;
    for (int k = 0; k < 3; k++) sum += hk_units_at(units, 0, k)->score;
    assert_true(fabs(sum / 3 - 1) < 1e-15);
    hk_context_destroy(ctx);
}

static void layer_of_zeros(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    const double w[3] = {1, 2, 3}, b[3] = {-9, -9, -9};
    const hk_units_config exact = {.tau = -1};
    hk_units *units = hk_units_create(ladder(ctx, "relu", 3, w, b), &exact);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->dead, 3);
    assert_int_equal(l->zero, 3);
    assert_int_equal(l->constant, 3);
    assert_int_equal(l->dormant, 3);
    assert_int_equal(l->dormant_mean_free, 3);
    assert_true(l->zero_share == 1);
    assert_true(hk_units_at(units, 0, 0)->score == 0);
    hk_context_destroy(ctx);
}

/* gelu's slope fades, but is never 0 for a double so near: dead by 1e-6, unless asked exactly. A relu is dead at 0. */
static void thresholds_of_slopes(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    const double w[3] = {0.1, 0.1, 0.1}, b[3] = {-5.2, -5.6, 0};
    const struct {
        const char *activation;
        double slope;
        int dead;
    } c[] = {{"gelu", 0, 1},      {"gelu", -1, 0},         {"gelu", 1e-4, 2},
             {"relu", 0, 2},      {"leaky_relu", 0, 0},    {"leaky_relu", 0.01, 2},
             {"silu", 0, 0},      {"elu", 0, 0},           {"elu", 0.01, 2},
             {"hard_tanh", 0, 2}, {"prelu:alpha=0", 0, 2}, {"hard_swish", 0, 2}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const hk_units_config config = {.slope = c[i].slope};
        hk_units *units = hk_units_create(ladder(ctx, c[i].activation, 3, w, b), &config);
        add(units, ctx, HK_SHAPE(N_X, 1), between);
        const int64_t dead = only_layer(units)->dead;
        if (dead != c[i].dead)
            fail_msg("%s: %d dead, not %d", c[i].activation, (int)dead, c[i].dead);
        hk_units_destroy(units);
    }
    hk_context_destroy(ctx);
}

/* The threshold as first written, at the linear layer: it passes over every dead relu, and takes a quiet one that lives. */
static void classic_threshold(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    enum { N = 50 };
    double w[N], b[N];
    for (int k = 0; k < N; k++) w[k] = 1, b[k] = k < 40 ? -2 - k : 0;
    for (int k = 40; k < 43; k++) w[k] = 0.009;
    hk_units *units = hk_units_create(ladder(ctx, "relu", N, w, b), NULL);
    add(units, ctx, HK_SHAPE(N_X, 1), between);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->dead, 40);
    assert_int_equal(l->quiet, 3);
    hk_context_destroy(ctx);
}

/* --- rounds --------------------------------------------------------------------------------------------------- */

static void transitions(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    const double w[4] = {1, 1, 1, 1},
                 rounds[4][4] = {{0, 0, -5, -5}, {-5, 0, -5, 0}, {-5, -5, -5, -5}, {0, 0, 0, 0}};
    const int died[4] = {-1, 1, 2, 0}, revived[4] = {-1, 1, 0, 4}, dead[4] = {2, 2, 4, 0};
    hk_module *net = ladder(ctx, "relu", 4, w, rounds[0]);
    hk_units *units = hk_units_create(net, NULL);
    assert_int_equal(hk_units_count(units), 0);
    assert_null(hk_units_layer_at(units, 0));
    for (int r = 0; r < 4; r++) {
        for (int k = 0; k < 4; k++) set(net, "0.bias", k, rounds[r][k]);
        add(units, ctx, HK_SHAPE(N_X, 1), between);
        const hk_units_layer *l = only_layer(units);
        assert_int_equal(l->dead, dead[r]);
        assert_int_equal(l->died, died[r]);
        assert_int_equal(l->revived, revived[r]);
        assert_int_equal(l->samples, N_X);
    }
    hk_context_destroy(ctx);
}

/* --- images ---------------------------------------------------------------------------------------------------- */

/* One convolution of 1 x 1: z is the image, or 0.5 - image, or -1 everywhere. */
static void positions_by_hand(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net =
        hk_sequential(ctx, hk_conv2d(ctx, 1, 3, (hk_pair){1, 1}, NULL), hk_activation(ctx, "relu"));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 2, 3), NULL), HK_OK);
    const double w[3] = {1, -1, 0}, b[3] = {0, 0.5, -1};
    for (int k = 0; k < 3; k++) set(net, "0.weight", k, w[k]), set(net, "0.bias", k, b[k]);
    const double image[2][6] = {{0, 1, 0, 1, 0, 0}, {0, 0, 2, 1, 0, 0.25}};
    hk_units *units = hk_units_create(net, NULL);
    add(units, ctx, HK_SHAPE(1, 1, 2, 3), image[0]);
    add(units, ctx, HK_SHAPE(1, 1, 2, 3), image[1]);
    const hk_units_layer *l = only_layer(units);
    assert_int_equal(l->units, 3);
    assert_int_equal(l->positions, 6);
    assert_int_equal(l->samples, 2);
    assert_int_equal(l->dead, 1);
    assert_int_equal(l->dead_by_bias, 1);
    /* channel 0: positions 0 and 4; channel 1: position 3; channel 2: all six */
    assert_int_equal(l->dead_positions, 9);
    assert_int_equal(l->zero, 1);
    /* zeros: 7 of image, of 0.5 - image where image is 1 or 2: 4, and all 12 */
    assert_true(l->zero_share == (7 + 4 + 12) / 36.0);
    const hk_unit *u = hk_units_at(units, 0, 0);
    assert_true(fabs(u->mean - 5.25 / 12) < 1e-15 && u->max == 2 && u->min == 0);
    /* A round knows nothing of the one before, but for what died. */
    add(units, ctx, HK_SHAPE(1, 1, 2, 3), (const double[6]){0});
    l = only_layer(units);
    assert_int_equal(l->dead_positions, 12);
    assert_int_equal(l->dead, 2);
    assert_int_equal(l->died, 1);
    assert_int_equal(l->revived, 0);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu_units),
        cmocka_unit_test(sigmoid_units),
        cmocka_unit_test(tanh_units),
        cmocka_unit_test(dormant_at_the_bound),
        cmocka_unit_test(mean_free_and_constant),
        cmocka_unit_test(layer_of_zeros),
        cmocka_unit_test(thresholds_of_slopes),
        cmocka_unit_test(classic_threshold),
        cmocka_unit_test(transitions),
        cmocka_unit_test(positions_by_hand),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
