/* test_activation.c: values, accuracy, special values, names and facts of activations.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include <float.h>

/* --- the oracle against closed forms --------------------------------------------------------- */

static void oracle(void **state) {
    hk_context *ctx = *state;
    static const char *const names[] = {"identity", "relu",       "sigmoid",
                                        "tanh",     "leaky_relu", "prelu"};
    for (int64_t k = 0; k < COUNT(names); k++) {
        hk_activation_spec spec;
        must(hk_activation_parse(ctx, names[k], &spec));
        assert_string_equal(spec.info->name, names[k]);
        for (double x = -30.25; x < 31; x += 0.5) {
            const double s = k == 4 ? 0.01 : 0.25, sigmoid = 1 / (1 + exp(-x)), cosh_ = cosh(x);
            const double value[] = {
                x, x > 0 ? x : 0, sigmoid, sinh(x) / cosh_, x > 0 ? x : s * x, x > 0 ? x : s * x};
            const double slope[] = {
                1, x > 0, sigmoid / (1 + exp(x)), 1 / cosh_ / cosh_, x > 0 ? 1 : s, x > 0 ? 1 : s};
            assert_close(names[k], (int64_t)(4 * x), hk_activation_value(&spec, x), value[k],
                         1e-15 * fabs(value[k]));
            assert_close(names[k], (int64_t)(4 * x), hk_activation_slope(&spec, x), slope[k],
                         3e-16);
            if (spec.info->n_params == 0)
                assert_nan(names[k], 0, hk_activation_param_slope(&spec, 0, x));
            else
                assert_close(names[k], 0, hk_activation_param_slope(&spec, 0, x),
                             x > 0 || k == 1 ? 0 : x, 0);
        }
    }
    assert_null(hk_activation_row(ctx, -1));
    assert_null(hk_activation_row(ctx, 1000));
}

static void rows_are_complete(void **state) {
    (void)state;
    const hk_activation_info *row;
    for (int i = 0; (row = hk_activation_row(NULL, i)) != NULL; i++) {
        assert_non_null(row->name);
        assert_true(row->formula && *row->formula && row->derivative && *row->derivative);
        assert_in_range(row->n_params, 0, HK_ACTIVATION_MAX_PARAMS);
        for (int p = 0; p < row->n_params; p++) {
            assert_true(row->params[p].name && *row->params[p].name);
            assert_true(row->params[p].low <= row->params[p].value &&
                        row->params[p].value <= row->params[p].high);
        }
        for (int k = 0; k < i; k++)
            assert_string_not_equal(row->name, hk_activation_row(NULL, k)->name);
    }
}

/* --- accuracy in float, against double ------------------------------------------------------- */

enum { POINTS = 1 << 20 };

/* Half the points spread over the numbers, half over the representations: all exponents, both
   signs. */
static float point(int64_t i) {
    const hk_random stream = hk_random_stream(11, "ulp", 0);
    if (i % 2) return (float)(40 * hk_random_uniform(stream, (uint64_t)i) - 20);
    const uint32_t bits = hk_random_bits(stream, (uint64_t)i);
    float x;
    memcpy(&x, &bits, sizeof x);
    return isfinite(x) ? x : 1.0F;
}

/* The error in units of the last place of the right result; subnormal results count as zero. */
static double ulps(float got, double want) {
    if (fabs(want) < (double)FLT_MIN) return fabs((double)got) <= (double)FLT_MIN ? 0 : INFINITY;
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, exponent - 24);
}

static void accuracy(const char *name, double allowed) {
    float *x = malloc(POINTS * sizeof *x);
    double *want = malloc(POINTS * sizeof *want);
    assert_true(x && want);
    for (int64_t i = 0; i < POINTS; i++) {
        x[i] = point(i);
        const double v = (double)x[i], z = exp(-fabs(v));
        want[i] = *name == 't' ? tanh(v) : (v < 0 ? z : 1) / (1 + z);
    }
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(1, isa);
        const float *y =
            hk_tensor_data(hk_activate(hk_constant(ctx, HK_F32, HK_SHAPE(POINTS), x), name));
        assert_non_null(y);
        double worst = 0;
        for (int64_t i = 0; i < POINTS; i++) {
            const double u = ulps(y[i], want[i]);
            if (!(u <= worst)) worst = u;
            if (!(u <= allowed))
                fail_msg("%s(%.9g) on %s is %.9g, not %.9g: %.2f ulp", name, (double)x[i], isa,
                         (double)y[i], want[i], u);
        }
        print_message("%s on %s: at most %.3f ulp on %d points\n", name, isa, worst, POINTS);
        hk_context_destroy(ctx);
    }
    free(x);
    free(want);
}

