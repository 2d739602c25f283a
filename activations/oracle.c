/* oracle.c: activations in double: values, slopes, expectations, gains.
   SPDX-License-Identifier: MIT

   The f64 stamp of each block, called for one number at a time. */
#include <math.h>
#include <string.h>

#include "activation.h"

extern _Thread_local long hk__exponentials; /* counted by the f64 stamp */

enum { MAX = HK_ACTIVATION_MAX_PARAMS };

static const hk__activation_kernels_row *reference(const hk_activation_spec *spec) {
    return &hk__activation_f64.row[hk__row_of(spec->info)];
}

double hk_activation_value(const hk_activation_spec *spec, double x) {
    if (spec->info->kind == HK_ACTIVATION_OWN)
        return hk__own_of(spec->info)->functions.value(x, spec->value);
    if (spec->info->kind != HK_ACTIVATION_POINTWISE) return NAN;
    double y[HK_MAP_STEP], xs[HK_MAP_STEP] = {x};
    reference(spec)->plain_value(HK_MAP_STEP, (void *[]){y, xs}, spec->value);
    return y[0];
}

double hk_activation_slope(const hk_activation_spec *spec, double x) {
    if (spec->info->kind == HK_ACTIVATION_OWN)
        return hk__own_of(spec->info)->functions.slope(x, spec->value);
    if (spec->info->kind != HK_ACTIVATION_POINTWISE) return NAN;
    double xs[HK_MAP_STEP] = {x}, ys[HK_MAP_STEP] = {hk_activation_value(spec, x)};
    double g[HK_MAP_STEP] = {1}, out[HK_MAP_STEP];
    reference(spec)->plain_slope(HK_MAP_STEP, (void *[]){out, g, xs, ys}, spec->value);
    return out[0];
}

double hk_activation_param_slope(const hk_activation_spec *spec, int k, double x) {
    if (k < 0 || k >= spec->info->n_params) return NAN;
    if (spec->info->kind == HK_ACTIVATION_OWN) {
        double d[MAX];
        hk__own_of(spec->info)->functions.param_slopes(x, spec->value, d);
        return d[k];
    }
    if (spec->info->kind != HK_ACTIVATION_POINTWISE) return NAN;
    double xs[HK_MAP_STEP] = {x}, ys[HK_MAP_STEP] = {hk_activation_value(spec, x)};
    double g[HK_MAP_STEP] = {1}, out[HK_MAP_STEP], lanes[MAX][HK__ACTIVATION_LANES] = {{0}};
    reference(spec)->learn(HK_MAP_STEP, (void *[]){out, g, xs, ys}, spec->value, lanes);
    return lanes[k][0]; /* g is 0 but for the first */
}

int hk_activation_exponentials(const hk_activation_spec *spec, bool slope) {
    if (spec->info->kind != HK_ACTIVATION_POINTWISE) return 0;
    double xs[HK_MAP_STEP] = {0}, ys[HK_MAP_STEP], g[HK_MAP_STEP] = {0}, out[HK_MAP_STEP];
    const long before = hk__exponentials;
    reference(spec)->plain_value(HK_MAP_STEP, (void *[]){ys, xs}, spec->value);
    const long between = hk__exponentials;
    reference(spec)->plain_slope(HK_MAP_STEP, (void *[]){out, g, xs, ys}, spec->value);
    return (int)((slope ? hk__exponentials - between : between - before) / HK_MAP_STEP);
}

/* --- expectations under N(0, 1) ------------------------------------------------------------------------------- */

/* A function of one number, and what it needs. */
typedef struct function {
    double (*value)(const void *arg, double z);
    const void *arg;
} function;

/* Nodes and weights of Gauss-Legendre quadrature with 10 points on [-1, 1], the positive half. */
static const double node[5] = {0.1488743389816312, 0.4333953941292472, 0.6794095682990244,
                               0.8650633666889845, 0.9739065285171717};
static const double weight[5] = {0.2955242247147529, 0.2692667193099963, 0.2190863625159820,
                                 0.1494513491505806, 0.0666713443086881};

/* Of the function times the normal density. */
static double integral(function f, double a, double b) {
    const double middle = (a + b) / 2, half = (b - a) / 2;
    double sum = 0;
    for (int i = 0; i < 10; i++) {
        const double z = middle + (i % 2 ? half : -half) * node[i / 2];
        sum += weight[i / 2] * f.value(f.arg, z) * 0.39894228040143267794 * exp(-z * z / 2);
    }
    return sum * half;
}

/* Halves [a, b] until the halves agree with the whole: only next to a jump of f or f' that takes long. */
static double refined(function f, double a, double b, double whole, int depth) {
    const double middle = (a + b) / 2;
    const double left = integral(f, a, middle), right = integral(f, middle, b);
    if (depth == 0 || fabs(left + right - whole) <= 1e-14 * (1 + fabs(whole))) return left + right;
    return refined(f, a, middle, left, depth - 1) + refined(f, middle, b, right, depth - 1);
}

