/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_activation.c: the list of activations: what stands in it, its functions in double against
   formulas written down a second time, shapes and types.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS };

/* --- formulas in long double, as a textbook has them ----------------------------------------- */

typedef long double real;

static real sigmoid(real x) { return 1 / (1 + expl(-x)); }
static real limited(real x, real low, real high) { return fminl(fmaxl(x, low), high); }

static real identity_f(real x, const real *p) { return (void)p, x; }
static real step_f(real x, const real *p) { return x == 0 ? p[0] : x > 0; }
static real sigmoid_f(real x, const real *p) { return (void)p, sigmoid(x); }
static real hard_sigmoid_f(real x, const real *p) { return (void)p, limited(x + 3, 0, 6) / 6; }
static real log_sigmoid_f(real x, const real *p) { return (void)p, -log1pl(expl(-x)); }
static real tanh_f(real x, const real *p) { return (void)p, tanhl(x); }
static real hard_tanh_f(real x, const real *p) { return limited(x, p[0], p[1]); }
static real softsign_f(real x, const real *p) { return (void)p, x / (1 + fabsl(x)); }
static real relu_f(real x, const real *p) { return (void)p, fmaxl(0, x); }
static real relu6_f(real x, const real *p) { return (void)p, limited(x, 0, 6); }
static real leaky_f(real x, const real *p) { return x > 0 ? x : p[0] * x; }
static real rrelu_f(real x, const real *p) { return x > 0 ? x : (p[0] + p[1]) * x / 2; }
static real elu_f(real x, const real *p) { return x > 0 ? x : p[0] * expm1l(x); }
static real celu_f(real x, const real *p) { return x > 0 ? x : p[0] * expm1l(x / p[0]); }
static real selu_f(real x, const real *p) {
    (void)p;
    return 1.05070098735548049341933498529460L *
           (x > 0 ? x : 1.67326324235437728481704299167171L * expm1l(x));
}
static real softplus_f(real x, const real *p) {
    return p[0] * x > p[1] ? x : log1pl(expl(p[0] * x)) / p[0];
}
static real silu_f(real x, const real *p) { return (void)p, x * sigmoid(x); }
static real hard_swish_f(real x, const real *p) { return (void)p, x * limited(x + 3, 0, 6) / 6; }
static real gelu_f(real x, const real *p) { return (void)p, x * erfcl(-x / sqrtl(2)) / 2; }
static real gelu_tanh_f(real x, const real *p) {
    const real u = sqrtl(2 / 3.14159265358979323846264338327950288L) * (x + 0.044715L * x * x * x);
    return (void)p, x * sigmoid(2 * u); /* (1 + tanh u)/2 */
}
static real mish_f(real x, const real *p) { return (void)p, x * tanhl(log1pl(expl(x))); }
static real swish_f(real x, const real *p) { return x * sigmoid(p[0] * x); }
static real swish_skip_f(real x, const real *p) { return x * sigmoid(p[1] * x) + p[0] * x; }
static real apl_f(real x, const real *p) {
    real sum = fmaxl(0, x);
    for (int s = 0; s < (int)p[0]; s++) sum += p[1 + s] * fmaxl(0, p[6 + s] - x);
    return sum;
}
static real srelu_f(real x, const real *p) {
    if (x >= p[2]) return p[2] + p[3] * (x - p[2]);
    return x <= p[0] ? p[0] + p[1] * (x - p[0]) : x;
}
static real smooth_maximum(real a, real b, real beta) {
    return (a - b) * sigmoid(beta * (a - b)) + b;
}
static real acon_a_f(real x, const real *p) { return smooth_maximum(x, 0, p[0]); }
static real acon_b_f(real x, const real *p) { return smooth_maximum(x, p[0] * x, p[1]); }
static real acon_c_f(real x, const real *p) { return smooth_maximum(p[0] * x, p[1] * x, p[2]); }
static real pau_f(real x, const real *p) {
    real above = 0, below = 0;
    for (int k = 0; k < 6; k++) above += p[k] * powl(x, k);
    for (int k = 1; k < 5; k++) below += p[5 + k] * powl(x, k);
    return above / (1 + fabsl(below));
}

typedef real formula(real x, const real *p);

