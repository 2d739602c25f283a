/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_act_random.c: the two rows whose training differs from the function itself: rrelu draws its
   slope, step has a stand-in for its slope.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"
#include "hk_layers.h"

enum { N = 10000 };

/* x is -1 everywhere, so that y is minus the slope. */
static hk_tensor *minus_ones(hk_context *ctx, hk_dtype dtype) {
    hk_tensor *x = hk_tensor_new(ctx, dtype, HK_SHAPE(N));
    must(hk_tensor_copy(x, hk_full(ctx, dtype, HK_SHAPE(N), -1)));
    return hk_require_grad(x);
}

static hk_module *rrelu(hk_context *ctx, const char *text) {
    hk_module *m = hk_activation(ctx, text);
    must(hk_module_build(m, HK_SHAPE(-1), NULL));
    assert_true(hk_module_is_training(m));
    assert_int_equal(hk_module_parameters(m).count, 0);
    return m;
}

/* Runs a step of training; the slopes drawn, and of the gradient. */
static void train_step(hk_module *m, hk_tensor *x, double *slope, double *gradient) {
    hk_context *ctx = hk_module_context(m);
    hk_tensor *y = hk_forward(m, x);
    assert_ok(ctx);
    hk_zero_grad(x);
    must(hk_backward_from(ctx, y, hk_full(ctx, hk_tensor_dtype(x), HK_SHAPE(N), 1)));
    const double *out = values(y), *g = values(hk_grad(x));
    for (int i = 0; i < N; i++) slope[i] = -out[i];
    memcpy(gradient, g, N * sizeof *g);
    must(hk_step_end(ctx));
}

/* Uniform on [low, high]: moments, ends, and shares of ten equal parts. */
static void assert_uniform(const double *v, double low, double high) {
    double mean = 0, square = 0, most = low, least = high;
    int part[10] = {0};
    for (int i = 0; i < N; i++) {
        const double u = (v[i] - low) / (high - low);
        if (!(v[i] >= low && v[i] <= high)) fail_msg("%g is not in [%g, %g]", v[i], low, high);
        mean += u / N;
        square += u * u / N;
        most = fmax(most, v[i]);
        least = fmin(least, v[i]);
        part[u < 1 ? (int)(u * 10) : 9]++;
    }
    assert_close("mean", 0, mean, 0.5, 4 / sqrt(12.0 * N));
    assert_close("variance", 0, square - mean * mean, 1 / 12.0, 4 * 0.075 / sqrt(N));
    for (int i = 0; i < 10; i++) assert_close("part", i, part[i], N / 10.0, 4 * sqrt(0.09 * N));
    assert_true(most > high - (high - low) * 0.01 && least < low + (high - low) * 0.01);
}

static void rrelu_draws(void **state) {
    hk_context *ctx = *state;
    static double slope[2][N], gradient[N];
    static const struct {
        const char *text;
        double low, high;
    } cases[] = {{"rrelu", 1.0 / 8, 1.0 / 3}, {"rrelu:lower=-1:upper=3", -1, 3}};
    for (int64_t k = 0; k < 2 * COUNT(cases); k++) {
        hk_module *m = rrelu(ctx, cases[k / 2].text);
        hk_tensor *x = minus_ones(ctx, k % 2 ? HK_F64 : HK_F32);
        for (int step = 0; step < 2; step++) {
            train_step(m, x, slope[step], gradient);
            assert_uniform(slope[step], (double)(float)cases[k / 2].low,
                           (double)(float)cases[k / 2].high);
            for (int i = 0; i < N; i++) assert_close("gradient", i, gradient[i], slope[step][i], 0);
        }
        int same = 0;
        for (int i = 0; i < N; i++) same += slope[0][i] == slope[1][i];
        assert_true(same < 20); /* another draw in each step */
        for (int i = 1; i < N; i++) same += slope[0][i] == slope[0][i - 1];
        assert_true(same < 40); /* and for each element */
    }
}

