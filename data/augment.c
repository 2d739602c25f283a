/* augment.c: variants of images: settings, draws, and the map that they are composed into.
   SPDX-License-Identifier: MIT

   Every draw is a function of the seed, the epoch and the image's number in the root data set. All
   that is done to an image is one map from the output's pixels back into the image, so it is
   sampled, and blurred, only once. */
#include "augment.h"

#include <math.h>

#include "gpu.h"
#include "random.h"
#include "values.h"

/* LONGEST: of a side, so that places between two pixels are still fine in float. */
enum { LONGEST = 16384, SIGMA_MOST = 1000, ALIGNED = 64 };
static const double default_sigma = 4, alpha_most = 1e6;

/* --- settings ----------------------------------------------------------------------------------- */

static hk_status check_range(hk_context *ctx, const char *name, double value, double most,
                             bool below) {
    if (value >= 0 && (below ? value < most : value <= most)) return HK_OK;
    return hk_fail(ctx, HK_ERR_ARGUMENT, "loader", "augment.%s must be from 0 to %s%g, not %g",
                   name, below ? "below " : "", most, value);
}

static hk_status check_item(hk_context *ctx, const hk_augment *set, hk_shape item) {
    char text[128];
    if (item.rank != 3)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "loader",
                       "augmentation is for images, items of (channels, height, width), not %s",
                       hk_shape_text(item, text, sizeof text));
    const int64_t h = item.dim[1], w = item.dim[2];
    if (h > LONGEST || w > LONGEST)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "loader",
                       "augmentation takes images of at most %d x %d pixels, not %s", LONGEST,
                       LONGEST, hk_shape_text(item, text, sizeof text));
    return check_range(ctx, "shift", set->shift, (double)(h > w ? h : w), false);
}

static hk_status check(hk_context *ctx, const hk_augment *set, hk_shape item, bool *on) {
    HK_TRY(check_range(ctx, "shift", set->shift, LONGEST, false));
    HK_TRY(check_range(ctx, "rotation", set->rotation, 180, false));
    HK_TRY(check_range(ctx, "scale", set->scale, 1, true));
    HK_TRY(check_range(ctx, "elastic_alpha", set->elastic_alpha, alpha_most, false));
    HK_TRY(check_range(ctx, "elastic_sigma", set->elastic_sigma, SIGMA_MOST, false));
    *on = set->shift > 0 || set->rotation > 0 || set->scale > 0 || set->elastic_alpha > 0;
    return *on ? check_item(ctx, set, item) : HK_OK;
}

static hk_status upload_taps(hk_context *ctx, hk__augment *a) {
    const int64_t n = 2 * a->radius + 1;
    const bool narrow = ctx->config.dtype == HK_F32;
    const size_t bytes = (size_t)n * hk_dtype_size(ctx->config.dtype);
    float *floats = hk__scratch(ctx, bytes);
    a->taps_there = hk__values_alloc(ctx, bytes, false);
    if (!a->taps_there || !floats)
        return hk_fail(ctx, HK_ERR_MEMORY, "loader", "no memory for a Gaussian");
    for (int64_t k = 0; narrow && k < n; k++) floats[k] = (float)a->taps[k];
    hk__values_write(ctx, a->taps_there, narrow ? (const void *)floats : a->taps, bytes);
    return ctx->status;
}

/* The Gaussian up to 3 deviations, of sum 1. Taps farther from the middle than the image is wide
   meet no pixel: they count in the sum and are left out. */
static hk_status make_taps(hk_context *ctx, hk__augment *a) {
    const double sigma = a->set.elastic_sigma;
    const int64_t whole = (int64_t)ceil(3 * sigma), side = a->h > a->w ? a->h : a->w;
    a->radius = whole < side ? whole : side - 1;
    a->taps = hk__alloc((size_t)(2 * a->radius + 1) * sizeof *a->taps, false);
    if (!a->taps) return hk_fail(ctx, HK_ERR_MEMORY, "loader", "no memory for a Gaussian");
    double sum = 0;
    for (int64_t k = -whole; k <= whole; k++) {
        const double z = (double)k / sigma, tap = exp(-0.5 * z * z);
        sum += tap;
        if (k >= -a->radius && k <= a->radius) a->taps[k + a->radius] = tap;
    }
    for (int64_t k = 0; k <= 2 * a->radius; k++) a->taps[k] /= sum;
    if (!HK_ON_GPU(ctx)) return HK_OK;
    return upload_taps(ctx, a);
}

