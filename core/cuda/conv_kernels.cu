/* conv_kernels.cu: the three directions of a convolution (stamped: see stamp.h); conv_tile.cuh has the kernel.
   SPDX-License-Identifier: MIT */
#include "conv_direct.cuh"

/* --- forward ---------------------------------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

template <bool Quads>
static void forward_by(hk_context *ctx, const hk__conv *c, const void *x, const void *w,
                       const void *bias, void *y) {
    hk__conv_gather<Quads, false> job;
    hk__conv_forward_job(c, x, w, bias, &job);
    const int64_t at_once = hk__conv_images(c);
    job.vectors = job.out_plane % 4 == 0 && (uintptr_t)y % 16 == 0;
    for (int64_t first = 0; first < c->n; first += at_once) {
        job.images = (int)least(c->n - first, at_once);
        job.b = (const hk_real *)x + first * c->groups * job.b_image;
        job.out = (hk_real *)y + first * c->groups * job.out_image;
        if (Quads)
            (void)hk__conv_launch_direct(ctx, c, &job);
        else
            hk__conv_launch_gather(ctx, &job, job.images * c->oh * c->ow, 1, c->ic * c->kh * c->kw);
    }
}

static void forward(hk_context *ctx, const hk__conv *c, const void *x, const void *w,
                    const void *bias, void *y) {
    if (sizeof(hk_real) == 4 && hk__conv_is_direct(c) && c->oh % 2 == 0 && c->ow % 2 == 0 &&
        (uintptr_t)y % 8 == 0)
        forward_by<true>(ctx, c, x, w, bias, y);
    else
        forward_by<false>(ctx, c, x, w, bias, y);
}

/* --- by data ------------------------------------------------------------------------------------------------------------ */

static int64_t divisor_of(int64_t a, int64_t b) { return b == 0 ? a : divisor_of(b, a % b); }

static hk__conv_axis back_axis(int64_t out, int64_t in, int64_t kernel, int64_t stride,
                               int64_t padding, int64_t dilation) {
    return {(int)out,
            (int)in,
            (int)kernel,
            (int)stride,
            (int)padding,
            (int)dilation,
            (int)(stride / divisor_of(stride, dilation))};
}

template <bool Pooled>
static void by_data(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    hk__conv_gather<false, Pooled> job;
    memset((void *)&job, 0, sizeof job);
    const int taps = (int)(c->kh * c->kw);
    job.a = (const hk_real *)to->w;
    job.back = true;
    job.add = to->add_x;
    /* Behind a pooling an odd last row is as if it were not there. */
    job.rows = back_axis(Pooled ? c->oh / 2 * 2 : c->oh, c->h, c->kh, c->sh, c->ph, c->dh);
    job.cols = back_axis(Pooled ? c->ow / 2 * 2 : c->ow, c->w, c->kw, c->sw, c->pw, c->dw);
    job.plane = (int)(Pooled ? c->oh / 2 * (c->ow / 2) : c->oh * c->ow);
    job.out_plane = (int)(c->h * c->w);
    job.b_image = c->oc * job.plane;
    job.out_image = c->ic * c->h * c->w;
    job.groups = (int)c->groups;
    job.m = (int)c->ic;
    job.channels = (int)c->oc;
    job.a_channel = (int)c->ic * taps;
    job.a_row = taps;
    job.a_group = (int)(c->oc * c->ic) * taps;
    job.class_cols = (int)least(c->sw, c->w);
    job.vectors = c->sh == 1 && c->sw == 1 && job.out_plane % 4 == 0 && (uintptr_t)to->gx % 16 == 0;
    const int64_t classes = least(c->sh, c->h) * job.class_cols, at_once = hk__conv_images(c),
                  places = ((c->h + c->sh - 1) / c->sh) * ((c->w + c->sw - 1) / c->sw);
    for (int64_t first = 0; first < c->n; first += at_once) {
        job.images = (int)least(c->n - first, at_once);
        job.b = (const hk_real *)to->g + first * c->groups * job.b_image;
        job.winner = Pooled ? to->winner + first * c->groups * job.b_image : NULL;
        job.out = (hk_real *)to->gx + first * c->groups * job.out_image;
        hk__conv_launch_gather(ctx, &job, job.images * places, classes,
                               c->oc * taps / (c->sh * c->sw));
    }
}

/* --- by weights ----------------------------------------------------------------------------------------------------------- */

enum { SUM_LANES = 16, MOST_PARTS = 256 };

struct parts_job {
    const hk_real *from; /* [part][row][pitch] */
    hk_real *gw, *gb;
    int64_t rows;
    int parts, columns, window, pitch;
    bool add_w, add_b;
};