/* Only x <= 0 sees the draw: above 0 the slope is 1, at 0 the drawn one. */
static void rrelu_elsewhere(void **state) {
    hk_context *ctx = *state;
    hk_module *m = rrelu(ctx, "rrelu:lower=0.25:upper=0.5");
    const double x[] = {0.5, 2, 0, -0.0, INFINITY, -INFINITY, NAN, 1e-30};
    hk_tensor *t = hk_require_grad(kept(ctx, HK_F32, HK_SHAPE(8), x)), *y = hk_forward(m, t);
    must(hk_backward_from(ctx, y, hk_full(ctx, HK_F32, HK_SHAPE(8), 1)));
    const double *out = values(y), *g = values(hk_grad(t));
    const double want[] = {0.5, 2, 0, 0, INFINITY, -INFINITY};
    for (int i = 0; i < 6; i++) assert_close("y", i, out[i], want[i], 0);
    assert_nan("y", 6, out[6]);
    assert_close("y", 7, out[7], 1e-30, 1e-36);
    for (int i = 0; i < 8; i++) {
        const bool above = i < 2 || i == 4 || i == 7;
        if (i == 6) continue;
        if (above ? g[i] != 1 : !(g[i] >= 0.25 && g[i] <= 0.5))
            fail_msg("slope %g at %g", g[i], x[i]);
    }
}

/* Evaluation takes the mean; it draws nothing, so that training afterwards is as if it had not
   been. */
static void rrelu_evaluates(void **state) {
    hk_context *ctx = *state, *other = new_context(1, NULL);
    static double slope[2][N], gradient[N];
    hk_module *m = rrelu(ctx, "rrelu"), *twin = rrelu(other, "rrelu");
    hk_tensor *x = minus_ones(ctx, HK_F64);
    hk_module_train(m, false);
    for (int k = 0; k < 3; k++) {
        const double *y = values(hk_forward(m, x));
        for (int i = 0; i < N; i++) assert_close("y", i, y[i], -11.0 / 48, 1e-16);
        must(hk_step_end(ctx));
    }
    hk_module_train(m, true);
    train_step(m, x, slope[0], gradient);
    train_step(twin, minus_ones(other, HK_F64), slope[1], gradient);
    assert_memory_equal(slope[0], slope[1], sizeof slope[0]);
    assert_values("by name", hk_activate(kept(ctx, HK_F64, HK_SHAPE(1), (double[]){-48}), "rrelu"),
                  1, (const double[]){-11}, 1e-14);
    hk_context_destroy(other);
}

/* The slopes drawn in the first step by the first or second rrelu of a network. */
static void first_draw(hk_context_config config, int which, double *slope) {
    static double gradient[N];
    hk_context *ctx = test_context(&config);
    hk_module *both[] = {hk_activation(ctx, "rrelu"), hk_activation(ctx, "rrelu")},
              *net = hk_sequential_n(ctx, 2, both);
    must(hk_module_build(net, HK_SHAPE(-1), NULL));
    train_step(both[which], minus_ones(ctx, HK_F32), slope, gradient);
    hk_context_destroy(ctx);
}

/* Same seed, same slopes, on one thread and two; another seed or another layer draws others. */
static void rrelu_repeats(void **state) {
    (void)state;
    static double slope[5][N];
    const hk_context_config one = {.threads = 1, .seed = 1}, two = {.threads = 2, .seed = 1},
                            other = {.threads = 1, .seed = 2};
    first_draw(one, 0, slope[0]);
    first_draw(one, 0, slope[1]);
    first_draw(two, 0, slope[2]);
    first_draw(other, 0, slope[3]);
    first_draw(one, 1, slope[4]);
    assert_memory_equal(slope[0], slope[1], sizeof slope[0]);
    assert_memory_equal(slope[0], slope[2], sizeof slope[0]);
    int same = 0;
    for (int i = 0; i < N; i++) same += (slope[0][i] == slope[3][i]) + (slope[0][i] == slope[4][i]);
    assert_true(same < 40);
}

/* --- step ------------------------------------------------------------------------------------ */

