/* test_value_pointwise.c: results of operations element by element, against plain C in double.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

typedef hk_tensor *two_fn(hk_tensor *a, hk_tensor *b);
typedef hk_tensor *one_fn(hk_tensor *a);

static double r_add(double a, double b) { return a + b; }
static double r_sub(double a, double b) { return a - b; }
static double r_mul(double a, double b) { return a * b; }
static double r_div(double a, double b) { return a / b; }
static double r_maximum(double a, double b) { return isnan(a) || a > b ? a : b; }
static double r_minimum(double a, double b) { return isnan(a) || a < b ? a : b; }
static double r_less(double a, double b) { return a < b; }
static double r_less_equal(double a, double b) { return a <= b; }
static double r_greater(double a, double b) { return a > b; }
static double r_greater_equal(double a, double b) { return a >= b; }
static double r_equal(double a, double b) { return a == b; }
static double r_not_equal(double a, double b) { return !(a == b); }
static double r_neg(double a) { return -a; }
static double r_scale(double a) { return -1.5 * a + 0.25; }
static double r_clamp(double a) { return a < -0.5 ? -0.5 : a > 0.75 ? 0.75 : a; }
static hk_tensor *o_scale(hk_tensor *a) { return hk_scale(a, -1.5, 0.25); }
static hk_tensor *o_clamp(hk_tensor *a) { return hk_clamp(a, -0.5, 0.75); }

typedef struct two_row {
    const char *name;
    two_fn *fn;
    double (*want)(double, double);
    double low;
    bool mask;
} two_row;
static const two_row twos[] = {
    {"add", hk_add, r_add, -2, false},
    {"sub", hk_sub, r_sub, -2, false},
    {"mul", hk_mul, r_mul, -2, false},
    {"div", hk_div, r_div, -1.9, false},
    {"pow", hk_pow, pow, 0.25, false},
    {"maximum", hk_maximum, r_maximum, -2, false},
    {"minimum", hk_minimum, r_minimum, -2, false},
    {"less", hk_less, r_less, -2, true},
    {"less_equal", hk_less_equal, r_less_equal, -2, true},
    {"greater", hk_greater, r_greater, -2, true},
    {"greater_equal", hk_greater_equal, r_greater_equal, -2, true},
    {"equal", hk_equal, r_equal, -2, true},
    {"not_equal", hk_not_equal, r_not_equal, -2, true},
};

static const struct {
    const char *name;
    one_fn *fn;
    double (*want)(double);
    double low;
} ones[] = {
    {"neg", hk_neg, r_neg, -2},      {"abs", hk_abs, fabs, -2},     {"exp", hk_exp, exp, -2},
    {"log", hk_log, log, 0.25},      {"sqrt", hk_sqrt, sqrt, 0.25}, {"scale", o_scale, r_scale, -2},
    {"clamp", o_clamp, r_clamp, -2},
};

static const struct {
    hk_shape a, b, out;
} pairs[] = {
    {{0, {0}}, {0, {0}}, {0, {0}}},
    {{1, {1}}, {0, {0}}, {1, {1}}},
    {{2, {3, 5}}, {2, {3, 5}}, {2, {3, 5}}},
    {{3, {2, 3, 5}}, {1, {5}}, {3, {2, 3, 5}}},
    {{1, {5}}, {3, {2, 3, 1}}, {3, {2, 3, 5}}},
    {{2, {7, 1}}, {2, {1, 5}}, {2, {7, 5}}},
    {{0, {0}}, {2, {3, 5}}, {2, {3, 5}}},
    {{2, {0, 3}}, {2, {1, 1}}, {2, {0, 3}}}, /* a size of 1 stretches to 0 as well */
    {{5, {2, 3, 1, 2, 1}}, {4, {3, 3, 1, 5}}, {5, {2, 3, 3, 2, 5}}},
    {{6, {1, 3, 1, 2, 1, 3}}, {6, {2, 1, 3, 1, 2, 1}}, {6, {2, 3, 3, 2, 2, 3}}},
};

static double tolerance(hk_dtype dtype, double want) {
    return (dtype == HK_F32 ? 4e-7 : 1e-15) * fabs(want);
}

static void two_operands(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(twos) * COUNT(pairs) * VIEWS * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const view v = (view)(k / 2 % VIEWS);
        const int64_t s = k / 2 / VIEWS % COUNT(pairs);
        const two_row *r = &twos[k / 2 / VIEWS / COUNT(pairs)];
        /* On a coarse grid, so that some are equal. */
        hk_tensor *a = view_of(
            v, seeded(ctx, dtype, view_source(v, pairs[s].a), "a", r->low, 2, 0.25), pairs[s].a);
        hk_tensor *b = view_of(
            v, seeded(ctx, dtype, view_source(v, pairs[s].b), "b", r->low, 2, 0.25), pairs[s].b);
        hk_tensor *y = r->fn(a, b);
        assert_ok(ctx);
        assert_shape(y, pairs[s].out);
        assert_int_equal(hk_tensor_dtype(y), r->mask ? HK_U8 : dtype);
        const double *x = values(a), *z = values(b), *got = values(y);
        for (int64_t i = 0; i < hk_tensor_count(y); i++) {
            const double want = r->want(x[broadcast_at(pairs[s].a, pairs[s].out, i)],
                                        z[broadcast_at(pairs[s].b, pairs[s].out, i)]);
            assert_close(r->name, i, got[i], want, tolerance(dtype, want));
        }
        must(hk_step_end(ctx));
    }
}

