/* mean_field.c: the length of signals and the growth of gradients in wide random networks.
   SPDX-License-Identifier: MIT

   Expectations are integrals over z of a function of x = √q z. What an activation does, it does near x = 0, so for large
   q close to z = 0: borders of the quadrature lie at fixed x, and at the kinks, as well as at fixed z. */
#include "hk_mean_field.h"

#include <math.h>
#include <stdlib.h>

#include "activation.h"

enum {
    NODES = HK_MAP_STEP, /* of one cell: one call of a kernel */
    DEPTH = 48,          /* halvings of a cell next to a jump that no row tells of */
    LAYERS = 10000,
    REACH = 12, /* of z: beyond it the normal density has vanished */
    FINEST = -3,
    COARSEST = 5, /* borders at x = ±2^FINEST, ±2^(FINEST + 2) ... ±2^COARSEST */
    BORDERS =
        REACH + 1 + 2 * (COARSEST - FINEST + 1) + HK_ACTIVATION_MAX_KINKS + HK_ACTIVATION_MAX_PARAMS
};

/* Closer than this, relatively, two lengths are the same: what rounding and quadrature leave. */
static const double same = 1e-13;
/* Lengths outside of these have died out or grown without end: their squares still fit a double. */
static const double least = 1e-140, most = 1e140;

/* --- expectations -------------------------------------------------------------------------------------------- */

/* E f², E f'², and d/dq E f² in two forms: E f²·(z² - 1)/2q also holds where f jumps, E f·f'·z/√q loses fewer digits where
   q is small. */
typedef enum kind { SIGNAL, SLOPE, GROWTH, GROWTH_OF_SMALL } kind;

typedef struct integrand {
    const hk_activation_spec *spec;
    double root; /* √q */
    kind kind;
} integrand;

/* Gauss-Legendre nodes and weights on [-1, 1], the positive half. */
static const double node[NODES / 2] = {
    0.09501250983763744, 0.28160355077925891, 0.45801677765722739, 0.61787624440264375,
    0.75540440835500303, 0.86563120238783174, 0.94457502307323258, 0.98940093499164993};
static const double weight[NODES / 2] = {
    0.18945061045506850, 0.18260341504492359,  0.16915651939500254,  0.14959598881657673,
    0.12462897125553387, 0.095158511682492785, 0.062253523938647893, 0.027152459411754095};

static void values_at(const hk_activation_spec *spec, double *x, double *y) {
    if (spec->info->kind == HK_ACTIVATION_OWN)
        for (int i = 0; i < NODES; i++) y[i] = hk_activation_value(spec, x[i]);
    else
        hk__activation_f64.row[hk__row_of(spec->info)].plain_value(NODES, (void *[]){y, x},
                                                                   spec->value);
}

static void slopes_at(const hk_activation_spec *spec, double *x, double *d) {
    if (spec->info->kind == HK_ACTIVATION_OWN) {
        for (int i = 0; i < NODES; i++) d[i] = hk_activation_slope(spec, x[i]);
        return;
    }
    double y[NODES], one[NODES];
    values_at(spec, x, y);
    for (int i = 0; i < NODES; i++) one[i] = 1;
    hk__activation_f64.row[hk__row_of(spec->info)].plain_slope(NODES, (void *[]){d, one, x, y},
                                                               spec->value);
}

static double integral(const integrand *f, double a, double b) {
    const double middle = (a + b) / 2, half = (b - a) / 2, root = f->root;
    double z[NODES], x[NODES], y[NODES], d[NODES], sum = 0;
    for (int i = 0; i < NODES; i++) {
        z[i] = middle + (i % 2 ? half : -half) * node[i / 2];
        x[i] = root * z[i];
    }
    if (f->kind != SLOPE) values_at(f->spec, x, y);
    if (f->kind == SLOPE || f->kind == GROWTH_OF_SMALL) slopes_at(f->spec, x, d);
    for (int i = 0; i < NODES; i++) {
        const double factor = f->kind == SIGNAL  ? y[i] * y[i]
                              : f->kind == SLOPE ? d[i] * d[i]
                              : f->kind == GROWTH
                                  ? y[i] * y[i] * (z[i] * z[i] - 1) / (2 * root * root)
                                  : y[i] * d[i] * z[i] / root;
        sum += weight[i / 2] * factor * exp(-z[i] * z[i] / 2);
    }
    return sum * half * 0.39894228040143267794;
}

