/* activation_fixture.h: what tests over all activations share: specifications, gates, tables of
   expected values.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATION_FIXTURE_H
#define ACTIVATION_FIXTURE_H

/* clang-format off: cmocka needs these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "hk_activations.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A specification by which any row runs and all of its gradients are there: mixtures need
   candidates, the step a stand-in for its slope, and some starts have slopes of 0. */
static inline const char *activation_text(const hk_activation_info *row) {
    if (strcmp(row->name, "mix") == 0) return "mix:relu+tanh+silu";
    if (strcmp(row->name, "apl") == 0) return "apl:a1=0.9:a2=-0.7:b1=0.3";
    if (strcmp(row->name, "srelu") == 0) return "srelu:t_l=-0.1:t_r=0.02:a_r=0.5";
    return row->surrogate ? "step:ste=sigmoid" : row->name;
}

/* Whether it takes nothing but images: its module wants (n, c, h, w). */
static inline bool activation_needs_images(const hk_activation_info *row) {
    return strcmp(row->name, "frelu") == 0;
}

/* More settings of pointwise rows, for what must hold at every setting; NULL behind the last. */
static inline const char *activation_setting(int i) {
    static const char *const text[] = {"step:value_at_zero=0.5:ste=clip:clip=2",
                                       "step:ste=identity",
                                       "step:ste=sigmoid:k=3",
                                       "hard_tanh:min_val=-2:max_val=0.5",
                                       "relu:at_zero=0.5",
                                       "leaky_relu:negative_slope=-0.5",
                                       "rrelu:lower=-0.25:upper=1.5",
                                       "elu:alpha=0.5",
                                       "celu:alpha=0.25",
                                       "softplus:beta=2",
                                       "softplus:beta=0.5:threshold=1",
                                       "prelu:alpha=-0.5",
                                       "swish:beta=0",
                                       "swish:beta=-1.702",
                                       "swish_skip:alpha=-0.3:beta=1.5",
                                       "apl:S=1:a1=0.25:b1=-0.75",
                                       "apl:S=5:a1=0.25:a2=-0.5:a3=1:a4=-0.125:a5=0.75:b5=2",
                                       "srelu:t_l=-1:a_l=0.1:t_r=1.5:a_r=0.4",
                                       "srelu:t_l=1:t_r=-1:a_r=-2",
                                       "acon_a:beta=2.5",
                                       "acon_b:p=-0.3:beta=2",
                                       "acon_c:p1=1.2:p2=-0.3:beta=0.8",
                                       "acon_c:p1=-0.5:p2=0.7:beta=-1.5",
                                       "pau:init=relu",
                                       "pau:init=silu",
                                       "pau:init=tanh",
                                       "pau:a0=1:a5=-0.15:b1=-0.5"};
    return i < (int)(sizeof text / sizeof *text) ? text[i] : NULL;
}

/* Parameters as a float kernel sees them: then an oracle in double computes the same function. */
static inline hk_activation_spec activation_in_float(hk_activation_spec spec) {
    for (int k = 0; k < spec.info->n_params; k++) spec.value[k] = (double)(float)spec.value[k];
    return spec;
}

/* --- facts of a row -------------------------------------------------------------------------- */

static inline bool activation_has_kinks(const hk_activation_info *row) {
    bool any = row->n_kinks > 0;
    for (int k = 0; k < row->n_params; k++) any |= row->params[k].kink;
    return any;
}

/* Whether f' at NaN must be NaN: of smooth functions; others may say what a comparison falls into,
   and what keeps nothing cannot know. */
static inline bool activation_slope_tells_nan(const hk_activation_info *row) {
    return !activation_has_kinks(row) && row->keeps != HK_KEEP_NOTHING;
}

static inline bool activation_is_default(const hk_activation_spec *spec) {
    for (int k = 0; k < spec->info->n_params; k++)
        if (fabs(spec->value[k] - spec->info->params[k].value) > 1e-6) return false;
    return true;
}

/* --- the accuracy that float kernels are held to --------------------------------------------- */

/* One unit in the last place of `want` in float. */
static inline double activation_ulp(double want) {
    int exponent;
    if (fabs(want) < 0x1p-126) return 0x1p-149;
    frexp(want, &exponent);
    return ldexp(1, exponent - 24);
}

/* The gate of one specification. */
typedef struct activation_gate {
    double ulps, from, absolute;
    double relative; /* to x */
    bool product;    /* of x and a gate */
} activation_gate;

/* The row's, for its defaults. At other settings a product such as beta·x is rounded, and terms of
   opposite sign cancel: then relative to x. */
static inline activation_gate activation_gate_of(const hk_activation_spec *spec) {
    const hk_activation_info *row = spec->info;
    double scale = 1;
    for (int k = 0; k < row->n_params; k++)
        if (row->params[k].role != HK_PARAM_FIXED) scale = fmax(scale, fabs(spec->value[k]));
    const bool other = row->ulps > 0 && !activation_is_default(spec);
    return (activation_gate){row->ulps, row->ulps_from, row->absolute, other ? 4e-7 * scale : 0,
                             hk_activation_value(spec, 0) == 0};
}

