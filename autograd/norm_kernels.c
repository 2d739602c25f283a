/* norm_kernels.c: the inner loops of batch, layer and group norm (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Sums run in vectors of HK_LANES, four at a time, in an order that the number of elements alone decides. A function
   marked HK_INLINE is written once and compiled for each of the cases that its constant arguments name. */
#include "norm_kernels.h"

#include <stddef.h>

#include "simd.h"

enum { AT_ONCE = 4, BUNDLE = AT_ONCE * HK_LANES }; /* vectors in flight; their elements */

HK_INLINE hk_vec load(const hk_real *p, int64_t count) {
    return count == HK_LANES ? hk_vload(p) : hk_vload_part(p, count);
}
HK_INLINE void store(hk_real *p, hk_vec v, int64_t count) {
    if (count == HK_LANES)
        hk_vstore(p, v);
    else
        hk_vstore_part(p, v, count);
}

#ifdef HK_STAMP_f64
typedef int64_t lane_number;
#else
typedef int32_t lane_number;
#endif
typedef lane_number lane_numbers __attribute__((vector_size(sizeof(hk_vec)), may_alias));

/* v with 0 in the lanes behind the first `count`. */
HK_INLINE hk_vec first_lanes(hk_vec v, int64_t count) {
    static const lane_number number[16]
        __attribute__((aligned(64))) = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    if (count == HK_LANES) return v;
    const lane_numbers all = *(const lane_numbers *)number;
    return (hk_vec)((lane_numbers)v & (all < (lane_number)count));
}

HK_INLINE hk_real total_of(const hk_vec *v) { return hk_vsum((v[0] + v[1]) + (v[2] + v[3])); }

/* Runs `body` for each vector of n elements: `at` is its place, `count` its elements, `lane` the sum it belongs to. */
#define HK_STEP(place, elements, sum, body)                                                        \
    {                                                                                              \
        const int64_t at = (place), count = (elements);                                            \
        const int lane = (sum);                                                                    \
        body                                                                                       \
    }
#define HK_EACH_OF_ROW(n, body)                                                                    \
    do {                                                                                           \
        int64_t next = 0;                                                                          \
        for (; next + BUNDLE <= (n); next += BUNDLE) {                                             \
            HK_STEP(next, HK_LANES, 0, body)                                                       \
            HK_STEP(next + HK_LANES, HK_LANES, 1, body)                                            \
            HK_STEP(next + 2 * HK_LANES, HK_LANES, 2, body)                                        \
            HK_STEP(next + 3 * HK_LANES, HK_LANES, 3, body)                                        \
        }                                                                                          \
        for (; next + HK_LANES <= (n); next += HK_LANES) HK_STEP(next, HK_LANES, 0, body)          \
        if (next < (n)) HK_STEP(next, (n)-next, 1, body)                                           \
    } while (0)

/* --- one centre for all elements ------------------------------------------------------------------------- */

/* The second pass finds its elements in the first-level cache. It counts from a mean that is rounded, and takes off
   what that makes. */
static void moments(int64_t rows, int64_t n, int64_t stride, const void *data, double *result) {
    const hk_real *x = data;
    const double count_all = (double)(rows * n);
    hk_vec sum[AT_ONCE] = {{0}}, square[AT_ONCE] = {{0}};
    for (int64_t r = 0; r < rows; r++)
        HK_EACH_OF_ROW(n, sum[lane] += load(x + r * stride + at, count););
    const hk_real centre = (hk_real)((double)total_of(sum) / count_all);
    const hk_vec from = hk_vset1(centre);
    for (int k = 0; k < AT_ONCE; k++) sum[k] = hk_vset1(0);
    for (int64_t r = 0; r < rows; r++)
        HK_EACH_OF_ROW(n, {
            const hk_vec d = first_lanes(load(x + r * stride + at, count) - from, count);
            sum[lane] += d;
            square[lane] = hk_vfma(d, d, square[lane]);
        });
    const double off = (double)total_of(sum) / count_all;
    const double squares = (double)total_of(square) - off * off * count_all;
    result[0] = (double)centre + off;
    result[1] = squares < 0 ? 0 : squares;
}

