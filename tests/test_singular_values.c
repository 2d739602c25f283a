/* ctest: labels=unit,golden timeout=60 */
/* test_singular_values.c: singular values against known matrices, NumPy's and exact arithmetic's.
   SPDX-License-Identifier: MIT */
#include "golden_file.h"
#include "hk_jacobian.h"

#include <math.h>

#define assert_near(name, i, got, want, tolerance)                                                 \
    do {                                                                                           \
        const double got_ = (got), want_ = (want), allowed_ = (tolerance);                         \
        if (!(fabs(got_ - want_) <= allowed_))                                                     \
            fail_msg("%s[%lld]: %.17g, not %.17g", name, (long long)(i), got_, want_);             \
    } while (0)

static double *copy_of(int64_t n, const double *a) {
    double *copy = malloc(sizeof *copy * (size_t)n);
    assert_non_null(copy);
    memcpy(copy, a, sizeof *copy * (size_t)n);
    return copy;
}

/* Within `relative` of each value, or of the largest, whatever is more. */
static void expect_values(const char *name, int64_t rows, int64_t cols, const double *a,
                          const double *want, double relative, double of_largest) {
    const int64_t count = rows < cols ? rows : cols;
    double *work = copy_of(rows * cols, a), *s = malloc(sizeof *s * (size_t)count);
    assert_non_null(s);
    assert_int_equal(hk_singular_values(rows, cols, work, s), HK_OK);
    for (int64_t i = 0; i < count; i++) {
        assert_near(name, i, s[i], want[i], fmax(relative * want[i], of_largest * want[0]));
        assert_true(i == 0 || s[i] <= s[i - 1]);
    }
    free(s);
    free(work);
}

static double *transposed(int64_t rows, int64_t cols, const double *a) {
    double *t = malloc(sizeof *t * (size_t)(rows * cols));
    assert_non_null(t);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) t[j * rows + i] = a[i * cols + j];
    return t;
}

/* --- against tables -------------------------------------------------------------------------- */

static void golden_matrices(void **state) {
    (void)state;
    golden g = golden_read("singular.txt");
    int n = 0;
    for (int i = 0; i < g.n; i++) {
        const golden_entry *a = &g.entry[i];
        char name[GOLDEN_NAME];
        const size_t length = strlen(a->name);
        if (strcmp(a->name + length - 2, ".a") != 0) continue;
        snprintf(name, sizeof name, "%.*s.s", (int)length - 2, a->name);
        const golden_entry *s = golden_get(&g, name);
        const int64_t rows = a->shape.dim[0], cols = a->shape.dim[1];
        assert_int_equal(s->count, rows < cols ? rows : cols);
        expect_values(name, rows, cols, a->value, s->value, 1e-14, 4e-15);
        double *t = transposed(rows, cols, a->value);
        expect_values(name, cols, rows, t, s->value, 1e-14, 4e-15);
        free(t);
        n++;
    }
    assert_int_equal(n, 11);
    golden_free(&g);
}

/* The smallest of 10 is 1e-13 of the largest: relative to the largest alone it can be right, as an element of the matrix
   that is rounded moves it by as much. */
static void hilbert_matrices(void **state) {
    (void)state;
    golden g = golden_read("singular.txt");
    for (int n = 5; n <= 10; n += 5) {
        double a[100];
        char name[GOLDEN_NAME];
        snprintf(name, sizeof name, "hilbert_%d.s", n);
        for (int i = 0; i < n * n; i++) a[i] = 1 / (double)(i / n + i % n + 1);
        expect_values(name, n, n, a, golden_get(&g, name)->value, 2e-15, 2e-16);
    }
    golden_free(&g);
}

/* --- closed forms ---------------------------------------------------------------------------- */

