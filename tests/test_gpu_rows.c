/* ctest: labels=unit timeout=300 */
/* Softmax and cross-entropy on a GPU, against the CPU: rows of every length that goes another way, every layout, values
   that are not finite, labels out of range.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"

typedef enum kind { SOFTMAX, LOG_SOFTMAX, LOSS, SMOOTH_LOSS, KINDS } kind;

typedef struct sizes {
    int64_t rows, n;
} sizes;

static double gate(hk_dtype dtype) { return dtype == HK_F32 ? 2e-6 : 1e-13; }

static hk_tensor *labels_for(hk_context *ctx, sizes s) {
    hk_tensor *t = seeded(ctx, HK_I32, HK_SHAPE(s.rows), "labels", 0, (double)s.n, 0);
    return t;
}

static hk_tensor *apply(hk_context *ctx, kind k, hk_tensor *x, sizes s) {
    switch (k) {
    case SOFTMAX: return hk_softmax(x, 1);
    case LOG_SOFTMAX: return hk_log_softmax(x, 1);
    case LOSS: return hk_cross_entropy(x, labels_for(ctx, s));
    default: return hk_cross_entropy_smooth(x, labels_for(ctx, s), 0.2);
    }
}

/* Value, slope, slope added to what is there, forward mode. */
static void run(kind k, hk_dtype dtype, sizes s, view v, int shift) {
    hk_tensor *y[2], *slope[2], *twice[2], *along[2];
    for (int c = 0; c < 2; c++) {
        hk_context *ctx = c ? gpu : cpu;
        const hk_shape shape = HK_SHAPE(s.rows, s.n), source = view_source(v, shape);
        const int64_t count = hk_shape_count(source);
        hk_tensor *all = seeded(ctx, dtype, HK_SHAPE(count + shift), "x", -6, 6, 0);
        hk_tensor *x = hk_require_grad(all);
        x = view_of(v, hk_reshape(hk_slice(x, 0, shift, count), source), shape);
        y[c] = apply(ctx, k, x, s);
        assert_ok(ctx);
        hk_tensor *gy = seeded(ctx, dtype, hk_tensor_shape(y[c]), "g", -1, 2, 0);
        must(hk_backward_from(ctx, y[c], gy));
        slope[c] = hk_tensor_keep(hk_grad(all));
        must(hk_backward_from(ctx, y[c], gy));
        twice[c] = hk_grad(all);
        hk_tensor *t = seeded(ctx, dtype, hk_tensor_shape(all), "t", -1, 1, 0);
        along[c] = hk_jvp(ctx, y[c], 1, &all, &t);
    }
    char name[96];
    snprintf(name, sizeof name, "kind %d, %s, (%lld, %lld), view %d, shift %d", (int)k,
             hk_dtype_name(dtype), (long long)s.rows, (long long)s.n, (int)v, shift);
    assert_alike(name, y[0], y[1], gate(dtype));
    assert_alike(name, slope[0], slope[1], gate(dtype));
    assert_alike(name, twice[0], twice[1], gate(dtype));
    assert_alike(name, along[0], along[1], 4 * gate(dtype));
    forget();
}

/* A part of a warp, a warp, a block, a cluster, two passes; in 16 bytes and in single elements. */
static void lengths(void **state) {
    (void)state;
    static const sizes all[] = {
        {1, 1},   {5, 1},    {3, 2},    {64, 10},  {7, 4},    {33, 12},   {9, 32},   {9, 33},
        {3, 64},  {2, 129},  {5, 256},  {3, 257},  {3, 1000}, {2, 1003},  {3, 1024}, {2, 1028},
        {3, 513}, {2, 2049}, {2, 4096}, {1, 4100}, {9, 4100}, {1, 20000}, {1, 9001},
    };
    for (int i = 0; i < COUNT(all); i++)
        for (int k = 0; k < KINDS; k++)
            for (int d = 0; d < 2; d++) run((kind)k, d ? HK_F64 : HK_F32, all[i], PLAIN, 0);
}

static void layouts(void **state) {
    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int v = 0; v < VIEWS; v++)
            for (int shift = 0; shift < 2; shift++) {
                run((kind)k, HK_F32, (sizes){6, 20}, (view)v, shift);
                run((kind)k, HK_F32, (sizes){3, 1100}, (view)v, shift);
            }
}

/* Rows for which each kernel of long ones is the right one. */
static void long_rows(void **state) {
    (void)state;
    static const sizes all[] = {{3, 16400},  {5, 16388},  {2, 17001}, {2, 33000},
                                {1, 140000}, {2, 140001}, {1, 270000}};
    for (int i = 0; i < COUNT(all); i++)
        for (int k = 0; k < KINDS; k++) run((kind)k, HK_F32, all[i], PLAIN, 0);
    run(SOFTMAX, HK_F64, (sizes){1, 70001}, PLAIN, 0);
    run(SMOOTH_LOSS, HK_F64, (sizes){1, 140000}, PLAIN, 0);
}

/* The same without clusters, as on older GPUs. */
static int open_older(void **state) {
    setenv("HILLOCK_EMULATED_CAPABILITY", "80", 1);
    const int failed = open_both(state);
    unsetenv("HILLOCK_EMULATED_CAPABILITY");
    return failed;
}

/* As on the CPU: NaN wins, a row without a finite largest element is NaN, -∞ is 0. Also where a thread sees nothing but
   one kind of element. */
