/* conv_tile.cuh: convolutions as products of tiles, whose windows are gathered and never stored.
   SPDX-License-Identifier: MIT

   All three directions are sums c(row, column) = Σ a(row, step) · b(column, step), where b is an element of an image, or
   0 beyond its edge:

                rows              columns                       steps
     forward    output channels   places of the output          (input channel, place in the window)
     by data    input channels    places of the input           (output channel, place in the window)
     by weights output channels   (input channel, place in      places of the output, of some images
                                  the window), and one of ones
                                  for the bias

   A block has four warps. A warp computes a tile, TM x TN sums to a thread, from shared memory. The warps stand side by side
   along the columns, and where there are few tiles, `slices` of them share one and divide its steps; then their sums are
   added, in order. While one chunk of steps is worked on, the next is on its way to registers. What a step means is found
   once for 32 of them, by a lane each, and kept in a small table; what a column means, once.

   A Job tells what a, b, steps and columns are, and puts the sums down: conv_gather.cuh, conv_weights.cuh. */
#ifndef HK_CONV_TILE_CUH
#define HK_CONV_TILE_CUH

#include <string.h>

#include "conv_gpu.h"
#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum {
    HK__CONV_WARPS = 4,
    HK__CONV_THREADS = HK__CONV_WARPS * HK__WARP,
    HK__CONV_CHUNK = 8, /* steps of a warp between two barriers */
    HK__CONV_OUT =
        -(1 << 30), /* a row of the image that is beyond every edge, also of two of them the sum */
    HK__CONV_ENOUGH =
        132 *
        12, /* warps that keep a large GPU busy. Fixed, so that sums do not depend on the GPU */
};

/* A step: a's and b's offsets, and by how much it moves in the image. */
struct alignas(16) hk__conv_step {
    int a, b, y, x;
};
/* A column: where its b begins, and where that is in the image; what stands for an element beyond the edge. */
struct hk__conv_column {
    const hk_real *p;
    int y, x;
    hk_real beyond;
};

static __device__ inline hk_real hk__conv_fma(hk_real a, hk_real b, hk_real c) {
#ifdef HK_STAMP_f64
    return fma(a, b, c);
#else
    return fmaf(a, b, c);
#endif
}

/* --- a tile -------------------------------------------------------------------------------------------------------------- */

/* Four neighbours in shared memory, 16 bytes at a time. */
static __device__ inline void hk__conv_four(const hk_real *from, hk_real *to) {
    typedef hk__vector<hk_real> vector;
    for (int i = 0; i < 4; i += vector::lanes) {
        const vector v = *(const vector *)(from + i);
        for (int l = 0; l < vector::lanes; l++) to[i + l] = v.v[l];
    }
}

static __device__ inline void hk__conv_put_four(hk_real *to, const hk_real *from) {
    typedef hk__vector<hk_real> vector;
    for (int i = 0; i < 4; i += vector::lanes) {
        vector v;
        for (int l = 0; l < vector::lanes; l++) v.v[l] = from[i + l];
        *(vector *)(to + i) = v;
    }
}

