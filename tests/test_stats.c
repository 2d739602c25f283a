/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_stats.c: statistics of tensors against plain loops.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "stats.h"
#include "values.h"

/* --- the same in plain loops, with long double ---------------------------------------------------- */

static hk_stats naive(int64_t n, const double *x) {
    hk_stats s = {.count = n};
    long double sum = 0, around = 0, all = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < n; i++) {
        s.zeros += x[i] == 0;
        s.nonfinite += !isfinite(x[i]);
        if (!isfinite(x[i])) continue;
        if (finite == 0 || x[i] < s.min) s.min = x[i];
        if (finite == 0 || x[i] > s.max) s.max = x[i];
        if (fabs(x[i]) > s.max_abs) s.max_abs = fabs(x[i]);
        sum += (long double)x[i];
        all += (long double)x[i] * (long double)x[i];
        finite++;
    }
    if (finite == 0) return s;
    const long double mean = sum / (long double)finite;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i])) around += ((long double)x[i] - mean) * ((long double)x[i] - mean);
    s.mean = (double)mean;
    s.std = finite > 1 ? (double)sqrtl(around / (long double)(finite - 1)) : 0;
    s.l2 = (double)sqrtl(all);
    return s;
}

static void compare(const char *what, hk_stats got, hk_stats want) {
    const double rms = want.l2 / sqrt((double)(want.count > 0 ? want.count : 1));
    if (got.count != want.count || got.zeros != want.zeros || got.nonfinite != want.nonfinite)
        fail_msg("%s: %lld elements, %lld zeros, %lld not finite; not %lld, %lld, %lld", what,
                 (long long)got.count, (long long)got.zeros, (long long)got.nonfinite,
                 (long long)want.count, (long long)want.zeros, (long long)want.nonfinite);
    assert_close(what, 0, got.min, want.min, 0);
    assert_close(what, 1, got.max, want.max, 0);
    assert_close(what, 2, got.max_abs, want.max_abs, 0);
    assert_close(what, 3, got.mean, want.mean, 1e-13 * rms);
    assert_close(what, 4, got.std, want.std, 1e-12 * want.std);
    assert_close(what, 5, got.l2, want.l2, 1e-13 * want.l2);
}

static double *doubles_of(hk_tensor *t) {
    const int64_t n = hk_tensor_count(t);
    double *x = malloc((size_t)(n + 1) * sizeof *x);
    assert_non_null(x);
    const void *flat = host(t);
    for (int64_t i = 0; i < n; i++)
        x[i] = hk_tensor_dtype(t) == HK_F64 ? ((const double *)flat)[i]
                                            : (double)((const float *)flat)[i];
    return x;
}

static void check(const char *what, hk_tensor *t) {
    double *x = doubles_of(t);
    compare(what, hk_tensor_stats(t), naive(hk_tensor_count(t), x));
    free(x);
}

static void test_sizes(void **state) {
    hk_context *ctx = *state;
    static const int64_t sizes[] = {1,   2,    3,    15,   16,    17,    31,   33,
                                    100, 4095, 4096, 4097, 16384, 16385, 50000};
    for (int i = 0; i < COUNT(sizes); i++)
        for (int d = 0; d < 2; d++) {
            char what[64];
            snprintf(what, sizeof what, "%lld of %s", (long long)sizes[i], d ? "f64" : "f32");
            hk_tensor *t =
                seeded(ctx, d ? HK_F64 : HK_F32, HK_SHAPE(sizes[i]), what, -1, 3, i % 2 ? .25 : 0);
            check(what, t);
            hk_tensor_destroy(t);
        }
    assert_ok(ctx);
}

/* Any layout: the same bits as of the elements side by side. */
static void test_layouts(void **state) {
    hk_context *ctx = *state;
    const hk_shape shapes[] = {HK_SHAPE(3, 5), HK_SHAPE(70, 90), HK_SHAPE(4, 3, 50, 20),
                               HK_SHAPE(2, 3, 4, 5, 6, 7)};
    for (int i = 0; i < COUNT(shapes); i++)
        for (int d = 0; d < 2; d++)
            for (view v = PLAIN; v < VIEWS; v++) {
                hk_tensor *t =
                    seeded(ctx, d ? HK_F64 : HK_F32, view_source(v, shapes[i]), "t", -2, 1, 0.125);
                hk_tensor *seen = view_of(v, t, shapes[i]);
                check("view", seen);
                const hk_stats got = hk_tensor_stats(seen),
                               want = hk_tensor_stats(hk_contiguous(seen));
                assert_memory_equal(&got, &want, sizeof got);
                must(hk_step_end(ctx));
            }
    check("transposed", hk_transpose(seeded(ctx, HK_F32, HK_SHAPE(300, 200), "u", 0, 1, 0), 0, 1));
    assert_ok(ctx);
}

