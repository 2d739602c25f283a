/* units_slope.c: f' of an activation module: at every element, and where it is largest.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "activation.h"
#include "activation_module.h"
#include "gpu.h"
#include "units.h"

enum { MAX = HK_ACTIVATION_MAX_PARAMS };

bool hk__units_has_slope(const hk_module *activation) {
    const hk_activation_kind kind = hk__activation_spec_of(activation)->info->kind;
    return kind == HK_ACTIVATION_POINTWISE || kind == HK_ACTIVATION_OWN;
}

/* --- at every element -------------------------------------------------------------------------------------- */

/* The parameters as they are now, of a channel. */
static void parameters_at(const hk__activation_state *a, int64_t channel, double *value) {
    for (int k = 0; k < a->spec.info->n_params; k++) {
        const hk_tensor *t = a->params[k];
        const bool own = t && hk_shape_count(t->shape) > 1;
        value[k] = t ? hk__number_at(t, own ? channel : 0) : a->spec.value[k];
    }
}

bool hk__units_per_channel(const hk_module *activation) {
    const hk__activation_state *a = activation->state;
    for (int k = 0; k < a->spec.info->n_params; k++)
        if (a->params[k] && hk_shape_count(a->params[k]->shape) > 1) return true;
    return false;
}

/* The activation with all its parameters where the host can look at them. */
typedef struct near {
    hk__activation_state state;
    hk_tensor params[MAX];
} near;

static void bring_near(const hk__activation_state *a, near *to) {
    to->state = *a;
    for (int k = 0; k < a->spec.info->n_params; k++) {
        if (!a->params[k]) continue;
        to->params[k] = hk__near(a->params[k]);
        to->state.params[k] = &to->params[k];
    }
}

/* A user's function is called on one thread, by the host. */
static hk_status own_slope(const hk__activation_state *a, hk__units_view view, hk_tensor *z,
                           hk_tensor *out) {
    hk_context *ctx = z->ctx;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    hk_activation_spec spec = a->spec;
    near n;
    bring_near(a, &n);
    hk_tensor from = hk__near(z), to = *out;
    to.data = hk__host_room(out);
    const int64_t count = to.data && ctx->status == HK_OK ? hk_shape_count(z->shape) : 0;
    for (int64_t i = 0; i < count; i++) {
        if (i % view.inner == 0) parameters_at(&n.state, i / view.inner % view.units, spec.value);
        hk__number_put(&to, i, hk_activation_slope(&spec, hk__number_at(&from, i)));
    }
    if (ctx->status == HK_OK) hk__host_done(out, to.data);
    hk__arena_rewind(&ctx->scratch, mark);
    return ctx->status;
}

/* On a GPU all slopes at once, by the activation's own kernel, whose operands are 1, z, h and parameters. */
static hk_status slope_on_gpu(const hk__activation_state *a, hk_tensor *z, hk_tensor *h,
                              hk_tensor *out) {
    hk_context *ctx = z->ctx;
    const hk__activation_kernels_row *f =
        &hk__activation_tables[hk__stamp_of(ctx, z->dtype)]->row[hk__row_of(a->spec.info)];
    hk_tensor *one = hk_full(ctx, z->dtype, HK_SCALAR, 1);
    hk_tensor *operands[3 + MAX] = {one, z, h}, number = {.ctx = ctx, .dtype = z->dtype};
    double value[1 + MAX] = {0};
    bool learned = false;
    if (!one) return ctx->status;
    for (int k = 0; k < a->spec.info->n_params; k++) {
        learned |= a->params[k] != NULL;
        value[1 + k] = a->spec.value[k];
        operands[3 + k] = a->params[k] ? a->params[k] : &number;
    }
    if (learned)
        hk__map(ctx, f->slope, value, out, 3 + a->spec.info->n_params, operands, false);
    else
        hk__map(ctx, f->plain_slope, value + 1, out, 3, operands, false);
    return ctx->status;
}

/* Parameters of each unit, one row for each parameter. */
static hk_status lay_operands(hk__units_slope *s, const hk__activation_state *a, hk_context *ctx,
                              hk_dtype dtype, int64_t units) {
    const int n_params = a->spec.info->n_params;
    s->across = (units + HK_MAP_STEP - 1) / HK_MAP_STEP * HK_MAP_STEP;
    hk_tensor *t = hk_full(ctx, dtype, HK_SHAPE(n_params, s->across), 0);
    if (!t) return ctx->status;
    for (int64_t i = 0; i < units; i++) {
        double value[MAX];
        parameters_at(a, i, value);
        for (int k = 0; k < n_params; k++) hk__number_put(t, k * s->across + i, value[k]);
    }
    s->operands = t->data;
    return HK_OK;
}

