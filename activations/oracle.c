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
    double g[HK_MAP_STEP] = {1}, out[HK_MAP_STEP], sums[MAX] = {0};
    reference(spec)->learn(HK_MAP_STEP, (void *[]){out, g, xs, ys}, spec->value, sums);
    return sums[k]; /* g is 0 but for one */
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

static double integrand(const hk_activation_spec *spec, hk_activation_moment moment, double z) {
    const double v =
        moment == HK_SLOPE_MOMENT ? hk_activation_slope(spec, z) : hk_activation_value(spec, z);
    return (moment == HK_MEAN ? v : v * v) * 0.39894228040143267794 * exp(-z * z / 2);
}

/* Nodes and weights of Gauss-Legendre quadrature with 10 points on [-1, 1], the positive half. */
static const double node[5] = {0.1488743389816312, 0.4333953941292472, 0.6794095682990244,
                               0.8650633666889845, 0.9739065285171717};
static const double weight[5] = {0.2955242247147529, 0.2692667193099963, 0.2190863625159820,
                                 0.1494513491505806, 0.0666713443086881};

static double integral(const hk_activation_spec *spec, hk_activation_moment moment, double a,
                       double b) {
    const double middle = (a + b) / 2, half = (b - a) / 2;
    double sum = 0;
    for (int i = 0; i < 5; i++)
        sum += weight[i] * (integrand(spec, moment, middle - half * node[i]) +
                            integrand(spec, moment, middle + half * node[i]));
    return sum * half;
}

/* Where f or f' may jump inside (a, b), the least; b if nowhere. */
static double next_kink(const hk_activation_spec *spec, double a, double b) {
    double least = b;
    for (int k = 0; k < spec->info->n_kinks; k++)
        if (spec->info->kinks[k] > a && spec->info->kinks[k] < least) least = spec->info->kinks[k];
    for (int k = 0; k < spec->info->n_params; k++)
        if (spec->info->params[k].kink && spec->value[k] > a && spec->value[k] < least)
            least = spec->value[k];
    return least;
}

/* On [-12, 12], beyond which the density has vanished, in steps of 1/8 that end at every kink. */
double hk_activation_expectation(const hk_activation_spec *spec, hk_activation_moment moment) {
    double sum = 0;
    for (int i = -96; i < 96; i++) {
        double at = i / 8.0;
        const double end = (i + 1) / 8.0;
        while (at < end) {
            const double to = next_kink(spec, at, end);
            sum += integral(spec, moment, at, to);
            at = to;
        }
    }
    return sum;
}

/* E of the square of the largest of k normal numbers: ∫ z²·kφ(z)Φ(z)^(k-1). */
static double maxout_moment(double k) {
    const double h = 1.0 / 64;
    double sum = 0;
    for (int i = -12 * 64; i <= 12 * 64; i++) {
        const double z = i * h, density = 0.39894228040143267794 * exp(-z * z / 2);
        sum += z * z * k * density * pow(0.5 * erfc(-z * 0.70710678118654752440), k - 1);
    }
    return sum * h;
}

/* E (Σ f̃_k/K)² at the start, where every weight is 1/K and f̃ is normalised, by the trapezium rule. */
static double mixture_moment(hk_context *ctx, const hk_activation_spec *mix) {
    hk_activation_spec one[HK_ACTIVATION_MAX_MIX / 2];
    double mean[HK_ACTIVATION_MAX_MIX / 2], deviation[HK_ACTIVATION_MAX_MIX / 2], sum = 0;
    int n = 0;
    const double h = 1.0 / 64;
    for (; hk_activation_candidate(ctx, mix, n, &one[n]) == HK_OK; n++) {
        mean[n] = hk_activation_expectation(&one[n], HK_MEAN);
        const double second = hk_activation_expectation(&one[n], HK_SECOND_MOMENT);
        deviation[n] = sqrt(second - mean[n] * mean[n]);
    }
    for (int i = -12 * 64; i <= 12 * 64; i++) {
        const double z = i * h;
        double y = 0;
        for (int k = 0; k < n; k++)
            y += (hk_activation_value(&one[k], z) - mean[k]) / deviation[k] / n;
        sum += y * y * 0.39894228040143267794 * exp(-z * z / 2);
    }
    return sum * h;
}

/* E f² of an activation given by name; 1 if that cannot be. */
static double moment_of(hk_context *ctx, const char *text) {
    hk_activation_spec spec;
    if (hk_activation_parse(ctx, text, &spec) != HK_OK) return 1;
    return hk_activation_expectation(&spec, HK_SECOND_MOMENT);
}

double hk_activation_gain(hk_context *ctx, const hk_activation_spec *spec) {
    double moment = 1;
    const hk_activation_info *info = spec->info;
    if (info->kind == HK_ACTIVATION_POINTWISE || info->kind == HK_ACTIVATION_OWN)
        moment = hk_activation_expectation(spec, HK_SECOND_MOMENT);
    else if (info->gate) /* E a²h(b)² with independent a, b */
        moment = moment_of(ctx, info->gate);
    else if (info->starts_as)
        moment = moment_of(ctx, info->starts_as);
    else if (info == &hk__activation_rows[HK__WIDE_maxout])
        moment = maxout_moment(spec->value[0]);
    else if (info == &hk__activation_rows[HK__WIDE_mix])
        moment = mixture_moment(ctx, spec);
    return moment > 0 && isfinite(moment) ? 1 / sqrt(moment) : 1;
}
