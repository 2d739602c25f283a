/* gemm_tile.cuh: small matrix products, with the bias in the same launch (for stamped sources: see stamp.h).
   SPDX-License-Identifier: MIT

   The products of a small network take less time than their launches. What costs them is that few blocks share the
   work, each with a long sum over k. So a block is 8 or 4 groups of threads, each of which sums its own part of every
   stretch of k for the whole tile; the parts are added in order at the end. While a stretch is multiplied, the next
   one is on its way from memory. Both operands lie in shared memory by steps of k, whatever their order outside.

   One launch may run two products, of which each block works at one. A struct Act joins an activation to them:

       enum { on_result, on_a };               whether it changes results, or a
       hk_real result(hk_real z, int64_t at)   what becomes of a result, which lies at this place of c
       const hk_real *x, *y;                   aligned, and lie as a does: handed over with it; NULL: as 0
       hk_real element(hk_real a, hk_real x, hk_real y)    what becomes of an element of a */
#ifndef HK_GEMM_TILE_CUH
#define HK_GEMM_TILE_CUH

#include <string.h>

#include "gemm_kernels.h"
#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum { THREADS = 256, PAD = 4, LANES = hk__vector<hk_real>::lanes, ROWS = 4 };

/* Tiles of TILE x TILE; stretches of DEPTH steps, a GROUPS-th of them for each group. */
template <int TILE, int GROUPS> struct cut {
    static constexpr int loads = 2; /* vectors of each operand in a stretch, for each thread */
    static constexpr int depth = loads * LANES * THREADS / TILE;
    static constexpr int stride = TILE + PAD;
    static constexpr int panel = depth * stride;
    static constexpr int columns = TILE * TILE * GROUPS / THREADS / ROWS; /* of a thread */
    static constexpr int across = TILE / columns;
    static constexpr int room = 4 * panel > GROUPS *TILE *TILE ? 4 * panel : GROUPS *TILE *TILE;
};

static __device__ inline hk_real multiply_add(hk_real a, hk_real b, hk_real c) {
    return HK_REAL(fma)(a, b, c);
}

struct product_job {
    hk__gpu_product p[2];
    bool whole_a[2], whole_b[2]; /* vectors may be read at once */
    int32_t first;               /* blocks of p[0]; all others are of p[1] */
};

/* Products as they are. */
struct no_activation {
    enum { on_result = 0, on_a = 0 };
};

/* One operand as a block sees it: rows are those of a, or the columns of b. */
struct operand {
    const hk_real *p;
    int64_t ld, rows, k;
    bool along_k; /* steps of k lie side by side, else rows do */
    bool whole;   /* vectors may be read at once */
};

/* Which row and step the thread's vector number j begins at. Along k, 16 lanes take 16 rows and two vectors of each, so
   that neither the read nor the turned write collides. */
template <class C, int TILE>
static __device__ inline void place_of(const operand &o, int j, int *row, int *step) {
    const int e = threadIdx.x + j * THREADS;
    if (o.along_k) {
        *row = e % 16 + e / 16 / (C::depth / LANES) * 16;
        *step = e / 16 % (C::depth / LANES) * LANES;
    } else {
        *row = e % (TILE / LANES) * LANES;
        *step = e / (TILE / LANES);
    }
}

/* The thread's share of a stretch; 0 outside of the matrix. */
template <class C, int TILE>
static __device__ inline void fetch(const operand &o, int64_t row0, int64_t k0,
                                    hk__vector<hk_real> *to) {
#pragma unroll
    for (int j = 0; j < C::loads; j++) {
        int row, step;
        place_of<C, TILE>(o, j, &row, &step);
        const int64_t r = row0 + row, s = k0 + step;
        const hk_real *from = o.p + (o.along_k ? r * o.ld + s : s * o.ld + r);
        const int64_t left = r >= o.rows || s >= o.k ? 0 : o.along_k ? o.k - s : o.rows - r;
        if (o.whole && left >= LANES) {
            to[j] = *(const hk__vector<hk_real> *)from;
            continue;
        }
#pragma unroll
        for (int l = 0; l < LANES; l++) to[j].v[l] = l < left ? from[l] : 0;
    }
}

template <class C, int TILE>
static __device__ inline void store(const operand &o, const hk__vector<hk_real> *from,
                                    hk_real *panel) {
#pragma unroll
    for (int j = 0; j < C::loads; j++) {
        int row, step;
        place_of<C, TILE>(o, j, &row, &step);
        hk_real *to = panel + step * C::stride + row;
        if (!o.along_k) {
            *(hk__vector<hk_real> *)to = from[j];
            continue;
        }
#pragma unroll
        for (int l = 0; l < LANES; l++) to[l * C::stride] = from[j].v[l];
    }
}

