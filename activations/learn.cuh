/* learn.cuh: activations with learned parameters on a GPU (for stamped sources).
   SPDX-License-Identifier: MIT

   A block takes a piece of one channel, and so reads the parameters once. Forward it writes f. Backward it writes the
   input's gradient and sums g·∂f/∂p in its threads, then over the block in double. A second launch adds the pieces'
   sums in order. What the pieces are depends on the shape alone. */
#ifndef HK_LEARN_CUH
#define HK_LEARN_CUH

#include "activation_kernels.h"
#include "map.cuh"
#include "real.h"

namespace { /* each stamp has its own */

/* F has `params`, value(x, q), the slope at(x, y, q) and slopes(x, y, q, d) by the parameters q. */
template <int n> struct hk__learn {
    const hk_real *g, *x, *y;
    hk_real *gx;
    int64_t count;      /* of a channel's elements */
    int64_t piece;      /* of a block's */
    hk__divider length; /* of the stretches of x that are one channel's */
    uint32_t channels, pieces;
    int32_t accumulate, unused;
    const hk_real *param[n];
    int64_t stride[n];
    hk_real number[n];
    double *sums; /* [channel][piece][n] */
};

/* Where element i of a channel is. */
template <int n>
static __device__ inline int64_t hk__learn_place(const hk__learn<n> &a, int64_t i,
                                                 uint32_t channel) {
    if (a.channels == 1) return i;
    const uint32_t outer = hk__divide((uint32_t)i, a.length);
    return ((int64_t)outer * a.channels + channel) * a.length.dim +
           ((uint32_t)i - outer * a.length.dim);
}

template <int n>
static __device__ inline void hk__learn_params(const hk__learn<n> &a, uint32_t channel,
                                               hk_real *q) {
#pragma unroll
    for (int k = 0; k < n; k++) q[k] = a.param[k] ? a.param[k][channel * a.stride[k]] : a.number[k];
}

enum { HK__LEARN_DEEP = 4 };

/* f, into gx: a piece is what the block has under way at once. */
template <class F, int lanes>
static __global__ void __launch_bounds__(HK__MAP_THREADS) hk__learn_value(hk__learn<F::params> a) {
    constexpr int deep = HK__LEARN_DEEP;
    typedef hk__vector<hk_real, lanes> vector;
    const uint32_t channel = blockIdx.x / a.pieces;
    const int64_t first = (int64_t)(blockIdx.x % a.pieces) * a.piece + threadIdx.x * lanes;
    vector x[deep];
    int64_t at[deep];
#pragma unroll
    for (int u = 0; u < deep; u++) {
        const int64_t i = first + u * HK__MAP_THREADS * lanes;
        if (i >= a.count) continue;
        at[u] = hk__learn_place(a, i, channel);
        x[u] = *(const vector *)(a.x + at[u]);
    }
    hk_real q[F::params];
    hk__learn_params(a, channel, q);
#pragma unroll
    for (int u = 0; u < deep; u++) {
        if (first + u * HK__MAP_THREADS * lanes >= a.count) continue;
        vector y;
#pragma unroll
        for (int j = 0; j < lanes; j++) y.v[j] = F::value(x[u].v[j], q);
        *(vector *)(a.gx + at[u]) = y;
    }
}

template <class F, int lanes>
static __global__ void __launch_bounds__(HK__MAP_THREADS) hk__learn_pieces(hk__learn<F::params> a) {
    constexpr int n = F::params, deep = 2;
    typedef hk__vector<hk_real, lanes> vector;
    __shared__ double room[HK__WARP];
    const uint32_t channel = blockIdx.x / a.pieces;
    const int64_t begin = (int64_t)(blockIdx.x % a.pieces) * a.piece;
    const int64_t end = begin + a.piece < a.count ? begin + a.piece : a.count;
    hk_real q[n], sum[n];
    hk__learn_params(a, channel, q);
#pragma unroll
    for (int k = 0; k < n; k++) sum[k] = 0;
    for (int64_t first = begin + (int64_t)threadIdx.x * lanes; first < end;
         first += HK__MAP_THREADS * lanes * deep) {
        vector g[deep], x[deep], y[deep];
        int64_t at[deep];
#pragma unroll
        for (int u = 0; u < deep; u++) {
            const int64_t i = first + u * HK__MAP_THREADS * lanes;
            if (i >= end) continue;
            at[u] = hk__learn_place(a, i, channel);
            g[u] = *(const vector *)(a.g + at[u]);
            if (F::keeps & HK_KEEP_INPUT) x[u] = *(const vector *)(a.x + at[u]);
            if (F::keeps & HK_KEEP_OUTPUT) y[u] = *(const vector *)(a.y + at[u]);
        }
#pragma unroll
        for (int u = 0; u < deep; u++) {
            if (first + u * HK__MAP_THREADS * lanes >= end) continue;
            vector gx;
#pragma unroll
            for (int j = 0; j < lanes; j++) {
                const hk_real xj = F::keeps & HK_KEEP_INPUT ? x[u].v[j] : 0,
                              yj = F::keeps & HK_KEEP_OUTPUT ? y[u].v[j] : 0;
                hk_real d[n];
                F::slopes(xj, yj, q, d);
#pragma unroll
                for (int k = 0; k < n; k++) sum[k] += g[u].v[j] * d[k];
                gx.v[j] = g[u].v[j] * F::at(xj, yj, q);
            }
            if (!a.gx) continue;
            vector *to = (vector *)(a.gx + at[u]);
            if (a.accumulate) {
                const vector old = *to;
#pragma unroll
                for (int j = 0; j < lanes; j++) gx.v[j] += old.v[j];
            }
            *to = gx;
        }
    }
#pragma unroll
    for (int k = 0; k < n; k++) {
        const double all = hk__block_join((double)sum[k], hk__add(), 0.0, room);
        if (threadIdx.x == 0) a.sums[(int64_t)blockIdx.x * n + k] = all;
    }
}

struct hk__learned {
    const double *sums;
    int64_t pieces, channels;
    int32_t n, unused;
    hk_real *grad[HK_ACTIVATION_MAX_PARAMS];
    int64_t per_channel[HK_ACTIVATION_MAX_PARAMS], accumulate[HK_ACTIVATION_MAX_PARAMS];
};

/* Block (c, k): the gradient of parameter k, of channel c if it has one for each. */
static __global__ void __launch_bounds__(HK__MAP_THREADS) hk__learn_add(hk__learned a) {
    __shared__ double room[HK__WARP];
    const int k = blockIdx.y;
    if (!a.grad[k] || (blockIdx.x > 0 && !a.per_channel[k])) return;
    const int64_t n = a.per_channel[k] ? a.pieces : a.pieces * a.channels;
    const double *sums = a.sums + (int64_t)blockIdx.x * a.pieces * a.n + k;
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += HK__MAP_THREADS) sum += sums[i * a.n];
    sum = hk__block_join(sum, hk__add(), 0.0, room);
    hk_real *grad = a.grad[k] + blockIdx.x;
    if (threadIdx.x == 0) *grad = (hk_real)((a.accumulate[k] ? (double)*grad : 0) + sum);
}