/* Halves a cell until the halves agree with the whole. */
static double refined(const integrand *f, double a, double b, double whole, double allowed,
                      int depth) {
    const double middle = (a + b) / 2;
    const double left = integral(f, a, middle), right = integral(f, middle, b);
    if (depth == 0 || !(fabs(left + right - whole) > allowed)) return left + right;
    return refined(f, a, middle, left, allowed, depth - 1) +
           refined(f, middle, b, right, allowed, depth - 1);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int borders_of(const integrand *f, double *at) {
    int n = 0;
    for (int z = -REACH; z <= REACH; z += 2) at[n++] = z;
    for (int k = FINEST; k <= COARSEST; k += 2) {
        at[n++] = ldexp(1, k) / f->root;
        at[n++] = -ldexp(1, k) / f->root;
    }
    const hk_activation_info *info = f->spec->info;
    for (int k = 0; k < info->n_kinks; k++) at[n++] = info->kinks[k] / f->root;
    for (int k = 0; k < info->n_params; k++)
        if (info->params[k].kink) at[n++] = f->spec->value[k] / f->root;
    int within = 0;
    for (int i = 0; i < n; i++)
        if (fabs(at[i]) <= REACH) at[within++] = at[i];
    qsort(at, (size_t)within, sizeof *at, by_size);
    return within;
}

static double expectation(const integrand *f) {
    double at[BORDERS], whole[BORDERS], scale = 0, sum = 0;
    const int n = borders_of(f, at);
    for (int i = 0; i + 1 < n; i++) {
        whole[i] = at[i] < at[i + 1] ? integral(f, at[i], at[i + 1]) : 0;
        scale += fabs(whole[i]);
    }
    for (int i = 0; i + 1 < n; i++)
        if (at[i] < at[i + 1]) sum += refined(f, at[i], at[i + 1], whole[i], 1e-15 * scale, DEPTH);
    return sum;
}

/* The mean of f'² just left and right of 0, or far out at ±infinity. */
static double slope_on_both_sides(const hk_activation_spec *spec, double x) {
    const double right = hk_activation_slope(spec, x), left = hk_activation_slope(spec, -x);
    return (right * right + left * left) / 2;
}

static double moment(const hk_activation_spec *spec, double q, kind what) {
    const double at_zero = spec ? hk_activation_value(spec, 0) : NAN;
    if (isnan(at_zero) || !(q >= 0 && q <= most)) return NAN;
    if (q >= least) return expectation(&(integrand){spec, sqrt(q), what});
    return what == SIGNAL ? at_zero * at_zero : slope_on_both_sides(spec, least);
}

double hk_mean_field_signal(const hk_activation_spec *spec, double q) {
    return moment(spec, q, SIGNAL);
}
double hk_mean_field_slope(const hk_activation_spec *spec, double q) {
    return moment(spec, q, SLOPE);
}

/* --- the fixed point ----------------------------------------------------------------------------------------- */

typedef struct network {
    const hk_activation_spec *spec;
    double weights, biases; /* variances */
} network;

static double next(const network *n, double q) {
    return n->weights * moment(n->spec, q, SIGNAL) + n->biases;
}

/* dq'/dq; at q = 0, where f(0) = 0 or there are no weights, that of f's two straight lines. */
static double stability_at(const network *n, double q) {
    if (!(q >= least)) return n->weights * slope_on_both_sides(n->spec, least);
    return n->weights *
           moment(n->spec, q, q > 1e-4 || n->spec->info->surrogate ? GROWTH : GROWTH_OF_SMALL);
}

/* Where q, which still moves after all layers, will come to: the next fixed point in its direction, beyond which lengths
   move back, or 0 or infinity. Farther out, rounding may
   hide that q still moves; a fixed point is not believed for that. */
static double limit_of(const network *n, double q, bool falls) {
    double moving = q;
    for (double outer = q, step = 1.1; outer > least && outer < most;
         step += step < 10 ? 0.02 : 0) {
        outer = falls ? outer / step : outer * step;
        const double ahead = (next(n, outer) - outer) * (falls ? -1 : 1);
        if (ahead > same * outer) moving = outer;
        if (!(ahead < -same * outer)) continue;
        for (int i = 0; i < 60; i++) {
            const double middle = (moving + outer) / 2;
            *((next(n, middle) - middle) * (falls ? -1 : 1) > 0 ? &moving : &outer) = middle;
        }
        return outer;
    }
    return falls ? 0 : INFINITY;
}

/* One step of Newton's method on q' = q, if it is as small as it should be. */
static double polished(const network *n, double q) {
    const double step = (next(n, q) - q) / (1 - stability_at(n, q));
    return fabs(step) <= 1e-6 * q ? q + step : q;
}

static bool is_near(double q, double target) {
    if (target == 0) return q < 1e-9;
    return isinf(target) ? q > 1e9 : fabs(q - target) <= 1e-9 * target;
}

/* The fixed point from q = 1, and after how many layers q is near it. There are no cycles: √q E f², the integral of
   f(x)² exp(-x²/2q), never falls where q grows, so E f² falls more slowly than 1/√q, which is too slow to throw q to and
   fro for ever. */
static double settle(const network *n, int *layers) {
    double q = 1, move = 0, target = NAN;
    for (int i = 0; i < LAYERS && isnan(target); i++) {
        const double before = q;
        q = next(n, q);
        if (isnan(q)) return NAN;
        move = q - before;
        if (fabs(move) <= same * q) target = i == 0 ? 1 : polished(n, q);
        if (q <= least) target = 0;
        if (q >= most) target = INFINITY;
    }
    *layers = -1;
    if (isnan(target)) {
        target = limit_of(n, q, move < 0);
        if (!is_near(q, target)) return target; /* it was not before, either */
    }
    q = 1;
    for (int i = 0; i <= LAYERS && *layers < 0; i++, q = next(n, q))
        if (is_near(q, target)) *layers = i;
    return target;
}

/* χ₁ of endless signals: f' far out, if it has a limit there. */
static double slope_at_infinity(const hk_activation_spec *spec) {
    const double at = slope_on_both_sides(spec, 1e100), farther = slope_on_both_sides(spec, 1e120);
    return fabs(at - farther) <= 1e-9 * fabs(at) ? farther : NAN;
}

hk_mean_field hk_mean_field_of(const hk_activation_spec *spec, double weight_variance,
                               double bias_variance) {
    const network n = {spec, weight_variance, bias_variance};
    hk_mean_field r = {NAN, NAN, NAN, NAN, -1};
    if (!(weight_variance >= 0 && weight_variance <= most && bias_variance >= 0 &&
          bias_variance <= most))
        return r;
    r.q = settle(&n, &r.layers);
    if (isnan(r.q)) return r;
    if (isinf(r.q))
        r.chi = r.stability = weight_variance * slope_at_infinity(spec);
    else {
        r.chi = weight_variance * moment(spec, r.q, SLOPE);
        r.stability = stability_at(&n, r.q);
    }
    const double growth = log(r.chi);
    r.depth_scale = fabs(growth) <= same ? INFINITY : -1 / growth;
    return r;
}
