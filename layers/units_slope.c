/* units_slope.c: f' of an activation module: at every element, and where it is largest.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "activation.h"
#include "activation_module.h"
#include "units.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS };

bool hk__units_has_slope(const hk_module *activation) {
    const hk_activation_kind kind = hk__activation_spec_of(activation)->info->kind;
    return kind == HK_ACTIVATION_POINTWISE || kind == HK_ACTIVATION_OWN;
}

/* --- at every element -------------------------------------------------------------------------------------- */

/* The parameters at element i of z, where parameter k counts `stride` elements of a channel. */
static void parameters_at(const hk__activation_state *a, int64_t channel, double *value) {
    for (int k = 0; k < a->spec.info->n_params; k++) {
        const hk_tensor *t = a->params[k];
        const bool own = t && hk_shape_count(t->shape) > 1;
        value[k] = t ? hk__number_at(t, own ? channel : 0) : a->spec.value[k];
    }
}

static bool is_per_channel(const hk__activation_state *a) {
    for (int k = 0; k < a->spec.info->n_params; k++)
        if (a->params[k] && hk_shape_count(a->params[k]->shape) > 1) return true;
    return false;
}

/* A user's function is called on one thread. */
static void own_slope(const hk__activation_state *a, const hk_tensor *z, hk_tensor *out) {
    hk_activation_spec spec = a->spec;
    const hk_shape shape = z->shape;
    const int64_t n = hk_shape_count(shape), channels = shape.rank > 1 ? shape.dim[1] : 1;
    int64_t inner = 1;
    for (int i = 2; i < shape.rank; i++) inner *= shape.dim[i];
    for (int64_t i = 0; i < n; i++) {
        if (i % inner == 0) parameters_at(a, i / inner % channels, spec.value);
        hk__number_put(out, i, hk_activation_slope(&spec, hk__number_at(z, i)));
    }
}

hk_tensor *hk__units_slope(const hk_module *activation, hk_tensor *z, hk_tensor *y) {
    const hk__activation_state *a = activation->state;
    hk_context *ctx = z->ctx;
    hk_tensor *out = hk__empty(ctx, z->dtype, z->shape);
    if (!out) return NULL;
    if (a->spec.info->kind == HK_ACTIVATION_OWN) {
        own_slope(a, z, out);
        return out;
    }
    const hk__activation_kernels_row *f =
        &hk__activation_tables[hk__stamp_of(ctx, z->dtype)]->row[hk__row_of(a->spec.info)];
    hk_tensor number[1 + MAX], *operands[3 + MAX];
    double value[1 + MAX] = {1};
    parameters_at(a, 0, value + 1);
    union {
        float f32;
        double f64;
    } room[1 + MAX];
    const int n_params = a->spec.info->n_params;
    for (int k = 0; k <= n_params; k++) {
        number[k] = (hk_tensor){.ctx = ctx, .data = &room[k], .dtype = z->dtype};
        hk__number_put(&number[k], 0, value[k]);
        if (k > 0) operands[2 + k] = a->params[k - 1] ? a->params[k - 1] : &number[k];
    }
    operands[0] = &number[0];
    operands[1] = z;
    operands[2] = y;
    if (is_per_channel(a))
        hk__map(ctx, f->slope, NULL, out, 3 + n_params, operands, false);
    else
        hk__map(ctx, f->plain_slope, value + 1, out, 3, operands, false);
    return out;
}

/* --- where it is largest -------------------------------------------------------------------------------------- */

/* Places to look at, in order: 32 in 1 where activations do what they do, and 40 in a decade elsewhere. */
enum { LINEAR = 2 * 8 * 32 + 1, DECADES = 12, IN_DECADE = 40, LOG = DECADES * IN_DECADE };
enum { KINKS = 2 * (HK_ACTIVATION_MAX_KINKS + MAX) };
enum {
    GRID = LINEAR + 2 * LOG,
    PADDED = (GRID + KINKS + HK_MAP_STEP - 1) / HK_MAP_STEP * HK_MAP_STEP
};

typedef struct scan {
    double z[PADDED], y[PADDED], one[PADDED], slope[PADDED];
} scan;

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void lay_grid(scan *s) {
    int n = 0;
    for (int i = 0; i < LINEAR; i++) s->z[n++] = (double)i / 32 - 8;
    for (int i = 0; i < LOG; i++) {
        s->z[n] = pow(10, -6 + (double)(i + 1) / IN_DECADE);
        s->z[n + 1] = -s->z[n];
        n += 2;
    }
    qsort(s->z, GRID, sizeof *s->z, by_value);
    for (int i = 0; i < PADDED; i++) s->one[i] = 1;
}

