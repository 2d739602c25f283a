/* ctest: labels=unit timeout=60 */
/* test_stats.c: statistics of tensors against plain loops.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "hk_stats.h"

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
    hk_tensor *flat = hk_contiguous(t);
    for (int64_t i = 0; i < n; i++)
        x[i] = hk_tensor_dtype(t) == HK_F64 ? ((double *)hk_tensor_data(flat))[i]
                                            : (double)((float *)hk_tensor_data(flat))[i];
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
