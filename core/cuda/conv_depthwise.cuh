/* conv_depthwise.cuh: forward and by data, of groups that have one channel and one to four output channels.
   SPDX-License-Identifier: MIT

   A tile would be empty but for one row. Here each thread has its own sums, and nothing is shared but the cache.

     strips   square kernels of 3, 5 and 7, stride 1, no dilation. A thread has 4 x 4 places: it keeps the weights and the
              sums in registers, and each row that its windows cover passes by once. By data is forward with the kernel
              turned round, over the output channels of a group.
     places   all else. A thread has one place, so that neighbours read neighbours; jobs are those of the tile.

   Both add in the order of the tile's steps: window rows from the top, each from the left. */
#ifndef HK_CONV_DEPTHWISE_CUH
#define HK_CONV_DEPTHWISE_CUH

#include "conv_gather.cuh"

namespace { /* each stamp has its own */

enum { STRIP_THREADS = 128, STRIP_ROWS = 4, PLACE_THREADS = 256 };

/* --- strips --------------------------------------------------------------------------------------------------------------- */

/* A plane of `to` is the sum over `channels` planes of `from`; `sharing` of them look at the same. */
struct strip_job {
    const hk_real *from, *w, *bias;
    hk_real *to;
    int h, w_in, out_h, out_w, top, left; /* top, left: of the padding */
    int across, down;                     /* strips of a plane */
    int channels, sharing, planes;        /* planes: of an image of `to` */
    unsigned strips;
    int back, add;
};

/* K + 3 neighbours from column x on; 0 beyond the edges. Vectors: the four in the middle lie on 16 bytes. */
template <int K, bool Vectors>
static __device__ inline void strip_row(const strip_job &job, const hk_real *from, int y, int x,
                                        hk_real *seen) {
    constexpr int EDGE = (K - 1) / 2;
    const bool row = (unsigned)y < (unsigned)job.h;
    const hk_real *line = from + (int64_t)y * job.w_in + x;
#pragma unroll
    for (int i = 0; i < K + 3; i++) {
        const bool wanted = !Vectors || i < EDGE || i >= EDGE + 4;
        seen[i] = wanted && row && (unsigned)(x + i) < (unsigned)job.w_in ? line[i] : (hk_real)0;
    }
    if (Vectors && row) hk__conv_four(line + EDGE, seen + EDGE);
}

template <bool Vectors>
static __device__ inline void strip_store(const strip_job &job, hk_real *to, int x,
                                          const hk_real *sum, hk_real more) {
    hk_real old[4] = {}, four[4];
    if (Vectors && job.add) hk__conv_four(to, old);
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const bool inside = Vectors || x + k < job.out_w;
        if (!Vectors && inside && job.add) old[k] = to[k];
        four[k] = job.add ? old[k] + (sum[k] + more) : sum[k] + more;
        if (!Vectors && inside) to[k] = four[k];
    }
    if (Vectors) hk__conv_put_four(to, four);
}

template <int K, bool Vectors>
static __global__ void __launch_bounds__(STRIP_THREADS) hk__conv_strips(const strip_job job) {
    const unsigned i = blockIdx.x * STRIP_THREADS + threadIdx.x;
    if (i >= job.strips) return;
    const unsigned band = i / (unsigned)job.across, plane = band / (unsigned)job.down;
    const int x = (int)(i % (unsigned)job.across) * 4,
              y = (int)(band % (unsigned)job.down) * STRIP_ROWS,
              channel = (int)(plane % (unsigned)job.planes);
    const hk_real *from = job.from + (int64_t)(plane / (unsigned)job.sharing) * job.channels *
                                         job.h * job.w_in,
                  *w = job.w + (int64_t)channel * job.channels * (K * K);
    hk_real sum[STRIP_ROWS][4] = {};
#pragma unroll 1
    for (int c = 0; c < job.channels; c++) {
        hk_real weight[K * K];
#pragma unroll
        for (int t = 0; t < K * K; t++) weight[t] = w[job.back ? K * K - 1 - t : t];
#pragma unroll
        for (int r = 0; r < STRIP_ROWS + K - 1; r++) {
            hk_real seen[K + 3];
            strip_row<K, Vectors>(job, from, y + r - job.top, x - job.left, seen);
#pragma unroll
            for (int u = 0; u < K; u++)
#pragma unroll
                for (int v = 0; v < K; v++)
#pragma unroll
                    for (int k = 0; k < 4; k++)
                        if (r - u >= 0 && r - u < STRIP_ROWS)
                            sum[r - u][k] =
                                hk__conv_fma(weight[u * K + v], seen[v + k], sum[r - u][k]);
        }
        from += (int64_t)job.h * job.w_in;
        w += K * K;
    }
    const hk_real more = job.bias ? job.bias[channel] : (hk_real)0;
    hk_real *to = job.to + ((int64_t)plane * job.out_h + y) * job.out_w + x;
#pragma unroll
    for (int r = 0; r < STRIP_ROWS; r++)
        if (y + r < job.out_h)
            strip_store<Vectors>(job, to + (int64_t)r * job.out_w, x, sum[r], more);
}

