/* units_judge.c: what the sums of a round say about each unit.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "units.h"
#include "values.h"

/* Both of n values that count from a centre. */
static double mean_of(const hk__unit_sums *s, int64_t k) {
    return s->array[HK__UNITS_CENTRE][k] + s->array[HK__UNITS_SUM][k] / (double)s->values;
}
static double variance_of(const hk__unit_sums *s, int64_t k) {
    const double n = (double)s->values, mean = s->array[HK__UNITS_SUM][k] / n;
    const double variance = s->array[HK__UNITS_SQUARES][k] / n - mean * mean;
    return variance < 0 ? 0 : variance;
}
static double size_of(const hk__unit_sums *s, int64_t k) {
    return s->array[HK__UNITS_SIZE][k] / (double)s->values;
}

/* value over mean; in a layer of zeros alone everything is 0. */
static double score(double value, double mean) {
    return value == 0 && mean == 0 ? 0 : value / mean;
}

/* Means over the layer. */
typedef struct averages {
    double variance, size, deviation;
} averages;

static averages averages_of(const hk__unit_sums *s) {
    averages a = {0, 0, 0};
    for (int64_t k = 0; k < s->units; k++) {
        const double variance = variance_of(s, k);
        a.variance += variance;
        a.size += size_of(s, k);
        a.deviation += sqrt(variance);
    }
    const double n = (double)s->units;
    return (averages){a.variance / n, a.size / n, a.deviation / n};
}

static hk_unit judged(const hk__units_place *p, const hk_units_config *config, const averages *mean,
                      int64_t k) {
    const hk__unit_sums *s = &p->h;
    const double n = (double)s->values, variance = variance_of(s, k);
    hk_unit u = {.mean = mean_of(s, k),
                 .std = sqrt(variance),
                 .min = s->array[HK__UNITS_LOW][k],
                 .max = s->array[HK__UNITS_HIGH][k],
                 .max_slope = NAN,
                 .score = score(size_of(s, k), mean->size),
                 .score_mean_free = score(sqrt(variance), mean->deviation)};
    if (isnan(s->array[HK__UNITS_SUM][k])) u.min = u.max = NAN;
    u.zero = s->array[HK__UNITS_ZEROS][k] == n;
    u.constant = variance <= 1e-8 * mean->variance;
    u.dormant = u.score <= config->tau;
    u.dormant_mean_free = u.score_mean_free <= config->tau;
    if (!p->sloped) return u;
    const double left = s->array[HK__UNITS_LEFT][k], right = s->array[HK__UNITS_RIGHT][k];
    u.max_slope = s->array[HK__UNITS_STEEPEST][k];
    u.dead = u.max_slope <= s->array[HK__UNITS_THRESHOLD][k];
    u.saturated = left + right > config->saturated * n;
    u.saturated_left = left > config->saturated * n;
    u.saturated_right = right > config->saturated * n;
    return u;
}

/* The bias of a linear layer or convolution; NULL if it has none. */
static hk_tensor *bias_of(const hk_module *m) {
    for (int i = 0; m && i < m->n_slots; i++) {
        const char *name = m->slots[i].t->name, *end = strrchr(name, '.');
        if (strcmp(end ? end + 1 : name, "bias") == 0) return m->slots[i].t;
    }
    return NULL;
}

static int64_t count_dead_by_bias(const hk__units_place *p) {
    hk_tensor *bias = p->normed || !p->sloped ? NULL : bias_of(p->source);
    if (!bias || hk_shape_count(bias->shape) != p->h.units || p->z.units != p->h.units) return -1;
    const hk_tensor here = hk__near(bias);
    int64_t count = 0;
    for (int64_t k = 0; here.data && k < p->h.units; k++)
        count += p->unit[k].dead && hk__number_at(&here, k) < -3 * sqrt(variance_of(&p->z, k));
    return count;
}

static int64_t count_quiet(const hk__units_place *p, double threshold) {
    if (!p->source) return -1;
    const hk__unit_sums *z = &p->z;
    int64_t count = 0;
    for (int64_t k = 0; k < z->units; k++)
        count += z->array[HK__UNITS_LOW][k] > -threshold &&
                 z->array[HK__UNITS_HIGH][k] < threshold && !isnan(z->array[HK__UNITS_SUM][k]);
    return count;
}

static int64_t count_dead_positions(hk_context *ctx, const hk__units_place *p) {
    if (!p->sloped) return -1;
    if (!p->steepest) return 0;
    hk_tensor steepest = {.ctx = ctx,
                          .data = p->steepest,
                          .dtype = p->size == sizeof(double) ? HK_F64 : HK_F32,
                          .shape = HK_SHAPE(p->view.units, p->view.inner)};
    steepest = hk__near(&steepest);
    int64_t count = 0;
    for (int64_t k = 0; steepest.data && k < p->view.units; k++)
        for (int64_t i = k * p->view.inner; i < (k + 1) * p->view.inner; i++)
            count += hk__number_at(&steepest, i) <= p->h.array[HK__UNITS_THRESHOLD][k];
    return count;
}

static void count_units(hk__units_place *p) {
    hk_units_layer *l = &p->layer;
    double zeros = 0;
    for (int64_t k = 0; k < l->units; k++) {
        const hk_unit *u = &p->unit[k];
        l->dead += u->dead;
        l->zero += u->zero;
        l->constant += u->constant;
        l->saturated += u->saturated;
        l->saturated_left += u->saturated_left;
        l->saturated_right += u->saturated_right;
        l->dormant += u->dormant;
        l->dormant_mean_free += u->dormant_mean_free;
        zeros += p->h.array[HK__UNITS_ZEROS][k];
    }
    l->zero_share = zeros / ((double)p->h.values * (double)l->units);
}

static void count_changes(hk__units_place *p) {
    hk_units_layer *l = &p->layer;
    for (int64_t k = 0; k < l->units; k++) {
        if (p->judged) {
            l->died += p->unit[k].dead && !p->was_dead[k];
            l->revived += !p->unit[k].dead && p->was_dead[k];
        }
        p->was_dead[k] = p->unit[k].dead;
    }
    if (!p->judged) l->died = l->revived = -1;
    p->judged = true;
}

void hk__units_judge(hk_units *units, hk__units_place *p) {
    hk_context *ctx = units->object.ctx;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    hk_units_layer *l = &p->layer;
    hk__unit_sums_fetch(ctx, &p->h);
    hk__unit_sums_fetch(ctx, &p->z);
    *l = (hk_units_layer){.name = p->name,
                          .activation = hk__activation_name(p->activation),
                          .units = p->h.units,
                          .positions = p->view.inner,
                          .samples = p->h.values > 0 ? units->samples : 0};
    const averages mean = averages_of(&p->h);
    for (int64_t k = 0; k < l->units; k++) p->unit[k] = judged(p, &units->config, &mean, k);
    count_units(p);
    count_changes(p);
    l->dead_by_bias = count_dead_by_bias(p);
    l->dead_positions = count_dead_positions(ctx, p);
    l->quiet = count_quiet(p, units->config.threshold);
    if (!p->sloped)
        l->dead = l->saturated = l->saturated_left = l->saturated_right = l->died = l->revived = -1;
    p->h.values = p->z.values = 0;
    hk__arena_rewind(&ctx->scratch, mark);
}