static void step_has_no_slope(void **state) {
    hk_context *ctx = *state;
    for (int f64 = 0; f64 < 2; f64++) {
        const hk_dtype dtype = f64 ? HK_F64 : HK_F32;
        const double at[] = {-2, 0, 3};
        hk_tensor *x = hk_require_grad(kept(ctx, dtype, HK_SHAPE(3), at)),
                  *one = hk_full(ctx, dtype, HK_SHAPE(3), 1), *y = hk_activate(x, "step");
        assert_values("step", y, 3, (const double[]){0, 1, 1}, 0);
        assert_int_equal(hk_backward_from(ctx, y, one), HK_ERR_GRADIENT);
        expect_error(ctx, HK_ERR_GRADIENT, "[step]", "step:ste=identity|clip|sigmoid");
        must(hk_step_end(ctx));
        one = hk_full(ctx, dtype, HK_SHAPE(3), 1);
        assert_null(hk_jvp(ctx, hk_activate(x, "step"), 1, &x, &one));
        expect_error(ctx, HK_ERR_GRADIENT, "[step]", "step:ste=identity|clip|sigmoid");
        must(hk_step_end(ctx));
    }
}

/* Not needed, not missed: what is behind a step trains. */
static void step_before_what_trains(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = kept(ctx, HK_F32, HK_SHAPE(3), (const double[]){-2, 0, 3}),
              *w = hk_require_grad(kept(ctx, HK_F32, HK_SHAPE(3), (const double[]){1, 1, 1}));
    must(hk_backward(ctx, hk_sum(hk_mul(hk_activate(x, "step"), w), HK_ALL_AXES, false)));
    assert_values("w", hk_grad(w), 3, (const double[]){0, 1, 1}, 0);
}

static void step_stand_ins(void **state) {
    hk_context *ctx = *state;
    const double x[] = {-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3};
    enum { POINTS = sizeof x / sizeof *x };
    static const struct {
        const char *text;
        double at_zero, clip, k; /* the slope: 1, or 1 within ±clip, or that of σ(kx) */
    } cases[] = {
        {"step:ste=identity", 1, 0, 0}, {"step:ste=identity:value_at_zero=0", 0, 0, 0},
        {"step:ste=clip", 1, 1, 0},     {"step:ste=clip:clip=2:value_at_zero=0.5", 0.5, 2, 0},
        {"step:ste=sigmoid", 1, 0, 1},  {"step:ste=sigmoid:k=4", 1, 0, 4}};
    for (int64_t c = 0; c < 2 * COUNT(cases); c++) {
        const hk_dtype dtype = c % 2 ? HK_F64 : HK_F32;
        hk_tensor *t = hk_require_grad(kept(ctx, dtype, HK_SHAPE(POINTS), x)),
                  *y = hk_activate(t, cases[c / 2].text);
        must(hk_backward_from(ctx, y, hk_full(ctx, dtype, HK_SHAPE(POINTS), 2)));
        const double *out = values(y), *g = values(hk_grad(t));
        for (int i = 0; i < POINTS; i++) {
            const double k = cases[c / 2].k, clip = cases[c / 2].clip, e = exp(-fabs(k * x[i])),
                         slope = k > 0      ? k * e / (1 + e) / (1 + e)
                                 : clip > 0 ? fabs(x[i]) <= clip
                                            : 1;
            assert_close(cases[c / 2].text, i, out[i], x[i] == 0 ? cases[c / 2].at_zero : x[i] > 0,
                         0);
            assert_close(cases[c / 2].text, i, g[i], 2 * slope, c % 2 ? 1e-15 : 4e-7);
        }
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rrelu_draws, setup, teardown),
        cmocka_unit_test_setup_teardown(rrelu_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(rrelu_evaluates, setup, teardown),
        cmocka_unit_test(rrelu_repeats),
        cmocka_unit_test_setup_teardown(step_has_no_slope, setup, teardown),
        cmocka_unit_test_setup_teardown(step_before_what_trains, setup, teardown),
        cmocka_unit_test_setup_teardown(step_stand_ins, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
