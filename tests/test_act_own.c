/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_act_own.c: activations that a user defines: their names work everywhere, wrong derivatives
   do not pass.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"
#include "hk_layers.h"

/* wave(x; a, b) = a·x·e^(-x²) + sin(bx) */
static double wave(double x, const double *p) { return p[0] * x * exp(-x * x) + sin(p[1] * x); }
static double wave_slope(double x, const double *p) {
    return p[0] * (1 - 2 * x * x) * exp(-x * x) + p[1] * cos(p[1] * x);
}
static void wave_params(double x, const double *p, double *d) {
    d[0] = x * exp(-x * x);
    d[1] = x * cos(p[1] * x);
}

static const hk_activation_info wave_info = {
    .name = "wave",
    .formula = "a x exp(-x^2) + sin(b x)",
    .derivative = "a (1 - 2x^2) exp(-x^2) + b cos(b x)",
    .source = "nobody",
    .n_params = 2,
    .params = {{"a", 0.5, -10, 10, .role = HK_PARAM_LEARNS},
               {"b", 1.25, 0, 4, .role = HK_PARAM_CAN_LEARN}}};
static const hk_activation_functions wave_functions = {wave, wave_slope, wave_params};

static void define_wave(hk_context *ctx) {
    if (hk_activation_define(ctx, &wave_info, &wave_functions) != HK_OK)
        fail_msg("%s", hk_error_message(ctx));
}

static int setup_f64(void **state) {
    const hk_context_config config = {.threads = 2, .seed = 1, .dtype = HK_F64};
    *state = test_context(&config);
    assert_ok(*state);
    return 0;
}

/* --- its name -------------------------------------------------------------------------------- */

static void values_by_name(void **state) {
    hk_context *ctx = *state;
    define_wave(ctx);
    for (int f64 = 0; f64 < 2; f64++)
        for (int v = 0; v < VIEWS; v++) {
            const hk_shape shape = {3, {3, 17, 5}};
            hk_tensor *source = seeded(ctx, f64 ? HK_F64 : HK_F32, view_source((view)v, shape), "x",
                                       -3, 3, 0),
                      *x = view_of((view)v, source, shape), *y = hk_activate(x, "wave:b=2");
            const double *in = values(x), *out = values(y), p[] = {0.5, 2};
            assert_shape(y, shape);
            for (int i = 0; i < 3 * 17 * 5; i++)
                assert_close("wave", i, out[i], wave(in[i], p), f64 ? 0 : 1e-7);
        }
    const double special[] = {NAN, INFINITY, 0};
    const double *y = values(hk_activate(kept(ctx, HK_F32, HK_SHAPE(3), special), "wave"));
    assert_nan("wave", 0, y[0]);
    assert_nan("wave", 1, y[1]); /* the functions decide: ∞·0 */
    assert_close("wave", 2, y[2], 0, 0);
}

static void facts(void **state) {
    hk_context *ctx = *state;
    int rows = 0;
    while (hk_activation_row(ctx, rows)) rows++;
    define_wave(ctx);
    const hk_activation_info *row = hk_activation_row(ctx, rows);
    assert_non_null(row);
    assert_null(hk_activation_row(ctx, rows + 1));
    assert_null(hk_activation_row(NULL, rows)); /* the library's rows alone */
    assert_string_equal(row->name, "wave");
    assert_string_equal(row->formula, wave_info.formula);
    assert_string_equal(row->derivative, wave_info.derivative);
    assert_string_equal(row->source, "nobody");
    assert_string_equal(row->params[1].name, "b");
    assert_ptr_not_equal(row->name, wave_info.name); /* copied */
    assert_int_equal(row->kind, HK_ACTIVATION_OWN);
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, "wave:a=-2:learn=yes", &spec));
    assert_true(spec.learns[0] && spec.learns[1]);
    must(hk_activation_parse(ctx, "wave:a=-2", &spec));
    assert_true(spec.learns[0] && !spec.learns[1]);
    assert_close("value", 0, hk_activation_value(&spec, 0.5), wave(0.5, spec.value), 0);
    assert_close("slope", 0, hk_activation_slope(&spec, 0.5), wave_slope(0.5, spec.value), 0);
    assert_close("by a", 0, hk_activation_param_slope(&spec, 0, 0.5), 0.5 * exp(-0.25), 0);
    assert_close("by b", 0, hk_activation_param_slope(&spec, 1, 0.5), 0.5 * cos(0.625), 1e-16);
    assert_nan("by c", 0, hk_activation_param_slope(&spec, 2, 0.5));
    assert_int_equal(hk_activation_exponentials(&spec, false), 0);
    assert_int_equal(hk_activation_widens(&spec), 1);
    hk_context *other = new_context(1, NULL);
    assert_int_equal(hk_activation_parse(other, "wave", &spec), HK_ERR_NAME);
    hk_context_destroy(other);
}