HK_INLINE void sums_of(int64_t rows, int64_t n, int64_t stride, const hk_real *x, const hk_real *g,
                       const hk_real *w, double centre, double *result) {
    const hk_vec from = hk_vset1((hk_real)centre);
    hk_vec plain[AT_ONCE] = {{0}}, along[AT_ONCE] = {{0}};
    for (int64_t r = 0; r < rows; r++)
        HK_EACH_OF_ROW(n, {
            const int64_t i = r * stride + at;
            hk_vec v = load(g + i, count);
            if (w) v *= load(w + at, count);
            plain[lane] += v;
            along[lane] = hk_vfma(v, first_lanes(load(x + i, count) - from, count), along[lane]);
        });
    result[0] = (double)total_of(plain);
    result[1] = (double)total_of(along);
}

static void sums(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                 double centre, double *result) {
    sums_of(rows, n, stride, x, g, NULL, centre, result);
}
static void weighted_sums(int64_t n, const void *x, const void *g, const void *w, double centre,
                          double *result) {
    sums_of(1, n, 0, x, g, w, centre, result);
}

/* out (+)= what `value` gives for the vector at `at`. */
#define HK_WRITE(n, out, accumulate, value)                                                        \
    do {                                                                                           \
        int64_t at = 0, count = HK_LANES;                                                          \
        for (; at + HK_LANES <= (n); at += HK_LANES)                                               \
            store((out) + at, (accumulate) ? (value) + hk_vload((out) + at) : (value), HK_LANES);  \
        if (at == (n)) break;                                                                      \
        count = (n)-at;                                                                            \
        store((out) + at, (accumulate) ? (value) + load((out) + at, count) : (value), count);      \
    } while (0)

HK_INLINE void affine_of(int64_t n, const hk_real *x, const double *k, hk_real *out,
                         int accumulate) {
    const hk_vec k0 = hk_vset1((hk_real)k[0]), k1 = hk_vset1((hk_real)k[1]),
                 k2 = hk_vset1((hk_real)k[2]);
    HK_WRITE(n, out, accumulate, hk_vfma(load(x + at, count) - k0, k1, k2));
}

static void affine(int64_t n, const void *x, const double *k, void *out, int accumulate) {
    if (accumulate)
        affine_of(n, x, k, out, 1);
    else
        affine_of(n, x, k, out, 0);
}

HK_INLINE void slope_of(int64_t n, const hk_real *x, const hk_real *g, const hk_real *w,
                        const double *k, hk_real *out, int accumulate) {
    const hk_vec k0 = hk_vset1((hk_real)k[0]), k1 = hk_vset1((hk_real)k[1]),
                 k2 = hk_vset1((hk_real)k[2]), k3 = hk_vset1((hk_real)k[3]);
    HK_WRITE(n, out, accumulate,
             hk_vfma(w ? load(g + at, count) * load(w + at, count) : load(g + at, count), k1,
                     hk_vfma(load(x + at, count) - k0, k2, k3)));
}

static void slope(int64_t n, const void *x, const void *g, const double *k, void *out,
                  int accumulate) {
    if (accumulate)
        slope_of(n, x, g, NULL, k, out, 1);
    else
        slope_of(n, x, g, NULL, k, out, 0);
}

/* --- with a weight for each element of the row ----------------------------------------------------------- */

static void weighted_affine(int64_t n, const void *data, const void *weight, const void *bias,
                            const double *k, void *out) {
    const hk_real *x = data, *w = weight, *b = bias;
    const hk_vec k0 = hk_vset1((hk_real)k[0]), k1 = hk_vset1((hk_real)k[1]),
                 k2 = hk_vset1((hk_real)k[2]);
    HK_WRITE(n, (hk_real *)out, 0,
             hk_vfma(hk_vfma(load(x + at, count) - k0, k1, k2), load(w + at, count),
                     load(b + at, count)));
}