/* A group's part of a stretch: ROWS x columns sums for each thread; of a's rows alone too if asked for. */
template <class C, int GROUPS>
static __device__ inline void multiply(const hk_real *a, const hk_real *b,
                                       hk_real (*sum)[C::columns], bool sums, hk_real *row_sum) {
    const int group = threadIdx.x / (THREADS / GROUPS), t = threadIdx.x % (THREADS / GROUPS);
    const int row = t / C::across * ROWS, column = t % C::across * C::columns;
    a += group * (C::depth / GROUPS) * C::stride + row;
    b += group * (C::depth / GROUPS) * C::stride + column;
#pragma unroll 4
    for (int s = 0; s < C::depth / GROUPS; s++, a += C::stride, b += C::stride) {
        hk_real left[ROWS], right[C::columns];
#pragma unroll
        for (int i = 0; i < ROWS; i++) left[i] = a[i];
#pragma unroll
        for (int i = 0; i < C::columns; i++) right[i] = b[i];
        if (sums)
#pragma unroll
            for (int i = 0; i < ROWS; i++) row_sum[i] += left[i];
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < C::columns; j++)
                sum[i][j] = multiply_add(left[i], right[j], sum[i][j]);
    }
}

/* The groups' sums, one after the other, then the bias and what is there. */
template <class C, int TILE, int GROUPS, class Act>
static __device__ inline void finish(const hk__gpu_product &p, const Act &act,
                                     hk_real (*sum)[C::columns], hk_real *room, int64_t row0,
                                     int64_t column0) {
    const int group = threadIdx.x / (THREADS / GROUPS), t = threadIdx.x % (THREADS / GROUPS);
    hk_real *own =
        room + group * TILE * TILE + t / C::across * ROWS * TILE + t % C::across * C::columns;
    __syncthreads(); /* nobody reads panels any more */
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < C::columns; j++) own[i * TILE + j] = sum[i][j];
    __syncthreads();
#pragma unroll 1
    for (int e = threadIdx.x; e < TILE * TILE; e += THREADS) {
        const int64_t row = row0 + e / TILE, column = column0 + e % TILE;
        if (row >= p.m || column >= p.n) continue;
        hk_real total = room[e];
        for (int g = 1; g < GROUPS; g++) total += room[g * TILE * TILE + e];
        if (p.bias) total += ((const hk_real *)p.bias)[column];
        if constexpr (Act::on_result) total = act.result(total, row * p.ldc + column);
        hk_real *to = (hk_real *)p.c + blockIdx.y * p.step_c + row * p.ldc + column;
        *to = p.accumulate ? *to + total : total;
    }
}

/* Of a's rows: they are the same in all threads across, so the first of them has them. */
template <class C, int TILE, int GROUPS>
static __device__ inline void finish_sums(const hk__gpu_product &p, const hk_real *row_sum,
                                          hk_real *room, int64_t row0) {
    const int group = threadIdx.x / (THREADS / GROUPS), t = threadIdx.x % (THREADS / GROUPS);
    __syncthreads(); /* nobody reads room any more */
    if (t % C::across == 0)
        for (int i = 0; i < ROWS; i++) room[group * TILE + t / C::across * ROWS + i] = row_sum[i];
    __syncthreads();
    const int64_t row = row0 + threadIdx.x;
    if (threadIdx.x >= TILE || row >= p.m) return;
    hk_real total = room[threadIdx.x];
    for (int g = 1; g < GROUPS; g++) total += room[g * TILE + threadIdx.x];
    hk_real *to = (hk_real *)p.sums + row;
    *to = p.accumulate_sums ? *to + total : total;
}

/* What an activation reads along with a. */
template <class C, int TILE, class Act> struct beside {
    hk__vector<hk_real> x[C::loads], y[C::loads];
    static __device__ inline void get(operand o, const hk_real *p, int64_t row0, int64_t k0,
                                      hk__vector<hk_real> *to) {
        o.p = p;
        if (p) fetch<C, TILE>(o, row0, k0, to);
    }
    __device__ inline void fetch_all(const operand &a, const Act &act, int64_t row0, int64_t k0) {
        get(a, act.x, row0, k0, x);
        get(a, act.y, row0, k0, y);
    }
    __device__ inline void change(const Act &act, hk__vector<hk_real> *a) const {
#pragma unroll
        for (int j = 0; j < C::loads; j++)
#pragma unroll
            for (int l = 0; l < LANES; l++)
                a[j].v[l] = act.element(a[j].v[l], act.x ? x[j].v[l] : 0, act.y ? y[j].v[l] : 0);
    }
};

