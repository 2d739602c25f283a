/* test_value_reduce.c: results of reductions and softmax over any axes of any layout, against
   plain C.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

#include "context.h"
#include "reduce.h"

/* The output index (reduced axes of size 1) of element i, and the shape with those axes. */
static int64_t group_of(hk_shape s, unsigned axes, int64_t i) {
    int64_t at = 0, step = 1;
    for (int a = s.rank - 1; a >= 0; a--) {
        if (!(axes >> a & 1)) {
            at += i % s.dim[a] * step;
            step *= s.dim[a];
        }
        i /= s.dim[a];
    }
    return at;
}

static hk_shape result_shape(hk_shape s, unsigned axes, bool keep) {
    hk_shape out = {.rank = 0};
    for (int a = 0; a < s.rank; a++) {
        if (!(axes >> a & 1))
            out.dim[out.rank++] = s.dim[a];
        else if (keep)
            out.dim[out.rank++] = 1;
    }
    return out;
}

static void compare(hk_context *ctx, hk_tensor *x, unsigned axes, bool keep, double tolerance) {
    static double sum[MOST], most[MOST], squares[MOST], n[MOST];
    const hk_shape s = hk_tensor_shape(x), out = result_shape(s, axes, keep);
    const int64_t groups = hk_shape_count(out), count = hk_tensor_count(x);
    for (int64_t g = 0; g < groups; g++) sum[g] = squares[g] = n[g] = 0, most[g] = -INFINITY;
    const double *v = values(x);
    for (int64_t i = 0; i < count; i++) {
        const int64_t g = group_of(s, axes, i);
        sum[g] += v[i];
        n[g]++;
        if (v[i] > most[g]) most[g] = v[i];
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t g = group_of(s, axes, i);
        squares[g] += (v[i] - sum[g] / n[g]) * (v[i] - sum[g] / n[g]);
    }
    hk_tensor *y[] = {hk_sum(x, axes, keep), hk_mean(x, axes, keep), hk_max(x, axes, keep),
                      hk_var(x, axes, 0, keep), n[0] > 1 ? hk_var(x, axes, 1, keep) : NULL};
    assert_ok(ctx);
    char what[64];
    snprintf(what, sizeof what, "rank %d, axes 0x%x: ", s.rank, axes);
    for (int k = 0; k < 5; k++) {
        if (!y[k]) continue;
        assert_shape(y[k], out);
        const double *got = values(y[k]);
        for (int64_t g = 0; g < groups; g++) {
            const double want[] = {sum[g], sum[g] / n[g], most[g], squares[g] / n[g],
                                   squares[g] / (n[g] - 1)};
            const double bound[] = {n[g] * tolerance, tolerance, 0, 8 * tolerance, 16 * tolerance};
            assert_close(what, 1000 * k + g, got[g], want[k], bound[k]);
        }
    }
    must(hk_step_end(ctx));
}

static void every_set_of_axes(void **state) {
    hk_context *ctx = *state;
    static const hk_shape shapes[] = {
        {0, {0}},      {1, {1}},        {1, {513}},       {2, {17, 33}},     {2, {300, 7}},
        {2, {1, 300}}, {3, {7, 9, 11}}, {3, {5, 1, 271}}, {4, {3, 5, 7, 9}}, {4, {9, 1, 33, 5}}};
    for (int64_t k = 0; k < COUNT(shapes) * VIEWS * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const view v = (view)(k / 2 % VIEWS);
        const hk_shape s = shapes[k / 2 / VIEWS];
        hk_tensor *source = seeded(ctx, dtype, view_source(v, s), "reduce", -2, 2, 0);
        for (unsigned axes = 0; axes < 1U << s.rank; axes++)
            compare(ctx, view_of(v, source, s), axes, axes % 2, dtype == HK_F32 ? 1e-6 : 1e-14);
        compare(ctx, view_of(v, source, s), HK_ALL_AXES, false, dtype == HK_F32 ? 1e-6 : 1e-14);
        hk_tensor_destroy(source);
    }
}

