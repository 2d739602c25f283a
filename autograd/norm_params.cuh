/* norm_params.cuh: gradients of weight and bias where statistics are of rows: Σ g·x̂ and Σ g over the samples.
   SPDX-License-Identifier: MIT */
#ifndef HK_NORM_PARAMS_CUH
#define HK_NORM_PARAMS_CUH

#include "norm_segments.cuh"

namespace {

enum {
    PARAM_ROWS = NORM_THREADS / HK__WARP /* at once */,
    PARAM_PIECE = 64 * PARAM_ROWS /* samples */
};

/* x̂ = (x - centre)·rate + rest of a row. Found for all rows before any element is looked at: it costs more than what is
   done with one. */
struct alignas(16) norm_row {
    hk_real centre, rate, rest, unused;
};
static __global__ void norm_param_rows(hk__norm_job j, norm_row *rows) {
    const int64_t r = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (r >= j.n * j.groups) return;
    const double mean = j.stats[2 * r];
    const hk_real centre = (hk_real)mean,
                  rate = 1 / (hk_real)sqrt((hk_real)(j.stats[2 * r + 1] + j.eps));
    rows[r] = {centre, rate, (hk_real)((double)centre - mean) * rate, 0};
}
static __device__ inline hk_real norm_hat(const norm_row &row, hk_real x) {
    return HK_FMA(x - row.centre, row.rate, row.rest);
}

static __device__ inline void norm_add_params(const hk__norm_job &j, int64_t channel, double along,
                                              double plain) {
    if (j.gw) norm_add(j.gw, channel, j.add_w, along);
    if (j.gb) norm_add(j.gb, channel, j.add_b, plain);
}

/* Channels of one element: a warp walks down its columns. parts: of each piece of the samples, if there are several. */
static __global__ void __launch_bounds__(NORM_THREADS)
    norm_param_columns(hk__norm_job j, const norm_row *rows, int64_t pieces, norm_sums *parts) {
    const int64_t task = blockIdx.x / pieces, piece = blockIdx.x - task * pieces;
    const int64_t channel = task * HK__WARP + threadIdx.x % HK__WARP,
                  length = (j.n + pieces - 1) / pieces;
    const int64_t end = (piece + 1) * length < j.n ? (piece + 1) * length : j.n;
    const int64_t group = channel / (j.c / j.groups);
    hk_real plain = 0, along = 0;
#pragma unroll 4
    for (int64_t i = piece * length + threadIdx.x / HK__WARP; channel < j.c && i < end;
         i += PARAM_ROWS) {
        const hk_real g = ((const hk_real *)j.g)[i * j.c + channel],
                      x = ((const hk_real *)j.x)[i * j.c + channel];
        plain += g;
        along = HK_FMA(g, norm_hat(rows[i * j.groups + group], x), along);
    }
    const norm_sums sums = {norm_total<norm_columns>((double)plain),
                            norm_total<norm_columns>((double)along)};
    if (threadIdx.x >= HK__WARP || channel >= j.c) return;
    if (pieces > 1)
        parts[channel * pieces + piece] = sums;
    else
        norm_add_params(j, channel, sums.along, sums.plain);
}

static __global__ void norm_param_join(hk__norm_job j, int64_t pieces, const norm_sums *parts) {
    const int64_t channel = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= j.c) return;
    norm_sums sums = {0, 0};
    for (int64_t i = 0; i < pieces; i++) {
        sums.plain += parts[channel * pieces + i].plain;
        sums.along += parts[channel * pieces + i].along;
    }
    norm_add_params(j, channel, sums.along, sums.plain);
}

/* Channels of planes: a block for each, a warp for a sample's plane. */
static __global__ void __launch_bounds__(NORM_THREADS)
    norm_param_planes(hk__norm_job j, const norm_row *rows) {
    const int64_t channel = blockIdx.x, group = channel / (j.c / j.groups);
    double plain = 0, along = 0;
    for (int64_t i = threadIdx.x / HK__WARP; i < j.n; i += PARAM_ROWS) {
        const int64_t first = (i * j.c + channel) * j.plane;
        const norm_row row = rows[i * j.groups + group];
        hk_real p = 0, a = 0;
        for (int64_t k = threadIdx.x % HK__WARP; k < j.plane; k += HK__WARP) {
            const hk_real g = ((const hk_real *)j.g)[first + k];
            p += g;
            a = HK_FMA(g, norm_hat(row, ((const hk_real *)j.x)[first + k]), a);
        }
        plain += (double)p;
        along += (double)a;
    }
    plain = norm_total<norm_narrow>(plain);
    along = norm_total<norm_narrow>(along);
    if (threadIdx.x == 0) norm_add_params(j, channel, along, plain);
}

static void norm_params_of(hk_context *ctx, const hk__norm_job &j, const norm_row *rows) {
    if (j.plane > 1) {
        HK_LAUNCH(ctx, (unsigned)j.c, NORM_THREADS, 0, norm_param_planes, j, rows);
        return;
    }
    const int64_t pieces = (j.n + PARAM_PIECE - 1) / PARAM_PIECE,
                  tasks = (j.c + HK__WARP - 1) / HK__WARP;
    norm_sums *parts = NULL;
    if (pieces > 1) {
        parts = (norm_sums *)hk__gpu_scratch(ctx, sizeof *parts * (size_t)(pieces * j.c));
        if (!parts) return;
    }
    HK_LAUNCH(ctx, (unsigned)(tasks * pieces), NORM_THREADS, 0, norm_param_columns, j, rows, pieces,
              parts);
    if (pieces > 1)
        HK_LAUNCH(ctx, hk__grid(j.c, 256, 1), 256, 0, norm_param_join, j, pieces, parts);
}

static void norm_params(hk_context *ctx, const hk__norm_job &j) {
    const int64_t all = j.n * j.groups;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    norm_row *rows = (norm_row *)hk__gpu_scratch(ctx, (size_t)all * sizeof *rows);
    if (rows) {
        HK_LAUNCH(ctx, hk__grid(all, 256, 1), 256, 0, norm_param_rows, j, rows);
        norm_params_of(ctx, j, rows);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

} /* namespace */

#endif
