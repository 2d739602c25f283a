/* norm_rows.c: normalising over rows: layer and group norm.
   SPDX-License-Identifier: MIT

   A row is a group of channels of one sample: elements side by side. All passes over a row run one after the
   other, while it is in a near cache. Weights belong to planes, or to single elements where planes have one. Sums over
   the samples are added in double, in order. */
#include "norm.h"

typedef struct rows {
    const hk__norm *s;
    const hk__norm_kernels *k;
    int64_t count, length, channels; /* rows, their elements, their channels */
    bool elements;                   /* there are weights, one for each element */
    int64_t block;                   /* rows of a task */
    int64_t size;
    const char *x, *g;
    hk_tensor *w, *b;
    char *out;
    bool measure, accumulate;
    double *partial; /* of each plane, or of each task and channel: Σ g·x̂ and Σ g */
} rows;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* params: sums over the samples are wanted. */
static rows rows_of(const hk__norm *s, hk_tensor *x, hk_tensor *w, bool params) {
    rows r = {.s = s,
              .k = hk__norm_tables[hk__stamp_of(s->ctx, s->dtype)],
              .count = s->n * s->groups,
              .channels = s->c / s->groups,
              .size = (int64_t)hk_dtype_size(s->dtype),
              .x = x->data,
              .w = w};
    r.length = r.channels * s->plane;
    r.elements = w && s->plane == 1;
    r.block = r.length >= HK__NORM_TASK ? 1 : HK__NORM_TASK / r.length;
    if (r.elements && params) { /* whole samples, and many of them: each task has sums of its own */
        const int64_t samples = 4 * HK__NORM_TASK / s->c;
        r.block = s->groups * (samples < 16 ? 16 : least(samples, HK__NORM_ROWS));
    }
    return r;
}

static int64_t block_end(const rows *r, int64_t block) {
    return least(r->count, (block + 1) * r->block);
}

static int64_t blocks_of(const rows *r) { return (r->count + r->block - 1) / r->block; }

/* The first channel of a row. */
static int64_t channel_of(const rows *r, int64_t row) { return row % r->s->groups * r->channels; }

/* Where the values of a channel are in weight or bias. */
static const char *from(const rows *r, const hk_tensor *t, int64_t channel) {
    return (const char *)t->data + channel * r->size;
}

/* --- value ------------------------------------------------------------------------------------------------ */

static void row_moments(const rows *r, int64_t row) {
    double *pair = r->s->stats + 2 * row, count = 0;
    pair[0] = pair[1] = 0;
    for (int64_t at = 0; at < r->length; at += HK__NORM_PIECE) {
        const int64_t n = least(HK__NORM_PIECE, r->length - at);
        double part[2];
        r->k->moments(1, n, 0, r->x + (row * r->length + at) * r->size, part);
        hk__moments_join(pair, count, part, (double)n);
        count += (double)n;
    }
    pair[1] /= count;
}

static void row_value(const rows *r, int64_t row) {
    if (r->measure) row_moments(r, row);
    const hk__scale scale = hk__scale_of(r->s, row);
    const int64_t at = row * r->length * r->size, first = channel_of(r, row);
    const double k[3] = {scale.centre, scale.rate, scale.rest};
    if (!r->w) {
        r->k->affine(r->length, r->x + at, k, r->out + at, 0);
        return;
    }
    if (r->elements) {
        r->k->weighted_affine(r->length, r->x + at, from(r, r->w, first), from(r, r->b, first), k,
                              r->out + at);
        return;
    }
    const int64_t bytes = r->s->plane * r->size;
    for (int64_t c = 0; c < r->channels; c++) {
        const double weight = hk__norm_number(r->w, first + c, 1);
        const double own[3] = {scale.centre, scale.rate * weight,
                               scale.rest * weight + hk__norm_number(r->b, first + c, 0)};
        r->k->affine(r->s->plane, r->x + at + c * bytes, own, r->out + at + c * bytes, 0);
    }
}

static void value_task(void *arg, int64_t block, int worker) {
    (void)worker;
    const rows *r = arg;
    for (int64_t row = block * r->block; row < block_end(r, block); row++) row_value(r, row);
}

static bool write_value(const hk__norm *s, bool measure, hk_tensor *x, hk_tensor *w, hk_tensor *b,
                        hk_tensor *out) {
    rows r = rows_of(s, x, w, false);
    r.b = b;
    r.out = out->data;
    r.measure = measure;
    hk__norm_run(s, blocks_of(&r), value_task, &r);
    return true;
}

/* --- pull: with h = g·w, gx = 1/σ·(h - mean(h) - x̂·mean(h·x̂)) --------------------------------------------------- */

/* Σ of g and of g·(x - centre) over n elements side by side, times their weights if `weights` is not NULL. */
static void sums_over(const rows *r, int64_t at, int64_t n, const char *weights, double centre,
                      double *pair) {
    pair[0] = pair[1] = 0;
    for (int64_t i = 0; i < n; i += HK__NORM_PIECE) {
        const int64_t m = least(HK__NORM_PIECE, n - i);
        const char *x = r->x + (at + i) * r->size, *g = r->g + (at + i) * r->size;
        double part[2];
        if (weights)
            r->k->weighted_sums(m, x, g, weights + i * r->size, centre, part);
        else
            r->k->sums(1, m, 0, x, g, centre, part);
        pair[0] += part[0];
        pair[1] += part[1];
    }
}