static void not_finite(void **state) {
    (void)state;
    static const int64_t lengths[] = {3, 40, 1027, 9000, 140000};
    for (int l = 0; l < COUNT(lengths); l++)
        for (int k = 0; k < KINDS; k++) {
            const int64_t n = lengths[l], rows = 7;
            hk_tensor *y[2], *g[2];
            for (int c = 0; c < 2; c++) {
                hk_context *ctx = c ? gpu : cpu;
                double *value = malloc((size_t)(rows * n) * sizeof *value);
                assert_non_null(value);
                for (int64_t i = 0; i < rows * n; i++) {
                    const int64_t r = i / n, at = i % n;
                    value[i] = r == 0   ? (at == n / 2 ? NAN : 1)
                               : r == 1 ? (at == n - 1 ? INFINITY : 1)
                               : r == 2 ? (at == 0 ? -INFINITY : 1)
                               : r == 3 ? -INFINITY
                               : r == 4 ? (at == n - 1 ? 1 : -INFINITY)
                               : r == 5 ? (at % 2 ? 3e38 : -3e38)
                                        : 1e4 + (double)(at % 3);
                }
                hk_tensor *x = hk_require_grad(kept(ctx, HK_F32, HK_SHAPE(rows, n), value));
                free(value);
                y[c] = apply(ctx, (kind)k, x, (sizes){rows, n});
                must(hk_backward_from(ctx, y[c], hk_full(ctx, HK_F32, hk_tensor_shape(y[c]), 0.5)));
                g[c] = hk_grad(x);
            }
            char name[64];
            snprintf(name, sizeof name, "kind %d, rows of %lld", k, (long long)n);
            if (k == LOG_SOFTMAX) { /* elements of 3e38 would hide all others */
                y[0] = hk_slice(y[0], 0, 6, 1);
                y[1] = hk_slice(y[1], 0, 6, 1);
            }
            assert_alike(name, y[0], y[1], 1e-6);
            assert_alike(name, g[0], g[1], 1e-6);
            forget();
        }
}

static void bad_labels(void **state) {
    (void)state;
    static const int32_t labels[] = {0, 2, 1, 3};
    hk_tensor *x = hk_full(gpu, HK_F32, HK_SHAPE(4, 3), 0);
    hk_tensor *loss = hk_cross_entropy(x, hk_constant(gpu, HK_I32, HK_SHAPE(4), labels));
    assert_close("as label 0", 0, hk_tensor_item(loss), log(3), 1e-6);
    assert_int_not_equal(hk_step_end(gpu), HK_OK);
    expect_error(gpu, HK_ERR_ARGUMENT, "[cross_entropy]", "label 3", "position 3", "0 to 2");
    must(hk_step_end(gpu));
    static const int32_t below = -1;
    loss = hk_cross_entropy(hk_full(gpu, HK_F32, HK_SHAPE(1, 3), 0),
                            hk_constant(gpu, HK_I32, HK_SHAPE(1), &below));
    assert_close("as label 0", 1, hk_tensor_item(loss), log(3), 1e-6); /* and waits for it */
    assert_int_not_equal(hk_step_end(gpu), HK_OK);
    expect_error(gpu, HK_ERR_ARGUMENT, "label -1", "position 0");
    assert_null(hk_cross_entropy(hk_full(gpu, HK_F32, HK_SHAPE(1, 0), 0),
                                 hk_constant(gpu, HK_I32, HK_SHAPE(1), &below)));
    expect_error(gpu, HK_ERR_ARGUMENT, "[cross_entropy]", "(1, 0)");
}

static void accuracies(void **state) {
    (void)state;
    for (int64_t n = 1; n < 3000; n = 3 * n + 2) {
        double share[2];
        for (int c = 0; c < 2; c++) {
            hk_context *ctx = c ? gpu : cpu;
            hk_tensor *x = seeded(ctx, HK_F32, HK_SHAPE(n, 3), "x", -1, 1, 0);
            share[c] = hk_accuracy(x, labels_for(ctx, (sizes){n, 3}));
        }
        assert_close("accuracy", n, share[1], share[0], 0);
        forget();
    }
}

/* Two runs give the same bits. */
static void same_twice(void **state) {
    (void)state;
    static const int64_t lengths[] = {10, 1000, 5000, 140000};
    for (int l = 0; l < COUNT(lengths); l++) {
        hk_tensor *g[2];
        for (int c = 0; c < 2; c++) {
            const sizes s = {5, lengths[l]};
            hk_tensor *x = seeded(gpu, HK_F32, HK_SHAPE(s.rows, s.n), "x", -1, 1, 0);
            hk_require_grad(x);
            must(hk_backward(gpu, apply(gpu, SMOOTH_LOSS, x, s)));
            g[c] = hk_grad(x);
        }
        assert_true(same_elements(g[0], g[1]));
        forget();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lengths, open_both, close_both),
        cmocka_unit_test_setup_teardown(layouts, open_both, close_both),
        cmocka_unit_test_setup_teardown(long_rows, open_both, close_both),
        cmocka_unit_test_setup_teardown(long_rows, open_older, close_both),
        cmocka_unit_test_setup_teardown(not_finite, open_both, close_both),
        cmocka_unit_test_setup_teardown(not_finite, open_older, close_both),
        cmocka_unit_test_setup_teardown(bad_labels, open_both, close_both),
        cmocka_unit_test_setup_teardown(accuracies, open_both, close_both),
        cmocka_unit_test_setup_teardown(same_twice, open_both, close_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