static inline bool hk__learn_vectors(const hk__learn_job *job, int lanes) {
    const uintptr_t all =
        (uintptr_t)job->g | (uintptr_t)job->x | (uintptr_t)job->y | (uintptr_t)job->gx;
    return (job->channels == 1 ? job->outer * job->length : job->length) % lanes == 0 &&
           all % 16 == 0;
}

static void hk__learn_finish(hk_context *ctx, const hk__learn_job *job, int n, int64_t pieces,
                             const double *sums) {
    hk__learned a;
    bool per_channel = false;
    memset(&a, 0, sizeof a);
    a.sums = sums;
    a.pieces = pieces;
    a.channels = job->channels;
    a.n = n;
    for (int k = 0; k < n; k++) {
        a.grad[k] = (hk_real *)job->grad[k];
        a.per_channel[k] = job->stride[k] != 0;
        a.accumulate[k] = job->accumulate_grad[k];
        per_channel |= a.grad[k] && a.per_channel[k];
    }
    HK_LAUNCH(ctx, dim3(per_channel ? (unsigned)job->channels : 1, (unsigned)n), HK__MAP_THREADS, 0,
              hk__learn_add, a);
}

template <int n> static hk__learn<n> hk__learn_of(const hk__learn_job *job, int64_t piece) {
    hk__learn<n> a;
    memset((void *)&a, 0, sizeof a);
    a.g = (const hk_real *)job->g;
    a.x = (const hk_real *)job->x;
    a.y = (const hk_real *)job->y;
    a.gx = (hk_real *)job->gx;
    a.accumulate = job->accumulate;
    a.count = job->outer * job->length;
    a.channels = (uint32_t)job->channels;
    a.length = hk__divider_of(job->channels == 1 ? 1 : job->length);
    a.piece = piece;
    a.pieces = (uint32_t)((a.count + piece - 1) / piece);
    for (int k = 0; k < n; k++) {
        a.param[k] = (const hk_real *)job->param[k];
        a.stride[k] = job->stride[k];
        a.number[k] = (hk_real)job->number[k];
    }
    return a;
}

template <class F, int lanes>
static void hk__learn_forward(hk_context *ctx, const hk__learn_job *job) {
    const hk__learn<F::params> a =
        hk__learn_of<F::params>(job, HK__MAP_THREADS * lanes * HK__LEARN_DEEP);
    void (*const learn_value)(hk__learn<F::params>) = hk__learn_value<F, lanes>;
    HK_LAUNCH(ctx, (unsigned)(a.pieces * job->channels), HK__MAP_THREADS, 0, learn_value, a);
}

template <class F, int lanes>
static void hk__learn_backward(hk_context *ctx, const hk__learn_job *job) {
    constexpr int n = F::params;
    /* Blocks enough for a large GPU; at most 64 elements for each sum in float. */
    int64_t rounds = job->outer * job->length * job->channels / (1024 * 1024) + 1;
    if (rounds > 16) rounds = 16;
    hk__learn<n> a = hk__learn_of<n>(job, rounds * 1024);
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const int64_t blocks = a.pieces * job->channels;
    a.sums = (double *)hk__gpu_scratch(ctx, (size_t)(blocks * n) * sizeof(double));
    if (a.sums) {
        void (*const learn)(hk__learn<n>) = hk__learn_pieces<F, lanes>;
        HK_LAUNCH(ctx, (unsigned)blocks, HK__MAP_THREADS, 0, learn, a);
        hk__learn_finish(ctx, job, n, a.pieces, a.sums);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

template <class F> static void hk__learn_run(hk_context *ctx, const hk__learn_job *job) {
    constexpr int lanes = 16 / (int)sizeof(hk_real);
    if constexpr (lanes >= 4) {
        if (hk__learn_vectors(job, lanes)) {
            job->g ? hk__learn_backward<F, lanes>(ctx, job) : hk__learn_forward<F, lanes>(ctx, job);
            return;
        }
    }
    job->g ? hk__learn_backward<F, 1>(ctx, job) : hk__learn_forward<F, 1>(ctx, job);
}

} /* namespace */

#endif
