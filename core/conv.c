/* conv.c: plans convolutions, and deals the images of a batch to threads.
   SPDX-License-Identifier: MIT

   Everything follows from sizes alone. Images are dealt in PARTS parts at most; each part sums the weights'
   gradient of its images in order, and the parts are added in order: any number of threads gives the same bits. */
#include "conv.h"

#include <stdatomic.h>
#include <string.h>

#include "conv_gpu.h"
#include "gemm.h"
#include "gpu.h"
#include "map.h"

enum {
    PARTS = 8,
    MOST_RUNS = 5,
    MOST_CHUNK_VECS = 12,
    /* Bytes of the weights that `by_data` goes through again for every place: two thirds of the first-level cache. */
    CHUNK_BYTES = 36 * 1024,
    LEAST_VECS = 6 /* fewer sums in flight leave the FMA units waiting */
};

static atomic_uint_fast64_t chosen[MOST_RUNS + 1][MOST_CHUNK_VECS + 1];

uint64_t hk__conv_chosen(int runs, int vecs) {
    return atomic_load_explicit(&chosen[runs][vecs], memory_order_relaxed);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- the plan ---- */

/* Whether a window's elements on one row are contiguous in the image. */
static bool is_dense(const hk__conv *c) { return c->dw == 1 || c->kw == 1; }

typedef struct planner {
    hk__conv_plan *p;
    const hk__conv_kernels *k;
    hk__conv_chunk *chunk;
    int64_t outer, run, vec; /* where the next chunk begins */
} planner;

/* Appends a chunk that begins at run `run` and vector `vec` of it. */
static void add_chunk(planner *a, int runs, int vecs) {
    hk__conv_plan *p = a->p;
    a->chunk[p->n_chunks++] = (hk__conv_chunk){
        .runs = runs,
        .vecs = vecs,
        .at = p->window,
        .offset = a->outer * p->outer_step + a->run * p->run_step + a->vec * a->k->lanes};
    p->window += (int64_t)runs * vecs * a->k->lanes;
    atomic_fetch_add_explicit(&chosen[runs][vecs], 1, memory_order_relaxed);
}

/* Vectors of one chunk: as many as registers hold, or fewer, so that its weights stay in the nearest cache. */
static int64_t vecs_allowed(const hk__conv_plan *p, const hk__conv_kernels *k) {
    const int64_t bytes = p->c.oc * k->lanes * (int64_t)k->element;
    return most(LEAST_VECS, CHUNK_BYTES / bytes);
}

/* Runs of a few vectors each go three or five at a time, long ones are cut into equal parts. */
static void cut_runs(planner *a) {
    hk__conv_plan *p = a->p;
    const int64_t allowed = vecs_allowed(p, a->k);
    for (a->run = 0; a->run < p->runs;) {
        int runs = 1;
        for (int r = 3; r <= MOST_RUNS; r += 2)
            if (p->run_vecs <= a->k->most_vecs[r] && r * p->run_vecs <= most(allowed, r) &&
                a->run + r <= p->runs)
                runs = r;
        const int64_t pieces =
            runs > 1 ? 1 : ceil_div(p->run_vecs, least(allowed, a->k->most_vecs[1]));
        for (int64_t i = 0; i < pieces; i++) {
            a->vec = p->run_vecs * i / pieces;
            add_chunk(a, runs, (int)(p->run_vecs * (i + 1) / pieces - a->vec));
        }
        a->run += runs;
    }
}

/* Whether places make better lanes than output channels. */
static bool is_flat(const hk__conv *c, const hk__conv_plan *p) {
    return c->ic == 1 && is_dense(c) && c->sh == 1 && c->sw == 1 && 2 * c->ow >= p->cols;
}

/* Which weight stands at each element of a packed window. */
static void map_weights(const planner *a, int32_t *weight) {
    const hk__conv_plan *p = a->p;
    const hk__conv *c = &p->c;
    const int64_t lanes = a->k->lanes;
    for (int k = 0; k < p->n_chunks; k++) {
        const hk__conv_chunk *chunk = &a->chunk[k];
        for (int64_t i = 0; i < chunk->runs * chunk->vecs * lanes; i++) {
            /* Back from the offset in the image to kernel row, kernel column and channel. */
            const int64_t run = i / (chunk->vecs * lanes), in_run = i % (chunk->vecs * lanes);
            const int64_t start = chunk->offset + run * p->run_step;
            const int64_t row = start / (p->cols * c->ic), rest = start % (p->cols * c->ic);
            const int64_t u = row / c->dh;
            int64_t v, channel;
            if (is_dense(c)) {
                v = (rest + in_run) / c->ic;
                channel = (rest + in_run) % c->ic;
            } else {
                v = rest / p->run_step;
                channel = rest % p->run_step + in_run;
            }
            weight[chunk->at + i] =
                v < c->kw && channel < c->ic ? (int32_t)((channel * c->kh + u) * c->kw + v) : -1;
        }
    }
}

static void map_places(const hk__conv_plan *p, int32_t *place, int32_t *column,
                       int32_t *column_place) {
    const hk__conv *c = &p->c;
    for (int64_t i = 0; i < c->oh; i++)
        for (int64_t j = 0; j < c->ow; j++) {
            const int64_t row_first = i * c->ow + j, column_first = j * c->oh + i;
            place[row_first] = (int32_t)((i * c->sh * p->cols + j * c->sw) * c->ic);
            column[column_first] = (int32_t)row_first;
            column_place[column_first] = place[row_first];
        }
}

/* Strides and dilations may be anything: rows times columns may not fit into 64 bits. */
static hk_status check_size(hk_context *ctx, const hk__conv *c, int64_t rows, int64_t cols,
                            int64_t lanes, int64_t width) {
    if (cols <= INT32_MAX / rows && rows * cols <= INT32_MAX / c->ic - 3 * lanes - 4 &&
        c->kh * c->kw * c->ic <= INT32_MAX / 16 && c->oh * c->ow * (width + lanes) <= INT32_MAX)
        return HK_OK;
    return hk_fail(ctx, HK_ERR_SHAPE, "conv2d", "an image of %lld x %lld x %lld is too large",
                   (long long)c->ic, (long long)c->h, (long long)c->w);
}

static int64_t rows_of(const hk__conv *c) { return (c->oh - 1) * c->sh + (c->kh - 1) * c->dh + 1; }
static int64_t cols_of(const hk__conv *c) { return (c->ow - 1) * c->sw + (c->kw - 1) * c->dw + 1; }

/* The sizes, which are all that forward needs. */
static hk_status make_plan(hk_context *ctx, const hk__conv_kernels *k,
                           const hk__gemm_kernels *tiles, const hk__conv *c, hk__conv_plan *p) {
    const int64_t lanes = k->lanes;
    *p = (hk__conv_plan){.c = *c, .places = c->oh * c->ow};
    p->rows = rows_of(c);
    p->cols = cols_of(c);
    p->width = ceil_div(c->oc, lanes) * lanes;
    HK_TRY(check_size(ctx, c, p->rows, p->cols, lanes, p->width));
    p->image = p->rows * p->cols * c->ic + (lanes + 4) * c->ic + 2 * lanes;
    const bool dense = is_dense(c);
    p->outer = dense ? 1 : c->kh;
    p->outer_step = c->dh * p->cols * c->ic;
    p->runs = dense ? c->kh : c->kw;
    p->run_step = dense ? p->outer_step : c->dw * c->ic;
    p->run = dense ? c->kw * c->ic : c->ic;
    p->run_vecs = ceil_div(p->run, lanes);
    p->panels = ceil_div(p->width / lanes, tiles->tile_vecs);
    p->packed = p->width * (c->kh * c->kw * c->ic + 1);
    p->flat = is_flat(c, p);
    p->length = ceil_div((c->oh - 1) * p->cols + c->ow, lanes) * lanes;
    return HK_OK;
}

/* What backward needs beside: the chunks of a window, and where windows and weights lie. */
static hk_status plan_backward(hk_context *ctx, const hk__conv_kernels *k, hk__conv_plan *p) {
    const int64_t lanes = k->lanes;
    const int64_t most_chunks = p->outer * p->runs * p->run_vecs;
    planner a = {.p = p, .k = k, .chunk = hk__scratch(ctx, (size_t)most_chunks * sizeof *a.chunk)};
    int32_t *places = hk__scratch(ctx, (size_t)(3 * p->places + lanes) * sizeof *places);
    int32_t *weight = hk__scratch(ctx, (size_t)(most_chunks * lanes) * sizeof *weight);
    if (!a.chunk || !places || !weight) return hk_error(ctx);
    for (a.outer = 0; a.outer < p->outer; a.outer++) cut_runs(&a);
    map_weights(&a, weight);
    map_places(p, places, places + p->places + lanes, places + 2 * p->places + lanes);
    p->chunk = a.chunk;
    p->weight = weight;
    p->place = places;
    p->column = places + p->places + lanes;
    p->column_place = p->column + p->places;
    return HK_OK;
}

/* ---- forward ---- */

typedef struct job {
    const hk__conv_kernels *k;
    hk__conv_plan p;
    size_t size; /* of an element */
    int64_t parts;
    /* by worker */
    char *image, *rows, *whole, *room;
    size_t image_bytes, rows_bytes, whole_bytes, room_bytes;
    /* forward */
    const char *x, *w, *bias;
    char *packed, *y;
    hk__conv_take *take;
    void *arg;
    /* backward */
    const hk__conv_gradients *to;
    char *sums;
    double *bias_sums;
} job;

static size_t x_bytes(const job *j) { return (size_t)(j->p.c.ic * j->p.c.h * j->p.c.w) * j->size; }
static size_t y_bytes(const job *j) { return (size_t)(j->p.c.oc * j->p.places) * j->size; }
static size_t w_bytes(const job *j) {
    return (size_t)(j->p.c.oc * j->p.c.ic * j->p.c.kh * j->p.c.kw) * j->size;
}

static void pack_panel(void *arg, int64_t block, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t group = block / j->p.panels;
    const char *bias = j->bias ? j->bias + (size_t)(group * j->p.c.oc) * j->size : NULL;
    j->k->pack_forward(&j->p, j->w + (size_t)group * w_bytes(j), bias, block % j->p.panels,
                       j->packed + (size_t)(group * j->p.packed) * j->size);
}

static void forward_image(void *arg, int64_t i, int worker) {
    const job *j = arg;
    const int64_t groups = j->p.c.groups;
    char *image = j->image + (size_t)worker * j->image_bytes;
    char *rows = j->rows + (size_t)worker * j->rows_bytes;
    char *out = j->y ? j->y + (size_t)(i * groups) * y_bytes(j)
                     : j->whole + (size_t)worker * j->whole_bytes;
    for (int64_t g = 0; g < groups; g++) {
        j->k->pack_image(&j->p, j->x + (size_t)(i * groups + g) * x_bytes(j), image);
        const char *packed = j->packed + (size_t)(g * j->p.packed) * j->size;
        j->k->forward(&j->p, image, packed, rows);
        j->k->unpack_output(&j->p, rows, packed, out + (size_t)g * y_bytes(j));
    }
    if (!j->y) j->take(j->arg, i, out, worker);
}

/* Memory for each worker, in whole cache lines. */
static char *for_workers(hk_context *ctx, size_t bytes, size_t *each) {
    *each = (bytes + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    return hk__scratch(ctx, *each * (size_t)hk__pool_threads(ctx->pool));
}

/* An image of all output channels for each worker, with room for `more` elements behind. */
static void make_whole(hk_context *ctx, job *j, int64_t more) {
    const size_t bytes = (size_t)j->p.c.groups * y_bytes(j) + (size_t)more * j->size;
    j->whole = for_workers(ctx, bytes, &j->whole_bytes);
}

static hk_status begin(hk_context *ctx, hk_dtype dtype, const hk__conv *c, job *j) {
    const hk__stamp stamp = hk__stamp_of(ctx, dtype);
    j->k = hk__conv_tables[stamp];
    j->size = j->k->element;
    HK_TRY(make_plan(ctx, j->k, hk__gemm_tables[stamp], c, &j->p));
    j->image = for_workers(ctx, (size_t)j->p.image * j->size, &j->image_bytes);
    return hk_error(ctx);
}

hk_status hk__conv_forward(hk_context *ctx, hk_dtype dtype, const hk__conv *c, const void *x,
                           const void *w, const void *bias, void *y, hk__conv_take *take,
                           void *arg) {
    if (HK_ON_GPU(ctx)) {
        hk__conv_gpu_tables[dtype]->forward(ctx, c, x, w, bias, y);
        return ctx->status;
    }
    job j = {.x = x, .w = w, .bias = bias, .y = y, .take = take, .arg = arg};
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    if (begin(ctx, dtype, c, &j) == HK_OK) {
        const int64_t rows = j.p.flat ? c->oc * j.p.length : (j.p.places + j.k->lanes) * j.p.width;
        j.rows = for_workers(ctx, (size_t)rows * j.size, &j.rows_bytes);
        j.packed = hk__scratch(ctx, (size_t)(c->groups * j.p.packed) * j.size);
        if (!y) make_whole(ctx, &j, HK_MAP_STEP);
        if (hk_error(ctx) == HK_OK) {
            hk__run(ctx, c->groups * j.p.panels, pack_panel, &j);
            hk__run(ctx, c->n, forward_image, &j);
        }
    }
    hk__arena_rewind(&ctx->scratch, mark);
    return hk_error(ctx);
}

/* ---- backward ---- */

static void pack_group(void *arg, int64_t group, int worker) {
    (void)worker;
    const job *j = arg;
    j->k->pack_data(&j->p, (const char *)j->to->w + (size_t)group * w_bytes(j),
                    j->packed + (size_t)(group * j->p.c.oc * j->p.window) * j->size);
}

/* Elements of the weights' sums of one part. */
static int64_t sums_of_part(const job *j) { return j->p.c.groups * j->p.c.oc * j->p.window; }

static void backward_group(const job *j, const char *g, int64_t i, int64_t group, int64_t part,
                           int worker) {
    const hk__conv_gradients *to = j->to;
    const int64_t at = i * j->p.c.groups + group, channel = group * j->p.c.oc;
    char *image = j->image + (size_t)worker * j->image_bytes;
    char *room = j->room + (size_t)worker * j->room_bytes;
    char *sums = j->sums
                     ? j->sums + (size_t)(part * sums_of_part(j) + channel * j->p.window) * j->size
                     : NULL;
    double *bias = j->bias_sums ? j->bias_sums + part * j->p.c.groups * j->p.c.oc + channel : NULL;
    if (sums) j->k->pack_image(&j->p, (const char *)to->x + (size_t)at * x_bytes(j), image);
    if (sums || bias) j->k->by_weights(&j->p, g, image, sums, bias, room);
    if (!to->gx) return;
    memset(image, 0, (size_t)j->p.image * j->size);
    j->k->by_data(&j->p, g, j->packed + (size_t)(channel * j->p.window) * j->size, image, room);
    j->k->unpack_image(&j->p, image, (char *)to->gx + (size_t)at * x_bytes(j), to->add_x);
}

static void backward_part(void *arg, int64_t part, int worker) {
    const job *j = arg;
    const hk__conv *c = &j->p.c;
    if (j->sums)
        memset(j->sums + (size_t)(part * sums_of_part(j)) * j->size, 0,
               (size_t)sums_of_part(j) * j->size);
    if (j->bias_sums)
        memset(j->bias_sums + part * c->groups * c->oc, 0,
               (size_t)(c->groups * c->oc) * sizeof(double));
    for (int64_t i = c->n * part / j->parts; i < c->n * (part + 1) / j->parts; i++) {
        const size_t bytes = (size_t)c->groups * y_bytes(j);
        char *made = j->to->g ? NULL : j->whole + (size_t)worker * j->whole_bytes;
        const char *g = j->to->g ? (const char *)j->to->g + (size_t)i * bytes : made;
        if (!j->to->g) j->to->make(j->to->arg, i, made, worker);
        for (int64_t group = 0; group < c->groups; group++)
            backward_group(j, g + (size_t)group * y_bytes(j), i, group, part, worker);
    }
}

/* The parts' sums of one output channel become its gradient. */
static void finish_channel(void *arg, int64_t channel, int worker) {
    (void)worker;
    const job *j = arg;
    const hk__conv *c = &j->p.c;
    const size_t filter = (size_t)(c->ic * c->kh * c->kw) * j->size;
    j->k->unpack_weights(&j->p, j->sums + (size_t)(channel * j->p.window) * j->size, j->parts,
                         sums_of_part(j), (char *)j->to->gw + (size_t)channel * filter,
                         j->to->add_w);
}

static void finish_bias(const job *j) {
    const int64_t channels = j->p.c.groups * j->p.c.oc;
    for (int64_t o = 0; o < channels; o++) {
        double total = 0;
        for (int64_t part = 0; part < j->parts; part++) total += j->bias_sums[part * channels + o];
        if (j->size == sizeof(double)) {
            double *to = (double *)j->to->gb + o;
            *to = j->to->add_b ? *to + total : total;
        } else {
            float *to = (float *)j->to->gb + o;
            *to = j->to->add_b ? *to + (float)total : (float)total;
        }
    }
}

/* Scratch for what is asked for. */
static hk_status prepare(hk_context *ctx, job *j) {
    const hk__conv_plan *p = &j->p;
    const int64_t channels = p->c.groups * p->c.oc;
    const size_t lists = (size_t)(p->places * p->width + p->places + 4 * j->k->lanes);
    j->parts = least(p->c.n, PARTS);
    j->room = for_workers(ctx, lists * (j->size + sizeof(int32_t)), &j->room_bytes);
    if (!j->to->g) make_whole(ctx, j, 0);
    if (j->to->gw) j->sums = hk__scratch(ctx, (size_t)(j->parts * sums_of_part(j)) * j->size);
    if (j->to->gb)
        j->bias_sums = hk__scratch(ctx, (size_t)(j->parts * channels) * sizeof *j->bias_sums);
    if (j->to->gx) j->packed = hk__scratch(ctx, (size_t)(channels * p->window) * j->size);
    return hk_error(ctx);
}

hk_status hk__conv_backward(hk_context *ctx, hk_dtype dtype, const hk__conv *c,
                            const hk__conv_gradients *to) {
    if (HK_ON_GPU(ctx)) {
        hk__conv_gpu_tables[dtype]->backward(ctx, c, to);
        return ctx->status;
    }
    job j = {.to = to};
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    if (begin(ctx, dtype, c, &j) == HK_OK && plan_backward(ctx, j.k, &j.p) == HK_OK &&
        prepare(ctx, &j) == HK_OK) {
        if (to->gx) hk__run(ctx, c->groups, pack_group, &j);
        hk__run(ctx, j.parts, backward_part, &j);
        if (to->gw) hk__run(ctx, c->groups * c->oc, finish_channel, &j);
        if (to->gb) finish_bias(&j);
    }
    hk__arena_rewind(&ctx->scratch, mark);
    return hk_error(ctx);
}
