/* reduce_kernels.c: the inner loops of reductions (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Sums run in LANES independent lanes over at most BLOCK elements, so that the compiler may vectorise
   them without changing their order; blocks are added in double. */
#include "reduce_kernels.h"

#include <math.h>

#include "real.h"

enum { LANES = 32, BLOCK = 4096, COLUMNS = 256, ROWS = 64 };

#define HK_SUM_OF(name, term)                                                                      \
    static double name(int64_t n, const void *data) {                                              \
        const hk_real *x = data;                                                                   \
        double total = 0;                                                                          \
        for (int64_t first = 0; first < n; first += BLOCK) {                                       \
            const int64_t end = n - first < BLOCK ? n : first + BLOCK;                             \
            hk_real lane[LANES] = {0};                                                             \
            int64_t i = first;                                                                     \
            for (; i + LANES <= end; i += LANES)                                                   \
                for (int k = 0; k < LANES; k++) lane[k] += term(x[i + k]);                         \
            for (int k = 0; i < end; i++, k++) lane[k] += term(x[i]);                              \
            for (int k = 0; k < LANES; k++) total += (double)lane[k];                              \
        }                                                                                          \
        return total;                                                                              \
    }
#define HK_ITSELF(v) (v)
#define HK_SQUARE(v) ((v) * (v))
HK_SUM_OF(sum, HK_ITSELF)
HK_SUM_OF(sum_squares, HK_SQUARE)

/* A comparison with NaN is false: written so that a NaN element replaces, and is never replaced. */
static double max(int64_t n, const void *data) {
    const hk_real *x = data;
    hk_real most = x[0];
    for (int64_t i = 1; i < n; i++)
        if (!(x[i] <= most) && most == most) most = x[i];
    return (double)most;
}

static void add_rows(int64_t n, int64_t rows, const void *data, int64_t stride, double *acc) {
    const hk_real *x = data;
    for (int64_t c = 0; c < n; c += COLUMNS) {
        const int64_t m = n - c < COLUMNS ? n - c : COLUMNS;
        for (int64_t first = 0; first < rows; first += ROWS) {
            const int64_t end = rows - first < ROWS ? rows : first + ROWS;
            hk_real part[COLUMNS] = {0};
            for (int64_t r = first; r < end; r++) {
                const hk_real *row = x + r * stride + c;
                for (int64_t i = 0; i < m; i++) part[i] += row[i];
            }
            for (int64_t i = 0; i < m; i++) acc[c + i] += (double)part[i];
        }
    }
}

static void max_rows(int64_t n, int64_t rows, const void *data, int64_t stride, double *acc) {
    const hk_real *x = data;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            const double v = (double)x[r * stride + i];
            if (!(v <= acc[i]) && acc[i] == acc[i]) acc[i] = v;
        }
}

static int64_t first_nonfinite(int64_t n, const void *data) {
    const hk_real *x = data;
    hk_real probe = 0; /* stays 0 as long as every element is finite: inf·0 and NaN·0 are NaN */
    for (int64_t i = 0; i < n; i++) probe += x[i] * 0;
    if (probe == 0) return -1;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return i;
    return -1;
}

const hk__reduce_kernels HK_STAMPED(hk__reduce) = {.sum = sum,
                                                   .sum_squares = sum_squares,
                                                   .max = max,
                                                   .add_rows = add_rows,
                                                   .max_rows = max_rows,
                                                   .first_nonfinite = first_nonfinite};