hk_status hk__augment_new(hk_context *ctx, const hk_augment *set, hk_shape item,
                          hk__augment **augment) {
    bool on;
    *augment = NULL;
    HK_TRY(check(ctx, set, item, &on));
    if (!on) return HK_OK;
    hk__augment *a = hk__alloc(sizeof *a, true);
    if (!a) return hk_fail(ctx, HK_ERR_MEMORY, "loader", "no memory for an augmentation");
    a->set = *set;
    a->ctx = ctx;
    if (a->set.elastic_sigma == 0) a->set.elastic_sigma = default_sigma;
    a->channels = item.dim[0];
    a->h = item.dim[1];
    a->w = item.dim[2];
    *augment = a;
    return a->set.elastic_alpha > 0 ? make_taps(ctx, a) : HK_OK;
}

void hk__augment_free(hk__augment *augment) {
    if (!augment) return;
    hk__free(augment->taps);
    if (augment->taps_there) hk__values_free(augment->ctx, augment->taps_there);
    hk__free(augment);
}

/* --- draws -------------------------------------------------------------------------------------- */

hk__augment_draw hk__augment_affine(const hk_augment *set, uint64_t seed, uint64_t epoch,
                                    int64_t image) {
    const hk_random stream = hk_random_stream(seed, "augment", epoch);
    double u[4];
    for (uint64_t k = 0; k < 4; k++) u[k] = hk_random_uniform(stream, 4 * (uint64_t)image + k);
    return hk__augment_draw_of(set, u);
}

/* --- a batch ------------------------------------------------------------------------------------ */

static size_t aligned(size_t bytes) { return (bytes + ALIGNED - 1) / ALIGNED * ALIGNED; }

hk_status hk__augment_begin(hk_context *ctx, const hk__augment *augment, const hk_dataset *root,
                            int64_t epoch, hk__augment_run *run) {
    const hk__augment *a = augment;
    const hk__augment_kernels *k = hk__augment_tables[hk__stamp_of(ctx, ctx->config.dtype)];
    *run = (hk__augment_run){.augment = a,
                             .seed = ctx->config.seed,
                             .epoch = (uint64_t)epoch,
                             .warp = root->dtype == HK_U8    ? k->u8
                                     : root->dtype == HK_F32 ? k->f32
                                                             : k->f64,
                             .scale = root->scale,
                             .shift = root->shift,
                             .noise = aligned((size_t)k->room(a->channels, a->h, a->w, a->radius))};
    run->stride = run->noise + (a->taps ? aligned((size_t)(a->h * a->w) * sizeof(uint32_t)) : 0);
    run->room = hk__scratch(ctx, run->stride * (size_t)hk__pool_threads(ctx->pool));
    return run->room ? HK_OK : hk_error(ctx);
}

void hk__augment_job_of(const hk__augment *a, hk__augment_job *job) {
    const uint64_t seed = a->ctx->config.seed;
    job->set = a->set;
    job->channels = a->channels;
    job->h = a->h;
    job->w = a->w;
    job->radius = a->radius;
    job->taps = a->taps_there;
    job->draws = hk_random_stream(seed, "augment", 0).key;
    job->noise = hk_random_stream(seed, "augment/elastic", 0).key;
}

void hk__augment_apply(const hk__augment_run *run, int worker, const hk__augment_draw *draw,
                       const uint32_t *noise, const void *from, void *to) {
    const hk__augment *a = run->augment;
    hk__warp warp = {.channels = a->channels,
                     .h = a->h,
                     .w = a->w,
                     .noise = noise,
                     .taps = a->taps,
                     .radius = a->radius,
                     .alpha = a->set.elastic_alpha,
                     .scale = run->scale,
                     .shift = run->shift,
                     .room = run->room + (size_t)worker * run->stride};
    hk__augment_map(draw, a->h, a->w, warp.map);
    run->warp(&warp, from, to);
}

void hk__augment_item(const hk__augment_run *run, int worker, int64_t image, const void *from,
                      void *to) {
    const hk__augment *a = run->augment;
    uint32_t *noise = NULL;
    if (a->taps) {
        const int64_t words = a->h * a->w;
        const hk_random stream = hk_random_stream(run->seed, "augment/elastic", run->epoch);
        noise = (uint32_t *)(void *)(run->room + (size_t)worker * run->stride + run->noise);
        hk__random_fill(stream, (uint64_t)image * (uint64_t)words, words, noise);
    }
    const hk__augment_draw draw = hk__augment_affine(&a->set, run->seed, run->epoch, image);
    hk__augment_apply(run, worker, &draw, noise, from, to);
}