/* gw and gb (+)= the sum of the parts: sixteen lanes of each element take every sixteenth part. */
static __global__ void sum_parts(const parts_job job) {
    __shared__ hk_real sums[SUM_LANES][HK__WARP];
    const int64_t all = job.rows * job.columns, at = (int64_t)blockIdx.x * HK__WARP + threadIdx.x;
    const int64_t row = at / job.columns, column = at % job.columns,
                  part_size = job.rows * job.pitch;
    hk_real sum = 0;
    if (at < all) {
#pragma unroll 8
        for (int part = threadIdx.y; part < job.parts; part += SUM_LANES)
            sum += job.from[part * part_size + row * job.pitch + column];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || at >= all) return;
    for (int i = 1; i < SUM_LANES; i++) sum += sums[i][threadIdx.x];
    hk_real *to = column < job.window ? job.gw + row * job.window + column : job.gb + row;
    *to = (column < job.window ? job.add_w : job.add_b) ? *to + sum : sum;
}

/* Adds the parts of a job, which are in scratch memory. */
static void launch_sum(hk_context *ctx, const hk__conv_gradients *to, int64_t rows,
                       const hk_real *from, int parts, int columns, int window, int pitch) {
    parts_job sum;
    memset(&sum, 0, sizeof sum);
    sum.from = from;
    sum.gw = (hk_real *)to->gw;
    sum.gb = (hk_real *)to->gb;
    sum.rows = rows;
    sum.parts = parts;
    sum.columns = columns;
    sum.window = window;
    sum.pitch = pitch;
    sum.add_w = to->add_w;
    sum.add_b = to->add_b;
    HK_LAUNCH(ctx, hk__grid(rows * columns, HK__WARP, 1), dim3(HK__WARP, SUM_LANES), 0, sum_parts,
              sum);
}

