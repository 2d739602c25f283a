/* conv_kernels.cu: the three directions of a convolution (stamped: see stamp.h); conv_tile.cuh has the kernel.
   SPDX-License-Identifier: MIT */
#include "conv_tile.cuh"

/* --- forward ---------------------------------------------------------------------------------------------------------- */

static void forward(hk_context *ctx, const hk__conv *c, const void *x, const void *w, const void *bias, void *y) {
    hk__conv_gather<false, false> job;
    hk__conv_forward_job(c, x, w, bias, &job);
    const int64_t most = hk__conv_images(c);
    job.vectors = job.out_plane % 4 == 0 && (uintptr_t)y % 16 == 0;
    for (int64_t first = 0; first < c->n; first += most) {
        job.images = (int)(c->n - first < most ? c->n - first : most);
        job.b = (const hk_real *)x + first * c->groups * job.b_image;
        job.out = (hk_real *)y + first * c->groups * job.out_image;
        hk__conv_launch_gather(ctx, &job, job.images * c->oh * c->ow, 1, c->ic * c->kh * c->kw);
    }
}

/* --- by data ------------------------------------------------------------------------------------------------------------ */

static int64_t divisor_of(int64_t a, int64_t b) { return b == 0 ? a : divisor_of(b, a % b); }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static hk__conv_axis back_axis(int64_t out, int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                               int64_t dilation) {
    return {(int)out,     (int)in,       (int)kernel, (int)stride,
            (int)padding, (int)dilation, (int)(stride / divisor_of(stride, dilation))};
}

template <bool Pooled> static void by_data(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
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
        hk__conv_launch_gather(ctx, &job, job.images * places, classes, c->oc * taps / (c->sh * c->sw));
    }
}

/* --- by weights ----------------------------------------------------------------------------------------------------------- */

enum { SUM_LANES = 8, MOST_PARTS = 256 };

struct parts_job {
    const hk_real *from; /* [part][row][column] */
    hk_real *gw, *gb;
    int64_t rows;
    int parts, columns, window;
    bool add_w, add_b;
};

/* gw and gb (+)= the sum of the parts: eight lanes of each element take every eighth part. */
static __global__ void sum_parts(const parts_job job) {
    __shared__ hk_real sums[SUM_LANES][HK__WARP];
    const int64_t all = job.rows * job.columns, at = (int64_t)blockIdx.x * HK__WARP + threadIdx.x;
    hk_real sum = 0;
    if (at < all) {
#pragma unroll 4
        for (int part = threadIdx.y; part < job.parts; part += SUM_LANES) sum += job.from[part * all + at];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || at >= all) return;
    for (int i = 1; i < SUM_LANES; i++) sum += sums[i][threadIdx.x];
    const int column = (int)(at % job.columns);
    hk_real *to = column < job.window ? job.gw + at / job.columns * job.window + column : job.gb + at / job.columns;
    *to = (column < job.window ? job.add_w : job.add_b) ? *to + sum : sum;
}

template <class Job, int LM, int TM, int TN>
static void run_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to, Job *job) {
    const int64_t tiles = hk__conv_parts_of(job->m, LM * TM) * hk__conv_parts_of(job->columns, HK__WARP / LM * TN),
                  larger = most(c->ic * c->h * c->w, c->oc * c->oh * c->ow) * c->groups;
    int64_t parts = least(HK__CONV_ENOUGH / (2 * tiles * c->groups), MOST_PARTS);
    parts = most(parts, hk__conv_parts_of(c->n * larger, 1 << 30)); /* offsets inside of a part have 32 bits */
    parts = most(1, least(parts, c->n));
    const int64_t rows = c->groups * c->oc;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    job->parts = (int)parts;
    job->out = (hk_real *)hk__gpu_scratch(ctx, (size_t)(parts * rows * job->columns) * sizeof(hk_real));
    if (job->out) {
        hk__conv_launch<Job, LM, TM, TN>(ctx, job, job->columns, parts, c->n * c->oh * c->ow / parts);
        parts_job sum;
        memset(&sum, 0, sizeof sum);
        sum.from = job->out;
        sum.gw = (hk_real *)to->gw;
        sum.gb = (hk_real *)to->gb;
        sum.rows = rows;
        sum.parts = job->parts;
        sum.columns = job->columns;
        sum.window = job->window;
        sum.add_w = to->add_w;
        sum.add_b = to->add_b;
        HK_LAUNCH(ctx, hk__grid(rows * job->columns, HK__WARP, 1), dim3(HK__WARP, SUM_LANES), 0, sum_parts, sum);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

template <bool Pooled> static void by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
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

static void backward(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    if (to->gw || to->gb) {
        if (to->winner)
            by_weights<true>(ctx, c, to);
        else
            by_weights<false>(ctx, c, to);
    }
    if (!to->gx) return;
    if (to->winner)
        by_data<true>(ctx, c, to);
    else
        by_data<false>(ctx, c, to);
}

const hk__conv_gpu HK_STAMPED(hk__conv_gpu) = {forward, backward};
