/* row_kernels.c: softmax and its kin, over contiguous rows (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The largest element is taken off first, so no exponential overflows. Sums run in vectors of HK_LANES, four
   at a time, in an order that the number of elements alone decides. */
#include "row_kernels.h"

#include "real_math.h"
#include "simd.h"

enum { AT_ONCE = 4 }; /* vectors in flight: one add waits for the one before */

/* Σ over i < n of `term`, an expression in vectors at i: HK_AT(x) is that of an array x. */
#define HK_SUM(total, n, term)                                                                     \
    do {                                                                                           \
        hk_vec sum[AT_ONCE] = {{0}};                                                               \
        int64_t at = 0, count = HK_LANES;                                                          \
        for (; at + AT_ONCE * HK_LANES <= (n);) HK_UNROLL                                          \
        for (int k = 0; k < AT_ONCE; k++, at += HK_LANES) sum[k] += (term);                        \
        for (; at < (n); at += HK_LANES) {                                                         \
            count = (n)-at < HK_LANES ? (n)-at : HK_LANES;                                         \
            sum[0] += (term);                                                                      \
        }                                                                                          \
        total = hk_vsum((sum[0] + sum[1]) + (sum[2] + sum[3]));                                    \
    } while (0)
#define HK_AT(x) (count == HK_LANES ? hk_vload((x) + at) : hk_vload_part((x) + at, count))

/* NaN wins, so that it reaches the result. */
static hk_real larger(hk_real a, hk_real b) { return b > a || b != b ? b : a; }

static hk_real largest(int64_t n, const hk_real *x) {
    hk_real most = x[0];
    int64_t i = 1;
    if (n >= AT_ONCE * HK_LANES) {
        hk_vec lane[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++) lane[k] = hk_vload(x + k * HK_LANES);
        for (i = AT_ONCE * HK_LANES; i + AT_ONCE * HK_LANES <= n; i += AT_ONCE * HK_LANES) HK_UNROLL
        for (int k = 0; k < AT_ONCE; k++)
            lane[k] = hk_vlarger(lane[k], hk_vload(x + i + k * HK_LANES));
        for (int k = 1; k < AT_ONCE; k++) lane[0] = hk_vlarger(lane[0], lane[k]);
        for (int k = 0; k < HK_LANES; k++) most = larger(most, lane[0][k]);
    }
    for (; i < n; i++) most = larger(most, x[i]);
    return most;
}

/* y = e^(x - most); returns Σ y. */
static hk_real exponentials(int64_t n, const hk_real *x, hk_real most, hk_real *restrict y) {
    for (int64_t i = 0; i < n; i++) y[i] = real_exp_down(x[i] - most);
    hk_real total;
    HK_SUM(total, n, HK_AT(y));
    return total;
}

static void softmax(int64_t n, const void *data, void *out) {
    const hk_real *x = data;
    hk_real *restrict y = out;
    const hk_real by = 1 / exponentials(n, x, largest(n, x), y);
    for (int64_t i = 0; i < n; i++) y[i] *= by;
}

static void log_softmax(int64_t n, const void *data, void *out) {
    const hk_real *x = data;
    hk_real *restrict y = out;
    const hk_real most = largest(n, x);
    const hk_real shift = (hk_real)log((double)exponentials(n, x, most, y));
    for (int64_t i = 0; i < n; i++) y[i] = x[i] - most - shift;
}

static void softmax_slope(int64_t n, const void *value, const void *grad, void *result,
                          int accumulate) {
    const hk_real *y = value, *g = grad;
    hk_real *restrict out = result;
    hk_real dot;
    HK_SUM(dot, n, HK_AT(g) * HK_AT(y));
    if (accumulate)
        for (int64_t i = 0; i < n; i++) out[i] += y[i] * (g[i] - dot);
    else
        for (int64_t i = 0; i < n; i++) out[i] = y[i] * (g[i] - dot);
}

static void log_softmax_slope(int64_t n, const void *value, const void *grad, void *result,
                              int accumulate) {
    const hk_real *y = value, *g = grad;
    hk_real *restrict out = result;
    hk_real total;
    HK_SUM(total, n, HK_AT(g));
    if (accumulate)
        for (int64_t i = 0; i < n; i++) out[i] += g[i] - real_exp_down(y[i]) * total;
    else
        for (int64_t i = 0; i < n; i++) out[i] = g[i] - real_exp_down(y[i]) * total;
}

static double cross_entropy(int64_t n, const void *data, int32_t label, double smoothing,
                            void *out) {
    const hk_real *x = data;
    hk_real *restrict p = out;
    const hk_real most = largest(n, x);
    const hk_real total = exponentials(n, x, most, p);
    const hk_real by = 1 / total;
    for (int64_t i = 0; i < n; i++) p[i] *= by;
    /* All of it relative to the largest logit, which cancels: small differences keep their digits. */
    double loss = log((double)total) - (1 - smoothing) * ((double)x[label] - (double)most);
    if (smoothing > 0) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)x[i] - (double)most;
        loss -= smoothing * sum / (double)n;
    }
    return loss;
}

static void cross_entropy_slope(int64_t n, const void *prob, int32_t label, double smoothing,
                                double scale, void *result, int accumulate) {
    const hk_real *p = prob;
    hk_real *restrict out = result;
    const hk_real by = (hk_real)scale, others = (hk_real)(smoothing / (double)n);
    const hk_real old = accumulate ? out[label] : 0;
    if (accumulate)
        for (int64_t i = 0; i < n; i++) out[i] += by * (p[i] - others);
    else
        for (int64_t i = 0; i < n; i++) out[i] = by * (p[i] - others);
    out[label] = old + by * (p[label] - (hk_real)(1 - smoothing + smoothing / (double)n));
}

const hk__row_kernels HK_STAMPED(hk__row) = {.softmax = softmax,
                                             .log_softmax = log_softmax,
                                             .softmax_slope = softmax_slope,
                                             .log_softmax_slope = log_softmax_slope,
                                             .cross_entropy = cross_entropy,
                                             .cross_entropy_slope = cross_entropy_slope};