static void weighted_slope(int64_t n, const void *x, const void *g, const void *w, const double *k,
                           void *out, int accumulate) {
    if (accumulate)
        slope_of(n, x, g, w, k, out, 1);
    else
        slope_of(n, x, g, w, k, out, 0);
}

/* Stores the first n of the lanes as doubles, `step` apart. Not inlined: it would be unrolled in every caller. */
static __attribute__((noinline)) void widen(const hk_vec *v, int64_t n, int64_t step,
                                            double *result) {
    const hk_real *lane = (const hk_real *)v;
    for (int64_t i = 0; i < n; i++) result[i * step] = (double)lane[i];
}

/* Runs f(rows, stride, vectors, count, column, ...) over all columns: whole bundles, whole vectors, the rest. */
#define HK_EACH_COLUMN(n, f, ...)                                                                  \
    do {                                                                                           \
        int64_t at = 0;                                                                            \
        for (; at + BUNDLE <= (n); at += BUNDLE)                                                   \
            f(rows, stride, AT_ONCE, HK_LANES, at, __VA_ARGS__);                                   \
        for (; at + HK_LANES <= (n); at += HK_LANES)                                               \
            f(rows, stride, 1, HK_LANES, at, __VA_ARGS__);                                         \
        if (at < (n)) f(rows, stride, 1, (n)-at, at, __VA_ARGS__);                                 \
    } while (0)

HK_INLINE void params_at(int64_t rows, int64_t stride, int vectors, int64_t count, int64_t column,
                         const hk_real *x, const hk_real *g, const double *k, double *result) {
    hk_vec along[AT_ONCE] = {{0}}, plain[AT_ONCE] = {{0}};
    for (int64_t r = 0; r < rows; r++) {
        const hk_vec k0 = hk_vset1((hk_real)k[3 * r]), k1 = hk_vset1((hk_real)k[3 * r + 1]),
                     k2 = hk_vset1((hk_real)k[3 * r + 2]);
        HK_UNROLL
        for (int v = 0; v < vectors; v++) {
            const int64_t i = r * stride + column + v * HK_LANES;
            const hk_vec slopes = load(g + i, count);
            plain[v] += slopes;
            along[v] = hk_vfma(slopes, hk_vfma(load(x + i, count) - k0, k1, k2), along[v]);
        }
    }
    widen(along, vectors == 1 ? count : BUNDLE, 1, result + column);
    widen(plain, vectors == 1 ? count : BUNDLE, 1, result + stride + column);
}

static void weighted_params(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                            const double *k, double *result) {
    HK_EACH_COLUMN(n, params_at, x, g, k, result);
}

/* --- a centre for each column ---------------------------------------------------------------------------- */

/* As at the end of moments, for n columns. */
static __attribute__((noinline)) void pairs_of(int64_t rows, int64_t n, const hk_vec *centre,
                                               const hk_vec *sum, const hk_vec *square,
                                               double *result) {
    const hk_real *c = (const hk_real *)centre, *d = (const hk_real *)sum,
                  *dd = (const hk_real *)square;
    for (int64_t i = 0; i < n; i++) {
        const double off = (double)d[i] / (double)rows;
        const double squares = (double)dd[i] - off * off * (double)rows;
        result[2 * i] = (double)c[i] + off;
        result[2 * i + 1] = squares < 0 ? 0 : squares;
    }
}

HK_INLINE void column_moments_at(int64_t rows, int64_t stride, int vectors, int64_t count,
                                 int64_t column, const hk_real *data, double *result) {
    const hk_real *x = data + column;
    hk_vec sum[AT_ONCE] = {{0}}, square[AT_ONCE] = {{0}}, centre[AT_ONCE];
    for (int64_t r = 0; r < rows; r++) HK_UNROLL
    for (int v = 0; v < vectors; v++) sum[v] += load(x + r * stride + v * HK_LANES, count);
    for (int v = 0; v < vectors; v++) {
        centre[v] = sum[v] / hk_vset1((hk_real)rows);
        sum[v] = hk_vset1(0);
    }
    for (int64_t r = 0; r < rows; r++) HK_UNROLL
    for (int v = 0; v < vectors; v++) {
        const hk_vec d = load(x + r * stride + v * HK_LANES, count) - centre[v];
        sum[v] += d;
        square[v] = hk_vfma(d, d, square[v]);
    }
    pairs_of(rows, vectors == 1 ? count : BUNDLE, centre, sum, square, result + 2 * column);
}