/* 1, 2 and 3 threads give the same bits. */
static void test_threads(void **state) {
    (void)state;
    for (int i = 0; isa_number(i); i++) {
        const char *isa = isa_number(i);
        hk_stats want[2] = {{0}};
        for (int threads = 1; threads <= 3; threads++) {
            hk_context *ctx = new_context(threads, isa);
            for (int d = 0; d < 2; d++) {
                hk_tensor *t = seeded(ctx, d ? HK_F64 : HK_F32, HK_SHAPE(123457), "t", -1, 1, 0);
                check(isa, t);
                const hk_stats got = hk_tensor_stats(t);
                if (threads == 1) want[d] = got;
                assert_memory_equal(&got, &want[d], sizeof got);
            }
            hk_context_destroy(ctx);
        }
    }
}

/* A mean that is large beside the deviation costs no digits; nor do outliers. */
static void test_hard_numbers(void **state) {
    hk_context *ctx = *state;
    enum { N = 40000 };
    static double x[N];
    const hk_random stream = hk_random_stream(7, "hard", 0);
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < N; i++) {
            const double z = hk_random_normal(stream, (uint64_t)i);
            x[i] = kind == 0 ? 1e8 + z : kind == 1 ? z * 1e-30 : kind == 2 ? z * 1e30 : z;
            if (kind == 3 && i % 5000 == 0) x[i] = 1e12;
        }
        const hk_stats got = hk_tensor_stats(kept(ctx, HK_F64, HK_SHAPE(N), x)), want = naive(N, x);
        assert_close("std", kind, got.std, want.std, (kind == 0 ? 1e-9 : 1e-12) * want.std);
        assert_close("mean", kind, got.mean, want.mean, 1e-13 * want.l2 / sqrt(N));
        assert_close("l2", kind, got.l2, want.l2, 1e-13 * want.l2);
    }
    const double large[] = {1e200, 3e200, -2e200, 6e200}; /* their squares are not doubles */
    const hk_stats out = hk_tensor_stats(kept(ctx, HK_F64, HK_SHAPE(4), large));
    assert_close("large", 0, out.mean, 2e200, 1e187);
    assert_true(out.max == 6e200 && isinf(out.std) && isinf(out.l2) && out.nonfinite == 0);
    for (int i = 0; i < N; i++) x[i] = 0.1; /* in float: no deviation at all */
    const hk_stats flat = hk_tensor_stats(kept(ctx, HK_F32, HK_SHAPE(N), x));
    assert_close("flat mean", 0, flat.mean, (double)0.1F, 1e-17);
    assert_close("flat std", 0, flat.std, 0, 1e-16);
    assert_true(flat.min == flat.max && flat.zeros == 0);
}

static void test_special_values(void **state) {
    hk_context *ctx = *state;
    const double tiny[] = {1e-40, -1e-40, 0.0, -0.0, 1e-45, 3};
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        hk_stats s = hk_tensor_stats(kept(ctx, dtype, HK_SHAPE(6), tiny));
        assert_int_equal(s.zeros, 2); /* what is tiny is not 0 */
        assert_int_equal(s.nonfinite, 0);
        const double none[] = {NAN, INFINITY, -INFINITY, -NAN};
        s = hk_tensor_stats(kept(ctx, dtype, HK_SHAPE(4), none));
        assert_true(s.count == 4 && s.nonfinite == 4 && s.zeros == 0);
        assert_true(s.mean == 0 && s.std == 0 && s.min == 0 && s.max == 0 && s.l2 == 0);
        static double many[20000];
        for (int i = 0; i < 20000; i++) /* whole blocks of NaN among others */
            many[i] = i / 4096 == 1 ? NAN : i % 7 == 3 ? INFINITY * (i % 2 ? 1 : -1) : i % 5 - 1;
        check("many", kept(ctx, dtype, HK_SHAPE(20000), many));
        for (int i = 0; i < 4096; i++) many[i] = NAN; /* the first of them too */
        check("more", kept(ctx, dtype, HK_SHAPE(20000), many));
        s = hk_tensor_stats(kept(ctx, dtype, HK_SCALAR, &tiny[5]));
        assert_true(s.count == 1 && s.mean == 3 && s.std == 0 && s.l2 == 3 && s.max_abs == 3);
        s = hk_tensor_stats(hk_tensor_new(ctx, dtype, HK_SHAPE(3, 0)));
        assert_true(s.count == 0 && s.mean == 0 && s.std == 0 && s.l2 == 0);
        const double negative[] = {-3, -5};
        s = hk_tensor_stats(kept(ctx, dtype, HK_SHAPE(2), negative));
        assert_true(s.min == -5 && s.max == -3 && s.max_abs == 5);
    }
    assert_ok(ctx);
}