/* What may be 0: a number below the normal ones, and x times a gate that is such a number. */
static inline double activation_least(const activation_gate *g, double x) {
    return 0x1p-126 * (g->product && isfinite(x) ? fmax(1, fabs(x)) : 1);
}

/* The error of f allowed at x, where `want` is right. */
static inline double activation_allowed(const activation_gate *g, double x, double want) {
    const double wide = g->absolute * fmax(1, fabs(x)), least = activation_least(g, x);
    double allowed = g->ulps * activation_ulp(want);
    if (g->from == 0)
        allowed = fmax(allowed, wide);
    else if (x < g->from)
        allowed = wide;
    if (g->relative > 0) allowed = fmax(allowed, g->relative * fabs(x));
    return fabs(want) < least ? fmax(allowed, least) : allowed;
}

/* f' and the derivatives by parameters. pau's f' is a difference of terms several times as large,
   up to its coefficients. */
static inline double activation_slope_allowed(const hk_activation_spec *spec, double want) {
    const bool cancels = spec->info->absolute > 0 && spec->info->ulps_from == 0;
    double scale = cancels ? 4 : 1;
    for (int k = 0; k < spec->info->n_params && cancels; k++)
        scale = fmax(scale, fabs(spec->value[k]));
    return 4e-7 * scale * fmax(1, fabs(want));
}
static inline double activation_param_allowed(double want) { return 1e-6 * fmax(1, fabs(want)); }

/* --- tables: lines of fields between commas -------------------------------------------------- */

enum { TABLE_FIELDS = 40, TABLE_LINE = 16384 };

typedef struct table {
    FILE *file;
    int line, n; /* number of the line, of its fields */
    char text[TABLE_LINE], head[TABLE_LINE];
    char *field[TABLE_FIELDS], *column[TABLE_FIELDS];
} table;

static inline int table_split(char *text, char **field) {
    int n = 0;
    text[strcspn(text, "\r\n")] = 0;
    for (char *at = text; n < TABLE_FIELDS; at++) {
        field[n++] = at;
        at += strcspn(at, ",");
        if (!*at) break;
        *at = 0;
    }
    return n;
}

/* The next line; false behind the last. Every line has as many fields as the head. */
static inline bool table_next(table *t) {
    if (!fgets(t->text, sizeof t->text, t->file)) return false;
    t->line++;
    const int n = table_split(t->text, t->field);
    if (n != t->n) fail_msg("line %d has %d fields, not %d", t->line, n, t->n);
    return true;
}

static inline void table_open(table *t, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s", HK_SOURCE_DIR, name);
    *t = (table){.file = fopen(path, "r"), .line = 1};
    if (!t->file || !fgets(t->head, sizeof t->head, t->file)) fail_msg("%s cannot be read", path);
    t->n = table_split(t->head, t->column);
}

/* The field under the column whose name begins so. */
static inline const char *table_field(const table *t, const char *column) {
    for (int i = 0; i < t->n; i++)
        if (strncmp(t->column[i], column, strlen(column)) == 0) return t->field[i];
    fail_msg("no column %s", column);
    return NULL;
}

/* What the tables call otherwise; NULL: no activation by itself, but a part of one. */
static inline const char *table_activation(const char *name) {
    static const char *const other[][2] = {{"rrelu_eval", "rrelu"},
                                           {"pau_safe", "pau"},
                                           {"step_ste_identity", "step:ste=identity"},
                                           {"step_ste_clip", "step:ste=clip"},
                                           {"dyrelu_piece", NULL}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (strcmp(name, other[i][0]) == 0) return other[i][1];
    return name;
}

/* "softplus", "beta=1.0;threshold=20.0" -> softplus:beta=1.0:threshold=20.0; false for parts. */
static inline bool table_spec(hk_context *ctx, const char *name, const char *params,
                              hk_activation_spec *spec) {
    char text[512];
    if (!(name = table_activation(name))) return false;
    snprintf(text, sizeof text, "%s%s%s", name, *params ? ":" : "", params);
    for (char *c = text; *c; c++)
        if (*c == ';') *c = ':';
    if (hk_activation_parse(ctx, text, spec) != HK_OK) fail_msg("%s", hk_error_message(ctx));
    return true;
}

/* The number behind "key=" in "key=1;other=2"; false if it is not there. */
static inline bool table_number(const char *list, const char *key, double *number) {
    const size_t length = strlen(key);
    for (const char *at = list; *at; at += strcspn(at, ";"), at += *at == ';') {
        if (strncmp(at, key, length) != 0 || at[length] != '=') continue;
        *number = strtod(at + length + 1, NULL);
        return true;
    }
    return false;
}

#endif
