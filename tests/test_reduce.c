/* test_reduce.c: the driver of reductions: adding up, scaling, summing back to a smaller shape,
   first NaN, memory.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

#include "map.h"
#include "reduce.h"

static const hk_shape shapes[] = {
    {1, {33000}},     {2, {41, 500}},    {2, {500, 41}},
    {3, {7, 300, 5}}, {4, {3, 5, 2, 7}}, {6, {2, 3, 1, 2, 3, 2}},
};

/* out = scale·Σ x and out += scale·Σ x, every set of axes. */
static void scales_and_adds(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(shapes) * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        hk_tensor *x = hk_tensor_keep(seeded(ctx, dtype, shapes[k / 2], "x", -2, 2, 0.25));
        for (unsigned axes = 0; axes < 1U << x->shape.rank; axes++) {
            hk_tensor *plain = hk_sum(x, axes, true), *out = hk_full(ctx, dtype, plain->shape, 3);
            assert_true(hk__reduce(ctx, HK__SUM, out, x, axes, 0.5, true));
            if (hk_tensor_count(plain) > MOST) continue;
            const double *want = values(plain), *got = values(out);
            for (int64_t i = 0; i < hk_tensor_count(out); i++)
                assert_close("added", i, got[i], 3 + 0.5 * want[i], 0); /* exact: quarters */
            assert_true(hk__reduce(ctx, HK__SUM, out, x, axes, -2, false));
            got = values(out);
            for (int64_t i = 0; i < hk_tensor_count(out); i++)
                assert_close("scaled", i, got[i], -2 * want[i], 0);
            must(hk_step_end(ctx));
        }
        while (ctx->kept) hk_tensor_destroy(ctx->kept);
    }
}

/* A gradient of the broadcast shape, summed back to the shape that was stretched. */
static void sums_back(void **state) {
    hk_context *ctx = *state;
    static const hk_shape cases[][2] = {
        {{0, {0}}, {3, {5, 7, 9}}},
        {{1, {1}}, {3, {5, 7, 9}}},
        {{1, {9}}, {3, {5, 7, 9}}},
        {{2, {7, 1}}, {3, {5, 7, 9}}},
        {{3, {5, 1, 9}}, {3, {5, 7, 9}}},
        {{3, {5, 7, 9}}, {3, {5, 7, 9}}},
        {{4, {3, 1, 2, 1}}, {6, {2, 2, 3, 5, 2, 3}}},
        {{2, {1, 1}}, {2, {0, 3}}},
    };
    for (int64_t k = 0; k < COUNT(cases) * VIEWS * 4; k++) {
        const view v = (view)(k / 4 % VIEWS);
        const hk_shape small = cases[k / 4 / VIEWS][0], wide = cases[k / 4 / VIEWS][1];
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const bool accumulate = k / 2 % 2;
        hk_tensor *x = view_of(v, seeded(ctx, dtype, view_source(v, wide), "x", -2, 2, 0.25), wide);
        hk_tensor *out = hk_full(ctx, dtype, small, 7);
        assert_true(hk__sum_to(ctx, out, x, accumulate));
        const double *in = values(x), *got = values(out);
        static double want[MOST];
        for (int64_t i = 0; i < hk_tensor_count(out); i++) want[i] = accumulate ? 7 : 0;
        for (int64_t i = 0; i < hk_tensor_count(x); i++)
            want[broadcast_at(small, wide, i)] += in[i];
        for (int64_t i = 0; i < hk_tensor_count(out); i++)
            assert_close("sum_to", i, got[i], want[i], 0);
        must(hk_step_end(ctx));
        while (ctx->kept) hk_tensor_destroy(ctx->kept);
    }
}

static void first_nonfinite(void **state) {
    hk_context *ctx = *state;
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        hk_tensor *x = hk_tensor_keep(hk_full(ctx, dtype, HK_SHAPE(37, 29), 1e30)),
                  *turned = hk_transpose(x, 0, 1);
        assert_int_equal(hk__first_nonfinite(ctx, x), -1);
        assert_int_equal(hk__first_nonfinite(ctx, turned), -1);
        static const double bad[] = {NAN, INFINITY, -INFINITY};
        for (int k = 0; k < 3; k++) {
            hk__fill(ctx, x, 1);
            for (int64_t at = 1072; at >= 67;
                 at -= 67) { /* each before the last one: the first counts */
                element_put(x, at, bad[k]);
                assert_int_equal(hk__first_nonfinite(ctx, x), at);
            }
        }
        assert_int_equal(hk__first_nonfinite(ctx, hk_slice(x, 0, 1, 36)), 67 - 29);
        hk__fill(ctx, x, 0);
        element_put(x, 29 * 3 + 4, (double)NAN);
        assert_int_equal(hk__first_nonfinite(ctx, turned), 37 * 4 + 3);
        assert_int_equal(hk__first_nonfinite(ctx, hk_tensor_new(ctx, dtype, HK_SHAPE(0))), -1);
    }
    assert_int_equal(hk__first_nonfinite(ctx, hk_full(ctx, HK_I32, HK_SHAPE(3), 1)), -1);
}

/* Many small groups must not cost a large buffer for each. */
static void little_memory(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(50000, 3, 2), 1);
    hk_tensor *y = hk_sum(x, HK_AXIS(1), false);
    assert_ok(ctx);
    assert_true(ctx->scratch.most < (size_t)4 << 20);
    for (int64_t i = 0; i < 100000; i += 997) assert_close("sum", i, element_get(y, i), 3, 0);
}

static void squares(void **state) {
    hk_context *ctx = *state;
    static const int64_t lengths[] = {1, 31, 32, 33, 4096, 4097, 16384, 16385, 50000};
    double *x = malloc(50000 * sizeof *x);
    float *y = malloc(50000 * sizeof *y);
    assert_true(x && y);
    for (int64_t i = 0; i < 50000; i++)
        x[i] = y[i] = (float)(hk_random_uniform((hk_random){1, 2}, (uint64_t)i) - 0.5);
    const void *x_there = hk_tensor_data(hk_tensor_from(ctx, HK_F64, HK_SHAPE(50000), x)),
               *y_there = hk_tensor_data(hk_tensor_from(ctx, HK_F32, HK_SHAPE(50000), y));
    for (int64_t k = 0; k < COUNT(lengths); k++) {
        double want = 0;
        for (int64_t i = 0; i < lengths[k]; i++) want += x[i] * x[i];
        assert_close("f64", k, hk__sum_squares(ctx, HK_F64, x_there, lengths[k]), want,
                     1e-13 * want);
        assert_close("f32", k, hk__sum_squares(ctx, HK_F32, y_there, lengths[k]), want,
                     1e-6 * want);
    }
    assert_close("none", 0, hk__sum_squares(ctx, HK_F32, y_there, 0), 0, 0);
    free(x);
    free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(scales_and_adds, setup, teardown),
        cmocka_unit_test_setup_teardown(sums_back, setup, teardown),
        cmocka_unit_test_setup_teardown(first_nonfinite, setup, teardown),
        cmocka_unit_test_setup_teardown(little_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(squares, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
