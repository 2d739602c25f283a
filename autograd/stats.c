/* stats.c: statistics of a tensor's elements.
   SPDX-License-Identifier: MIT

   Elements are taken in row-major order in blocks. Of each block: its mean, then the squares around it. Blocks are
   joined in order (Chan, Golub and LeVeque 1983), which loses no digits however large the mean. */
#include "stats.h"

#include <math.h>
#include <string.h>

enum { PART = 4 }; /* blocks in a task */

const void *hk__elements(const hk_tensor *t, int64_t first, int64_t n, void *room) {
    const int64_t size = (int64_t)hk_dtype_size(t->dtype);
    const char *data = t->data;
    const int last = t->shape.rank - 1;
    if (hk__is_contiguous(t)) return data + first * size;
    char *to = room;
    while (n > 0) { /* one row, or what is left of it, after the other */
        int64_t at = 0, rest = first;
        for (int a = last; a >= 0; a--) {
            at += rest % t->shape.dim[a] * t->stride[a];
            rest /= t->shape.dim[a];
        }
        const int64_t left = t->shape.dim[last] - first % t->shape.dim[last];
        const int64_t run = left < n ? left : n;
        for (int64_t i = 0; i < run; i++, to += size)
            memcpy(to, data + (at + i * t->stride[last]) * size, (size_t)size);
        first += run;
        n -= run;
    }
    return room;
}

/* --- statistics -------------------------------------------------------------------------------------------- */

typedef struct stats_job {
    const hk__stats_kernels *k;
    const hk_tensor *t;
    int64_t count;
    hk__moments *part;
} stats_job;

static void join(hk__moments *a, const hk__moments *b) {
    const int64_t zeros = a->zeros + b->zeros, nonfinite = a->nonfinite + b->nonfinite;
    if (a->count == 0) {
        *a = *b;
    } else if (b->count > 0) {
        const double na = (double)a->count, nb = (double)b->count, n = na + nb;
        const double d = b->mean - a->mean;
        a->squares += b->squares + d * d * (na * nb / n);
        a->mean += d * (nb / n);
        a->min = b->min < a->min ? b->min : a->min;
        a->max = b->max > a->max ? b->max : a->max;
        a->count += b->count;
    }
    a->zeros = zeros;
    a->nonfinite = nonfinite;
}

static void stats_part(void *arg, int64_t block, int worker) {
    (void)worker;
    const stats_job *j = arg;
    double room[HK_STATS_BLOCK];
    const int64_t first = block * PART * HK_STATS_BLOCK;
    const int64_t whole = first + PART * HK_STATS_BLOCK;
    const int64_t end = whole < j->count ? whole : j->count;
    j->part[block] = (hk__moments){0};
    for (int64_t i = first; i < end; i += HK_STATS_BLOCK) {
        const int64_t n = end - i < HK_STATS_BLOCK ? end - i : HK_STATS_BLOCK;
        hk__moments m;
        j->k->moments(n, hk__elements(j->t, i, n, room), &m);
        join(&j->part[block], &m);
    }
}

static hk_stats summary(const hk__moments *m) {
    const double n = (double)m->count;
    return (hk_stats){.count = m->count + m->nonfinite,
                      .zeros = m->zeros,
                      .nonfinite = m->nonfinite,
                      .mean = m->mean,
                      .std = m->count > 1 ? sqrt(m->squares / (n - 1)) : 0,
                      .min = m->min,
                      .max = m->max,
                      .max_abs = -m->min > m->max ? -m->min : m->max,
                      .l2 = sqrt(m->squares + n * m->mean * m->mean)};
}

static int64_t parts_of(int64_t count) {
    return (count + PART * HK_STATS_BLOCK - 1) / (PART * HK_STATS_BLOCK);
}

hk_stats hk_tensor_stats(hk_tensor *t) {
    const hk_stats none = {0};
    if (!t || hk__check(t->ctx, t, "tensor_stats") != HK_OK) return none;
    hk_context *ctx = t->ctx;
    if (t->dtype != HK_F32 && t->dtype != HK_F64) {
        hk_fail(ctx, HK_ERR_DTYPE, "tensor_stats", "f32 or f64 is needed, not %s; use hk_cast",
                hk_dtype_name(t->dtype));
        return none;
    }
    hk__grad_settle(t);
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    stats_job j = {.k = hk__stats_tables[hk__stamp_of(ctx, t->dtype)],
                   .t = t,
                   .count = hk_shape_count(t->shape)};
    const int64_t parts = parts_of(j.count);
    j.part = hk__scratch(ctx, (size_t)parts * sizeof *j.part);
    hk__moments all = {0};
    if (j.part && parts > 0) {
        hk__run(ctx, parts, stats_part, &j);
        for (int64_t p = 0; p < parts; p++) join(&all, &j.part[p]);
    }
    hk__arena_rewind(&ctx->scratch, mark);
    return summary(&all);
}

/* --- distance ------------------------------------------------------------------------------------------------ */

typedef struct distance_job {
    const hk__stats_kernels *k;
    const char *x, *y;
    int64_t size, count;
    double *part;
} distance_job;

static void distance_part(void *arg, int64_t block, int worker) {
    (void)worker;
    const distance_job *j = arg;
    const int64_t first = block * PART * HK_STATS_BLOCK;
    const int64_t whole = first + PART * HK_STATS_BLOCK;
    const int64_t end = whole < j->count ? whole : j->count;
    j->part[block] =
        j->k->distance(end - first, j->x + first * j->size, j->y ? j->y + first * j->size : NULL);
}

double hk__distance(hk_context *ctx, hk_dtype dtype, const void *x, const void *y, int64_t n) {
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    const int64_t parts = parts_of(n);
    distance_job j = {.k = hk__stats_tables[hk__stamp_of(ctx, dtype)],
                      .x = x,
                      .y = y,
                      .size = (int64_t)hk_dtype_size(dtype),
                      .count = n,
                      .part = hk__scratch(ctx, (size_t)parts * sizeof *j.part)};
    double sum = 0;
    if (j.part) {
        if (parts > 0) hk__run(ctx, parts, distance_part, &j);
        for (int64_t p = 0; p < parts; p++) sum += j.part[p];
    }
    const bool ok = j.part != NULL;
    hk__arena_rewind(&ctx->scratch, mark);
    return ok ? sqrt(sum) : NAN;
}