static void refused_settings(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    define_wave(ctx);
    assert_int_equal(hk_activation_parse(ctx, "wave:b=5", &spec), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "wave: b must be a number from 0 to 4, not '5'");
    assert_int_equal(hk_activation_parse(ctx, "wave:c=5", &spec), HK_ERR_NAME);
    expect_error(ctx, HK_ERR_NAME,
                 "wave has no setting 'c=5'; there are: a, b, learn=yes|no, per=layer|channel");
    assert_int_equal(hk_activation_parse(ctx, "wav", &spec), HK_ERR_NAME);
    expect_error(ctx, HK_ERR_NAME, "unknown activation 'wav'", ", mix, wave");
    hk_tensor *bytes = hk_full(ctx, HK_U8, HK_SHAPE(3), 1);
    assert_null(hk_activate(bytes, "wave"));
    expect_error(ctx, HK_ERR_DTYPE, "[wave]", "u8");
}

/* The same function as a row: the same moments and gain. */
static double own_silu(double x, const double *p) { return (void)p, x / (1 + exp(-x)); }
static double own_silu_slope(double x, const double *p) {
    const double s = 1 / (1 + exp(-x));
    return (void)p, s * (1 + x * (1 - s));
}

static void gain(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec own, row;
    must(hk_activation_define(ctx, &(hk_activation_info){.name = "my_silu"},
                              &(hk_activation_functions){own_silu, own_silu_slope, NULL}));
    must(hk_activation_parse(ctx, "my_silu", &own));
    must(hk_activation_parse(ctx, "silu", &row));
    assert_close("gain", 0, hk_activation_gain(ctx, &own), hk_activation_gain(ctx, &row), 1e-14);
    for (int m = HK_MEAN; m <= HK_SLOPE_MOMENT; m++)
        assert_close("moment", m, hk_activation_expectation(&own, (hk_activation_moment)m),
                     hk_activation_expectation(&row, (hk_activation_moment)m), 1e-14);
}

/* max(0, x - 0.3): its kink lies between the nodes of the quadrature. */
static double shifted(double x, const double *p) { return (void)p, x > 0.3 ? x - 0.3 : 0; }
static double shifted_slope(double x, const double *p) { return (void)p, x > 0.3 ? 1 : 0; }

static void moments_with_a_kink(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    const hk_activation_info info = {.name = "shifted", .kinks = {0.3}, .n_kinks = 1};
    must(
        hk_activation_define(ctx, &info, &(hk_activation_functions){shifted, shifted_slope, NULL}));
    must(hk_activation_parse(ctx, "shifted", &spec));
    const double above = 0.5 * erfc(0.3 / sqrt(2)), phi = exp(-0.045) / 2.50662827463100050242;
    assert_close("mean", 0, hk_activation_expectation(&spec, HK_MEAN), phi - 0.3 * above, 1e-14);
    assert_close("slope", 0, hk_activation_expectation(&spec, HK_SLOPE_MOMENT), above, 1e-14);
    assert_close("gain", 0, hk_activation_gain(ctx, &spec), 1 / sqrt(1.09 * above - 0.3 * phi),
                 1e-12);
}

/* --- gradients ------------------------------------------------------------------------------- */

static hk_tensor *apply(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    hk_activation_spec spec;
    hk_tensor *p[HK_ACTIVATION_MAX_PARAMS] = {NULL};
    must(hk_activation_parse(ctx, "wave", &spec));
    for (int k = 1; k < n; k++) p[k - 1] = in[k];
    return hk_activate_with(view_of(*(view *)arg, in[0], (hk_shape){3, {2, 5, 3}}), &spec, p);
}

static void gradients(void **state) {
    hk_context *ctx = *state;
    static const hk_shape own[] = {{0, {0}}, {1, {1}}, {2, {5, 1}}, {3, {2, 5, 3}}, {3, {2, 1, 1}}};
    define_wave(ctx);
    for (int v = 0; v < VIEWS; v++)
        for (int64_t s = 0; s < COUNT(own); s++)
            for (int n = 1; n <= 3; n++) {
                view way = (view)v;
                hk_tensor *in[] = {
                    seeded(ctx, HK_F64, view_source(way, (hk_shape){3, {2, 5, 3}}), "x", -2, 2, 0),
                    seeded(ctx, HK_F64, own[s], "a", 0, 1, 0),
                    seeded(ctx, HK_F64, own[s], "b", 1, 2, 0)};
                const bool fixed[] = {true, false, false};
                assert_gradient(ctx, "wave", apply, &way, n, in, NULL);
                if (n > 1) assert_gradient(ctx, "wave, x fixed", apply, &way, n, in, fixed);
                for (int k = 0; k < 3; k++) hk_tensor_destroy(in[k]);
            }
}

