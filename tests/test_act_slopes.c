/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_act_slopes.c: f' and the derivatives by parameters of every pointwise activation against
   differences of f, on a fine grid and close to kinks, at many settings.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

/* Beside those that every test uses. */
static const char *const settings[] = {"relu:at_zero=1",
                                       "step:ste=clip:clip=0.5:k=3",
                                       "step:ste=clip:clip=3:k=2:value_at_zero=0.25",
                                       "step:ste=sigmoid:k=0.5:clip=2:value_at_zero=0.75",
                                       "hard_tanh:min_val=0.5:max_val=0.75",
                                       "elu:alpha=2.5",
                                       "celu:alpha=3",
                                       "softplus:beta=3:threshold=-2",
                                       "rrelu:lower=0.75:upper=1.25",
                                       "pau:b1=0.5:b3=-0.25"};

enum { KINKS_MOST = 4 + HK_ACTIVATION_MAX_PARAMS + HK_ACTIVATION_MAX_KINKS };

/* --- where f or f' jumps ---------------------------------------------------------------------- */

/* All kinks of this setting, by the row's facts. Where softplus goes over to x and where the
   stand-in of step ends are edges of a formula too, and at 0 f'' of softsign and celu jumps. */
static int kinks_of(const hk_activation_spec *spec, double at[KINKS_MOST]) {
    const hk_activation_info *row = spec->info;
    int n = 1;
    at[0] = 0;
    for (int k = 0; k < row->n_kinks; k++) at[n++] = row->kinks[k];
    for (int k = 0; k < row->n_params; k++)
        if (row->params[k].kink) at[n++] = spec->value[k];
    if (strcmp(row->name, "softplus") == 0) at[n++] = spec->value[1] / spec->value[0];
    if (strcmp(row->name, "step") == 0) {
        at[n++] = spec->value[2];
        at[n++] = -spec->value[2];
    }
    return n;
}

/* B of pau: f' jumps where it changes its sign. */
static double pau_below(const hk_activation_spec *spec, double x) {
    const double *b = spec->value + 6;
    return x * (b[0] + x * (b[1] + x * (b[2] + x * b[3])));
}

/* Whether a difference over ±h could cross a kink. */
static bool too_close(const hk_activation_spec *spec, double x) {
    double kink[KINKS_MOST];
    const int n = kinks_of(spec, kink);
    for (int k = 0; k < n; k++)
        if (fabs(x - kink[k]) < 5e-4) return true;
    return strcmp(spec->info->name, "pau") == 0 && fabs(pau_below(spec, x)) < 5e-3;
}

/* --- what the derivatives should be ----------------------------------------------------------- */

/* Central, with the error of the next order removed (Richardson). */
static double difference(const hk_activation_spec *spec, int param, double x) {
    double d[2];
    for (int i = 0; i < 2; i++) {
        const double h = (i + 1) * 1e-5;
        hk_activation_spec low = *spec, high = *spec;
        if (param >= 0) {
            low.value[param] -= h;
            high.value[param] += h;
            d[i] = (hk_activation_value(&high, x) - hk_activation_value(&low, x)) / (2 * h);
        } else {
            d[i] = (hk_activation_value(spec, x + h) - hk_activation_value(spec, x - h)) / (2 * h);
        }
    }
    return (4 * d[0] - d[1]) / 3;
}

/* The stand-ins for the slope of step, which is no slope of f. */
static double stand_in(const hk_activation_spec *spec, double x) {
    const double clip = spec->value[2], k = spec->value[3], e = exp(-fabs(k * x));
    switch ((int)spec->value[1]) {
    case 1: return 1;
    case 2: return fabs(x) <= clip;
    case 3: return k * e / ((1 + e) * (1 + e));
    default: return 0;
    }
}

static void check(const char *text, const char *by, double x, double got, double want) {
    if (!(fabs(got - want) <= 2e-8 * fmax(1, fabs(want))))
        fail_msg("%s: the derivative by %s at x = %.9g is %.12g, but differences say %.12g", text,
                 by, x, got, want);
}

static void check_point(const char *text, const hk_activation_spec *spec, double x) {
    if (too_close(spec, x)) return;
    const double want = spec->info->surrogate ? stand_in(spec, x) : difference(spec, -1, x);
    check(text, "x", x, hk_activation_slope(spec, x), want);
    for (int k = 0; k < spec->info->n_params; k++)
        if (!spec->info->params[k].whole && !spec->info->params[k].words)
            check(text, spec->info->params[k].name, x, hk_activation_param_slope(spec, k, x),
                  difference(spec, k, x));
}

/* --- the tests -------------------------------------------------------------------------------- */

