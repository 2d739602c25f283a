/* norm_kernels.cu: batch, layer and group norm on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "norm_kernels.h"

#include "norm_params.cuh"
#include "norm_segments.cuh"

namespace {

/* --- how a call is cut -------------------------------------------------------------------------------------------------- */

/* tasks: segments, or 32 of them side by side. */
struct cut {
    int64_t tasks, pieces;
    int threads;
};

template <class W> static cut cut_of(const hk_context *ctx, const hk__norm_job *j) {
    enum {
        WORTH = 8192 /* elements that one block takes at once */,
        MOST = 256 /* that a thread adds in its type */
    };
    const int64_t segments = j->by_row ? j->n * j->groups : j->c;
    const int64_t count = j->by_row ? j->c / j->groups * j->plane : j->n * j->plane;
    cut c = {(segments + W::across - 1) / W::across, 1, NORM_THREADS};
    const int64_t all = 2 * (int64_t)ctx->gpu->multiprocessors, in_block = count * W::across;
    const int64_t wanted = (all + c.tasks - 1) / c.tasks, worth = (in_block + WORTH - 1) / WORTH;
    const int64_t least = (in_block + MOST * NORM_THREADS - 1) / (MOST * NORM_THREADS);
    c.pieces = wanted < worth ? wanted : worth;
    if (c.pieces < least) c.pieces = least;
    if (c.pieces > NORM_PIECES) c.pieces = NORM_PIECES;
    if (c.pieces > 1 || W::across > 1) return c;
    const int64_t places = (count / W::lanes + NORM_DEEP - 1) / NORM_DEEP;
    if (places < NORM_THREADS) c.threads = (int)((places + HK__WARP - 1) / HK__WARP * HK__WARP);
    return c;
}

static bool is_wide(const hk__norm_job *j) {
    const int64_t lanes = norm_wide::lanes,
                  chunk = j->by_row ? j->c / j->groups * j->plane : j->plane;
    const uintptr_t all = (uintptr_t)j->x | (uintptr_t)j->g | (uintptr_t)j->out;
    return chunk % lanes == 0 && all % sizeof(hk__vector<hk_real>) == 0;
}

/* --- value ---------------------------------------------------------------------------------------------------------------- */

template <class W> static void value_as(hk_context *ctx, const hk__norm_job *j) {
    const cut c = cut_of<W>(ctx, j);
    const norm_call call = norm_call_of<W>(*j);
    const unsigned grid = (unsigned)(c.tasks * c.pieces);
    if (c.pieces == 1 || !j->measure) {
        HK_LAUNCH(ctx, grid, c.threads, 0, norm_value<W>, call, c.pieces);
        return;
    }
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    norm_moments *parts = (norm_moments *)hk__gpu_scratch(
        ctx, sizeof *parts * (size_t)(c.tasks * W::across * c.pieces));
    if (!parts) return;
    HK_LAUNCH(ctx, grid, c.threads, 0, norm_value_parts<W>, call, c.pieces, parts);
    HK_LAUNCH(ctx, grid, c.threads, 0, norm_value_write<W>, call, c.pieces, parts);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

static void value(hk_context *ctx, const hk__norm_job *j) {
    if (!j->by_row && j->plane == 1)
        value_as<norm_columns>(ctx, j);
    else if (is_wide(j))
        value_as<norm_wide>(ctx, j);
    else
        value_as<norm_narrow>(ctx, j);
}

/* --- pull ----------------------------------------------------------------------------------------------------------------- */

template <class W> static void pull_as(hk_context *ctx, const hk__norm_job *j) {
    const bool params = !j->by_row && (j->gw || j->gb), sum = params || !j->given;
    const cut c = cut_of<W>(ctx, j);
    const norm_call call = norm_call_of<W>(*j);
    const unsigned grid = (unsigned)(c.tasks * c.pieces);
    if (c.pieces == 1 || !sum) {
        HK_LAUNCH(ctx, grid, c.threads, 0, norm_pull<W>, call, c.pieces, sum);
        return;
    }
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    norm_sums *parts =
        (norm_sums *)hk__gpu_scratch(ctx, sizeof *parts * (size_t)(c.tasks * W::across * c.pieces));
    if (!parts) return;
    HK_LAUNCH(ctx, grid, c.threads, 0, norm_pull_parts<W>, call, c.pieces, parts);
    HK_LAUNCH(ctx, grid, c.threads, 0, norm_pull_write<W>, call, c.pieces, parts);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

static void pull(hk_context *ctx, const hk__norm_job *j) {
    if (j->by_row && (j->gw || j->gb)) norm_params(ctx, *j);
    if (!j->out && (j->by_row || (!j->gw && !j->gb))) return;
    if (!j->by_row && j->plane == 1)
        pull_as<norm_columns>(ctx, j);
    else if (is_wide(j))
        pull_as<norm_wide>(ctx, j);
    else
        pull_as<norm_narrow>(ctx, j);
}

/* --- statistics ------------------------------------------------------------------------------------------------------------ */

enum { SMALL_THREADS = 256 };

static __global__ void split_stats(int64_t c, const double *stats, hk_real *mean, hk_real *var) {
    const int64_t i = (int64_t)blockIdx.x * SMALL_THREADS + threadIdx.x;
    if (i >= c) return;
    mean[i] = (hk_real)stats[2 * i];
    var[i] = (hk_real)stats[2 * i + 1];
}

static void split(hk_context *ctx, int64_t c, const double *stats, void *mean, void *var) {
    HK_LAUNCH(ctx, hk__grid(c, SMALL_THREADS, 1), SMALL_THREADS, 0, split_stats, c, stats,
              (hk_real *)mean, (hk_real *)var);
}

static __global__ void move_stats(int64_t c, const hk_real *mean, const hk_real *var,
                                  double momentum, double scale, hk_real *running_mean,
                                  hk_real *running_var, int32_t *batches) {
    const int64_t i = (int64_t)blockIdx.x * SMALL_THREADS + threadIdx.x;
    if (i == 0 && *batches < INT32_MAX) ++*batches;
    if (i >= c) return;
    running_mean[i] =
        (hk_real)((1 - momentum) * (double)running_mean[i] + momentum * (double)mean[i]);
    running_var[i] =
        (hk_real)((1 - momentum) * (double)running_var[i] + momentum * scale * (double)var[i]);
}

static void move(hk_context *ctx, int64_t c, const void *mean, const void *var, double momentum,
                 double scale, void *running_mean, void *running_var, int32_t *batches) {
    HK_LAUNCH(ctx, hk__grid(c, SMALL_THREADS, 1), SMALL_THREADS, 0, move_stats, c,
              (const hk_real *)mean, (const hk_real *)var, momentum, scale, (hk_real *)running_mean,
              (hk_real *)running_var, batches);
}

} /* namespace */

const hk__norm_gpu HK_STAMPED(hk__norm_gpu) = {value, pull, split, move};