static void check_module(hk_context *ctx, const char *text, hk_shape shape, int parameters,
                         hk_shape own) {
    hk_module *m = hk_activation(ctx, text);
    must(hk_module_build(m, shape, NULL));
    const hk_parameters all = hk_module_parameters(m);
    hk_tensor *x = seeded(ctx, HK_F64, shape, text, -2, 2, 0);
    hk_gradcheck_result result;
    assert_int_equal(all.count, parameters);
    for (int k = 0; k < all.count; k++)
        if (own.rank > 0) assert_shape(all.items[k], own);
    if (hk_gradcheck_module(m, x, NULL, &result) != HK_OK)
        fail_msg("%s: %s; %s", text, result.message, hk_error_message(ctx));
    hk_tensor_destroy(x);
}

/* Its parameters learn for the layer and for each channel, on rows and on images; inside a mixture
   it is one of them. */
static void modules(void **state) {
    hk_context *ctx = *state;
    const hk_shape row = {2, {7, 5}}, image = {4, {2, 5, 3, 7}};
    define_wave(ctx);
    check_module(ctx, "wave", row, 1, HK_SHAPE(1));
    check_module(ctx, "wave:learn=yes", image, 2, HK_SHAPE(1));
    check_module(ctx, "wave:per=channel:learn=yes", row, 2, HK_SHAPE(5));
    check_module(ctx, "wave:per=channel", image, 1, HK_SHAPE(5, 1, 1));
    check_module(ctx, "wave:learn=no", image, 0, HK_SCALAR);
    check_module(ctx, "mix:relu+wave,a=2+tanh", row, 1, HK_SHAPE(3));
    check_module(ctx, "mix:wave+wave,b=3:T=2", image, 1, HK_SHAPE(2));
}

/* --- what is refused ------------------------------------------------------------------------- */

static double off_slope(double x, const double *p) {
    return wave_slope(x, p) + (x > 4.5 ? 1e-4 : 0);
}
static double nan_slope(double x, const double *p) { return x > 0 ? wave_slope(x, p) : NAN; }
static void off_params(double x, const double *p, double *d) {
    wave_params(x, p, d);
    d[1] = -d[1];
}
static void no_params(double x, const double *p, double *d) { (void)x, (void)p, (void)d; }

static void wrong_derivatives(void **state) {
    hk_context *ctx = *state;
    const hk_activation_functions slope = {wave, off_slope, wave_params},
                                  none = {wave, nan_slope, wave_params},
                                  params = {wave, wave_slope, off_params},
                                  missing = {wave, wave_slope, no_params};
    assert_int_equal(hk_activation_define(ctx, &wave_info, &slope), HK_ERR_CHECK);
    expect_error(ctx, HK_ERR_CHECK, "wave: the derivative by x at x = 4.5", "is given as",
                 "differences say");
    assert_int_equal(hk_activation_define(ctx, &wave_info, &none), HK_ERR_CHECK);
    expect_error(ctx, HK_ERR_CHECK, "by x at x = -4.99", "nan");
    assert_int_equal(hk_activation_define(ctx, &wave_info, &params), HK_ERR_CHECK);
    expect_error(ctx, HK_ERR_CHECK, "wave: the derivative by b at x = -4.99");
    assert_int_equal(hk_activation_define(ctx, &wave_info, &missing), HK_ERR_CHECK);
    expect_error(ctx, HK_ERR_CHECK, "wave: the derivative by b at");
    hk_activation_spec spec;
    assert_int_equal(hk_activation_parse(ctx, "wave", &spec), HK_ERR_NAME); /* nothing stayed */
    hk_error_clear(ctx);
    define_wave(ctx);
}

/* Jumps of f' where nothing was said of a kink are wrong derivatives; where it was, they are not
   looked at. */
static double hinge(double x, const double *p) { return x > p[0] ? x - p[0] : x < -1 ? x + 1 : 0; }
static double hinge_slope(double x, const double *p) { return x > p[0] || x < -1 ? 1 : 0; }
static void hinge_params(double x, const double *p, double *d) { d[0] = x > p[0] ? -1 : 0; }

