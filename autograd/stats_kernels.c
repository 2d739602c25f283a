/* stats_kernels.c: moments, distances and signs of a block of elements (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Sums are in double, in LANES independent lanes, so that the compiler may vectorise them. A block lies in the nearest
   cache, so several short loops over it cost little more than one. Zeros are told by their bits: kernels run in a
   mode where the smallest numbers compare equal to 0. */
#include "stats_kernels.h"

#include <math.h>

#include "simd.h"

/* Vectors of double: some elements in a row, from wherever they lie. (GCC 12 makes more of a conversion than it is.) */
#if defined(HK_STAMP_avx512)
typedef __m512d sums;
HK_INLINE sums some(const float *x) { return _mm512_cvtps_pd(_mm256_loadu_ps(x)); }
#elif defined(HK_STAMP_avx2)
typedef __m256d sums;
HK_INLINE sums some(const float *x) { return _mm256_cvtps_pd(_mm_loadu_ps(x)); }
#else
typedef double sums __attribute__((vector_size(2 * sizeof(double))));
HK_INLINE sums some(const hk_real *x) { return (sums){(double)x[0], (double)x[1]}; }
#endif
#define DOUBLES ((int)(sizeof(sums) / sizeof(double)))

enum { CHAINS = 4, LANES = CHAINS * DOUBLES, WIDE = 32 };

#ifdef HK_STAMP_f64
typedef uint64_t __attribute__((may_alias)) bits;
#else
typedef uint32_t __attribute__((may_alias)) bits;
#endif

/* How many are exactly 0. */
static int64_t zeros(int64_t n, const bits *x) {
    int found = 0;
    for (int64_t i = 0; i < n; i++) found += x[i] << 1 == 0;
    return found;
}

static double total(const double *lane) {
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

/* Σ (x - centre) and Σ (x - centre)². */
static void around(int64_t n, const hk_real *x, double centre, double *sum, double *squares) {
    sums first[CHAINS] = {{0}}, second[CHAINS] = {{0}};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        HK_UNROLL
        for (int k = 0; k < CHAINS; k++) {
            const sums d = some(x + i + k * DOUBLES) - centre;
            first[k] += d;
            second[k] += d * d;
        }
    }
    HK_UNROLL
    for (int k = 1; k < CHAINS; k++) {
        first[0] += first[k];
        second[0] += second[k];
    }
    *sum = *squares = 0;
    for (; i < n; i++) {
        const double d = (double)x[i] - centre;
        *sum += d;
        *squares += d * d;
    }
    for (int k = 0; k < DOUBLES; k++) {
        *sum += first[0][k];
        *squares += second[0][k];
    }
}

/* The first element is as good a centre as any. Even if it lies far out, it is one of the n elements, so what is taken off
   below is less than n times what is left: of sixteen digits four may be lost. */
static void mean_and_squares(int64_t n, const hk_real *x, hk__moments *out) {
    double sum, squares;
    around(n, x, (double)x[0], &sum, &squares);
    const double off = sum / (double)n;
    out->mean = (double)x[0] + off;
    out->squares = squares - sum * off;
}

static void range(int64_t n, const hk_real *x, hk__moments *out) {
    hk_real low[WIDE], high[WIDE];
    for (int k = 0; k < WIDE; k++) low[k] = high[k] = x[0];
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE) { /* apart: together they are not kept in registers */
        for (int k = 0; k < WIDE; k++) low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
        for (int k = 0; k < WIDE; k++) high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
    }
    for (; i < n; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    for (int k = 1; k < WIDE; k++) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
    }
    out->min = (double)low[0];
    out->max = (double)high[0];
}

static void finite_moments(int64_t n, const hk_real *x, hk__moments *out) {
    out->count = n;
    if (n == 0) return;
    mean_and_squares(n, x, out);
    range(n, x, out);
}

static void moments(int64_t n, const void *data, hk__moments *out) {
    const hk_real *x = data;
    *out = (hk__moments){.zeros = zeros(n, data)};
    finite_moments(n, x, out);
    if (isfinite(out->squares)) return;
    /* Some elements are not finite, or their squares are not: the sums tell, so nobody counts without need. */
    hk_real finite[HK_STATS_BLOCK];
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i])) finite[kept++] = x[i];
    *out = (hk__moments){.zeros = out->zeros, .nonfinite = n - kept};
    finite_moments(kept, finite, out);
    if (isnan(out->squares)) out->squares = INFINITY; /* too large for a double */
}

static double distance(int64_t n, const void *a, const void *b) {
    const hk_real *x = a, *y = b;
    double sum, squares;
    if (!y) {
        around(n, x, 0, &sum, &squares);
        return squares;
    }
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const double d = (double)x[i + k] - (double)y[i + k];
            lane[k] += d * d;
        }
    for (int k = 0; i < n; i++, k++) {
        const double d = (double)x[i] - (double)y[i];
        lane[k] += d * d;
    }
    return total(lane);
}

static int signs(int64_t n, const void *data) {
    const hk_real *x = data;
    int plus = 0, minus = 0, none = 0;
    for (int64_t i = 0; i < n; i++) {
        plus |= x[i] > 0;
        minus |= x[i] < 0;
        none |= x[i] != x[i];
    }
    return plus * HK_SIGN_PLUS + minus * HK_SIGN_MINUS + none * HK_SIGN_NONE;
}

static int64_t nonzero(int64_t n, const void *data) {
    const hk_real *x = data;
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) found += x[i] != 0;
    return found;
}

const hk__stats_kernels HK_STAMPED(hk__stats) = {
    .moments = moments, .distance = distance, .signs = signs, .nonzero = nonzero};
