/* units_kernels.c: the inner loops of the statistics of units (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Everything is added in double, each unit's values in their order. A plane falls into lanes first, and these are folded
   at its end. */
#include "units_kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "simd.h"

enum { LANES = 16 };

/* No two arrays overlap. */
#if defined(__clang__)
#define HK_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define HK_INDEPENDENT _Pragma("GCC ivdep")
#else
#define HK_INDEPENDENT
#endif

/* Comparisons with NaN are false: a NaN is no extreme, it shows in the sums. */
HK_INLINE double lower(double a, double b) { return b < a ? b : a; }
HK_INLINE double higher(double a, double b) { return b > a ? b : a; }

HK_INLINE void take_values(int64_t n, const hk_real *h, double *const *at, bool brief) {
    double *sum = at[HK__UNITS_SUM], *squares = at[HK__UNITS_SQUARES];
    double *low = at[HK__UNITS_LOW], *high = at[HK__UNITS_HIGH];
    const double *centre = at[HK__UNITS_CENTRE];
    HK_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)h[i], d = v - centre[i];
        sum[i] += d;
        squares[i] += d * d;
        low[i] = lower(low[i], v);
        high[i] = higher(high[i], v);
    }
    if (brief) return;
    double *size = at[HK__UNITS_SIZE], *zeros = at[HK__UNITS_ZEROS];
    HK_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)h[i];
        size[i] += fabs(v);
        zeros[i] += v == 0 ? 1.0 : 0.0;
    }
}

HK_INLINE void take_slopes(int64_t n, const hk_real *z, const hk_real *slope, double *const *at) {
    double *steepest = at[HK__UNITS_STEEPEST], *left = at[HK__UNITS_LEFT];
    double *right = at[HK__UNITS_RIGHT];
    const double *limit = at[HK__UNITS_LIMIT], *peak = at[HK__UNITS_PEAK];
    HK_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const double s = fabs((double)slope[i]);
        const double flat = s < limit[i] ? 1.0 : 0.0;
        const double before = (double)z[i] < peak[i] ? flat : 0.0;
        steepest[i] = higher(steepest[i], s);
        left[i] += before;
        right[i] += flat - before;
    }
}

static void row(const hk__units_tile *t) {
    take_values(t->n, t->h, t->of_h, false);
    if (t->slope) take_slopes(t->n, t->z, t->slope, t->of_h);
    if (t->of_z) take_values(t->n, t->z, t->of_z, true);
}

/* --- planes ------------------------------------------------------------------------------------------------ */

/* Extremes and counts of a tile are exact in the stamp's type. */
typedef struct lanes {
    double sum[LANES], squares[LANES], size[LANES];
    hk_real low[LANES], high[LANES], zeros[LANES];
} lanes;
typedef struct slope_lanes {
    hk_real steepest[LANES], left[LANES], right[LANES];
} slope_lanes;

HK_INLINE void add_values(lanes *l, int64_t n, const hk_real *h, double centre, bool brief) {
    HK_INDEPENDENT
    for (int64_t k = 0; k < n; k++) {
        const double d = (double)h[k] - centre;
        l->sum[k] += d;
        l->squares[k] += d * d;
        if (!brief) l->size[k] += fabs((double)h[k]);
    }
    HK_INDEPENDENT
    for (int64_t k = 0; k < n; k++) {
        l->low[k] = h[k] < l->low[k] ? h[k] : l->low[k];
        l->high[k] = h[k] > l->high[k] ? h[k] : l->high[k];
        if (!brief) l->zeros[k] += h[k] == 0 ? 1 : 0;
    }
}

HK_INLINE void add_slopes(slope_lanes *l, int64_t n, const hk_real *z, const hk_real *slope,
                          hk_real limit, hk_real peak, hk_real *steepest) {
    HK_INDEPENDENT
    for (int64_t k = 0; k < n; k++) {
        const hk_real s = slope[k] < 0 ? -slope[k] : slope[k];
        const hk_real flat = s < limit ? 1 : 0, before = z[k] < peak ? flat : 0;
        l->steepest[k] = s > l->steepest[k] ? s : l->steepest[k];
        steepest[k] = s > steepest[k] ? s : steepest[k];
        l->left[k] += before;
        l->right[k] += flat - before;
    }
}

/* The sum of all lanes, halves folded onto each other; the extremes of all. */
#define HK_FOLDED(name, type, expression)                                                          \
    HK_INLINE double name(const type *lane) {                                                      \
        type v[LANES];                                                                             \
        for (int k = 0; k < LANES; k++) v[k] = lane[k];                                            \
        for (int half = LANES / 2; half > 0; half /= 2)                                            \
            for (int k = 0; k < half; k++) v[k] = (expression);                                    \
        return (double)v[0];                                                                       \
    }
HK_FOLDED(sum_of, double, v[k] + v[k + half])
HK_FOLDED(count_of, hk_real, v[k] + v[k + half])
HK_FOLDED(lowest_of, hk_real, v[k + half] < v[k] ? v[k + half] : v[k])
HK_FOLDED(highest_of, hk_real, v[k + half] > v[k] ? v[k + half] : v[k])

HK_INLINE void plane_values(int64_t n, const hk_real *h, double *const *of, bool brief) {
    const double centre = *of[HK__UNITS_CENTRE];
    lanes l;
    for (int k = 0; k < LANES; k++) {
        l.sum[k] = l.squares[k] = l.size[k] = 0;
        l.low[k] = (hk_real)INFINITY;
        l.high[k] = -(hk_real)INFINITY;
        l.zeros[k] = 0;
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) add_values(&l, LANES, h + i, centre, brief);
    add_values(&l, n - i, h + i, centre, brief);
    *of[HK__UNITS_SUM] += sum_of(l.sum);
    *of[HK__UNITS_SQUARES] += sum_of(l.squares);
    *of[HK__UNITS_LOW] = lower(*of[HK__UNITS_LOW], lowest_of(l.low));
    *of[HK__UNITS_HIGH] = higher(*of[HK__UNITS_HIGH], highest_of(l.high));
    if (brief) return;
    *of[HK__UNITS_SIZE] += sum_of(l.size);
    *of[HK__UNITS_ZEROS] += count_of(l.zeros);
}

HK_INLINE void plane_slopes(const hk__units_tile *t) {
    const hk_real *z = t->z, *slope = t->slope;
    const hk_real limit = (hk_real)*t->of_h[HK__UNITS_LIMIT],
                  peak = (hk_real)*t->of_h[HK__UNITS_PEAK];
    hk_real *steepest = t->steepest;
    double *const *of = t->of_h;
    slope_lanes l;
    for (int k = 0; k < LANES; k++) l.steepest[k] = l.left[k] = l.right[k] = 0;
    int64_t i = 0;
    for (; i + LANES <= t->n; i += LANES)
        add_slopes(&l, LANES, z + i, slope + i, limit, peak, steepest + i);
    add_slopes(&l, t->n - i, z + i, slope + i, limit, peak, steepest + i);
    *of[HK__UNITS_STEEPEST] = higher(*of[HK__UNITS_STEEPEST], highest_of(l.steepest));
    *of[HK__UNITS_LEFT] += count_of(l.left);
    *of[HK__UNITS_RIGHT] += count_of(l.right);
}

static void plane(const hk__units_tile *t) {
    plane_values(t->n, t->h, t->of_h, false);
    if (t->slope) plane_slopes(t);
    if (t->of_z) plane_values(t->n, t->z, t->of_z, true);
}

const hk__units_kernels HK_STAMPED(hk__units) = {row, plane};
