/* stats.c: statistics of a tensor's elements.
   SPDX-License-Identifier: MIT

   Elements are taken in row-major order in blocks. Of each block: its mean, then the squares around it. Blocks are
   joined in order (Chan, Golub and LeVeque 1983), which loses no digits however large the mean. */
#include "stats.h"

#include <math.h>
#include <string.h>

#include "gpu.h"
#include "values.h"

enum { PART = 4 }; /* blocks in a task */

/* Elements [first, first + n) of t in row-major order, side by side: where they are, or copied to room. */
static const void *elements(const hk_tensor *t, int64_t first, int64_t n, void *room) {
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
        j->k->moments(n, elements(j->t, i, n, room), &m);
        hk__moments_add(&j->part[block], &m);
    }
}

hk_stats hk__stats_of(const hk__moments *m) {
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

/* Elements in another order, or with gaps, are put in order first. */
static void moments_on_gpu(hk_tensor *t, hk__moments *to) {
    hk_context *ctx = t->ctx;
    if (!HK_ON_GPU(ctx)) return;
    const int64_t n = hk_shape_count(t->shape);
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    hk_tensor whole = *t;
    if (!hk__is_contiguous(t)) {
        hk__contiguous_strides(t->shape, whole.stride);
        whole.data = hk__gpu_scratch(ctx, (size_t)n * hk_dtype_size(t->dtype));
        if (whole.data) hk__copy(ctx, &whole, t, false);
    }
    const char *outer = hk__gpu_in(ctx, "tensor_stats");
    if (ctx->status == HK_OK) hk__stats_gpu_tables[t->dtype]->moments(ctx, n, whole.data, to);
    hk__gpu_in(ctx, outer);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

void hk__moments_of(hk_tensor *t, hk__moments *to) {
    hk_context *ctx = t->ctx;
    hk__grad_settle(t);
    if (HK_ON_GPU(ctx)) {
        moments_on_gpu(t, to);
        return;
    }
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    stats_job j = {.k = hk__stats_tables[hk__stamp_of(ctx, t->dtype)],
                   .t = t,
                   .count = hk_shape_count(t->shape)};
    const int64_t parts = parts_of(j.count);
    j.part = hk__scratch(ctx, (size_t)parts * sizeof *j.part);
    *to = (hk__moments){0};
    if (j.part && parts > 0) {
        hk__run(ctx, parts, stats_part, &j);
        for (int64_t p = 0; p < parts; p++) hk__moments_add(to, &j.part[p]);
    }
    hk__arena_rewind(&ctx->scratch, mark);
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
    hk__moments m = {0};
    if (HK_ON_GPU(ctx)) {
        const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
        hk__moments *there = hk__gpu_scratch(ctx, sizeof m);
        if (there) hk__moments_of(t, there);
        hk__values_read(ctx, &m, there, sizeof m);
        hk__arena_rewind(&ctx->gpu_scratch, mark);
    } else
        hk__moments_of(t, &m);
    return hk__stats_of(&m);
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

void hk__squares_apart(hk_context *ctx, hk_dtype dtype, const void *x, const void *y, int64_t n,
                       double *to) {
    if (HK_ON_GPU(ctx)) {
        hk__stats_gpu_tables[dtype]->squares(ctx, n, x, y, to);
        return;
    }
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
    *to = j.part ? sum : NAN;
    hk__arena_rewind(&ctx->scratch, mark);
}

/* --- signs --------------------------------------------------------------------------------------------------- */

static int signs_of_row(const hk__stats_kernels *k, const hk__sign_rows *r, int64_t size,
                        const char *x, int64_t row) {
    const char *at = x + (row / r->group * r->to_group + row % r->group * r->to_row) * size;
    int signs = 0;
    for (int64_t p = 0; p < r->parts; p++) signs |= k->signs(r->n, at + p * r->to_part * size);
    return signs;
}

void hk__tally_signs(hk_context *ctx, hk_dtype dtype, const void *x, const hk__sign_rows *rows,
                     const void *g, int64_t width, hk__tally *to) {
    if (HK_ON_GPU(ctx)) {
        hk__stats_gpu_tables[dtype]->signs(ctx, x, rows, g, width, to);
        return;
    }
    const hk__stats_kernels *k = hk__stats_tables[hk__stamp_of(ctx, dtype)];
    const int64_t size = (int64_t)hk_dtype_size(dtype);
    for (int64_t r = 0; r < rows->rows; r++) {
        const int signs = signs_of_row(k, rows, size, x, r);
        const int64_t times = g ? k->nonzero(width, (const char *)g + r * width * size) : 1;
        to->all += signs != 0 ? times : 0;
        to->one += signs == HK_SIGN_PLUS || signs == HK_SIGN_MINUS ? times : 0;
    }
}