static void one_operand(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(ones) * VIEWS * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const view v = (view)(k / 2 % VIEWS);
        const hk_shape shape = {3, {3, 5, 7}};
        hk_tensor *x = view_of(
            v, seeded(ctx, dtype, view_source(v, shape), "x", ones[k / 2 / VIEWS].low, 2, 0),
            shape);
        const double *a = values(x), *got = values(ones[k / 2 / VIEWS].fn(x));
        for (int64_t i = 0; i < hk_shape_count(shape); i++) {
            const double want = ones[k / 2 / VIEWS].want(a[i]);
            assert_close(ones[k / 2 / VIEWS].name, i, got[i], want, tolerance(dtype, want) + 1e-16);
        }
        must(hk_step_end(ctx));
    }
}

static void where_chooses(void **state) {
    hk_context *ctx = *state;
    const uint8_t cond[] = {0, 1, 2, 255, 0}; /* anything but 0 is yes */
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        hk_tensor *a = seeded(ctx, dtype, HK_SHAPE(3, 1), "where/a", -2, 2, 0);
        hk_tensor *b = seeded(ctx, dtype, HK_SHAPE(2, 1, 5), "where/b", -2, 2, 0);
        hk_tensor *y = hk_where(hk_constant(ctx, HK_U8, HK_SHAPE(5), cond), a, b);
        assert_shape(y, HK_SHAPE(2, 3, 5));
        const double *x = values(a), *z = values(b), *got = values(y);
        for (int i = 0; i < 30; i++)
            assert_close("where", i, got[i], cond[i % 5] ? x[i / 5 % 3] : z[i / 15 * 5 + i % 5], 0);
        const double nan_inf[] = {NAN, INFINITY}; /* what is not chosen leaves no trace */
        hk_tensor *bad = kept(ctx, dtype, HK_SHAPE(2), nan_inf),
                  *zero = hk_full(ctx, dtype, HK_SCALAR, 0);
        got = values(hk_where(hk_full(ctx, HK_U8, HK_SHAPE(2), 0), bad, zero));
        assert_true(got[0] == 0 && got[1] == 0);
        must(hk_step_end(ctx));
    }
}

/* --- numbers that are no numbers ------------------------------------------------------------- */

static void not_numbers(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *name;
        two_fn *two;
        one_fn *one;
        double a, b, want;
    } cases[] = {
        {"maximum", hk_maximum, NULL, NAN, 1, NAN},
        {"maximum", hk_maximum, NULL, 1, NAN, NAN},
        {"minimum", hk_minimum, NULL, NAN, 1, NAN},
        {"minimum", hk_minimum, NULL, 1, NAN, NAN},
        {"maximum", hk_maximum, NULL, -INFINITY, 1, 1},
        {"minimum", hk_minimum, NULL, INFINITY, NAN, NAN},
        {"less", hk_less, NULL, NAN, 1, 0},
        {"greater_equal", hk_greater_equal, NULL, NAN, NAN, 0},
        {"equal", hk_equal, NULL, NAN, NAN, 0},
        {"not_equal", hk_not_equal, NULL, NAN, NAN, 1},
        {"equal", hk_equal, NULL, 0.0, -0.0, 1},
        {"less", hk_less, NULL, -INFINITY, INFINITY, 1},
        {"div", hk_div, NULL, 1, 0, INFINITY},
        {"div", hk_div, NULL, -1, 0, -INFINITY},
        {"div", hk_div, NULL, 0, 0, NAN},
        {"pow", hk_pow, NULL, 0, 0, 1},
        {"pow", hk_pow, NULL, -2, 3, -8},
        {"pow", hk_pow, NULL, -2, 0.5, NAN},
        {"pow", hk_pow, NULL, 0, -1, INFINITY},
        {"sub", hk_sub, NULL, INFINITY, INFINITY, NAN},
        {"exp", NULL, hk_exp, -INFINITY, 0, 0},
        {"exp", NULL, hk_exp, INFINITY, 0, INFINITY},
        {"log", NULL, hk_log, 0, 0, -INFINITY},
        {"log", NULL, hk_log, -1, 0, NAN},
        {"sqrt", NULL, hk_sqrt, -1, 0, NAN},
        {"sqrt", NULL, hk_sqrt, INFINITY, 0, INFINITY},
        {"abs", NULL, hk_abs, -INFINITY, 0, INFINITY},
        {"abs", NULL, hk_abs, NAN, 0, NAN},
        {"clamp", NULL, o_clamp, NAN, 0, NAN},
        {"clamp", NULL, o_clamp, INFINITY, 0, 0.75},
        {"clamp", NULL, o_clamp, -INFINITY, 0, -0.5},
        {"neg", NULL, hk_neg, NAN, 0, NAN},
    };
    for (int64_t k = 0; k < 2 * COUNT(cases); k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        double a[33], b[33]; /* among ordinary neighbours, at every place of a vector */
        for (int at = 0; at < 33; at++) {
            for (int i = 0; i < 33; i++) a[i] = b[i] = 0.5;
            a[at] = cases[k / 2].a;
            b[at] = cases[k / 2].b;
            hk_tensor *x = hk_cast(hk_constant(ctx, HK_F64, HK_SHAPE(33), a), dtype);
            hk_tensor *z = hk_cast(hk_constant(ctx, HK_F64, HK_SHAPE(33), b), dtype);
            const double *y =
                values(cases[k / 2].two ? cases[k / 2].two(x, z) : cases[k / 2].one(x));
            const double want = cases[k / 2].want;
            for (int i = 0; i < 33; i++) {
                if (i != at)
                    assert_true(isfinite(y[i]));
                else if (isnan(want))
                    assert_nan(cases[k / 2].name, at, y[i]);
                else
                    assert_close(cases[k / 2].name, at, y[i], want, 0);
            }
            must(hk_step_end(ctx));
        }
    }
}