/* Sums that would lose all digits if floats were added one after the other. */
static void a_million_elements(void **state) {
    (void)state;
    enum { N = 1000003 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    double want = 0, squares = 0;
    for (int64_t i = 0; i < N; i++) {
        x[i] = (float)(1 + hk_random_uniform(hk_random_stream(1, "million", 0), (uint64_t)i));
        want += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(2, isa);
        hk_tensor *t = hk_constant(ctx, HK_F32, HK_SHAPE(N), x);
        assert_close("sum", 0, hk_tensor_item(hk_sum(t, HK_ALL_AXES, false)), want, 3e-7 * want);
        assert_close("mean", 0, hk_tensor_item(hk_mean(t, HK_ALL_AXES, false)), want / N,
                     3e-7 * want / N);
        assert_close("squares", 0, hk__sum_squares(ctx, HK_F32, hk_tensor_data(t), N), squares,
                     1e-7 * squares);
        hk_context_destroy(ctx);
    }
    free(x);
}

/* --- the same bits with one and two threads, on both sides of the threshold ------------------ */

static void threads_change_nothing(void **state) {
    (void)state;
    static const hk_shape shapes[] = {{1, {32768}},         {1, {32769}},    {1, {100001}},
                                      {2, {3000, 37}},      {2, {37, 3000}}, {3, {11, 130, 77}},
                                      {4, {9, 16, 31, 17}}, {2, {128, 256}}};
    for (int64_t k = 0; k < COUNT(shapes) * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        hk_context *ctx[] = {new_context(1, NULL), new_context(2, NULL)};
        hk_tensor *x[2];
        for (int c = 0; c < 2; c++)
            x[c] = seeded(ctx[c], dtype, shapes[k / 2], "threads", -2, 2, 0);
        const uint64_t before = hk__pool_parallel_regions(ctx[1]->pool);
        for (unsigned axes = 1; axes < 1U << shapes[k / 2].rank; axes++)
            for (int kind = 0; kind < 2; kind++) {
                hk_tensor *y[2];
                for (int c = 0; c < 2; c++)
                    y[c] = kind ? hk_max(x[c], axes, true) : hk_sum(x[c], axes, true);
                const size_t bytes = (size_t)hk_tensor_count(y[0]) * hk_dtype_size(dtype);
                assert_memory_equal(host(y[0]), host(y[1]), bytes);
            }
        const bool large = hk_shape_count(shapes[k / 2]) > 32768;
        assert_int_equal(hk__pool_parallel_regions(ctx[1]->pool) > before, large && !on_gpu());
        assert_int_equal(hk__pool_parallel_regions(ctx[0]->pool), 0);
        const double squares[] = {
            hk__sum_squares(ctx[0], dtype, hk_tensor_data(x[0]), hk_tensor_count(x[0])),
            hk__sum_squares(ctx[1], dtype, hk_tensor_data(x[1]), hk_tensor_count(x[1]))};
        assert_memory_equal(&squares[0], &squares[1], sizeof squares[0]);
        for (int c = 0; c < 2; c++) hk_context_destroy(ctx[c]);
    }
}

/* --- max, argmax and var at their edges ------------------------------------------------------ */

static void largest(void **state) {
    hk_context *ctx = *state;
    const double inf = INFINITY;
    const double x[] = {1,    3,    3, 2,  NAN, 1,   inf, NAN,  -inf, -inf,
                        -inf, -inf, 7, -1, 7,   inf, 0,   -0.0, 0,    -1};
    const double most[] = {3, NAN, -inf, inf, 0};
    const double where[] = {1, 0, 0, 3, 0};
    for (int d = 0; d < 2; d++) {
        hk_tensor *t = kept(ctx, d ? HK_F64 : HK_F32, HK_SHAPE(5, 4), x);
        for (int v = 0; v < 2; v++) { /* along rows, and along columns of the transposed */
            hk_tensor *seen = v ? hk_transpose(t, 0, 1) : t;
            const double *m = values(hk_max(seen, HK_AXIS(v ? 0 : 1), false));
            hk_tensor *at = hk_argmax(seen, v ? -2 : -1, false),
                      *kept_at = hk_argmax(seen, v ? 0 : 1, true);
            assert_shape(at, HK_SHAPE(5));
            assert_shape(kept_at, v ? HK_SHAPE(1, 5) : HK_SHAPE(5, 1));
            assert_int_equal(hk_tensor_dtype(at), HK_I32);
            assert_values("argmax", at, 5, where, 0);
            assert_values("argmax", kept_at, 5, where, 0);
            for (int i = 0; i < 5; i++) {
                if (isnan(most[i]))
                    assert_nan("max", i, m[i]);
                else
                    assert_close("max", i, m[i], most[i], 0);
            }
        }
    }
    const double late_nan[] = {1, 2, 9, NAN, 3, NAN}; /* the first NaN */
    assert_values("argmax", hk_argmax(kept(ctx, HK_F32, HK_SHAPE(6), late_nan), 0, false), 1,
                  (const double[]){3}, 0);
    hk_tensor *big = hk_full(ctx, HK_F32, HK_SHAPE(70000), 1); /* a tie across blocks: the first */
    element_put(big, 40000, 2), element_put(big, 50001, 2);
    assert_close("argmax", 0, hk_tensor_item(hk_argmax(big, 0, false)), 40000, 0);
    element_put(big, 69999, (double)NAN);
    assert_nan("max", 0, hk_tensor_item(hk_max(big, HK_ALL_AXES, false)));
    assert_close("argmax", 0, hk_tensor_item(hk_argmax(big, 0, false)), 69999, 0);
}

static void variance(void **state) {
    hk_context *ctx = *state;
    const double x[] = {1e6 + 1, 1e6 + 2, 1e6 + 3, 1e6 + 6}; /* one pass would cancel */
    for (int d = 0; d < 2; d++) {
        hk_tensor *t = kept(ctx, d ? HK_F64 : HK_F32, HK_SHAPE(4), x);
        assert_close("biased", 0, hk_tensor_item(hk_var(t, HK_ALL_AXES, 0, false)), 3.5, 1e-6);
        assert_close("unbiased", 0, hk_tensor_item(hk_var(t, HK_ALL_AXES, 1, false)), 14.0 / 3,
                     1e-6);
        assert_close("correction 2", 0, hk_tensor_item(hk_var(t, HK_ALL_AXES, 2, false)), 7, 1e-6);
        assert_null(hk_var(t, HK_ALL_AXES, 4, false));
        expect_error(ctx, HK_ERR_ARGUMENT, "[var]", "4");
        assert_null(hk_var(t, HK_ALL_AXES, NAN, false));
        expect_error(ctx, HK_ERR_ARGUMENT, "[var]");
        assert_values("var of one", hk_var(t, 0, 0, false), 4, (const double[4]){0}, 0);
    }
}

/* --- softmax --------------------------------------------------------------------------------- */

static void softmax_of_anything(void **state) {
    hk_context *ctx = *state;
    static const double scales[] = {1, 50, 1e4, 1e30};
    static const hk_shape shapes[] = {
        {1, {1}}, {1, {17}}, {2, {5, 33}}, {3, {3, 7, 5}}, {4, {2, 3, 1, 9}}};
    for (int64_t k = 0; k < COUNT(scales) * COUNT(shapes) * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const hk_shape s = shapes[k / 2 % COUNT(shapes)];
        const double scale = scales[k / 2 / COUNT(shapes)], eps = dtype == HK_F32 ? 1e-6 : 1e-14;
        hk_tensor *x = seeded(ctx, dtype, s, "softmax", -scale, scale, 0);
        for (int axis = 0; axis < s.rank; axis++) {
            const unsigned axes = HK_AXIS(axis);
            const double *v = values(x), *y = values(hk_softmax(x, axis)),
                         *z = values(hk_log_softmax(x, axis));
            static double most[MOST], total[MOST];
            for (int64_t g = 0; g < hk_tensor_count(x); g++) most[g] = -INFINITY, total[g] = 0;
            for (int64_t i = 0; i < hk_tensor_count(x); i++) {
                const int64_t g = group_of(s, axes, i);
                most[g] = v[i] > most[g] ? v[i] : most[g];
            }
            for (int64_t i = 0; i < hk_tensor_count(x); i++)
                total[group_of(s, axes, i)] += exp(v[i] - most[group_of(s, axes, i)]);
            for (int64_t i = 0; i < hk_tensor_count(x); i++) {
                const int64_t g = group_of(s, axes, i);
                const double d = v[i] - most[g];
                assert_close("softmax", i, y[i], exp(d) / total[g],
                             eps * 20 * exp(d) / total[g] + 1e-37);
                assert_close("log_softmax", i, z[i], d - log(total[g]), eps * (1 + fabs(d)));
            }
        }
        must(hk_step_end(ctx));
        hk_tensor_destroy(x);
    }
    /* -inf is a masked logit; NaN reaches its row alone. */
    const double row[] = {0, -INFINITY, 0, NAN, 1, 2};
    hk_tensor *x = kept(ctx, HK_F32, HK_SHAPE(2, 3), row);
    const double *y = values(hk_softmax(x, 1)), *z = values(hk_log_softmax(x, 1));
    assert_true(y[0] == 0.5 && y[1] == 0 && y[2] == 0.5);
    assert_close("log", 0, z[0], -log(2), 1e-7);
    assert_close("log", 1, z[1], -INFINITY, 0);
    for (int i = 3; i < 6; i++) {
        assert_nan("softmax", i, y[i]);
        assert_nan("log_softmax", i, z[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_set_of_axes, setup, teardown),
        cmocka_unit_test(a_million_elements),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test_setup_teardown(largest, setup, teardown),
        cmocka_unit_test_setup_teardown(variance, setup, teardown),
        cmocka_unit_test_setup_teardown(softmax_of_anything, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