template <class Job, int LM, int TM, int TN>
static void run_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to,
                        Job *job) {
    const int64_t tiles = hk__conv_parts_of(job->m, LM * TM) *
                          hk__conv_parts_of(job->columns, HK__WARP / LM * TN),
                  larger = most(c->ic * c->h * c->w, c->oc * c->oh * c->ow) * c->groups,
                  steps = c->n * c->oh * c->ow, width = HK__CONV_WARPS * HK__CONV_CHUNK;
    int64_t parts = least(HK__CONV_ENOUGH / (2 * tiles * c->groups), MOST_PARTS);
    parts = most(1, least(parts, steps / (4 * width)));
    parts = most(parts, hk__conv_parts_of(c->n * larger,
                                          1 << 30)); /* offsets inside of a part have 32 bits */
    job->part_steps = hk__conv_parts_of(hk__conv_parts_of(steps, parts), width) * width;
    parts = hk__conv_parts_of(steps, job->part_steps);
    const int64_t rows = c->groups * c->oc;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    job->parts = (int)parts;
    job->out =
        (hk_real *)hk__gpu_scratch(ctx, (size_t)(parts * rows * job->pitch) * sizeof(hk_real));
    if (job->out) {
        hk__conv_launch<Job, LM, TM, TN>(ctx, job, job->columns, parts, job->part_steps);
        launch_sum(ctx, to, rows, job->out, job->parts, job->columns, job->window, job->pitch);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

template <bool Pooled>
static void by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    typedef hk__conv_weights<Pooled> job_type;
    job_type job;
    memset((void *)&job, 0, sizeof job);
    job.a = (const hk_real *)to->g;
    job.b = (const hk_real *)to->x;
    job.winner = to->winner;
    job.c = *c;
    job.images = (int)c->n;
    job.groups = (int)c->groups;
    job.m = (int)c->oc;
    job.window = to->gw ? (int)(c->ic * c->kh * c->kw) : 0;
    job.columns = job.window + (to->gb ? 1 : 0);
    job.pitch = (job.columns + 3) / 4 * 4;
    job.out_h = (int)(Pooled ? c->oh / 2 : c->oh);
    job.out_w = (int)(Pooled ? c->ow / 2 : c->ow);
    job.a_row = job.out_h * job.out_w;
    job.plane = (int)(c->h * c->w);
#ifdef HK_STAMP_f64
    run_weights<job_type, 4, 8, 4>(ctx, c, to, &job);
#else
    if (job.m > 32 && job.columns > 32)
        run_weights<job_type, 8, 8, 8>(ctx, c, to, &job);
    else if (job.m > 16)
        run_weights<job_type, 4, 8, 4>(ctx, c, to, &job);
    else
        run_weights<job_type, 4, 4, 4>(ctx, c, to, &job);
#endif
}

/* --- by weights, of one channel and behind a pooling --------------------------------------------------------------------- */

/* Three of four gradients are 0 there, and each of the others has a window of few elements: a thread takes its windows of
   one output channel and adds gradient times window in registers. */
#ifndef HK_STAMP_f64
enum { SPARSE_MOST = 256 };

struct sparse_job {
    const hk_real *x, *g;
    const uint8_t *winner;
    hk_real *out; /* [part][channel][pitch] */
    int64_t images, parts;
    int m, h, w, ph, pw, windows, across, pitch;
};

template <int K>
static __global__ void __launch_bounds__(SPARSE_MOST) sparse_weights(const sparse_job job) {
    constexpr int TAPS = K * K;
    __shared__ hk_real sums[SPARSE_MOST / HK__WARP][TAPS + 1];
    const int channel = blockIdx.y, lane = threadIdx.x % HK__WARP, warp = threadIdx.x / HK__WARP;
    const int64_t first = job.images * blockIdx.x / job.parts,
                  end = job.images * (blockIdx.x + 1) / job.parts;
    hk_real sum[TAPS + 1] = {};
    for (int window = threadIdx.x; window < job.windows; window += blockDim.x) {
        const int top = window / job.across * 2 - job.ph, left = window % job.across * 2 - job.pw;
#pragma unroll 2
        for (int64_t image = first; image < end; image++) {
            const int64_t at = (image * job.m + channel) * job.windows + window;
            const hk_real g = job.g[at];
            const int won = job.winner[at], y = top + won / 2, x = left + won % 2;
            const hk_real *from = job.x + image * job.h * job.w + y * job.w + x;
#pragma unroll
            for (int t = 0; t < TAPS; t++) {
                const bool inside = (unsigned)(y + t / K) < (unsigned)job.h &&
                                    (unsigned)(x + t % K) < (unsigned)job.w;
                sum[t] = hk__conv_fma(g, inside ? from[t / K * job.w + t % K] : 0, sum[t]);
            }
            sum[TAPS] += g;
        }
    }
#pragma unroll
    for (int t = 0; t <= TAPS; t++) {
        const hk_real all = hk__warp_join(sum[t], hk__add());
        if (lane == 0) sums[warp][t] = all;
    }
    __syncthreads();
    if (threadIdx.x > TAPS) return;
    hk_real total = 0;
    for (int i = 0; i < (int)blockDim.x / HK__WARP; i++) total += sums[i][threadIdx.x];
    job.out[((int64_t)blockIdx.x * job.m + channel) * job.pitch + threadIdx.x] = total;
}

static void sparse_by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    sparse_job job;
    memset(&job, 0, sizeof job);
    const int taps = (int)(c->kh * c->kw);
    job.x = (const hk_real *)to->x;
    job.g = (const hk_real *)to->g;
    job.winner = to->winner;
    job.images = c->n;
    job.parts = most(1, least(least(c->n, MOST_PARTS), HK__CONV_ENOUGH / c->oc));
    job.m = (int)c->oc;
    job.h = (int)c->h;
    job.w = (int)c->w;
    job.ph = (int)c->ph;
    job.pw = (int)c->pw;
    job.across = (int)(c->ow / 2);
    job.windows = (int)(c->oh / 2) * job.across;
    job.pitch = taps + 1;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    job.out =
        (hk_real *)hk__gpu_scratch(ctx, (size_t)(job.parts * c->oc * job.pitch) * sizeof(hk_real));
    if (job.out) {
        const int64_t rounds = hk__conv_parts_of(job.windows, SPARSE_MOST),
                      warps = hk__conv_parts_of(hk__conv_parts_of(job.windows, rounds), HK__WARP);
        const dim3 grid((unsigned)job.parts, (unsigned)c->oc), block((unsigned)(warps * HK__WARP));
        if (c->kh == 3)
            HK_LAUNCH(ctx, grid, block, 0, sparse_weights<3>, job);
        else
            HK_LAUNCH(ctx, grid, block, 0, sparse_weights<5>, job);
        launch_sum(ctx, to, c->oc, job.out, (int)job.parts, taps + 1, taps, job.pitch);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}
#endif

/* --- all -------------------------------------------------------------------------------------------------------------------- */

static void all_by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
#ifndef HK_STAMP_f64
    if (to->winner && to->gw && to->gb && hk__conv_is_direct(c) && c->oc <= 65535) {
        sparse_by_weights(ctx, c, to);
        return;
    }
#endif
    if (to->winner)
        by_weights<true>(ctx, c, to);
    else
        by_weights<false>(ctx, c, to);
}

static void backward(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    if (to->gw || to->gb) all_by_weights(ctx, c, to);
    if (!to->gx) return;
    if (to->winner)
        by_data<true>(ctx, c, to);
    else
        by_data<false>(ctx, c, to);
}

const hk__conv_gpu HK_STAMPED(hk__conv_gpu) = {forward, backward};
