/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_act_special.c: pointwise activations at zeros, infinities, NaN, denormals and the largest
   numbers, on every instruction set and at more settings than the defaults.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS, LENGTH = 33 };

static const double special[] = {
    0,      -0.0,    INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1e30,      -1e30,     1e20,
    -1e20,  FLT_MIN, -FLT_MIN, 1e-40,     -1e-40,  0x1p-149, -0x1p-149, 1e-30,     -1e-30,
    0x1p24, -0x1p24, 88,       -88,       104,     -104,     0x1.8p-25, -0x1.8p-25};

/* Goes through every pointwise row with its defaults, then through more settings. */
static bool next_spec(hk_context *ctx, int *at, hk_activation_spec *spec) {
    const hk_activation_info *row;
    for (; (row = hk_activation_row(NULL, *at)) != NULL; ++*at) {
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        must(hk_activation_parse(ctx, row->surrogate ? "step:ste=sigmoid" : row->name, spec));
        ++*at;
        return true;
    }
    int rows = 0;
    while (hk_activation_row(NULL, rows)) rows++;
    const char *text = activation_setting(*at - rows);
    if (!text) return false;
    ++*at;
    must(hk_activation_parse(ctx, text, spec));
    return true;
}

/* What is beyond the floats is infinite. */
static double as_float(double x) {
    return fabs(x) > FLT_MAX * (1 + 0x1p-25) ? copysign(INFINITY, x) : x;
}

/* f, f' with g = 1, and the derivatives by parameters, element by element: to out[2 +
   MAX][LENGTH]. */
static void run(hk_context *ctx, hk_dtype dtype, const hk_activation_spec *spec, int n,
                const double *value, double *out) {
    hk_tensor *x = hk_require_grad(kept(ctx, dtype, HK_SHAPE(n), value)), *p[MAX] = {NULL};
    for (int k = 0; k < spec->info->n_params; k++) {
        double same[LENGTH];
        for (int i = 0; i < n; i++) same[i] = spec->value[k];
        p[k] = hk_require_grad(kept(ctx, dtype, HK_SHAPE(n), same));
    }
    hk_tensor *y = hk_activate_with(x, spec, p);
    must(hk_backward_from(ctx, y, hk_full(ctx, dtype, HK_SHAPE(n), 1)));
    memcpy(out, values(y), sizeof *out * (size_t)n);
    memcpy(out + LENGTH, values(hk_grad(x)), sizeof *out * (size_t)n);
    for (int k = 0; k < spec->info->n_params; k++) {
        memcpy(out + (2 + k) * LENGTH, values(hk_grad(p[k])), sizeof *out * (size_t)n);
        hk_tensor_destroy(p[k]);
    }
    hk_tensor_destroy(x);
    must(hk_step_end(ctx));
}

/* Kernels flush denormals, so there, and where a product with x is one, the value at 0 will do. */
static bool matches(double got, double at_x, double at_zero, double x, double allowed) {
    return is_close(got, as_float(at_x), allowed) ||
           (fabs(x) <= FLT_MIN && is_close(got, at_zero, allowed));
}

static void check_point(const hk_activation_spec *spec, const char *isa, const double *out, int i) {
    const double x = (double)(float)special[i], f = hk_activation_value(spec, x),
                 slope = hk_activation_slope(spec, x);
    const char *name = spec->info->name;
    const activation_gate gate = activation_gate_of(spec);
    if (isnan(f) || isnan(slope)) fail_msg("%s in double is NaN at %g", name, x);
    if (!matches(out[i], f, hk_activation_value(spec, 0), x, activation_allowed(&gate, x, f)))
        fail_msg("%s on %s: f(%g) is %.9g, not %.9g", name, isa, x, out[i], f);
    if (!matches(out[LENGTH + i], slope, hk_activation_slope(spec, 0), x,
                 activation_slope_allowed(spec, slope)))
        fail_msg("%s on %s: f'(%g) is %.9g, not %.9g", name, isa, x, out[LENGTH + i], slope);
    for (int k = 0; k < spec->info->n_params; k++) {
        const double d = hk_activation_param_slope(spec, k, x), got = out[(2 + k) * LENGTH + i];
        if (isnan(d)) fail_msg("%s by %s in double at %g", name, spec->info->params[k].name, x);
        /* Where powers of x would overflow pau takes its limit: terms of order 1/x remain. */
        const bool far = fabs(x) > 0x1p23 && strcmp(name, "pau") == 0;
        const double allowed = far ? 4e-5 * fmax(1, fabs(d)) : activation_param_allowed(d);
        if (!matches(got, d, hk_activation_param_slope(spec, k, 0), x, allowed))
            fail_msg("%s on %s: by %s at %g it is %.9g, not %.9g", name, isa,
                     spec->info->params[k].name, x, got, d);
    }
}