static void sigmoid_within_3_ulp(void **state) {
    (void)state;
    accuracy("sigmoid", 3);
}

static void tanh_within_2_ulp(void **state) {
    (void)state;
    accuracy("tanh", 2);
}

static void special_values(void **state) {
    (void)state;
    const double inf = INFINITY,
                 x[] = {inf, -inf, 0.0, -0.0, 1e30, -1e30, 1e-30, -1e-30, 89, -89, 104, -104};
    enum { N = sizeof x / sizeof *x };
    static const struct {
        const char *text;
        double want[N];
    } cases[] = {
        {"identity",
         {INFINITY, -INFINITY, 0, -0.0, 1e30, -1e30, 1e-30, -1e-30, 89, -89, 104, -104}},
        {"relu", {INFINITY, 0, 0, 0, 1e30, 0, 1e-30, 0, 89, 0, 104, 0}},
        {"sigmoid", {1, 0, .5, .5, 1, 0, .5, .5, 1, 2.2273639e-39, 1, 6.8135568e-46}},
        {"tanh", {1, -1, 0, -0.0, 1, -1, 1e-30, -1e-30, 1, -1, 1, -1}},
        {"leaky_relu",
         {INFINITY, -INFINITY, 0, -0.0, 1e30, -1e28, 1e-30, -1e-32, 89, -.89, 104, -1.04}},
    };
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(1, isa);
        for (int64_t k = 0; k < 2 * COUNT(cases); k++) {
            const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
            const double *want = cases[k / 2].want, one_nan = NAN;
            const double *y =
                values(hk_activate(kept(ctx, dtype, HK_SHAPE(N), x), cases[k / 2].text));
            for (int i = 0; i < N; i++) {
                assert_close(cases[k / 2].text, i, y[i], want[i], 1e-37 + 1e-7 * fabs(want[i]));
                if (want[i] == 0 && signbit(want[i])) assert_true(signbit(y[i]));
            }
            y = values(hk_activate(kept(ctx, dtype, HK_SHAPE(1), &one_nan), cases[k / 2].text));
            assert_nan(cases[k / 2].text, 0, y[0]);
        }
        hk_context_destroy(ctx);
    }
}

/* --- names ----------------------------------------------------------------------------------- */

static void grammar(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, "leaky_relu:negative_slope=0.2", &spec));
    assert_close("negative_slope", 0, spec.value[0], 0.2, 0);
    assert_true(!spec.learns[0] && !spec.per_channel);
    must(hk_activation_parse(ctx, "prelu:per=channel:alpha=-5e-1:learn=no", &spec));
    assert_close("alpha", 0, spec.value[0], -0.5, 0);
    assert_true(!spec.learns[0] && spec.per_channel);
    must(hk_activation_parse(ctx, "prelu:learn=yes:per=layer", &spec));
    assert_close("alpha", 0, spec.value[0], 0.25, 0);
    assert_true(spec.learns[0] && !spec.per_channel);

    static const struct {
        const char *text;
        hk_status status;
        const char *words[3];
    } bad[] = {
        {"rleu", HK_ERR_NAME, {"unknown activation 'rleu'", "there are:", "relu"}},
        {"", HK_ERR_NAME, {"unknown activation ''", "identity", "sigmoid"}},
        {"Relu", HK_ERR_NAME, {"'Relu'", "tanh", "prelu"}},
        {"relu ", HK_ERR_NAME, {"'relu '", "tanh", "prelu"}},
        {"relu:", HK_ERR_NAME, {"relu has no setting ''", "there are: at_zero", ""}},
        {"relu:slope=1", HK_ERR_NAME, {"relu has no setting 'slope=1'", "at_zero", ""}},
        {"relu:learn=no", HK_ERR_NAME, {"relu has no setting 'learn=no'", "at_zero", ""}},
        {"prelu:beta=1", HK_ERR_NAME, {"prelu has no setting 'beta=1'", "alpha, learn, per", ""}},
        {"prelu:per=row", HK_ERR_NAME, {"'per=row'", "learn, per", ""}},
        {"prelu:alpha", HK_ERR_ARGUMENT, {"alpha must be a number", "not ''", ""}},
        {"prelu:alpha=", HK_ERR_ARGUMENT, {"alpha must be a number", "not ''", ""}},
        {"prelu:alpha=x", HK_ERR_ARGUMENT, {"alpha must be a number", "not 'x'", ""}},
        {"prelu:alpha=1x", HK_ERR_ARGUMENT, {"prelu", "not '1x'", ""}},
        {"prelu:alpha=nan", HK_ERR_ARGUMENT, {"prelu", "not 'nan'", ""}},
        {"prelu:alpha=inf", HK_ERR_ARGUMENT, {"prelu", "not 'inf'", ""}},
        {"prelu:alpha=1:alpha", HK_ERR_ARGUMENT, {"prelu", "not ''", ""}},
    };
    for (int64_t k = 0; k < COUNT(bad); k++) {
        assert_int_equal(hk_activation_parse(ctx, bad[k].text, &spec), bad[k].status);
        for (int w = 0; w < 3; w++)
            if (!strstr(hk_error_message(ctx), bad[k].words[w]))
                fail_msg("no '%s' in '%s'", bad[k].words[w], hk_error_message(ctx));
        hk_error_clear(ctx);
    }
    assert_int_equal(hk_activation_parse(ctx, NULL, &spec), HK_ERR_NAME);
    hk_error_clear(ctx);
    assert_int_equal(hk_activation_parse(NULL, "relu", &spec), HK_ERR_MEMORY);
    assert_null(hk_activate(NULL, "relu"));
    assert_null(hk_activate(hk_full(ctx, HK_F32, HK_SHAPE(2), 1), "no such"));
    expect_error(ctx, HK_ERR_NAME, "no such");
}