/* LM lanes of a warp stand along the rows, 32/LM along the columns. A thread's sums are in groups of 4 x 4. */
template <class Job, int LM, int TM, int TN>
static __global__ void __launch_bounds__(HK__CONV_THREADS, sizeof(hk_real) * TM * TN <= 128 ? 4 : 3)
    hk__conv_tile(const Job job) {
    constexpr int LN = HK__WARP / LM, M = LM * TM, N = LN * TN, CHUNK = HK__CONV_CHUNK;
    constexpr int A_LOADS = M * CHUNK / HK__WARP, B_LOADS = N / HK__WARP;
    constexpr int A_LINE = M + 4; /* what is stored together then lies in different banks */
    struct Buffers {
        hk_real a[2][HK__CONV_WARPS][CHUNK * A_LINE]; /* of each slice */
        hk_real b[2][HK__CONV_WARPS][CHUNK * N];      /* of each warp */
    };
    union Memory {
        Buffers buffer;
        hk_real sums[HK__CONV_WARPS][M * N];
    };
    __shared__ __align__(16) char memory[sizeof(Memory)];
    __shared__ hk__conv_step table[HK__CONV_WARPS][HK__WARP];
    Buffers &buffer = ((Memory *)memory)->buffer;

    const int lane = threadIdx.x % HK__WARP, warp = threadIdx.x / HK__WARP;
    const int slices = job.slices, across = HK__CONV_WARPS / slices, slice = warp / across,
              place = warp % across;
    const typename Job::Part part = job.part();
    const int row = part.row * M;
    const unsigned first = ((unsigned)part.tile * (unsigned)across + (unsigned)place) * N;
    if (first - (unsigned)place * N >= part.columns) return; /* the whole block: of a small class */

    hk__conv_column column[B_LOADS];
    for (int i = 0; i < B_LOADS; i++)
        column[i] = job.column(part, first + (unsigned)(lane + i * HK__WARP));
    /* The warps of a slice share its rows: a lane takes step lane % 8 of rows 4·(place + i·across) + lane/8. */
    const hk_real *a = job.a_of(part);
    const int a_rows = job.m - row - lane / 8 - 4 * place, a_step = 4 * across * job.a_row;
    const int a_first = (row + lane / 8 + 4 * place) * job.a_row,
              a_loads = (A_LOADS - place + across - 1) / across;

    hk_real sum[TM][TN] = {}, next_a[A_LOADS], next_b[CHUNK][B_LOADS];
    const int width = CHUNK * slices, chunks = (part.steps + width - 1) / width;

    auto load = [&](int chunk) {
        const int k = chunk * width + slice * CHUNK;
        if (chunk % 4 == 0) {
            __syncwarp();
            table[warp][lane] = job.step(part, k + lane / CHUNK * width + lane % CHUNK);
            __syncwarp();
        }
        const hk__conv_step *steps = table[warp] + chunk % 4 * CHUNK;
        const bool live = k + lane % CHUNK < part.steps;
        int at = a_first + steps[lane % CHUNK].a;
#pragma unroll
        for (int i = 0; i < A_LOADS; i++)
            if (i < a_loads) {
                next_a[i] =
                    live && 4 * across * i < a_rows ? job.a_at(a, at, lane % CHUNK) : (hk_real)0;
                at += a_step;
            }
#pragma unroll
        for (int s = 0; s < CHUNK; s++) {
            const hk__conv_step step = steps[s];
#pragma unroll
            for (int i = 0; i < B_LOADS; i++) next_b[s][i] = job.b_at(column[i], step);
        }
    };
    auto store = [&](int which) {
        hk_real *to_a = buffer.a[which][slice] + lane % CHUNK * A_LINE + lane / 8 + 4 * place;
        hk_real *to_b = buffer.b[which][warp] + lane;
#pragma unroll
        for (int i = 0; i < A_LOADS; i++)
            if (i < a_loads) to_a[4 * across * i] = next_a[i];
#pragma unroll
        for (int s = 0; s < CHUNK; s++)
#pragma unroll
            for (int i = 0; i < B_LOADS; i++) to_b[s * N + i * HK__WARP] = next_b[s][i];
    };

    const int lm = lane % LM * 4, ln = lane / LM * 4;
    if (chunks > 0) {
        load(0);
        store(0);
    }
    __syncthreads();
    for (int chunk = 0; chunk < chunks; chunk++) {
        if (chunk + 1 < chunks) load(chunk + 1);
        const hk_real *from_a = buffer.a[chunk % 2][slice] + lm,
                      *from_b = buffer.b[chunk % 2][warp] + ln;
#pragma unroll
        for (int s = 0; s < CHUNK; s++) {
            hk_real p[TM], q[TN];
#pragma unroll
            for (int i = 0; i < TM; i += 4) hk__conv_four(from_a + s * A_LINE + i * LM, p + i);
#pragma unroll
            for (int j = 0; j < TN; j += 4) hk__conv_four(from_b + s * N + j * LN, q + j);
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sum[i][j] = hk__conv_fma(p[i], q[j], sum[i][j]);
        }
        if (chunk + 1 < chunks) store((chunk + 1) % 2);
        __syncthreads();
    }

    /* By way of shared memory every thread gets some fours of columns, of the sums of all slices. */
    hk_real(&sums)[HK__CONV_WARPS][M * N] = ((Memory *)memory)->sums;
    constexpr int FOURS = N / 4;
#pragma unroll
    for (int j = 0; j < TN; j += 4)
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const int at_row = i / 4 * 4 * LM + lm + i % 4,
                      four = (j * LN + ln) / 4 ^ at_row / 4 % 8;
            hk__conv_put_four(sums[warp] + at_row * N + four * 4, sum[i] + j);
        }
    __syncthreads();
    for (int tile = 0; tile < across; tile++) {
        const int four = threadIdx.x % FOURS;
        const unsigned at =
            ((unsigned)part.tile * (unsigned)across + (unsigned)tile) * N + 4 * four;
        if (at >= part.columns) continue;
        const typename Job::Spot spot = job.spot(part, at);
        for (int i = threadIdx.x / FOURS; i < M && row + i < job.m; i += HK__CONV_THREADS / FOURS) {
            hk_real total[4], more[4];
            const int from = i * N + (four ^ i / 4 % 8) * 4;
            hk__conv_four(sums[tile] + from, total);
            for (int s = 1; s < slices; s++) {
                hk__conv_four(sums[s * across + tile] + from, more);
#pragma unroll
                for (int k = 0; k < 4; k++) total[k] += more[k];
            }
            job.put(part, spot, row + i, total);
        }
    }
}

