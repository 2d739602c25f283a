/* properties_real.c: what holds for real numbers: where f, f' or f'' jumps, and what follows.
   SPDX-License-Identifier: MIT

   The line from -2^20 to 2^20 is cut into cells, narrow near 0. Where a function is smooth, its
   8th differences over a cell shrink by 256 each time the cell is halved; where f, f' or f''
   jumps they do not. So cells are halved until the differences vanish, or the cell is so small
   that it holds nothing but such a point. Their borders are crooked numbers, so that no kink at
   a round number hides between two cells. A feature narrower than an eighth of its cell may be
   missed: one of width 1/128 at x = 1. */
#include "properties.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SAMPLES = 9 };

typedef struct search {
    const hk_activation_spec *spec;
    real_facts *facts;
    double top, bottom; /* greatest and least f so far, x ascending */
} search;

static double value(const hk_activation_spec *spec, double x) {
    return hk_activation_value(spec, x);
}
/* f' itself, 0 where training uses a stand-in. */
static double slope(const hk_activation_spec *spec, double x) {
    return spec->info->surrogate ? 0 : hk_activation_slope(spec, x);
}

/* Half a unit in the last place of float32 at v. */
static double half_ulp(double v) {
    const double a = fmax(fabs(v), FLT_MIN);
    return ldexp(1, ilogb(a) - 24);
}

/* --- points where something jumps ----------------------------------------------------------- */

/* The number with the fewest digits in [a, b]. */
static double roundest(double a, double b) {
    if (a <= 0 && b >= 0) return 0;
    const double middle = (a + b) / 2;
    for (int digits = 1; digits <= 17; digits++) {
        const double unit = pow(10, digits - 1 - floor(log10(fabs(middle))));
        const double v = round(middle * unit) / unit;
        if (v >= a && v <= b) return v;
    }
    return middle;
}

/* Narrows [a, b] around the greatest jump of f' and f in it. */
static void narrow(const hk_activation_spec *spec, double *a, double *b) {
    const double least = 1e-15 * fmax(1, fabs(*a));
    while (*b - *a > least) {
        const double m = (*a + *b) / 2;
        if (m <= *a || m >= *b) break;
        const double left = fabs(slope(spec, m) - slope(spec, *a)) +
                            fabs(value(spec, m) - value(spec, *a)) / fmax(1, fabs(m));
        const double right = fabs(slope(spec, *b) - slope(spec, m)) +
                             fabs(value(spec, *b) - value(spec, m)) / fmax(1, fabs(m));
        if (left > right)
            *b = m;
        else
            *a = m;
    }
}

static void add_point(real_facts *facts, double x, int order, double jump, double unit) {
    if (facts->singular_count == SINGULAR_MOST) return;
    const bool visible = fabs(jump) > half_ulp(unit);
    facts->singular[facts->singular_count++] = (singular_point){x, order, jump, visible};
    if (visible && order - 1 < facts->smooth) facts->smooth = order - 1;
}

/* What is in a cell too small for anything but one point. */
static void name_point(search *s, double a, double b) {
    const hk_activation_spec *spec = s->spec;
    const double wide = 1e-5 * fmax(1, fabs(a));
    const double before = (slope(spec, a) - slope(spec, a - wide)) / wide;
    const double after = (slope(spec, b + wide) - slope(spec, b)) / wide;
    const double inner_a = a, inner_b = b;
    narrow(spec, &a, &b);
    /* Values at the point itself may be conventions: look from a little outside. */
    const double out = 1e-12 * fmax(1, fabs(a));
    a = fmax(a - out, inner_a);
    b = fmin(b + out, inner_b);
    const double x = roundest(a, b), slope_jump = slope(spec, b) - slope(spec, a);
    const double jump =
        value(spec, b) - value(spec, a) - (b - a) * (slope(spec, a) + slope(spec, b)) / 2;
    const double slope_scale = fmax(fabs(slope(spec, b)) + fabs(slope(spec, a)), 0.05);
    if (fabs(jump) > 1e-13 * fmax(1, fabs(value(spec, b))) + (b - a) * fabs(slope_jump))
        add_point(s->facts, x, 0, jump, value(spec, b));
    else if (fabs(slope_jump) > 3e-12 * slope_scale)
        add_point(s->facts, x, 1, slope_jump, slope_scale);
    else if (fabs(after - before) > 1e-3 * fmax(fabs(after), fabs(before)) + 1e-6)
        add_point(s->facts, roundest(inner_a, inner_b), 2, after - before, 1);
}