/* Both sides of each kink, behind the grid; how many. */
static int lay_kinks(scan *s, const hk_activation_spec *spec) {
    int n = GRID;
    const hk_activation_info *info = spec->info;
    for (int k = 0; k < info->n_kinks + info->n_params; k++) {
        const bool fixed = k < info->n_kinks;
        if (!fixed && !info->params[k - info->n_kinks].kink) continue;
        const double at = fixed ? info->kinks[k] : spec->value[k - info->n_kinks];
        const double aside = 1e-9 * (1 + fabs(at));
        s->z[n++] = at - aside;
        s->z[n++] = at + aside;
    }
    for (int i = n; i < PADDED; i++) s->z[i] = 0;
    return n;
}

static void slopes(scan *s, const hk_activation_spec *spec, int n) {
    if (spec->info->kind == HK_ACTIVATION_OWN) {
        for (int i = 0; i < n; i++) s->slope[i] = fabs(hk_activation_slope(spec, s->z[i]));
        return;
    }
    const hk__activation_kernels_row *f = &hk__activation_f64.row[hk__row_of(spec->info)];
    f->plain_value(PADDED, (void *[]){s->y, s->z}, spec->value);
    f->plain_slope(PADDED, (void *[]){s->slope, s->one, s->z, s->y}, spec->value);
    for (int i = 0; i < n; i++) s->slope[i] = fabs(s->slope[i]);
}

/* Whether f' is 0 on a stretch, and not because it came to be too small for a number: at the stretch's end it jumps, or
   rises as fast as a power. */
static bool has_flat_stretch(const scan *s, double largest) {
    const double *d = s->slope;
    bool all = true;
    for (int i = 0; i < GRID; i++) all &= d[i] == 0;
    for (int i = 1; i < GRID; i++) {
        if (d[i] != 0 || d[i - 1] != 0) continue;
        if (i + 1 < GRID && d[i + 1] > 1e-9 * largest) return true;
        if (i >= 2 && d[i - 2] > 1e-9 * largest) return true;
    }
    return all;
}

typedef struct limits {
    double threshold, limit, peak;
} limits;

static limits limits_of(scan *s, const hk_activation_spec *spec, const hk_units_config *config) {
    const int n = lay_kinks(s, spec);
    slopes(s, spec, n);
    double largest = 0, inside = 0, peak = INFINITY;
    for (int i = 0; i < n; i++) {
        if (s->slope[i] > largest) largest = s->slope[i];
        if (fabs(s->z[i]) <= 1e3 && s->slope[i] > inside) inside = s->slope[i];
    }
    for (int i = 0; i < n; i++)
        if (s->slope[i] >= (1 - 1e-9) * largest && s->z[i] < peak) peak = s->z[i];
    /* A slope that grows without end has no largest value: nothing is saturated. */
    const bool bounded = largest <= 2 * inside;
    const double found = has_flat_stretch(s, largest) ? 0 : 1e-6;
    return (limits){.threshold = config->slope > 0   ? config->slope
                                 : config->slope < 0 ? 0
                                                     : found,
                    .limit = bounded ? config->saturation * largest : 0,
                    .peak = peak};
}

hk_status hk__units_limits(const hk_module *activation, const hk_units_config *config,
                           hk__unit_sums *sums) {
    const hk__activation_state *a = activation->state;
    scan *s = malloc(sizeof *s);
    if (!s) return hk_fail(activation->object.ctx, HK_ERR_MEMORY, "units", "no memory");
    lay_grid(s);
    hk_activation_spec spec = a->spec;
    limits l = {.limit = 0};
    for (int64_t k = 0; k < sums->units; k++) {
        if (k == 0 || is_per_channel(a)) {
            parameters_at(a, k, spec.value);
            l = limits_of(s, &spec, config);
        }
        sums->array[HK__UNITS_THRESHOLD][k] = l.threshold;
        sums->array[HK__UNITS_LIMIT][k] = l.limit;
        sums->array[HK__UNITS_PEAK][k] = l.peak;
    }
    free(s);
    return HK_OK;
}
