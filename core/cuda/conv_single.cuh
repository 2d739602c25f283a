/* conv_single.cuh: the gradients of weights and bias where a group has one channel.
   SPDX-License-Identifier: MIT

   A window then has few elements: a thread takes some 2 x 2 places of one output channel and keeps the sums of all
   weights in registers. A block has one channel and a part of the batch's windows; a second launch adds the parts in
   order. Behind a pooling three of four gradients are 0, and the winner is all that is looked at: what is left out would
   add 0, so the sums have the bits of those over all four. */
#ifndef HK_CONV_SINGLE_CUH
#define HK_CONV_SINGLE_CUH

#include "conv_weights.cuh"

namespace { /* each stamp has its own */

enum { SINGLE_THREADS = 128, SINGLE_WARPS = SINGLE_THREADS / HK__WARP };

struct single_job {
    const hk_real *x, *g;
    const uint8_t *winner;
    hk_real *out;  /* [part][channel][pitch] */
    int64_t items; /* windows of all images */
    int parts, channels, oc, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw;
    int windows, across, pitch; /* of a plane */
};

/* Adds g times the window of place (y, x), from its plane. */
template <int K>
static __device__ inline void add_window(const single_job &job, const hk_real *plane, int y, int x,
                                         hk_real g, hk_real *sum) {
    y = y * job.sh - job.ph;
    x = x * job.sw - job.pw;
#pragma unroll
    for (int u = 0; u < K; u++) {
        const int row = y + u * job.dh;
        const bool inside = u < job.kh && (unsigned)row < (unsigned)job.h;
        const hk_real *line = plane + (int64_t)row * job.w;
#pragma unroll
        for (int v = 0; v < K; v++) {
            const int at = x + v * job.dw;
            const hk_real seen =
                inside && v < job.kw && (unsigned)at < (unsigned)job.w ? line[at] : (hk_real)0;
            sum[u * K + v] = hk__conv_fma(g, seen, sum[u * K + v]);
        }
    }
}

/* The same for four places (y, x) to (y + 1, x + 1) at once, of stride 1: each element is read once. */
template <int K>
static __device__ inline void add_four(const single_job &job, const hk_real *plane, int y, int x,
                                       const hk_real *g, hk_real *sum) {
    y -= job.ph;
    x -= job.pw;
    const hk_real *line = plane + (int64_t)y * job.w + x;
#pragma unroll
    for (int r = 0; r <= K; r++, line += job.w) {
        const bool inside = (unsigned)(y + r) < (unsigned)job.h;
        hk_real seen[K + 1];
#pragma unroll
        for (int v = 0; v <= K; v++)
            seen[v] = inside && (unsigned)(x + v) < (unsigned)job.w ? line[v] : (hk_real)0;
#pragma unroll
        for (int below = 1; below >= 0; below--) {
            const int u = r - below;
            if (u < 0 || u >= K) continue;
#pragma unroll
            for (int v = 0; v < K; v++) {
                hk_real *to = sum + u * K + v;
                *to = hk__conv_fma(g[2 * below], seen[v], *to);
                *to = hk__conv_fma(g[2 * below + 1], seen[v + 1], *to);
            }
        }
    }
}

/* Adds what the window of places (y, x) to (y + 1, x + 1) gives, in the order of its corners; beyond an odd edge there is
   nothing. Unit: a square kernel of K, no stride, no dilation. Else a kernel of at most K x K. */
template <int K, bool Unit, bool Pooled>
static __device__ inline void add_item(const single_job &job, const hk_real *plane, int64_t first,
                                       int y, int x, hk_real *sum) {
    if constexpr (Pooled) {
        if (y + 1 >= job.oh || x + 1 >= job.ow) return;
        const int64_t at = (first * (job.oh / 2) + y / 2) * (job.ow / 2) + x / 2;
        const hk_real g = job.g[at];
        const int won = job.winner[at];
        sum[K * K] += g;
        add_window<K>(job, plane, y + won / 2, x + won % 2, g, sum);
    } else {
        const hk_real *above = job.g + (first * job.oh + y) * job.ow + x, *below = above + job.ow;
        const bool right = x + 1 < job.ow, down = y + 1 < job.oh;
        hk_real g[4] = {above[0], right ? above[1] : (hk_real)0, down ? below[0] : (hk_real)0,
                        right && down ? below[1] : (hk_real)0};
#pragma unroll
        for (int k = 0; k < 4; k++) sum[K * K] += g[k];
        if constexpr (Unit) {
            add_four<K>(job, plane, y, x, g, sum);
        } else {
#pragma unroll 1
            for (int k = 0; k < 4; k++) {
                add_window<K>(job, plane, y + k / 2, x + k % 2, g[0], sum);
                g[0] = g[1];
                g[1] = g[2];
                g[2] = g[3];
            }
        }
    }
}

template <int K, bool Unit, bool Pooled>
static __global__ void __launch_bounds__(SINGLE_THREADS) hk__conv_single(const single_job job) {
    constexpr int TAPS = K * K;
    __shared__ hk_real sums[SINGLE_WARPS][TAPS + 1];
    const int lane = threadIdx.x % HK__WARP, warp = threadIdx.x / HK__WARP;
    const int channel = (int)(blockIdx.x % (unsigned)job.channels),
              part = (int)(blockIdx.x / (unsigned)job.channels);
    const int group = channel / job.oc, groups = job.channels / job.oc;
    const unsigned begin = (unsigned)(job.items * part / job.parts),
                   end = (unsigned)(job.items * (part + 1) / job.parts);
    hk_real sum[TAPS + 1] = {};
    for (unsigned item = begin + threadIdx.x; item < end; item += SINGLE_THREADS) {
        const unsigned window = item % (unsigned)job.windows;
        const int64_t image = item / (unsigned)job.windows;
        add_item<K, Unit, Pooled>(job, job.x + (image * groups + group) * job.h * job.w,
                                  image * job.channels + channel,
                                  (int)(window / (unsigned)job.across) * 2,
                                  (int)(window % (unsigned)job.across) * 2, sum);
    }
#pragma unroll
    for (int t = 0; t <= TAPS; t++) {
        const hk_real all = hk__warp_join(sum[t], hk__add());
        if (lane == 0) sums[warp][t] = all;
    }
    __syncthreads();
    const int t = threadIdx.x, u = t / K, v = t % K;
    if (t > TAPS || (t < TAPS && (u >= job.kh || v >= job.kw))) return;
    hk_real total = 0;
    for (int i = 0; i < SINGLE_WARPS; i++) total += sums[i][t];
    job.out[((int64_t)part * job.channels + channel) * job.pitch +
            (t < TAPS ? u * job.kw + v : job.kh * job.kw)] = total;
}

/* --- on the host ------------------------------------------------------------------------------------------------------------ */

/* By the sizes alone, so that a pooling behind changes nothing. Where a group has many output channels and a kernel that is
   not for strips, a tile reads less. */
static inline bool hk__conv_is_single(const hk__conv *c) {
    return c->ic == 1 && c->kh <= 7 && c->kw <= 7 && c->n * c->oh * c->ow <= 1 << 30 &&
           (hk__conv_in_strips(c) || hk__conv_is_depthwise(c));
}

template <int K> static void launch_single(hk_context *ctx, const hk__conv *c, single_job *job) {
    const unsigned grid = (unsigned)(job->parts * (int64_t)job->channels);
    if (job->winner)
        HK_LAUNCH(ctx, grid, SINGLE_THREADS, 0, (hk__conv_single<K, false, true>), *job);
    else if (hk__conv_in_strips(c))
        HK_LAUNCH(ctx, grid, SINGLE_THREADS, 0, (hk__conv_single<K, true, false>), *job);
    else
        HK_LAUNCH(ctx, grid, SINGLE_THREADS, 0, (hk__conv_single<K, false, false>), *job);
}

static void single_by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    single_job job;
    memset(&job, 0, sizeof job);
    const int taps = (int)(c->kh * c->kw), larger = (int)hk__most(c->kh, c->kw);
    job.x = (const hk_real *)to->x;
    job.g = (const hk_real *)to->g;
    job.winner = to->winner;
    job.channels = (int)(c->groups * c->oc);
    job.oc = (int)c->oc;
    job.h = (int)c->h;
    job.w = (int)c->w;
    job.oh = (int)c->oh;
    job.ow = (int)c->ow;
    job.kh = (int)c->kh;
    job.kw = (int)c->kw;
    job.sh = (int)c->sh;
    job.sw = (int)c->sw;
    job.ph = (int)c->ph;
    job.pw = (int)c->pw;
    job.dh = (int)c->dh;
    job.dw = (int)c->dw;
    job.across = (int)hk__conv_parts_of(c->ow, 2);
    job.windows = (int)hk__conv_parts_of(c->oh, 2) * job.across;
    job.items = c->n * job.windows;
    job.pitch = taps + 1;
    /* Two windows to a thread at least: the sum over a block costs as much as one. */
    job.parts = (int)hk__least(job.items / (2 * SINGLE_THREADS),
                               hk__least(HK__CONV_ENOUGH / 2 / job.channels, MOST_PARTS));
    if (job.parts < 1) job.parts = 1;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const size_t numbers = (size_t)job.parts * (size_t)(job.channels * (int64_t)job.pitch);
    job.out = (hk_real *)hk__gpu_scratch(ctx, numbers * sizeof(hk_real));
    if (job.out) {
        if (larger <= 3)
            launch_single<3>(ctx, c, &job);
        else if (larger <= 5)
            launch_single<5>(ctx, c, &job);
        else
            launch_single<7>(ctx, c, &job);
        const int window = to->gw ? taps : 0;
        launch_sum(ctx, to, job.channels, job.out + taps - window, job.parts,
                   window + (to->gb ? 1 : 0), window, job.pitch);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

} /* namespace */

#endif
