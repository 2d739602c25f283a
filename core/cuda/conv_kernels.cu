/* conv_kernels.cu: the three directions of a convolution (stamped: see stamp.h): which kernel takes it.
   SPDX-License-Identifier: MIT */
#include "conv_depthwise.cuh"
#include "conv_direct.cuh"
#include "conv_single.cuh"

namespace { /* each stamp has its own */

/* --- forward ---------------------------------------------------------------------------------------------------------- */

template <bool Quads>
static void forward_by(hk_context *ctx, const hk__conv *c, const void *x, const void *w,
                       const void *bias, void *y) {
    hk__conv_gather<Quads, false> job;
    hk__conv_forward_job(c, x, w, bias, &job);
    const int64_t at_once = hk__conv_images(c);
    job.vectors = job.out_plane % 4 == 0 && (uintptr_t)y % 16 == 0;
    for (int64_t first = 0; first < c->n; first += at_once) {
        job.images = (int)hk__least(c->n - first, at_once);
        job.b = (const hk_real *)x + first * c->groups * job.b_image;
        job.out = (hk_real *)y + first * c->groups * job.out_image;
        if constexpr (Quads)
            (void)hk__conv_launch_direct(ctx, c, &job);
        else if (hk__conv_is_depthwise(c))
            launch_places(ctx, &job, job.images * c->oh * c->ow, 1);
        else
            hk__conv_launch_gather(ctx, &job, job.images * c->oh * c->ow, 1, c->ic * c->kh * c->kw);
    }
}

static void forward_strips(hk_context *ctx, const hk__conv *c, const void *x, const void *w,
                           const void *bias, void *y) {
    strip_job job;
    memset(&job, 0, sizeof job);
    job.from = (const hk_real *)x;
    job.w = (const hk_real *)w;
    job.bias = (const hk_real *)bias;
    job.to = (hk_real *)y;
    job.h = (int)c->h;
    job.w_in = (int)c->w;
    job.out_h = (int)c->oh;
    job.out_w = (int)c->ow;
    job.top = (int)c->ph;
    job.left = (int)c->pw;
    job.channels = 1;
    job.sharing = (int)c->oc;
    job.planes = (int)(c->groups * c->oc);
    launch_strips(ctx, c, &job);
}

static void forward_fit(hk_context *ctx, const hk__conv *c, const void *x, const void *w,
                        const void *bias, void *y) {
    if (hk__conv_is_depthwise(c) && hk__conv_in_strips(c))
        forward_strips(ctx, c, x, w, bias, y);
    else if (sizeof(hk_real) == 4 && !hk__conv_is_depthwise(c) && hk__conv_is_direct(c) &&
             c->oh % 2 == 0 && c->ow % 2 == 0 && (uintptr_t)y % 8 == 0)
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
    job.class_cols = (int)hk__least(c->sw, c->w);
    job.vectors = c->sh == 1 && c->sw == 1 && job.out_plane % 4 == 0 && (uintptr_t)to->gx % 16 == 0;
    const int64_t classes = hk__least(c->sh, c->h) * job.class_cols, at_once = hk__conv_images(c),
                  places = ((c->h + c->sh - 1) / c->sh) * ((c->w + c->sw - 1) / c->sw);
    for (int64_t first = 0; first < c->n; first += at_once) {
        job.images = (int)hk__least(c->n - first, at_once);
        job.b = (const hk_real *)to->g + first * c->groups * job.b_image;
        job.winner = Pooled ? to->winner + first * c->groups * job.b_image : NULL;
        job.out = (hk_real *)to->gx + first * c->groups * job.out_image;
        if (hk__conv_is_depthwise(c))
            launch_places(ctx, &job, job.images * places, classes);
        else
            hk__conv_launch_gather(ctx, &job, job.images * places, classes,
                                   c->oc * taps / (c->sh * c->sw));
    }
}

/* A convolution with the kernel turned round. */
static void by_data_strips(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    strip_job job;
    memset(&job, 0, sizeof job);
    job.from = (const hk_real *)to->g;
    job.w = (const hk_real *)to->w;
    job.to = (hk_real *)to->gx;
    job.h = (int)c->oh;
    job.w_in = (int)c->ow;
    job.out_h = (int)c->h;
    job.out_w = (int)c->w;
    job.top = (int)(c->kh - 1 - c->ph);
    job.left = (int)(c->kw - 1 - c->pw);
    job.channels = (int)c->oc;
    job.sharing = 1;
    job.planes = (int)c->groups;
    job.back = true;
    job.add = to->add_x;
    launch_strips(ctx, c, &job);
}

/* --- all -------------------------------------------------------------------------------------------------------------------- */

static void all_by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    if (hk__conv_is_single(c))
        single_by_weights(ctx, c, to);
    else if (to->winner)
        by_weights<true>(ctx, c, to);
    else
        by_weights<false>(ctx, c, to);
}

static void forward(hk_context *ctx, const hk__conv *given, const void *x, const void *w,
                    const void *bias, void *y) {
    hk__conv c = *given;
    if (hk__conv_fit(ctx, &c)) forward_fit(ctx, &c, x, w, bias, y);
}

/* By data first: where x and w are one tensor, what is written must come before what is added. */
static void backward(hk_context *ctx, const hk__conv *given, const hk__conv_gradients *to) {
    hk__conv c = *given;
    if (!hk__conv_fit(ctx, &c)) return;
    if (to->gx && to->winner)
        by_data<true>(ctx, &c, to);
    else if (to->gx && hk__conv_is_depthwise(&c) && hk__conv_in_strips(&c))
        by_data_strips(ctx, &c, to);
    else if (to->gx)
        by_data<false>(ctx, &c, to);
    if (to->gw || to->gb) all_by_weights(ctx, &c, to);
}

} /* namespace */

const hk__conv_gpu HK_STAMPED(hk__conv_gpu) = {forward, backward};