static void small_ones(void **state) {
    (void)state;
    expect_values("1x1", 1, 1, (double[]){-3.5}, (double[]){3.5}, 0, 0);
    expect_values("zero", 1, 1, (double[]){0}, (double[]){0}, 0, 0);
    expect_values("row", 1, 4, (double[]){1, -1, 1, 1}, (double[]){2}, 1e-15, 0);
    expect_values("column", 4, 1, (double[]){3, 0, 0, -4}, (double[]){5}, 1e-15, 0);
    expect_values("zeros", 3, 2, (double[]){0, 0, 0, 0, 0, 0}, (double[]){0, 0}, 0, 0);
    expect_values("turned", 2, 2, (double[]){0, 2, -3, 0}, (double[]){3, 2}, 1e-15, 0);
    /* (1, 1; 0, 1): the golden ratio and its inverse. */
    const double phi = (1 + sqrt(5)) / 2;
    expect_values("shear", 2, 2, (double[]){1, 1, 0, 1}, (double[]){phi, 1 / phi}, 1e-15, 0);
    /* Beyond what can be squared, far up and far down. */
    const double up = 1e250, down = 1e-250;
    expect_values("up", 2, 2, (double[]){up, up, 0, up}, (double[]){phi * up, up / phi}, 1e-15, 0);
    expect_values("down", 2, 2, (double[]){down, down, 0, down}, (double[]){phi * down, down / phi},
                  1e-15, 0);
    /* A nilpotent matrix: its eigenvalues are all 0, its singular values are not. */
    expect_values("nilpotent", 3, 3, (double[]){0, 7, 0, 0, 0, 0, 0, 0, 0}, (double[]){7, 0, 0}, 0,
                  0);
    expect_values("ones", 3, 3, (double[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, (double[]){3, 0, 0}, 1e-15,
                  1e-15);
}

/* Relative to each value, also where squares overflow or vanish. */
static void wide_diagonals(void **state) {
    (void)state;
    enum { N = 9 };
    double want[N], a[N * N] = {0};
    for (int i = 0; i < N; i++) {
        want[i] = pow(10, 120 - 30.0 * i);
        a[(i * 4 % N) * N + i * 7 % N] = i % 2 ? want[i] : -want[i];
    }
    expect_values("diagonal", N, N, a, want, 1e-15, 0);
    /* D·Q with a rotation of each neighbouring pair: rows of very different lengths, values to be had to full
       precision all the same. */
    const double low = 1e-30;
    expect_values("graded", 2, 2, (double[]){0.6, 0.8, -0.8 * low, 0.6 * low}, (double[]){1, low},
                  1e-15, 0);
}

/* Q·D·P with reflections Q = 1 - 2hh', P = 1 - 2gg' and a known D. */
static void known_spectrum(void **state) {
    (void)state;
    enum { ROWS = 40, COLS = 33 };
    static double a[ROWS * COLS], want[COLS];
    double h[ROWS], g[COLS], hh = 0, gg = 0;
    const hk_random r = hk_random_stream(2, "reflections", 0);
    for (int i = 0; i < ROWS; i++) {
        h[i] = hk_random_normal(r, (uint64_t)i);
        hh += h[i] * h[i];
    }
    for (int i = 0; i < COLS; i++) {
        g[i] = hk_random_normal(r, 100 + (uint64_t)i);
        gg += g[i] * g[i];
    }
    for (int k = 0; k < COLS; k++) want[k] = exp(-0.25 * k);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) {
            double sum = 0;
            for (int k = 0; k < COLS; k++)
                sum +=
                    ((i == k) - 2 * h[i] * h[k] / hh) * want[k] * ((j == k) - 2 * g[j] * g[k] / gg);
            a[i * COLS + j] = sum;
        }
    expect_values("known", ROWS, COLS, a, want, 1e-14, 1e-15);
}

/* What holds for every matrix: the sum of squares, and invariance when rows are exchanged. */
static void large_random(void **state) {
    (void)state;
    enum { N = 120 };
    static double a[N * N], b[N * N], s[N], t[N];
    const hk_random r = hk_random_stream(3, "large", 0);
    double squares = 0, sum = 0;
    for (int i = 0; i < N * N; i++) a[i] = hk_random_normal(r, (uint64_t)i);
    for (int i = 0; i < N * N; i++) {
        squares += a[i] * a[i];
        b[i] = a[(N - 1 - i / N) * N + i % N];
    }
    assert_int_equal(hk_singular_values(N, N, a, s), HK_OK);
    assert_int_equal(hk_singular_values(N, N, b, t), HK_OK);
    for (int i = 0; i < N; i++) {
        assert_near("exchanged", i, t[i], s[i], 1e-13 * s[0]);
        sum += s[i] * s[i];
    }
    assert_near("squares", 0, sum, squares, 1e-13 * squares);
}

static void refuses(void **state) {
    (void)state;
    double a[4] = {1, 2, 3, 4}, s[2];
    assert_int_equal(hk_singular_values(0, 2, a, s), HK_ERR_ARGUMENT);
    assert_int_equal(hk_singular_values(2, 0, a, s), HK_ERR_ARGUMENT);
    assert_int_equal(hk_singular_values(-1, 2, a, s), HK_ERR_ARGUMENT);
    assert_int_equal(hk_singular_values(INT64_MAX / 2, 8, a, s), HK_ERR_ARGUMENT);
    assert_int_equal(hk_singular_values(2, 2, NULL, s), HK_ERR_ARGUMENT);
    assert_int_equal(hk_singular_values(2, 2, a, NULL), HK_ERR_ARGUMENT);
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++)
        for (int at = 0; at < 4; at++) {
            double b[4] = {1, 2, 3, 4};
            b[at] = bad[k];
            assert_int_equal(hk_singular_values(2, 2, b, s), HK_ERR_ARGUMENT);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_matrices), cmocka_unit_test(hilbert_matrices),
        cmocka_unit_test(small_ones),      cmocka_unit_test(wide_diagonals),
        cmocka_unit_test(known_spectrum),  cmocka_unit_test(large_random),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
