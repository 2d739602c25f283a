/* stats_kernels.c: moments, distances and signs of a block of elements (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Sums are in double, in LANES independent lanes, so that the compiler may vectorise them. A block lies in the nearest
   cache, so several short loops over it cost little more than one. Zeros are told by their bits: kernels run in a
   mode where the smallest numbers compare equal to 0. */
#include "stats_kernels.h"

#include <math.h>

#include "real.h"

enum { LANES = 16 };

#ifdef HK_STAMP_f64
typedef uint64_t __attribute__((may_alias)) bits;
#define INFINITE ((uint64_t)0x7FF << 53) /* shifted by the sign */
#else
typedef uint32_t __attribute__((may_alias)) bits;
#define INFINITE ((uint32_t)0xFF << 24)
#endif

static void count(int64_t n, const bits *x, hk__moments *out) {
    int zeros = 0, nonfinite = 0;
    for (int64_t i = 0; i < n; i++) {
        const bits magnitude = x[i] << 1;
        zeros += magnitude == 0;
        nonfinite += magnitude >= INFINITE;
    }
    out->zeros = zeros;
    out->nonfinite = nonfinite;
}

static double total(const double *lane) {
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

static double sum(int64_t n, const hk_real *x) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (double)x[i + k];
    for (int k = 0; i < n; i++, k++) lane[k] += (double)x[i];
    return total(lane);
}

static double squares(int64_t n, const hk_real *x, double mean) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const double d = (double)x[i + k] - mean;
            lane[k] += d * d;
        }
    for (int k = 0; i < n; i++, k++) lane[k] += ((double)x[i] - mean) * ((double)x[i] - mean);
    return total(lane);
}

static void range(int64_t n, const hk_real *x, hk__moments *out) {
    hk_real low[LANES], high[LANES];
    for (int k = 0; k < LANES; k++) low[k] = high[k] = x[0];
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
            high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
        }
    for (; i < n; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    for (int k = 1; k < LANES; k++) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
    }
    out->min = (double)low[0];
    out->max = (double)high[0];
}

static void moments(int64_t n, const void *data, hk__moments *out) {
    hk_real finite[HK_STATS_BLOCK];
    const hk_real *x = data;
    *out = (hk__moments){0};
    count(n, data, out);
    if (out->nonfinite > 0) { /* rare: the others are gathered */
        int64_t kept = 0;
        for (int64_t i = 0; i < n; i++)
            if (isfinite(x[i])) finite[kept++] = x[i];
        x = finite;
        n = kept;
    }
    out->count = n;
    if (n == 0) return;
    range(n, x, out);
    out->mean = sum(n, x) / (double)n;
    out->squares = squares(n, x, out->mean);
}

static double distance(int64_t n, const void *a, const void *b) {
    const hk_real *x = a, *y = b;
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