/* Where f or f' jumps inside (a, b), the least such place that the row tells; b if it tells none. */
static double next_kink(const hk_activation_spec *spec, double a, double b) {
    double least = b;
    for (int k = 0; k < spec->info->n_kinks; k++)
        if (spec->info->kinks[k] > a && spec->info->kinks[k] < least) least = spec->info->kinks[k];
    for (int k = 0; k < spec->info->n_params; k++)
        if (spec->info->params[k].kink && spec->value[k] > a && spec->value[k] < least)
            least = spec->value[k];
    return least;
}

/* E f(z): on [-12, 12], beyond which the density has vanished. Borders lie at the kinks of spec: halving finds
   others too, but may miss one that lies behind the last node of a cell. */
static double expectation(function f, const hk_activation_spec *spec) {
    double sum = 0;
    for (int i = -12; i < 12; i++)
        for (double at = i, to; at < i + 1; at = to) {
            to = next_kink(spec, at, i + 1);
            sum += refined(f, at, to, integral(f, at, to), 48);
        }
    return sum;
}

static double mean_of(const void *spec, double z) { return hk_activation_value(spec, z); }
static double square_of(const void *spec, double z) {
    const double y = hk_activation_value(spec, z);
    return y * y;
}
static double slope_of(const void *spec, double z) {
    const double d = hk_activation_slope(spec, z);
    return d * d;
}

double hk_activation_expectation(const hk_activation_spec *spec, hk_activation_moment moment) {
    if (isnan(hk_activation_value(spec, 0))) return NAN;
    return expectation((function){moment == HK_MEAN           ? mean_of
                                  : moment == HK_SLOPE_MOMENT ? slope_of
                                                              : square_of,
                                  spec},
                       spec);
}

/* E of the square of the largest of k normal numbers: ∫ z²·kφ(z)Φ(z)^(k-1). */
static double maxout_integrand(const void *arg, double z) {
    const double k = *(const double *)arg;
    return z * z * k * pow(0.5 * erfc(-z * 0.70710678118654752440), k - 1);
}

/* A mixture at its start: every weight is 1/n. */
enum { CANDIDATES = HK_ACTIVATION_MAX_MIX / 2 };
typedef struct mixture {
    int n;
    hk_activation_spec spec[CANDIDATES];
    double mean[CANDIDATES], deviation[CANDIDATES];
} mixture;

static double mixture_integrand(const void *arg, double z) {
    const mixture *m = arg;
    double y = 0;
    for (int k = 0; k < m->n; k++)
        y += (hk_activation_value(&m->spec[k], z) - m->mean[k]) / m->deviation[k] / m->n;
    return y * y;
}

static double mixture_moment(hk_context *ctx, const hk_activation_spec *mix) {
    mixture m = {.n = 0};
    while (hk_activation_candidate(ctx, mix, m.n, &m.spec[m.n]) == HK_OK) {
        const double mean = hk_activation_expectation(&m.spec[m.n], HK_MEAN);
        const double second = hk_activation_expectation(&m.spec[m.n], HK_SECOND_MOMENT);
        m.mean[m.n] = mean;
        m.deviation[m.n++] = sqrt(second - mean * mean);
    }
    return expectation((function){mixture_integrand, &m}, mix);
}

/* E f² of an activation given by name; 1 if that cannot be. */
static double moment_of(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, text, &spec) != HK_OK) return 1;
    return hk_activation_expectation(&spec, HK_SECOND_MOMENT);
}

/* E max(x, T)² for x ~ N(0, 1) and T ~ N(0, γ²), however they hang together: max² + min² = x² + T², and (-x, -T),
   which is as likely as (x, T), has max and min exchanged. */
static double frelu_moment(double gamma) { return (1 + gamma * gamma) / 2; }

double hk_activation_gain(hk_context *ctx, const hk_activation_spec *spec) {
    double moment = 1;
    const hk_activation_info *info = spec->info;
    if (info->kind == HK_ACTIVATION_POINTWISE || info->kind == HK_ACTIVATION_OWN)
        moment = hk_activation_expectation(spec, HK_SECOND_MOMENT);
    else if (info->gate) /* E a²h(b)² with independent a, b */
        moment = moment_of(ctx, info->gate);
    else if (info == &hk__activation_rows[HK__WIDE_frelu])
        moment = frelu_moment(spec->value[0]);
    else if (info->starts_as)
        moment = moment_of(ctx, info->starts_as);
    else if (info == &hk__activation_rows[HK__WIDE_maxout])
        moment = expectation((function){maxout_integrand, spec->value}, spec);
    else if (info == &hk__activation_rows[HK__WIDE_mix])
        moment = mixture_moment(ctx, spec);
    return moment > 0 && isfinite(moment) ? 1 / sqrt(moment) : 1;
}