/* --- cells ---------------------------------------------------------------------------------- */

static double eighth_difference(const double *v) {
    return v[0] - 8 * v[1] + 28 * v[2] - 56 * v[3] + 70 * v[4] - 56 * v[5] + 28 * v[6] - 8 * v[7] +
           v[8];
}

static bool is_rough(const double *v) {
    double most = 0.05; /* slopes that come from outputs are that coarse */
    for (int i = 0; i < SAMPLES; i++) most = fmax(most, fabs(v[i]));
    return fabs(eighth_difference(v)) > 4e-12 * most;
}

static void note_value(search *s, double y) {
    s->facts->fall = fmax(s->facts->fall, s->top - y);
    s->facts->rise = fmax(s->facts->rise, y - s->bottom);
    s->top = fmax(s->top, y);
    s->bottom = fmin(s->bottom, y);
}

static void look(search *s, double a, double b) {
    double y[SAMPLES], d[SAMPLES];
    const double step = (b - a) / (SAMPLES - 1);
    for (int i = 0; i < SAMPLES; i++) {
        y[i] = value(s->spec, a + i * step);
        d[i] = slope(s->spec, a + i * step);
    }
    const bool rough = is_rough(y) || is_rough(d);
    if (rough && b - a > 1e-6 * fmax(1, fabs(a))) {
        look(s, a, (a + b) / 2);
        look(s, (a + b) / 2, b);
        return;
    }
    for (int i = 0; i < SAMPLES; i++) note_value(s, y[i]);
    if (rough) {
        name_point(s, a, b);
        return;
    }
    for (int i = 0; i + 1 < SAMPLES; i++) {
        const double bend = fabs(d[i + 1] - d[i]) / step;
        if (!(bend > s->facts->curvature)) continue;
        s->facts->curvature = bend;
        s->facts->curvature_at = a + (i + 0.5) * step;
    }
}

/* Cells are narrow near 0, where functions have their features, and wide far away. */
static void look_everywhere(search *s) {
    double edge[1024];
    int n = 0;
    for (double x = 1.0381966e-7; x < 0x1p20 && n < 1024; x *= 1.0618034) edge[n++] = x;
    for (int i = n - 1; i > 0; i--) look(s, -edge[i], -edge[i - 1]);
    look(s, -edge[0], edge[0] * 0.618034); /* not even: its halves would meet at 0 */
    edge[0] *= 0.618034;
    for (int i = 1; i < n; i++) look(s, edge[i - 1], edge[i]);
}

/* --- extremes ------------------------------------------------------------------------------- */

double find_greatest(const hk_activation_spec *spec, bool of_slope, double sign, double a,
                     double b) {
    const double golden = 0.61803398874989484820;
    double x[2] = {b - golden * (b - a), a + golden * (b - a)}, v[2];
    for (int k = 0; k < 2; k++) v[k] = sign * (of_slope ? slope : value)(spec, x[k]);
    for (int i = 0; i < 80 && b - a > 1e-10 * fmax(1, fabs(a)); i++) {
        const int worse = v[0] < v[1] ? 0 : 1, better = 1 - worse;
        *(worse ? &b : &a) = x[worse];
        x[worse] = x[better];
        v[worse] = v[better];
        x[better] = worse ? b - golden * (b - a) : a + golden * (b - a);
        v[better] = sign * (of_slope ? slope : value)(spec, x[better]);
    }
    return (a + b) / 2;
}

/* |f''| from f', h apart on both sides. */
static double bend(const hk_activation_spec *spec, double x) {
    const double h = 2e-6 * fmax(1, fabs(x));
    return fabs(slope(spec, x + h) - slope(spec, x - h)) / (2 * h);
}