/* A gradient that is zero in name alone. */
static void test_gradients(void **state) {
    hk_context *ctx = *state;
    const double two = 2;
    hk_tensor *w = hk_require_grad(kept(ctx, HK_F32, HK_SCALAR, &two));
    must(hk_backward(ctx, hk_mul(w, w)));
    hk_tensor *g = hk_grad(w);
    assert_true(hk_tensor_stats(g).l2 == 4);
    hk_zero_grad(w);
    assert_true(hk_tensor_stats(g).zeros == 1);
}

static double distance(hk_context *ctx, hk_dtype dtype, const void *x, const void *y, int64_t n) {
    double square = NAN, *there = hk__values_alloc(ctx, sizeof *there, false);
    assert_non_null(there);
    hk__squares_apart(ctx, dtype, x, y, n, there);
    hk__values_read(ctx, &square, there, sizeof square);
    hk__values_free(ctx, there);
    return sqrt(square);
}

static void test_distance(void **state) {
    hk_context *ctx = *state;
    for (int d = 0; d < 2; d++)
        for (int64_t n = 1; n < 60000; n = n * 3 + 1) {
            const hk_dtype dtype = d ? HK_F64 : HK_F32;
            hk_tensor *x = seeded(ctx, dtype, HK_SHAPE(n), "x", -1, 3, 0);
            hk_tensor *y = seeded(ctx, dtype, HK_SHAPE(n), "y", -2, 2, 0);
            double *a = doubles_of(x), *b = doubles_of(y);
            long double apart = 0, length = 0;
            for (int64_t i = 0; i < n; i++) {
                apart += ((long double)a[i] - (long double)b[i]) *
                         ((long double)a[i] - (long double)b[i]);
                length += (long double)a[i] * (long double)a[i];
            }
            const double want[] = {(double)sqrtl(apart), (double)sqrtl(length)};
            void *const p = hk_tensor_data(x), *const q = hk_tensor_data(y);
            assert_close("distance", n, distance(ctx, dtype, p, q, n), want[0], 1e-13 * want[0]);
            assert_close("norm", n, distance(ctx, dtype, p, NULL, n), want[1], 1e-13 * want[1]);
            free(a), free(b);
        }
    assert_true(distance(ctx, HK_F32, NULL, NULL, 0) == 0);
}

static void test_errors(void **state) {
    hk_context *ctx = *state;
    const double one = 1;
    assert_true(hk_tensor_stats(NULL).count == 0);
    assert_ok(ctx);
    assert_true(hk_tensor_stats(kept(ctx, HK_I32, HK_SCALAR, &one)).count == 0);
    expect_error(ctx, HK_ERR_DTYPE, "[tensor_stats]", "i32");
    assert_true(hk_tensor_stats(kept(ctx, HK_U8, HK_SCALAR, &one)).count == 0);
    expect_error(ctx, HK_ERR_DTYPE, "u8");
    hk_tensor *old = hk_full(ctx, HK_F32, HK_SHAPE(3), 1);
    assert_true(hk_tensor_stats(old).count == 3);
    must(hk_step_end(ctx));
    assert_true(hk_tensor_stats(old).count == 0);
    expect_error(ctx, HK_ERR_STALE, "hk_tensor_keep");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_sizes),        TEST(test_layouts),        cmocka_unit_test(test_threads),
        TEST(test_hard_numbers), TEST(test_special_values), TEST(test_gradients),
        TEST(test_distance),     TEST(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
