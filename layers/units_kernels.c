/* units_kernels.c: the inner loops of the statistics of units (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Everything is added in double, each unit's values in their order. A plane falls into lanes first, and these are folded
   at its end. */
#include "units_kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "simd.h"

enum { LANES = 32 };

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

typedef struct lanes {
    _Alignas(64) double of[HK__UNITS_ARRAYS][LANES];
    double *at[HK__UNITS_ARRAYS];
} lanes;

/* The arrays from `first` on, before `last`: every lane begins with nothing, and with what is given for the unit. */
HK_INLINE void begin(lanes *l, double *const *of, int first, int last) {
    for (int i = first; i < last; i++) {
        const bool given = i == HK__UNITS_CENTRE || i >= HK__UNITS_LIMIT;
        const double start = given                 ? *of[i]
                             : i == HK__UNITS_LOW  ? INFINITY
                             : i == HK__UNITS_HIGH ? -INFINITY
                                                   : 0;
        for (int k = 0; k < LANES; k++) l->of[i][k] = start;
        l->at[i] = l->of[i];
    }
}

/* Folds their lanes, and adds them to the unit. */
HK_INLINE void end(lanes *l, double *const *of, int first, int last) {
    for (int i = first; i < last; i++) {
        double *lane = l->of[i];
        if (i == HK__UNITS_LOW) {
            for (int half = LANES / 2; half > 0; half /= 2)
                for (int k = 0; k < half; k++) lane[k] = lower(lane[k], lane[k + half]);
            *of[i] = lower(*of[i], *lane);
        } else if (i == HK__UNITS_HIGH || i == HK__UNITS_STEEPEST) {
            for (int half = LANES / 2; half > 0; half /= 2)
                for (int k = 0; k < half; k++) lane[k] = higher(lane[k], lane[k + half]);
            *of[i] = higher(*of[i], *lane);
        } else {
            for (int half = LANES / 2; half > 0; half /= 2)
                for (int k = 0; k < half; k++) lane[k] += lane[k + half];
            *of[i] += *lane;
        }
    }
}

HK_INLINE void plane_values(int64_t n, const hk_real *h, double *const *of, bool brief) {
    lanes l;
    const int last = brief ? HK__UNITS_BRIEF : HK__UNITS_STEEPEST;
    begin(&l, of, HK__UNITS_CENTRE, last);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) take_values(LANES, h + i, l.at, brief);
    take_values(n - i, h + i, l.at, brief);
    end(&l, of, HK__UNITS_SUM, last);
}

static void plane_slopes(const hk__units_tile *t) {
    const hk_real *z = t->z, *slope = t->slope;
    lanes l;
    begin(&l, t->of_h, HK__UNITS_STEEPEST, HK__UNITS_THRESHOLD);
    int64_t i = 0;
    for (; i + LANES <= t->n; i += LANES) take_slopes(LANES, z + i, slope + i, l.at);
    take_slopes(t->n - i, z + i, slope + i, l.at);
    end(&l, t->of_h, HK__UNITS_STEEPEST, HK__UNITS_LIMIT);
    hk_real *steepest = t->steepest;
    HK_INDEPENDENT
    for (int64_t k = 0; k < t->n; k++) {
        const hk_real s = slope[k] < 0 ? -slope[k] : slope[k];
        steepest[k] = s > steepest[k] ? s : steepest[k];
    }
}

static void plane(const hk__units_tile *t) {
    plane_values(t->n, t->h, t->of_h, false);
    if (t->slope) plane_slopes(t);
    if (t->of_z) plane_values(t->n, t->z, t->of_z, true);
}

const hk__units_kernels HK_STAMPED(hk__units) = {row, plane};