static const struct {
    const char *name;
    formula *f;
} formulas[] = {{"identity", identity_f},
                {"step", step_f},
                {"sigmoid", sigmoid_f},
                {"hard_sigmoid", hard_sigmoid_f},
                {"log_sigmoid", log_sigmoid_f},
                {"tanh", tanh_f},
                {"hard_tanh", hard_tanh_f},
                {"softsign", softsign_f},
                {"relu", relu_f},
                {"relu6", relu6_f},
                {"leaky_relu", leaky_f},
                {"rrelu", rrelu_f},
                {"elu", elu_f},
                {"celu", celu_f},
                {"selu", selu_f},
                {"softplus", softplus_f},
                {"silu", silu_f},
                {"hard_swish", hard_swish_f},
                {"gelu", gelu_f},
                {"gelu_tanh", gelu_tanh_f},
                {"mish", mish_f},
                {"prelu", leaky_f},
                {"swish", swish_f},
                {"swish_skip", swish_skip_f},
                {"apl", apl_f},
                {"srelu", srelu_f},
                {"acon_a", acon_a_f},
                {"acon_b", acon_b_f},
                {"acon_c", acon_c_f},
                {"pau", pau_f}};

static formula *formula_of(const char *name) {
    for (int64_t k = 0; k < COUNT(formulas); k++)
        if (strcmp(formulas[k].name, name) == 0) return formulas[k].f;
    fail_msg("%s has no second formula", name);
    return NULL;
}

/* --- the oracle ------------------------------------------------------------------------------ */

/* f with x (k < 0) or parameter k moved by h. */
static real moved(formula *f, const hk_activation_spec *spec, int k, double x, real h) {
    real p[MAX];
    for (int q = 0; q < MAX; q++) p[q] = spec->value[q] + (q == k ? h : 0);
    return f(x + (k < 0 ? h : 0), p);
}

/* The central difference by x or by a parameter; false at a kink or near one. */
static bool difference(formula *f, const hk_activation_spec *spec, int k, double x, double *d) {
    const real h = 1e-7L, here = moved(f, spec, k, x, 0), high = moved(f, spec, k, x, h),
               low = moved(f, spec, k, x, -h),
               wide = (moved(f, spec, k, x, 4 * h) - moved(f, spec, k, x, -4 * h)) / (8 * h);
    const real central = (high - low) / (2 * h), scale = fmaxl(1, fabsl(central));
    *d = (double)central;
    return fabsl(high - 2 * here + low) / h <= 3e-6L * scale &&
           fabsl(central - wide) <= 1e-9L * scale;
}

/* How many derivatives were compared. */
static int against_formula(const hk_activation_spec *spec, double x) {
    int n = 0;
    const hk_activation_info *row = spec->info;
    formula *f = formula_of(row->name);
    real p[MAX];
    double d;
    for (int k = 0; k < MAX; k++) p[k] = spec->value[k];
    const double want = (double)f(x, p), scale = fmax(1, fabs(want));
    assert_close(row->name, (int64_t)(x * 1000), hk_activation_value(spec, x), want,
                 fmin(1e-13 * fabs(want) + 1e-16 * fabs(x), 1e-14 * scale));
    if (!row->surrogate && difference(f, spec, -1, x, &d)) {
        assert_close(row->derivative, (int64_t)(x * 1000), hk_activation_slope(spec, x), d,
                     1e-9 * fmax(1, fabs(d)));
        n++;
    }
    for (int k = 0; k < row->n_params; k++) {
        const hk_activation_param *q = &row->params[k];
        if (q->role == HK_PARAM_FIXED || q->from > p[0] || !difference(f, spec, k, x, &d)) continue;
        assert_close(q->name, (int64_t)(x * 1000), hk_activation_param_slope(spec, k, x), d,
                     1e-9 * fmax(1, fabs(d)));
        n++;
    }
    return n;
}

static void on_a_grid(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    must(hk_activation_parse(ctx, text, &spec));
    int n = 0;
    for (int i = 0; i < 600; i++) n += against_formula(&spec, (i - 300) / 16.0 + 0.0317);
    for (int i = -40; i <= 40; i++) n += against_formula(&spec, i / 2.0); /* kinks too */
    if (n < 500 && !spec.info->surrogate) fail_msg("%s: only %d differences", text, n);
    assert_nan(text, 0, hk_activation_param_slope(&spec, spec.info->n_params, 1));
    assert_nan(text, 0, hk_activation_param_slope(&spec, -1, 1));
}