static void check_setting(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, text, &spec));
    for (int i = -900; i <= 900; i++) check_point(text, &spec, i * 0.0101);
    double kink[KINKS_MOST];
    const int n = kinks_of(&spec, kink);
    for (int k = 0; k < n; k++)
        for (int i = -9; i <= 9; i++) check_point(text, &spec, kink[k] + i * 0.00101);
}

static void slopes_are_differences(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    int rows = 0;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        check_setting(ctx, activation_text(row));
        rows++;
    }
    assert_true(rows > 25);
    const char *text;
    for (int i = 0; (text = activation_setting(i)) != NULL; i++) check_setting(ctx, text);
    for (int64_t i = 0; i < COUNT(settings); i++) check_setting(ctx, settings[i]);
}

/* The step has nothing to compare with but itself. */
static void values_of_step(void **state) {
    hk_context *ctx = *state;
    static const double at_zero[] = {0, 0.25, 0.5, 1};
    for (int64_t k = 0; k < COUNT(at_zero); k++) {
        char text[64];
        hk_activation_spec spec;
        snprintf(text, sizeof text, "step:value_at_zero=%g:k=3:clip=2", at_zero[k]);
        must(hk_activation_parse(ctx, text, &spec));
        for (int i = -9; i <= 9; i++)
            assert_close(text, i, hk_activation_value(&spec, i * 0.00101),
                         i > 0   ? 1
                         : i < 0 ? 0
                                 : at_zero[k],
                         0);
    }
}

/* A hinge of apl has no slope at its knot, by x as by its own parameters. */
static void knots_of_apl(void **state) {
    hk_context *ctx = *state;
    hk_activation_spec spec;
    must(hk_activation_parse(
        ctx, "apl:S=5:a1=0.5:a2=2:a3=-1:a4=3:a5=-2:b1=0.25:b2=-2:b3=1:b4=-1:b5=0", &spec));
    for (int hinge = 0; hinge < 5; hinge++) {
        const double x = spec.value[6 + hinge];
        double slope = x > 0;
        for (int k = 0; k < 5; k++) {
            const double a = spec.value[1 + k], b = spec.value[6 + k];
            slope -= x < b ? a : 0;
            assert_close("a", k, hk_activation_param_slope(&spec, 1 + k, x), x < b ? b - x : 0, 0);
            assert_close("b", k, hk_activation_param_slope(&spec, 6 + k, x), x < b ? a : 0, 0);
        }
        assert_close("x", hinge, hk_activation_slope(&spec, x), slope, 0);
    }
}

/* --- used beside other operations --------------------------------------------------------------- */

/* act(in[0]; in[1...]) + Σ in², so that the gradient of the activation is added to what is there. */
static hk_tensor *beside_squares(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    const hk_activation_spec *spec = arg;
    hk_tensor *params[HK_ACTIVATION_MAX_PARAMS] = {NULL};
    for (int k = 0, next = 1; k < spec->info->n_params && next < n; k++)
        if (spec->learns[k]) params[k] = in[next++];
    hk_tensor *y = hk_activate_with(in[0], spec, params);
    (void)ctx;
    for (int i = 0; i < n; i++) y = hk_add(y, hk_sum(hk_mul(in[i], in[i]), HK_ALL_AXES, false));
    return y;
}

static void gradients_add_up(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        hk_activation_spec spec;
        if (row->kind == HK_ACTIVATION_NETWORK) continue;
        must(hk_activation_parse(ctx, activation_text(row), &spec));
        hk_tensor *in[1 + HK_ACTIVATION_MAX_PARAMS] = {
            seeded(ctx, HK_F64, HK_SHAPE(5, 12), "beside", -3, 3, 0)};
        double *x = host(in[0]);
        for (int i = 0; i < 60; i++)
            if (too_close(&spec, x[i])) x[i] += 0.01;
        host_done(in[0], x);
        int n = 1;
        for (int k = 0; k < row->n_params; k++) {
            const int from = row->params[k].from;
            spec.learns[k] = row->params[k].role != HK_PARAM_FIXED && from <= spec.value[0];
            if (spec.learns[k]) in[n++] = kept(ctx, HK_F64, HK_SHAPE(1), &spec.value[k]);
        }
        /* step's derivative is a stand-in: no difference will agree with it */
        if (!row->surrogate) assert_gradient(ctx, row->name, beside_squares, &spec, n, in, NULL);
        for (int i = 0; i < n; i++) hk_tensor_destroy(in[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slopes_are_differences, setup, teardown),
        cmocka_unit_test_setup_teardown(values_of_step, setup, teardown),
        cmocka_unit_test_setup_teardown(knots_of_apl, setup, teardown),
        cmocka_unit_test_setup_teardown(gradients_add_up, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