static void kinks(void **state) {
    hk_context *ctx = *state;
    const hk_activation_functions f = {hinge, hinge_slope, hinge_params};
    const double at = -5 + (240 + 0.37) / 40; /* a point of the check */
    hk_activation_info info = {.name = "hinge", .n_params = 1, .kinks = {-1}, .n_kinks = 1};
    info.params[0] =
        (hk_activation_param){"t", at, -HUGE_VAL, HUGE_VAL, HK_PARAM_LEARNS, .kink = false};
    assert_int_equal(hk_activation_define(ctx, &info, &f), HK_ERR_CHECK);
    expect_error(ctx, HK_ERR_CHECK, "hinge: the derivative by");
    info.params[0].kink = true;
    must(hk_activation_define(ctx, &info, &f));
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, "hinge:t=0.5", &spec));
    assert_close("hinge", 0, hk_activation_value(&spec, 2), 1.5, 0);
}

static void names(void **state) {
    hk_context *ctx = *state;
    static const char *const bad[] = {NULL,  "",    "Wave",  "wa ve", "wa:ve", "a+b",
                                      "a,b", "a=b", "wave ", "wáve",  "a/b",   "a.b"};
    static const char *const taken[] = {"relu", "custom", "mix", "softmax", "wave"};
    define_wave(ctx);
    for (int64_t k = 0; k < COUNT(bad) + COUNT(taken); k++) {
        hk_activation_info info = wave_info;
        info.name = k < COUNT(bad) ? bad[k] : taken[k - COUNT(bad)];
        assert_int_equal(hk_activation_define(ctx, &info, &wave_functions), HK_ERR_NAME);
        if (k < COUNT(bad))
            expect_error(ctx, HK_ERR_NAME, "is no name: letters are");
        else
            expect_error(ctx, HK_ERR_NAME, "is taken");
    }
    static const char *const params[] = {NULL, "", "b c", "learn", "per", "init", "a=b"};
    for (int64_t k = 0; k < COUNT(params); k++) {
        hk_activation_info info = wave_info;
        info.name = "wave_3";
        info.params[1].name = params[k];
        assert_int_equal(hk_activation_define(ctx, &info, &wave_functions), HK_ERR_NAME);
        hk_error_clear(ctx);
    }
    hk_activation_info info = wave_info;
    info.name = "wave_3";
    info.params[1].name = info.params[0].name;
    assert_int_equal(hk_activation_define(ctx, &info, &wave_functions), HK_ERR_NAME);
    expect_error(ctx, HK_ERR_NAME, "is taken");
    info = wave_info;
    info.name = "wave_3";
    info.params[0].low = info.params[0].value + 1;
    info.params[0].high = info.params[0].value + 2;
    assert_int_equal(hk_activation_define(ctx, &info, &wave_functions), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "the default of");
    info = wave_info;
    info.name = "wave_3";
    info.n_kinks = HK_ACTIVATION_MAX_KINKS + 1;
    assert_int_equal(hk_activation_define(ctx, &info, &wave_functions), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "kinks");
    info = wave_info;
    info.name = "wave_2";
    must(hk_activation_define(ctx, &info, &wave_functions));
}

static void incomplete(void **state) {
    hk_context *ctx = *state;
    const hk_activation_functions missing[] = {
        {NULL, wave_slope, wave_params}, {wave, NULL, wave_params}, {wave, wave_slope, NULL}};
    for (int64_t k = 0; k < COUNT(missing) + 2; k++) {
        assert_int_equal(hk_activation_define(ctx, k == 3 ? NULL : &wave_info,
                                              k < 3    ? &missing[k]
                                              : k == 3 ? &wave_functions
                                                       : NULL),
                         HK_ERR_ARGUMENT);
        expect_error(ctx, HK_ERR_ARGUMENT, "a name, a value and a slope are needed");
    }
    static const int counts[] = {-1, HK_ACTIVATION_MAX_PARAMS + 1};
    for (int k = 0; k < 2; k++) {
        hk_activation_info info = wave_info;
        info.n_params = counts[k];
        assert_int_equal(hk_activation_define(ctx, &info, &wave_functions), HK_ERR_ARGUMENT);
        expect_error(ctx, HK_ERR_ARGUMENT, "wave: at most 12 parameters");
    }
    assert_int_equal(hk_activation_define(NULL, &wave_info, &wave_functions), HK_ERR_MEMORY);
    assert_null(hk_activate(hk_full(ctx, HK_F32, HK_SHAPE(2), 1), "no such"));
    assert_int_equal(hk_activation_define(ctx, &wave_info, &wave_functions), HK_ERR_NAME);
    hk_error_clear(ctx); /* an error that stands passes through */
    define_wave(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(facts, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(gain, setup, teardown),
        cmocka_unit_test_setup_teardown(moments_with_a_kink, setup, teardown),
        cmocka_unit_test_setup_teardown(gradients, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(modules, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(wrong_derivatives, setup, teardown),
        cmocka_unit_test_setup_teardown(kinks, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(incomplete, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