static void oracle(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    const char *text;
    int n = 0;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        on_a_grid(ctx, row->name);
        on_a_grid(ctx, activation_text(row));
        n++;
    }
    assert_int_equal(n, COUNT(formulas));
    for (int i = 0; (text = activation_setting(i)) != NULL; i++) on_a_grid(ctx, text);
}

/* --- facts of the rows ----------------------------------------------------------------------- */

static void complete_parameters(const hk_activation_info *row) {
    static const char *const taken[] = {"learn", "per", "init"};
    for (int k = 0; k < row->n_params; k++) {
        const hk_activation_param *p = &row->params[k];
        assert_true(p->name && *p->name && !strpbrk(p->name, ":=+,"));
        for (int64_t t = 0; t < COUNT(taken); t++) assert_string_not_equal(p->name, taken[t]);
        for (int other = 0; other < k; other++)
            assert_string_not_equal(p->name, row->params[other].name);
        if (!p->words) assert_true(p->low <= p->value && p->value <= p->high);
        for (int i = 0; i < HK_ACTIVATION_MAX_INITS && row->inits[i].name; i++) {
            const double v = row->inits[i].value[k];
            assert_true(p->from > row->inits[i].value[0] || (v >= p->low && v <= p->high));
        }
    }
}

static void rows_are_complete(void **state) {
    (void)state;
    const hk_activation_info *row;
    for (int i = 0; (row = hk_activation_row(NULL, i)) != NULL; i++) {
        assert_non_null(row->name);
        assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz_0123456789"),
                         strlen(row->name));
        assert_true(row->formula && *row->formula && row->derivative && *row->derivative);
        assert_in_range(row->n_params, 0, HK_ACTIVATION_MAX_PARAMS);
        assert_in_range(row->n_kinks, 0, HK_ACTIVATION_MAX_KINKS);
        complete_parameters(row);
        if (row->surrogate) assert_non_null(row->params[row->surrogate].words);
        for (int k = 0; k < i; k++) {
            const hk_activation_info *other = hk_activation_row(NULL, k);
            assert_string_not_equal(row->name, other->name);
            assert_true(!row->alias || strcmp(row->alias, other->name) != 0);
            assert_true(!other->alias || strcmp(row->name, other->alias) != 0);
        }
    }
}

/* f' jumps where a row says so and, but for the jump of softplus at its threshold and what pau's
   parameters make, nowhere else: then quadrature and gradient checks may rely on it. */
static void kinks_are_told(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        hk_activation_spec spec;
        if (row->kind != HK_ACTIVATION_POINTWISE || row->surrogate) continue;
        must(hk_activation_parse(ctx, activation_text(row), &spec));
        for (int i = -1000; i < 1000; i++) {
            const double at = i / 100.0, h = 0.01;
            const double jump = hk_activation_slope(&spec, at + h) - hk_activation_slope(&spec, at);
            bool told = false;
            for (int k = 0; k < row->n_kinks; k++)
                told |= row->kinks[k] >= at - h && row->kinks[k] <= at + 2 * h;
            for (int k = 0; k < row->n_params; k++)
                told |=
                    row->params[k].kink && spec.value[k] >= at - h && spec.value[k] <= at + 2 * h;
            if (!told && strcmp(row->name, "pau") != 0 && !(fabs(jump) < 0.05))
                fail_msg("f' of %s jumps by %g at %g", row->name, jump, at);
        }
    }
}

/* The sign of zero tells relu's slopes apart, and passes through odd functions. */
static void signed_zeros(void **state) {
    hk_context *ctx = *state;
    static const char *const odd[] = {"identity", "tanh", "leaky_relu", "hard_tanh", "softsign"};
    const double x[] = {-0.0, 0.0};
    for (int64_t k = 0; k < 2 * COUNT(odd); k++) {
        const double *y =
            values(hk_activate(kept(ctx, k % 2 ? HK_F64 : HK_F32, HK_SHAPE(2), x), odd[k / 2]));
        if (!signbit(y[0]) || signbit(y[1])) fail_msg("%s loses the sign of 0", odd[k / 2]);
    }
}

/* --- shapes and types ------------------------------------------------------------------------ */

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(oracle, setup, teardown),
        cmocka_unit_test(rows_are_complete),
        cmocka_unit_test_setup_teardown(kinks_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(signed_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes_and_types, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