/* Sharpens the greatest |f''|, which lies within a cell of where it was seen, and not beyond a
   kink. */
static void sharpen_curvature(search *s) {
    real_facts *f = s->facts;
    if (f->curvature == 0) return;
    double a = f->curvature_at - 0.02 * fmax(1, fabs(f->curvature_at)), best = 0;
    double b = f->curvature_at + 0.02 * fmax(1, fabs(f->curvature_at));
    for (int i = 0; i < f->singular_count; i++) {
        const double x = f->singular[i].x, out = 4e-6 * fmax(1, fabs(x));
        if (x < f->curvature_at) a = fmax(a, x + out);
        if (x > f->curvature_at) b = fmin(b, x - out);
    }
    const double step = (b - a) / 256;
    for (int i = 0; i <= 256 && step > 0; i++)
        if (bend(s->spec, a + i * step) > best) {
            best = bend(s->spec, a + i * step);
            f->curvature_at = a + i * step;
        }
    if (best > 0) f->curvature = best;
}

bool is_flat_piece(const hk_activation_spec *spec, const real_facts *facts, double x, bool of_slope,
                   double *from, double *to) {
    *from = -HUGE_VAL;
    *to = HUGE_VAL;
    for (int i = 0; i < facts->singular_count; i++) {
        const double at = facts->singular[i].x;
        if (at <= x) *from = fmax(*from, at);
        if (at > x) *to = fmin(*to, at);
    }
    const double a = fmax(*from, -0x1p20), b = fmin(*to, 0x1p20);
    const double near = a > -0x1p20 ? a : b < 0x1p20 ? b : 0;
    double first = NAN;
    for (int i = 1; i < 64; i++) {
        /* Even steps on a short piece; on a long one, more of them near its kink. */
        const double even = a + (b - a) * i / 64, way = ldexp(1, i / 2 - 11);
        const double at = b - a < 64  ? even
                          : near == a ? a + way
                          : near == b ? b - way
                          : i % 2     ? way
                                      : -way;
        const double v = of_slope ? slope(spec, at) : value(spec, at);
        if (isnan(first)) first = v;
        if (v != first) return false;
    }
    return true;
}

/* --- moments -------------------------------------------------------------------------------- */

/* Gauss's rule with three points, which are inside: values at a jump do not matter. */
static double integral(const hk_activation_spec *spec, hk_activation_moment moment, double a,
                       double b) {
    const double node = 0.77459666924148337704, weight[3] = {5.0 / 9, 8.0 / 9, 5.0 / 9};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        const double z = (a + b) / 2 + (i - 1) * node * (b - a) / 2;
        const double v = moment == HK_SLOPE_MOMENT ? hk_activation_slope(spec, z) : value(spec, z);
        sum += weight[i] * (moment == HK_MEAN ? v : v * v) * exp(-z * z / 2);
    }
    return sum * (b - a) / 2;
}

double find_moment(const hk_activation_spec *spec, const real_facts *facts,
                   hk_activation_moment moment) {
    enum { CELLS = 32 }; /* in a unit */
    double sum = 0;
    for (int i = -12 * CELLS; i < 12 * CELLS; i++) {
        double at = (double)i / CELLS;
        const double end = (i + 1.0) / CELLS;
        for (int k = 0; k < facts->singular_count; k++) {
            const double x = facts->singular[k].x;
            if (x <= at || x >= end) continue;
            sum += integral(spec, moment, at, x);
            at = x;
        }
        sum += integral(spec, moment, at, end);
    }
    return sum / sqrt(2 * 3.14159265358979323846);
}

/* --- all together --------------------------------------------------------------------------- */

void find_real_facts(const hk_activation_spec *spec, real_facts *facts) {
    *facts = (real_facts){.smooth = 2};
    search s = {.spec = spec, .facts = facts, .top = -HUGE_VAL, .bottom = HUGE_VAL};
    look_everywhere(&s);
    sharpen_curvature(&s);
    double from, to;
    facts->linear = facts->singular_count == 0 && is_flat_piece(spec, facts, 0, true, &from, &to) &&
                    slope(spec, 0) != 0;
}
