/* conv_block_kernels.cu: convolution, activation and 2 x 2 max pooling in one launch (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The tiles are those of conv_tile.cuh, or of images of one channel conv_direct.cuh, with the columns in the order of
   windows: then the four sums that a thread puts down are the corners of one, and the image of the convolution is never
   written. */
#include "conv_block_kernels.h"

#include "activation_functions.h"
#include "activation_kernels.h"
#include "conv_direct.cuh"

namespace { /* each stamp has its own */

/* f of all four corners. relu goes without a choice among all of them. */
static __device__ inline void activate(int row, const hk_real *param, const hk_real *z,
                                       hk_real *value) {
    if (row == HK__ACT_relu) {
#pragma unroll
        for (int i = 0; i < 4; i++) value[i] = relu_f(z[i], param);
        return;
    }
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        const hk_real x = i == 0 ? z[0] : i == 1 ? z[1] : i == 2 ? z[2] : z[3];
        hk_real f = x;
        switch (row) {
#define HK_ACTIVATION(name, ...)                                                                   \
    case HK__ACT_##name:                                                                           \
        f = name##_f(x, param);                                                                    \
        break;
#include "activations.def"
#undef HK_ACTIVATION
        }
        if (i == 0) value[0] = f;
        if (i == 1) value[1] = f;
        if (i == 2) value[2] = f;
        if (i == 3) value[3] = f;
    }
}

/* Whether a, the best so far, stays it when b comes: as in pooling. */
static __device__ inline bool stays(hk_real a, hk_real b) { return !(b > a) && b == b; }

struct block_job : hk__conv_gather<true, false> {
    uint8_t *winners;
    hk_real *chosen;         /* z there; NULL: nobody asks */
    int activation, windows; /* of a plane */
    hk_real param[HK_ACTIVATION_MAX_PARAMS];

    struct Spot {
        int64_t at; /* of the window, in row 0 */
    };
    __device__ Spot spot(const Part &p, unsigned column) const {
        const hk__conv_at t = at(p, column);
        return {(t.image * (int64_t)groups + p.group) * m * windows + t.y / 2 * p.x.count +
                t.x / 2};
    }

    __device__ void put(const Part &p, const Spot &spot, int row, const hk_real *sum) const {
        hk_real z[4], value[4];
        const hk_real more = bias ? bias[p.group * m + row] : 0;
#pragma unroll
        for (int i = 0; i < 4; i++) z[i] = sum[i] + more;
        activate(activation, param, z, value);
        const bool left_above = stays(value[0], value[1]), left_below = stays(value[2], value[3]);
        const hk_real above = left_above ? value[0] : value[1],
                      below = left_below ? value[2] : value[3];
        const bool upper = stays(above, below);
        const int64_t to = spot.at + (int64_t)row * windows;
        out[to] = upper ? above : below;
        winners[to] = (uint8_t)((upper ? 0 : 2) + ((upper ? left_above : left_below) ? 0 : 1));
        if (chosen) chosen[to] = upper ? left_above ? z[0] : z[1] : left_below ? z[2] : z[3];
    }
};

static void forward(hk_context *ctx, const hk__conv *given, int row, const double *param,
                    const void *x, const void *w, const void *bias, void *y, uint8_t *winner,
                    void *chosen) {
    hk__conv sizes = *given, *c = &sizes;
    if (!hk__conv_fit(ctx, c)) return;
    block_job job;
    hk__conv_forward_job(c, x, w, bias, &job);
    job.activation = row;
    job.windows = (int)(c->oh / 2 * (c->ow / 2));
    for (int k = 0; k < HK_ACTIVATION_MAX_PARAMS; k++) job.param[k] = (hk_real)param[k];
    const int64_t most = hk__conv_images(c), each = c->groups * c->oc * job.windows;
    /* As without activation and pooling: a tile's slices, and so the bits, follow from them. */
    const int64_t steps = hk__conv_is_depthwise(c) ? 1 : c->ic * c->kh * c->kw;
    for (int64_t first = 0; first < c->n; first += most) {
        job.images = (int)(c->n - first < most ? c->n - first : most);
        job.b = (const hk_real *)x + first * c->groups * job.b_image;
        job.out = (hk_real *)y + first * each;
        job.winners = winner + first * each;
        job.chosen = chosen ? (hk_real *)chosen + first * each : NULL;
        if (!hk__conv_launch_direct(ctx, c, &job))
            hk__conv_launch_gather(ctx, &job, job.images * c->oh * c->ow, 1, steps);
    }
}

} /* namespace */

const hk__conv_block_gpu HK_STAMPED(hk__conv_block_gpu) = {forward};