static void shapes_and_types(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, "prelu", &spec));
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(2, 3), -1),
              *alpha = hk_full(ctx, HK_F32, HK_SHAPE(4), 1);
    assert_null(hk_activate_with(x, &spec, &alpha));
    expect_error(ctx, HK_ERR_SHAPE, "[prelu]", "(2, 3)", "(4)");
    alpha = hk_full(ctx, HK_F32, HK_SHAPE(5, 2, 3), 1); /* would stretch x */
    assert_null(hk_activate_with(x, &spec, &alpha));
    expect_error(ctx, HK_ERR_SHAPE, "[prelu]", "(2, 3)", "(5, 2, 3)");
    alpha = hk_full(ctx, HK_F64, HK_SHAPE(3), 1);
    assert_null(hk_activate_with(x, &spec, &alpha));
    expect_error(ctx, HK_ERR_DTYPE, "[prelu]", "f32", "f64");
    assert_null(hk_activate(hk_full(ctx, HK_U8, HK_SHAPE(3), 1), "tanh"));
    expect_error(ctx, HK_ERR_DTYPE, "[tanh]", "u8");
    alpha = hk_full(ctx, HK_F32, HK_SHAPE(3), 0.5);
    assert_values("prelu", hk_activate_with(x, &spec, &alpha), 6,
                  (const double[]){-.5, -.5, -.5, -.5, -.5, -.5}, 0);
}

/* 1/sqrt(E f(z)²), from the table of properties of the specification. */
static void gains(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *text;
        double gain;
    } cases[] = {{"identity", 1.0},
                 {"relu", 1.414213562},
                 {"sigmoid", 1.846228545},
                 {"tanh", 1.59253742},
                 {"leaky_relu:negative_slope=0.01", 1.414142857},
                 {"leaky_relu:negative_slope=0.2", 1.386750491},
                 {"prelu:alpha=0.25", 1.371988681},
                 {"prelu:alpha=-0.5", 1.264911064}};
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_activation_spec spec;
        must(hk_activation_parse(ctx, cases[k].text, &spec));
        assert_close(cases[k].text, 0, hk_activation_gain(ctx, &spec), cases[k].gain, 2e-9);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(oracle, setup, teardown),
        cmocka_unit_test(rows_are_complete),
        cmocka_unit_test(sigmoid_within_3_ulp),
        cmocka_unit_test(tanh_within_2_ulp),
        cmocka_unit_test(special_values),
        cmocka_unit_test_setup_teardown(grammar, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes_and_types, setup, teardown),
        cmocka_unit_test_setup_teardown(gains, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