/* --- on the host ------------------------------------------------------------------------------------------------------------ */

static inline int64_t hk__least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t hk__most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Elements of one image, on either side and with its padding, and of all weights: the most that offsets of 32 bits reach,
   two images and a part of a batch away. */
enum { HK__CONV_MOST = 1 << 29 };

/* c with steps of the window that change nothing where there is one place, so that all numbers have 32 bits. False: too
   large, and the error says so. */
static inline bool hk__conv_fit(hk_context *ctx, hk__conv *c) {
    const double rows = (double)c->h + 2 * (double)c->ph, cols = (double)c->w + 2 * (double)c->pw,
                 in = (double)(c->groups * c->ic), out = (double)(c->groups * c->oc);
    if (c->oh == 1) c->sh = hk__least(c->sh, c->h + 2 * c->ph);
    if (c->ow == 1) c->sw = hk__least(c->sw, c->w + 2 * c->pw);
    if (c->kh == 1) c->dh = 1;
    if (c->kw == 1) c->dw = 1;
    if (rows * cols * in <= HK__CONV_MOST && (double)c->oh * (double)c->ow * out <= HK__CONV_MOST &&
        out * (double)(c->ic * c->kh * c->kw) <= HK__CONV_MOST && c->n <= INT32_MAX)
        return true;
    hk_fail(ctx, HK_ERR_SHAPE, "conv2d", "an image of %lld x %lld x %lld is too large for a GPU",
            (long long)(c->groups * c->ic), (long long)c->h, (long long)c->w);
    return false;
}
static inline int64_t hk__conv_parts_of(int64_t n, int64_t each) { return (n + each - 1) / each; }

/* Launches tiles of one shape. columns: the most of any kind; a kind is a class or a part. */
template <class Job, int LM, int TM, int TN>
static void hk__conv_launch(hk_context *ctx, Job *job, int64_t columns, int64_t kinds,
                            int64_t steps) {
    const int64_t m_tiles = hk__conv_parts_of(job->m, LM * TM),
                  n_tiles = hk__conv_parts_of(columns, HK__WARP / LM * TN),
                  tiles = m_tiles * n_tiles * job->groups * kinds;
    job->slices = tiles >= HK__CONV_ENOUGH ? 1 : 2 * tiles >= HK__CONV_ENOUGH ? 2 : 4;
    while (job->slices > 1 && steps < 2 * HK__CONV_CHUNK * job->slices) job->slices /= 2;
    job->m_tiles = (int)m_tiles;
    job->n_tiles = (int)hk__conv_parts_of(n_tiles, HK__CONV_WARPS / job->slices);
    const int64_t blocks = kinds * job->groups * m_tiles * job->n_tiles;
    HK_LAUNCH(ctx, dim3((unsigned)blocks), HK__CONV_THREADS, 0, (hk__conv_tile<Job, LM, TM, TN>),
              *job);
}

} /* namespace */

#endif
