/* units_kernels.c: the inner loops of the statistics of units (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "units_kernels.h"

#include <math.h>
#include <stddef.h>

#include "real.h"

/* A NaN is no extreme: it shows in the sums. */
static inline double lower(double a, double b) { return b < a ? b : a; }
static inline double higher(double a, double b) { return b > a ? b : a; }

static void row(int64_t n, const void *values, const void *inputs, const void *slopes,
                double *const *sums) {
    const hk_real *h = values, *z = inputs, *slope = slopes;
    double *const sum = sums[HK__UNITS_SUM], *const squares = sums[HK__UNITS_SQUARES];
    double *const size = sums[HK__UNITS_SIZE], *const zeros = sums[HK__UNITS_ZEROS];
    double *const low = sums[HK__UNITS_LOW], *const high = sums[HK__UNITS_HIGH];
    const double *centre = sums[HK__UNITS_CENTRE];
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)h[i], d = v - centre[i];
        sum[i] += d;
        squares[i] += d * d;
        size[i] += fabs(v);
        low[i] = lower(low[i], v);
        high[i] = higher(high[i], v);
        zeros[i] += v == 0 ? 1 : 0;
    }
    if (!slope) return;
    double *const steepest = sums[HK__UNITS_STEEPEST], *const left = sums[HK__UNITS_LEFT];
    double *const right = sums[HK__UNITS_RIGHT];
    const double *limit = sums[HK__UNITS_LIMIT], *peak = sums[HK__UNITS_PEAK];
    for (int64_t i = 0; i < n; i++) {
        const double s = fabs((double)slope[i]);
        const double flat = s < limit[i] ? 1 : 0, before = (double)z[i] < peak[i] ? flat : 0;
        steepest[i] = higher(steepest[i], s);
        left[i] += before;
        right[i] += flat - before;
    }
}

enum { LANES = 16 };

/* Adds n values to lanes; n <= LANES. */
typedef struct lanes {
    double sum[LANES], squares[LANES], size[LANES], low[LANES], high[LANES], zeros[LANES];
    double steepest[LANES], left[LANES], right[LANES];
} lanes;

static inline void add_values(lanes *l, int n, const hk_real *h, double centre) {
    for (int k = 0; k < n; k++) {
        const double v = (double)h[k], d = v - centre;
        l->sum[k] += d;
        l->squares[k] += d * d;
        l->size[k] += fabs(v);
        l->low[k] = lower(l->low[k], v);
        l->high[k] = higher(l->high[k], v);
        l->zeros[k] += v == 0 ? 1 : 0;
    }
}

static inline void add_slopes(lanes *l, int n, const hk_real *z, const hk_real *slope,
                              double threshold, double limit, double peak, uint8_t *alive) {
    for (int k = 0; k < n; k++) {
        const double s = fabs((double)slope[k]);
        const double flat = s < limit ? 1 : 0, before = (double)z[k] < peak ? flat : 0;
        l->steepest[k] = higher(l->steepest[k], s);
        l->left[k] += before;
        l->right[k] += flat - before;
        alive[k] |= s > threshold;
    }
}

static void plane(int64_t n, const void *values, const void *inputs, const void *slopes,
                  double *const *sums, uint8_t *alive) {
    const hk_real *h = values, *z = inputs, *slope = slopes;
    lanes l = {.sum = {0}};
    for (int k = 0; k < LANES; k++) l.low[k] = INFINITY, l.high[k] = -INFINITY;
    const double centre = *sums[HK__UNITS_CENTRE];
    const int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) add_values(&l, LANES, h + i, centre);
    add_values(&l, (int)(n - whole), h + whole, centre);
    if (slope) {
        const double threshold = *sums[HK__UNITS_THRESHOLD], limit = *sums[HK__UNITS_LIMIT];
        const double peak = *sums[HK__UNITS_PEAK];
        for (int64_t i = 0; i < whole; i += LANES)
            add_slopes(&l, LANES, z + i, slope + i, threshold, limit, peak, alive + i);
        add_slopes(&l, (int)(n - whole), z + whole, slope + whole, threshold, limit, peak,
                   alive + whole);
    }
    for (int k = 1; k < LANES; k++) {
        l.sum[0] += l.sum[k], l.squares[0] += l.squares[k], l.size[0] += l.size[k];
        l.low[0] = lower(l.low[0], l.low[k]), l.high[0] = higher(l.high[0], l.high[k]);
        l.zeros[0] += l.zeros[k], l.steepest[0] = higher(l.steepest[0], l.steepest[k]);
        l.left[0] += l.left[k], l.right[0] += l.right[k];
    }
    *sums[HK__UNITS_SUM] += l.sum[0], *sums[HK__UNITS_SQUARES] += l.squares[0];
    *sums[HK__UNITS_SIZE] += l.size[0], *sums[HK__UNITS_ZEROS] += l.zeros[0];
    *sums[HK__UNITS_LOW] = lower(*sums[HK__UNITS_LOW], l.low[0]);
    *sums[HK__UNITS_HIGH] = higher(*sums[HK__UNITS_HIGH], l.high[0]);
    if (!slope) return;
    *sums[HK__UNITS_STEEPEST] = higher(*sums[HK__UNITS_STEEPEST], l.steepest[0]);
    *sums[HK__UNITS_LEFT] += l.left[0], *sums[HK__UNITS_RIGHT] += l.right[0];
}

const hk__units_kernels HK_STAMPED(hk__units) = {row, plane};