static void column_moments(int64_t rows, int64_t n, int64_t stride, const void *x, double *result) {
    HK_EACH_COLUMN(n, column_moments_at, x, result);
}

HK_INLINE void column_sums_at(int64_t rows, int64_t stride, int vectors, int64_t count,
                              int64_t column, const hk_real *x, const hk_real *g,
                              const hk_real *centre, double *result) {
    hk_vec plain[AT_ONCE] = {{0}}, along[AT_ONCE] = {{0}}, from[AT_ONCE];
    for (int v = 0; v < vectors; v++) from[v] = load(centre + column + v * HK_LANES, count);
    for (int64_t r = 0; r < rows; r++) HK_UNROLL
    for (int v = 0; v < vectors; v++) {
        const int64_t i = r * stride + column + v * HK_LANES;
        const hk_vec slopes = load(g + i, count);
        plain[v] += slopes;
        along[v] = hk_vfma(slopes, load(x + i, count) - from[v], along[v]);
    }
    widen(plain, vectors == 1 ? count : BUNDLE, 2, result + 2 * column);
    widen(along, vectors == 1 ? count : BUNDLE, 2, result + 2 * column + 1);
}

static void column_sums(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                        const void *centre, double *result) {
    HK_EACH_COLUMN(n, column_sums_at, x, g, centre, result);
}

HK_INLINE void column_affine_of(int64_t rows, int64_t n, int64_t stride, const hk_real *data,
                                const hk_real *k, int64_t across, hk_real *to, int accumulate) {
    for (int64_t r = 0; r < rows; r++) {
        const hk_real *x = data + r * stride;
        hk_real *out = to + r * stride;
        HK_WRITE(n, out, accumulate,
                 hk_vfma(load(x + at, count) - load(k + at, count), load(k + across + at, count),
                         load(k + 2 * across + at, count)));
    }
}

static void column_affine(int64_t rows, int64_t n, int64_t stride, const void *x, const void *k,
                          int64_t across, void *out, int accumulate) {
    if (accumulate)
        column_affine_of(rows, n, stride, x, k, across, out, 1);
    else
        column_affine_of(rows, n, stride, x, k, across, out, 0);
}

HK_INLINE void column_slope_of(int64_t rows, int64_t n, int64_t stride, const hk_real *data,
                               const hk_real *grad, const hk_real *k, int64_t across, hk_real *to,
                               int accumulate) {
    for (int64_t r = 0; r < rows; r++) {
        const hk_real *x = data + r * stride, *g = grad + r * stride;
        hk_real *out = to + r * stride;
        HK_WRITE(
            n, out, accumulate,
            hk_vfma(load(g + at, count), load(k + across + at, count),
                    hk_vfma(load(x + at, count) - load(k + at, count),
                            load(k + 2 * across + at, count), load(k + 3 * across + at, count))));
    }
}

static void column_slope(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                         const void *k, int64_t across, void *out, int accumulate) {
    if (accumulate)
        column_slope_of(rows, n, stride, x, g, k, across, out, 1);
    else
        column_slope_of(rows, n, stride, x, g, k, across, out, 0);
}

const hk__norm_kernels HK_STAMPED(hk__norm) = {.moments = moments,
                                               .sums = sums,
                                               .affine = affine,
                                               .slope = slope,
                                               .weighted_sums = weighted_sums,
                                               .weighted_affine = weighted_affine,
                                               .weighted_slope = weighted_slope,
                                               .weighted_params = weighted_params,
                                               .column_moments = column_moments,
                                               .column_sums = column_sums,
                                               .column_affine = column_affine,
                                               .column_slope = column_slope};