template <int TILE, int GROUPS, class Act>
static __global__ void __launch_bounds__(THREADS)
    product(const __grid_constant__ product_job job, const __grid_constant__ Act act) {
    typedef cut<TILE, GROUPS> C;
    __shared__ __align__(16) hk_real room[C::room];
    const int which = blockIdx.x >= (unsigned)job.first,
              block = (int)blockIdx.x - (which ? job.first : 0);
    const hk__gpu_product &p = job.p[which];
    const int across = (int)((p.n + TILE - 1) / TILE);
    const int64_t row0 = (int64_t)(block / across) * TILE,
                  column0 = (int64_t)(block % across) * TILE;
    const operand a = {(const hk_real *)p.a + blockIdx.y * p.step_a,
                       p.lda,
                       p.m,
                       p.k,
                       !p.trans_a,
                       job.whole_a[which]};
    const operand b = {(const hk_real *)p.b + blockIdx.y * p.step_b,
                       p.ldb,
                       p.n,
                       p.k,
                       p.trans_b,
                       job.whole_b[which]};
    hk__vector<hk_real> next_a[C::loads], next_b[C::loads];
    beside<C, TILE, Act> next;
    hk_real sum[ROWS][C::columns] = {}, row_sum[ROWS] = {};
    const bool sums = p.sums && column0 == 0;
    fetch<C, TILE>(a, row0, 0, next_a);
    fetch<C, TILE>(b, column0, 0, next_b);
    if constexpr (Act::on_a) next.fetch_all(a, act, row0, 0);
    int turn = 0;
    for (int64_t k0 = 0; k0 < p.k; k0 += C::depth, turn ^= 1) {
        hk_real *panel_a = room + turn * 2 * C::panel, *panel_b = panel_a + C::panel;
        if constexpr (Act::on_a) next.change(act, next_a);
        store<C, TILE>(a, next_a, panel_a);
        store<C, TILE>(b, next_b, panel_b);
        __syncthreads(); /* one is enough: the panels of the turn before are written to only behind the next one */
        if (k0 + C::depth < p.k) {
            fetch<C, TILE>(a, row0, k0 + C::depth, next_a);
            fetch<C, TILE>(b, column0, k0 + C::depth, next_b);
            if constexpr (Act::on_a) next.fetch_all(a, act, row0, k0 + C::depth);
        }
        multiply<C, GROUPS>(panel_a, panel_b, sum, sums, row_sum);
    }
    finish<C, TILE, GROUPS>(p, act, sum, room, row0, column0);
    if (sums) finish_sums<C, TILE, GROUPS>(p, row_sum, room, row0);
}

static bool whole(const void *p, int64_t ld, int64_t step) {
    return (uintptr_t)p % 16 == 0 && ld % LANES == 0 && step % LANES == 0;
}

static int64_t tiles(const hk__gpu_product *p, int64_t side) {
    return (p->m + side - 1) / side * ((p->n + side - 1) / side);
}

template <class Act>
static void run_products(hk_context *ctx, int n, const hk__gpu_product *p, const Act &act) {
    product_job job;
    memset((void *)&job, 0, sizeof job);
    int64_t large = 0, small = 0;
    for (int i = 0; i < n; i++) {
        job.p[i] = p[i];
        job.whole_a[i] = whole(p[i].a, p[i].lda, p[i].step_a);
        job.whole_b[i] = whole(p[i].b, p[i].ldb, p[i].step_b);
        large += tiles(&p[i], 32);
        small += tiles(&p[i], 16);
    }
    const unsigned count = (unsigned)p->count;
    void (*const with_large)(product_job, Act) = product<32, 4, Act>;
    void (*const with_small)(product_job, Act) = product<16, 8, Act>;
    /* Large tiles read less, small ones keep more of the chip busy. */
    if (2 * large * count >= ctx->gpu->multiprocessors) {
        job.first = (int32_t)tiles(p, 32);
        HK_LAUNCH(ctx, dim3((unsigned)large, count), THREADS, 0, with_large, job, act);
    } else {
        job.first = (int32_t)tiles(p, 16);
        HK_LAUNCH(ctx, dim3((unsigned)small, count), THREADS, 0, with_small, job, act);
    }
}

} /* namespace */

#endif