hk_status hk__units_slope_begin(const hk_module *activation, hk__units_view view, hk_tensor *z,
                                hk_tensor *h, hk__units_slope *s) {
    const hk__activation_state *a = activation->state;
    hk_context *ctx = z->ctx;
    *s = (hk__units_slope){.activation = activation, .size = hk_dtype_size(z->dtype)};
    const bool own = a->spec.info->kind == HK_ACTIVATION_OWN;
    if (own || HK_ON_GPU(ctx)) {
        hk_tensor *all = hk__empty(ctx, z->dtype, z->shape);
        if (!all) return ctx->status;
        s->given = all->data;
        return own ? own_slope(a, view, z, all) : slope_on_gpu(a, z, h, all);
    }
    s->f = &hk__activation_tables[hk__stamp_of(ctx, z->dtype)]->row[hk__row_of(a->spec.info)];
    s->per_channel = hk__units_per_channel(activation);
    hk_tensor *one = hk_full(ctx, z->dtype, HK_SHAPE(HK__UNITS_TILE), 1);
    if (!one) return ctx->status;
    s->one = one->data;
    return s->per_channel && view.inner == 1 ? lay_operands(s, a, ctx, z->dtype, view.units)
                                             : HK_OK;
}

const void *hk__units_slope_tile(const hk__units_slope *s, int64_t unit, bool row, int64_t n,
                                 size_t at, const char *z, const char *y, void *room) {
    if (s->given) return s->given + at;
    const hk__activation_state *a = s->activation->state;
    _Alignas(HK_ALIGN) char padded[2][HK_MAP_STEP * sizeof(double)];
    const int64_t whole = n / HK_MAP_STEP * HK_MAP_STEP;
    void *p[4 + MAX] = {room, s->one, (void *)(uintptr_t)(z + at), (void *)(uintptr_t)(y + at)};
    double value[MAX];
    const bool operands = s->operands && row;
    if (!operands) parameters_at(a, unit, value);
    for (int k = 0; operands && k < a->spec.info->n_params; k++)
        p[4 + k] = s->operands + (size_t)(k * s->across + unit) * s->size;
    hk__map_fn *fn = operands ? s->f->slope : s->f->plain_slope;
    if (whole > 0) fn(whole, p, value);
    if (whole == n) return room;
    const size_t done = (size_t)whole * s->size, rest = (size_t)(n - whole) * s->size;
    memset(padded, 0, sizeof padded);
    memcpy(padded[0], z + at + done, rest);
    memcpy(padded[1], y + at + done, rest);
    p[0] = (char *)room + done;
    p[2] = padded[0];
    p[3] = padded[1];
    for (int k = 0; operands && k < a->spec.info->n_params; k++) p[4 + k] = (char *)p[4 + k] + done;
    fn(HK_MAP_STEP, p, value);
    return room;
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
        if (d[i] != 0 || d[i - 1] != 0 || s->z[i] == s->z[i - 1]) continue;
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
                           hk__unit_sums *sums, bool *settled) {
    const hk__activation_state *a = activation->state;
    hk_context *ctx = activation->object.ctx;
    scan *s = malloc(sizeof *s);
    if (!s) return hk_fail(ctx, HK_ERR_MEMORY, "units", "no memory");
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    near n;
    bring_near(a, &n);
    lay_grid(s);
    hk_activation_spec spec = a->spec;
    limits l = {.limit = 0};
    const bool per_channel = hk__units_per_channel(activation);
    for (int64_t k = 0; ctx->status == HK_OK && k < sums->units; k++) {
        if (k == 0 || per_channel) {
            parameters_at(&n.state, k, spec.value);
            l = limits_of(s, &spec, config);
        }
        sums->array[HK__UNITS_THRESHOLD][k] = l.threshold;
        sums->array[HK__UNITS_LIMIT][k] = l.limit;
        sums->array[HK__UNITS_PEAK][k] = l.peak;
    }
    free(s);
    hk__arena_rewind(&ctx->scratch, mark);
    *settled = true;
    for (int k = 0; k < a->spec.info->n_params; k++) *settled &= !a->params[k];
    return ctx->status;
}