static void against_double(void **state) {
    (void)state;
    const char *isa;
    assert_true(COUNT(special) <= LENGTH);
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(1, isa);
        hk_activation_spec spec;
        for (int at = 0; next_spec(ctx, &at, &spec);) {
            double out[(2 + MAX) * LENGTH];
            spec = activation_in_float(spec);
            run(ctx, HK_F32, &spec, (int)COUNT(special), special, out);
            for (int i = 0; i < COUNT(special); i++) check_point(&spec, isa, out, i);
            if (out[0] != out[1] || out[LENGTH] != out[LENGTH + 1])
                fail_msg("%s tells -0 from 0", spec.info->name);
        }
        hk_context_destroy(ctx);
    }
}

static int pointwise_rows(void) {
    const hk_activation_info *row;
    int n = 0;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++)
        n += row->kind == HK_ACTIVATION_POINTWISE;
    assert_true(n > 0);
    return n;
}

static int settings(void) {
    int n = 0;
    while (activation_setting(n)) n++;
    assert_true(n > 0);
    return n;
}

/* The double kernels themselves: nothing but NaN gives NaN. */
static void doubles_are_never_nan(void **state) {
    hk_context *ctx = *state;
    static const double x[] = {0,     -0.0,   INFINITY, -INFINITY, DBL_MAX, -DBL_MAX, 1e300, -1e300,
                               1e160, -1e160, 1e-310,   -1e-310,   800,     -800,     0,     1};
    hk_activation_spec spec;
    int n = 0;
    for (int at = 0; next_spec(ctx, &at, &spec); n++) {
        double out[(2 + MAX) * LENGTH];
        run(ctx, HK_F64, &spec, (int)COUNT(x), x, out);
        for (int k = 0; k < 2 + spec.info->n_params; k++)
            for (int i = 0; i < COUNT(x); i++)
                if (isnan(out[k * LENGTH + i]))
                    fail_msg("%s, output %d: NaN at %g", spec.info->name, k, x[i]);
    }
    assert_int_equal(n, pointwise_rows() + settings());
}

/* A NaN at one place gives NaN there and changes nothing elsewhere, whatever the place. */
static void nan_stays_where_it_is(void **state) {
    (void)state;
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(1, isa);
        hk_activation_spec spec;
        for (int at = 0; next_spec(ctx, &at, &spec);) {
            double x[LENGTH], clean[(2 + MAX) * LENGTH], out[(2 + MAX) * LENGTH];
            for (int i = 0; i < LENGTH; i++) x[i] = (i - 16) / 4.0;
            run(ctx, HK_F32, &spec, LENGTH, x, clean);
            for (int place = 0; place < LENGTH; place++) {
                const double before = x[place];
                x[place] = NAN;
                run(ctx, HK_F32, &spec, LENGTH, x, out);
                x[place] = before;
                for (int k = 0; k < 2 + spec.info->n_params; k++)
                    for (int i = 0; i < LENGTH; i++) {
                        const double got = out[k * LENGTH + i];
                        const bool must_be_nan = k == 0 || activation_slope_tells_nan(spec.info);
                        if (i == place ? !isnan(got) && must_be_nan && k < 2
                                       : got != clean[k * LENGTH + i])
                            fail_msg("%s on %s, NaN at %d: output %d at %d is %g", spec.info->name,
                                     isa, place, k, i, got);
                    }
            }
        }
        hk_context_destroy(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_double),
        cmocka_unit_test_setup_teardown(doubles_are_never_nan, setup, teardown),
        cmocka_unit_test(nan_stays_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
