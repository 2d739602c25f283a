/* row_kernels.c: softmax and its kin, over contiguous rows (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The largest element is taken off first, so no exponential overflows. Sums run in LANES lanes, in an order
   that the number of elements alone decides. */
#include "row_kernels.h"

#include "real_math.h"

enum { LANES = 16 };

/* Σ over i < n of `term`, an expression in i. */
#define HK_SUM(total, n, term)                                                                     \
    do {                                                                                           \
        hk_real lane[LANES] = {0};                                                                 \
        int64_t i = 0;                                                                             \
        for (; i + LANES <= (n); i += LANES)                                                       \
            for (int k = 0; k < LANES; k++) lane[k] += HK_TERM(i + k, term);                       \
        for (int k = 0; i < (n); i++, k++) lane[k] += HK_TERM(i, term);                            \
        for (int k = 0; k < LANES; k++) total += lane[k];                                          \
    } while (0)
#define HK_TERM(index, term) term(index)

/* NaN wins, so that it reaches the result. */
static hk_real largest(int64_t n, const hk_real *x) {
    hk_real most = x[0];
    for (int64_t i = 1; i < n; i++) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    return most;
}

/* y = e^(x - most); returns Σ y. */
static hk_real exponentials(int64_t n, const hk_real *x, hk_real most, hk_real *restrict y) {
    for (int64_t i = 0; i < n; i++) y[i] = real_exp_down(x[i] - most);
    hk_real total = 0;
#define HK_Y(i) y[i]
    HK_SUM(total, n, HK_Y);
    return total;
}

static void softmax(int64_t n, const void *data, void *out) {
    const hk_real *x = data;
    hk_real *restrict y = out;
    const hk_real total = exponentials(n, x, largest(n, x), y);
    for (int64_t i = 0; i < n; i++) y[i] = y[i] / total;
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
    hk_real dot = 0;
#define HK_GY(i) g[i] * y[i]
    HK_SUM(dot, n, HK_GY);
    if (accumulate)
        for (int64_t i = 0; i < n; i++) out[i] += y[i] * (g[i] - dot);
    else
        for (int64_t i = 0; i < n; i++) out[i] = y[i] * (g[i] - dot);
}

static void log_softmax_slope(int64_t n, const void *value, const void *grad, void *result,
                              int accumulate) {
    const hk_real *y = value, *g = grad;
    hk_real *restrict out = result;
    hk_real total = 0;
#define HK_G(i) g[i]
    HK_SUM(total, n, HK_G);
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
    for (int64_t i = 0; i < n; i++) p[i] = p[i] / total;
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