template <int K> static void strips_of(hk_context *ctx, const strip_job *job) {
    /* Of the same width: then its padding is (K - 1) / 2. */
    const bool vectors = job->w_in == job->out_w && job->w_in % 4 == 0 &&
                         (uintptr_t)job->from % 16 == 0 && (uintptr_t)job->to % 16 == 0;
    const unsigned grid = hk__grid(job->strips, STRIP_THREADS, 1);
    if (vectors)
        HK_LAUNCH(ctx, grid, STRIP_THREADS, 0, (hk__conv_strips<K, true>), *job);
    else
        HK_LAUNCH(ctx, grid, STRIP_THREADS, 0, (hk__conv_strips<K, false>), *job);
}

/* Strips are counted in 32 bits: images of a batch go in as many launches as that takes. */
static void launch_strips(hk_context *ctx, const hk__conv *c, strip_job *job) {
    job->across = (int)hk__conv_parts_of(job->out_w, 4);
    job->down = (int)hk__conv_parts_of(job->out_h, STRIP_ROWS);
    const int64_t each = (int64_t)job->planes * job->across * job->down,
                  at_once = hk__least(c->n, hk__most(1, (1 << 30) / each)),
                  from_image =
                      (int64_t)job->planes / job->sharing * job->channels * job->h * job->w_in,
                  to_image = (int64_t)job->planes * job->out_h * job->out_w;
    for (int64_t first = 0; first < c->n; first += at_once) {
        strip_job some = *job;
        some.strips = (unsigned)(hk__least(c->n - first, at_once) * each);
        some.from += first * from_image;
        some.to += first * to_image;
        if (c->kh == 3)
            strips_of<3>(ctx, &some);
        else if (c->kh == 5)
            strips_of<5>(ctx, &some);
        else
            strips_of<7>(ctx, &some);
    }
}

/* --- places ---------------------------------------------------------------------------------------------------------------- */

template <class Job>
static __global__ void __launch_bounds__(PLACE_THREADS) hk__conv_places(const Job job) {
    __shared__ typename Job::Part part; /* many divisions */
    if (threadIdx.x == 0) part = job.part();
    __syncthreads();
    const unsigned at = (unsigned)part.tile * PLACE_THREADS + threadIdx.x;
    if (at >= part.columns) return;
    const hk__conv_column column = job.column(part, at);
    const typename Job::Spot spot = job.spot(part, at);
    const hk_real *a = job.a_of(part);
    for (int row = 0; row < job.m; row++, a += job.a_row) {
        hk_real sum = 0;
        for (int c = 0; c < job.channels; c++)
            for (int u = 0; u < part.y.taps; u++)
#pragma unroll 4
                for (int v = 0; v < part.x.taps; v++) {
                    const hk__conv_step step = job.step_of(part, c, u, v);
                    sum = hk__conv_fma(a[step.a], job.b_at(column, step), sum);
                }
        const hk_real more = job.bias ? job.bias[part.group * job.m + row] : (hk_real)0;
        job.put_one(spot.to + (int64_t)row * job.out_plane, sum + more);
    }
}

/* columns: the most of any kind. */
template <class Job>
static void launch_places(hk_context *ctx, Job *job, int64_t columns, int64_t kinds) {
    job->m_tiles = 1;
    job->n_tiles = (int)hk__conv_parts_of(columns, PLACE_THREADS);
    HK_LAUNCH(ctx, (unsigned)(kinds * job->groups * job->n_tiles), PLACE_THREADS, 0,
              hk__conv_places<Job>, *job);
}

} /* namespace */

#endif
