/* added_activation.c: the block of docs/add-an-activation.md, as the last row of a copy of activations.def: its
   derivatives against differences, its ends, its float kernel against double, and the golden lines on stdin.
   SPDX-License-Identifier: MIT */
#include "activation_kernels.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const hk_activation_info rows[] = {
#define HK_ACTIVATION(name_, n, keeps_, ...)                                                       \
    {.name = #name_, .n_params = n, .keeps = keeps_, __VA_ARGS__},
#include "activations.def"
#undef HK_ACTIVATION
};
enum { ROW = HK__ACT_COUNT - 1, STEP = HK_MAP_STEP, MAX = HK_ACTIVATION_MAX_PARAMS };

static const hk_activation_info *const info = &rows[ROW];
static int wrong, checked;

static void close_to(const char *what, double x, double got, double want, double allowed) {
    checked++;
    if (got == want || (isnan(got) && isnan(want)) || fabs(got - want) <= allowed) return;
    printf("%s: %s at %.9g is %.17g, not %.17g\n", info->name, what, x, got, want);
    wrong++;
}

/* f, f' and, in d, the derivatives by parameters; all in double. */
static double at(double x, const double *p, double *slope, double *d) {
    const hk__activation_kernels_row *k = &hk__activation_f64.row[ROW];
    double xs[STEP] = {x}, ys[STEP], g[STEP] = {1}, out[STEP];
    double lanes[MAX][HK__ACTIVATION_LANES] = {{0}};
    k->plain_value(STEP, (void *[]){ys, xs}, p);
    k->plain_slope(STEP, (void *[]){out, g, xs, ys}, p);
    *slope = out[0];
    if (info->n_params > 0) k->learn(STEP, (void *[]){out, g, xs, ys}, p, lanes);
    for (int i = 0; i < MAX; i++) d[i] = lanes[i][0]; /* g is 0 but for the first */
    return ys[0];
}

static void gradients(const double *p) {
    for (int i = 0; i < 400; i++) {
        const double x = -8 + (i + 0.37) / 25, h = 6e-6 * fmax(1, fabs(x));
        double slope, d[MAX], s[2], other[MAX], q[MAX];
        at(x, p, &slope, d);
        close_to("f'", x, slope, (at(x + h, p, s, other) - at(x - h, p, s, other)) / (2 * h), 1e-8);
        for (int k = 0; k < info->n_params; k++) {
            memcpy(q, p, sizeof q);
            q[k] = p[k] + 1e-5;
            const double above = at(x, q, s, other);
            q[k] = p[k] - 1e-5;
            close_to(info->params[k].name, x, d[k], (above - at(x, q, s, other)) / 2e-5, 1e-8);
        }
    }
}

static void ends(const double *p) {
    double slope, d[MAX];
    if (!isnan(at(NAN, p, &slope, d)) || !isnan(slope)) close_to("f", NAN, 0, NAN, 0);
    for (int sign = -1; sign <= 1; sign += 2) {
        const double far = at(sign * INFINITY, p, &slope, d);
        close_to("f' at an end", sign * INFINITY, isnan(slope), 0, 0);
        close_to("f at an end", sign * INFINITY, isnan(far), 0, 0);
        close_to("f far out", sign * 1e30, at(sign * 1e30, p, &slope, d),
                 fabs(far) > 1 ? sign * 1e30 : far, 1e14);
    }
}

static void in_float(const double *p) {
    for (int i = -4000; i <= 4000; i++) {
        float x[STEP] = {(float)i * (float)exp(abs(i) % 71) / 40}, y[STEP];
        double slope, d[MAX];
        int exponent;
        hk__activation_base.row[ROW].plain_value(STEP, (void *[]){y, x}, p);
        const double want = at((double)x[0], p, &slope, d);
        frexp(want, &exponent);
        if (fabs(want) >= (double)FLT_MIN)
            close_to("f in float", (double)x[0], (double)y[0], want,
                     info->ulps * ldexp(1, exponent - 24));
    }
}

/* name,parameter=value,x,f,f',parameter=derivative,, with one parameter */
static int golden(void) {
    char line[256], name[64];
    int lines = 0;
    for (; fgets(line, sizeof line, stdin); lines++) {
        double p[MAX] = {0}, x, f, f1, by, slope, d[MAX];
        if (sscanf(line, "%63[^,],%*[^=]=%lf,%lf,%lf,%lf,%*[^=]=%lf", name, p, &x, &f, &f1, &by) !=
                6 ||
            strcmp(name, info->name) != 0)
            return -1;
        close_to("golden f", x, at(x, p, &slope, d), f, 1e-15 * fabs(f));
        close_to("golden f'", x, slope, f1, 1e-15);
        close_to("golden slope by a parameter", x, d[0], by, 1e-15);
    }
    return lines;
}

int main(void) {
    double p[MAX] = {0};
    for (int k = 0; k < info->n_params; k++) p[k] = info->params[k].value;
    gradients(p);
    ends(p);
    in_float(p);
    const int lines = golden();
    printf("%s: %d comparisons, %d golden lines, %d wrong\n", info->name, checked, lines, wrong);
    return wrong > 0 || checked < 1000 || (lines != 23 && lines != 0);
}