/* Σ h and Σ h·(x - centre) of a row. Sums of its planes go to partial. */
static void row_sums(const rows *r, int64_t row, const hk__scale *scale, double *total) {
    const int64_t at = row * r->length, plane = r->s->plane, first = channel_of(r, row);
    if (r->elements || !r->w) {
        sums_over(r, at, r->length, r->w ? from(r, r->w, first) : NULL, scale->centre, total);
        return;
    }
    total[0] = total[1] = 0;
    for (int64_t c = 0; c < r->channels; c++) {
        double pair[2];
        sums_over(r, at + c * plane, plane, NULL, scale->centre, pair);
        const double weight = hk__norm_number(r->w, first + c, 1);
        total[0] += weight * pair[0];
        total[1] += weight * pair[1];
        if (!r->partial) continue;
        double *own = r->partial + 2 * (row * r->channels + c);
        own[0] = scale->rate * pair[1] + scale->rest * pair[0];
        own[1] = pair[0];
    }
}

static void row_slope(const rows *r, int64_t row, const hk__scale *scale, const double *total) {
    const double count = (double)r->length, plain = total[0] / count,
                 along = (scale->rate * total[1] + scale->rest * total[0]) / count;
    double k[4] = {scale->centre, scale->rate, -scale->rate * along * scale->rate,
                   -scale->rate * (plain + along * scale->rest)};
    const int64_t at = row * r->length * r->size, first = channel_of(r, row);
    if (!r->w) {
        r->k->slope(r->length, r->x + at, r->g + at, k, r->out + at, r->accumulate);
    } else if (r->elements) {
        r->k->weighted_slope(r->length, r->x + at, r->g + at, from(r, r->w, first), k, r->out + at,
                             r->accumulate);
    } else {
        const int64_t bytes = r->s->plane * r->size;
        for (int64_t c = 0; c < r->channels; c++) {
            const int64_t i = at + c * bytes;
            k[1] = scale->rate * hk__norm_number(r->w, first + c, 1);
            r->k->slope(r->s->plane, r->x + i, r->g + i, k, r->out + i, r->accumulate);
        }
    }
}

/* Sums of single elements over the samples of a task. */
static void element_sums(const rows *r, int64_t block) {
    const int64_t groups = r->s->groups, c = r->s->c, row = block * r->block;
    double *sums = r->partial + block * 2 * c, k[3 * HK__NORM_ROWS];
    const int64_t samples = (block_end(r, block) - row) / groups;
    for (int64_t group = 0; group < groups; group++) {
        for (int64_t i = 0; i < samples; i++) {
            const hk__scale scale = hk__scale_of(r->s, row + i * groups + group);
            k[3 * i] = scale.centre;
            k[3 * i + 1] = scale.rate;
            k[3 * i + 2] = scale.rest;
        }
        const int64_t at = (row + group) * r->length * r->size;
        r->k->weighted_params(samples, r->length, c, r->x + at, r->g + at, k,
                              sums + group * r->length);
    }
}

static void pull_task(void *arg, int64_t block, int worker) {
    (void)worker;
    const rows *r = arg;
    for (int64_t row = block * r->block; row < block_end(r, block); row++) {
        const hk__scale scale = hk__scale_of(r->s, row);
        double total[2];
        if (r->out || !r->elements) row_sums(r, row, &scale, total);
        if (r->out) row_slope(r, row, &scale, total);
    }
    if (r->elements && r->partial) element_sums(r, block);
}

/* Adds up what tasks or planes left in partial. */
static void add_partial(const rows *r, double *sums) {
    const int64_t c = r->s->c, parts = r->elements ? blocks_of(r) : r->s->n;
    for (int64_t i = 0; i < 2 * c; i++) sums[i] = 0;
    for (int64_t part = 0; part < parts; part++)
        for (int64_t i = 0; i < c; i++) {
            const double *own = r->partial + 2 * part * c + (r->elements ? i : 2 * i);
            sums[i] += own[0];
            sums[c + i] += own[r->elements ? c : 1];
        }
}

static bool pull(const hk__norm *s, hk_tensor *x, hk_tensor *g, hk_tensor *w, hk_tensor *gx,
                 bool accumulate, double *sums) {
    rows r = rows_of(s, x, w, sums != NULL);
    r.g = g->data;
    r.out = gx ? gx->data : NULL;
    r.accumulate = accumulate;
    if (sums) {
        const int64_t parts = r.elements ? blocks_of(&r) : s->n;
        r.partial = hk__scratch(s->ctx, sizeof *r.partial * 2 * (size_t)(parts * s->c));
        if (!r.partial) return false;
    }
    hk__norm_run(s, blocks_of(&r), pull_task, &r);
    if (sums) add_partial(&r, sums);
    return true;
}

const hk__norm_driver hk__norm_by_row = {write_value, pull};