/* --- casts ----------------------------------------------------------------------------------- */

static void casts(void **state) {
    hk_context *ctx = *state;
    static const struct {
        double x;
        double u8, i32;
    } cases[] = {
        {0, 0, 0},
        {0.999, 0, 0},
        {-0.999, 0, 0},
        {1.5, 1, 1},
        {-1.5, 0, -1},
        {254.9, 254, 254},
        {255, 255, 255},
        {255.5, 255, 255},
        {256, 255, 256},
        {-3, 0, -3},
        {2147483520.0, 255, 2147483520.0},
        {3e9, 255, 2147483647.0},
        {-2147483648.0, 0, -2147483648.0},
        {-3e9, 0, -2147483648.0},
        {INFINITY, 255, 2147483647.0},
        {-INFINITY, 0, -2147483648.0},
        {NAN, 0, 0},
    };
    enum { N = sizeof cases / sizeof *cases };
    double x[N];
    for (int i = 0; i < N; i++) x[i] = cases[i].x;
    for (int d = 0; d < 2; d++) {
        hk_tensor *t = kept(ctx, d ? HK_F64 : HK_F32, HK_SHAPE(N), x);
        const double *u8 = values(hk_cast(t, HK_U8)), *i32 = values(hk_cast(t, HK_I32));
        for (int i = 0; i < N; i++) {
            assert_close("u8", i, u8[i], cases[i].u8, 0);
            assert_close("i32", i, i32[i], cases[i].i32, 0);
        }
    }
    const int32_t ints[] = {INT32_MIN, -1, 0, 255, 256, 16777217, INT32_MAX};
    hk_tensor *t = hk_constant(ctx, HK_I32, HK_SHAPE(7), ints);
    assert_values("i32 to u8", hk_cast(t, HK_U8), 7, (const double[]){0, 0, 0, 255, 255, 255, 255},
                  0);
    assert_values("i32 to f32", hk_cast(t, HK_F32), 7,
                  (const double[]){-2147483648.0, -1, 0, 255, 256, 16777216, 2147483648.0}, 0);
    assert_values("i32 to f64", hk_cast(t, HK_F64), 7,
                  (const double[]){-2147483648.0, -1, 0, 255, 256, 16777217, 2147483647.0}, 0);
    const uint8_t bytes[] = {0, 1, 127, 128, 255, 7};
    hk_tensor *b = hk_transpose(hk_constant(ctx, HK_U8, HK_SHAPE(2, 3), bytes), 0, 1);
    for (int to = HK_F32; to <= HK_I32; to++)
        assert_values("u8", hk_cast(b, (hk_dtype)to), 6, (const double[]){0, 128, 1, 255, 127, 7},
                      0);
    const double wide[] = {1e300, -1e300, 1e-300, 1 + 0x1p-40};
    assert_values("f64 to f32", hk_cast(kept(ctx, HK_F64, HK_SHAPE(4), wide), HK_F32), 4,
                  (const double[]){INFINITY, -INFINITY, 0, 1}, 0);
    assert_ptr_equal(hk_cast(b, HK_U8), b); /* nothing to do */
    assert_null(hk_cast(b, (hk_dtype)9));
    expect_error(ctx, HK_ERR_DTYPE, "[cast]", "9");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_operands, setup, teardown),
        cmocka_unit_test_setup_teardown(one_operand, setup, teardown),
        cmocka_unit_test_setup_teardown(where_chooses, setup, teardown),
        cmocka_unit_test_setup_teardown(not_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(casts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
