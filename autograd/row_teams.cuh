/* row_teams.cuh: kernels for functions of rows: who shares a row, and how much of it each thread holds.
   SPDX-License-Identifier: MIT

   A row stays in registers from the one read to the one write, `deep` units in each thread, while it fits: in some lanes
   of a warp, in a block, in a cluster of blocks. A unit is 16 bytes where rows are aligned, else one element. A function
   of rows is a struct Op:

       enum { two };                       whether it reads a second tensor, g
       static hk_real nothing();           what stands behind a row's end
       static void run(team, job, row, units, x, g, kept);     turns a thread's units x, and g, into those of the result

   Sums are added in an order that the shape alone decides. */
#ifndef HK_ROW_TEAMS_CUH
#define HK_ROW_TEAMS_CUH

#include "cluster.cuh"
#include "real.h"
#include "real_math.h"

namespace { /* each stamp has its own */

typedef struct row_job {
    int64_t rows, n, units; /* of a row: elements, units */
    const hk_real *x, *g;   /* g: NULL for functions of one tensor */
    hk_real *out;
    int64_t accumulate, log; /* flags */
    /* cross-entropy's */
    const int32_t *labels;
    double smoothing;
    hk_real by, own, others,
        unused;     /* slope: by·(p - own) at the label, by·(p - others) elsewhere */
    double *losses; /* of each row; NULL: the mean of all is written at once */
    hk_real *mean;
    hk__gpu_flag *flag;
} row_job;

struct row_wide {
    static constexpr int lanes = hk__vector<hk_real>::lanes;
    typedef hk__vector<hk_real> unit;
};
struct row_narrow {
    static constexpr int lanes = 1;
    typedef hk__vector<hk_real, 1> unit;
};

/* --- teams: the threads that share a row -------------------------------------------------------------------------- */

struct lane_team {
    int rank, size; /* a power of two up to a warp */
    template <class T, class Join> __device__ T join(T x, Join f, T) {
        return hk__warp_join(x, f, size);
    }
};

struct block_team {
    int rank, size;
    double *room; /* HK__WARP */
    template <class T, class Join> __device__ T join(T x, Join f, T none) {
        return hk__block_join(x, f, none, (T *)room);
    }
};

/* Blocks put what they have into the others' shared memory, and each joins all of it. Of two places one is written
   while the other may still be read. */
struct cluster_team {
    int rank, size;
    double *room; /* HK__WARP, and 2 · HK__CLUSTER_MOST */
    int turn;
    template <class T, class Join> __device__ T join(T x, Join f, T none) {
        T *const all = (T *)(room + HK__WARP + turn * HK__CLUSTER_MOST);
        turn ^= 1;
        x = hk__block_join(x, f, none, (T *)room);
        const unsigned blocks = hk__cluster_size();
        if (threadIdx.x < blocks) hk__cluster_put(all + hk__cluster_rank(), threadIdx.x, x);
        hk__cluster_barrier();
        x = all[0];
        for (unsigned i = 1; i < blocks; i++) x = f(x, all[i]);
        return x;
    }
};

/* --- a thread's share of a row -------------------------------------------------------------------------------------- */

/* Runs `body` for each unit k that the team has in the row; those behind its end too, if others have one. */
#define ROW_EACH(k, deep, team, units, body)                                                       \
    _Pragma("unroll") for (int k = 0; k < (deep); k++) {                                           \
        if (k * (team).size < (units)) body                                                        \
    }

template <class W, int deep, class Team>
static __device__ inline void row_load(const Team &team, const hk_real *row, int units,
                                       hk_real nothing, typename W::unit *x) {
#pragma unroll
    for (int k = 0; k < deep; k++) {
        const int u = team.rank + k * team.size;
#pragma unroll
        for (int i = 0; i < W::lanes; i++) x[k].v[i] = nothing;
        if (u < units) x[k] = ((const typename W::unit *)row)[u];
    }
}

template <class W, int deep, class Team>
static __device__ inline void row_store(const Team &team, hk_real *row, int units, bool accumulate,
                                        typename W::unit *x) {
    typedef typename W::unit unit;
    if (accumulate) {
#pragma unroll
        for (int k = 0; k < deep; k++) {
            const int u = team.rank + k * team.size;
            if (u >= units) continue;
            const unit old = ((unit *)row)[u];
#pragma unroll
            for (int i = 0; i < W::lanes; i++) x[k].v[i] = old.v[i] + x[k].v[i];
        }
    }
#pragma unroll
    for (int k = 0; k < deep; k++) {
        const int u = team.rank + k * team.size;
        if (u < units) ((unit *)row)[u] = x[k];
    }
}

/* Brings the units of a row to be read later into the second-level cache. */
template <class W, int deep, class Team>
static __device__ inline void row_ask(const Team &team, const hk_real *row, int units) {
    (void)team, (void)row, (void)units;
#ifdef __CUDA_ARCH__
#pragma unroll
    for (int k = 0; k < deep; k++) {
        const int u = team.rank + k * team.size;
        if (u < units)
            asm volatile("prefetch.global.L2 [%0];" ::"l"((const typename W::unit *)row + u));
    }
#endif
}

/* One row, from reading to writing. next: the row of this team's next turn, or past the last. */
template <class Op, class W, int deep, class Team>
static __device__ inline void row_turn(Team &team, const row_job &job, int64_t row, int64_t next,
                                       double *kept) {
    typename W::unit x[deep], g[Op::two ? deep : 1];
    const int all = (int)job.units,
              units = row < job.rows ? all : 0; /* lanes without a row help to join */
    row_load<W, deep>(team, job.x + row * job.n, units, Op::nothing(), x);
    if (Op::two) row_load<W, deep>(team, job.g + row * job.n, units, 0, g);
    if (next < job.rows) {
        row_ask<W, deep>(team, job.x + next * job.n, all);
        if (Op::two) row_ask<W, deep>(team, job.g + next * job.n, all);
    }
    Op::template run<W, deep>(team, job, row, units, x, g, kept);
    row_store<W, deep>(team, job.out + row * job.n, units, job.accumulate != 0, x);
}

/* --- kernels ----------------------------------------------------------------------------------------------------------- */

enum { ROW_LANE_THREADS = 512 }; /* at most, in blocks whose warps share nothing */

template <class Op, class W, int deep>
static __global__ void __launch_bounds__(ROW_LANE_THREADS) rows_in_lanes(row_job job, int lanes) {
    __shared__ double room[HK__WARP];
    const int in_warp = HK__WARP / lanes, warp = threadIdx.x / HK__WARP,
              lane = threadIdx.x % HK__WARP;
    const int64_t step = (int64_t)gridDim.x * (blockDim.x / HK__WARP) * in_warp;
    lane_team team = {lane % lanes, lanes};
    double kept = 0;
    for (int64_t first = ((int64_t)blockIdx.x * (blockDim.x / HK__WARP) + warp) * in_warp;
         first < job.rows; first += step)
        row_turn<Op, W, deep>(team, job, first + lane / lanes, job.rows, &kept);
    if (!job.mean) return;
    kept = hk__block_join(kept, hk__add(), 0.0, room);
    if (threadIdx.x == 0) *job.mean = (hk_real)(kept / (double)job.rows);
}

template <class Op, class W, int deep>
static __global__ void __launch_bounds__(1024) rows_in_blocks(row_job job) {
    __shared__ double room[HK__WARP];
    block_team team = {(int)threadIdx.x, (int)blockDim.x, room};
    double kept = 0;
    for (int64_t row = blockIdx.x; row < job.rows; row += gridDim.x)
        row_turn<Op, W, deep>(team, job, row, row + gridDim.x, &kept);
}

/* All shared memory of a block is asked for at the launch, and so it lies alike in all of them. */
template <class Op, class W, int deep>
static __global__ void __launch_bounds__(1024) rows_in_clusters(row_job job) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    HK_SHARED(double, room);
    const int blocks = (int)hk__cluster_size();
    cluster_team team = {(int)(hk__cluster_rank() * blockDim.x + threadIdx.x),
                         (int)blockDim.x * blocks, room, 0};
    double kept = 0;
    hk__cluster_barrier();
    for (int64_t row = blockIdx.x / blocks; row < job.rows; row += gridDim.x / blocks)
        row_turn<Op, W, deep>(team, job, row, row + gridDim.x / blocks, &kept);
#else
    (void)job;
#endif
}

/* --- which of them ------------------------------------------------------------------------------------------------------ */

/* Bytes of a row in a thread's registers: of units of 16, of single elements, and where rows are short. */
enum { ROW_HELD = 128, ROW_HELD_NARROW = 64, ROW_SHORT = 16 };

static inline int row_power(int64_t n) { /* of two, from n on */
    int p = 1;
    while (p < n) p *= 2;
    return p;
}
static inline int64_t row_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Op, class W, int deep>
static void row_run_lanes(hk_context *ctx, const row_job &job, int lanes) {
    const int warps = (int)row_ceil(job.rows, HK__WARP / lanes);
    void (*const kernel)(row_job, int) = rows_in_lanes<Op, W, deep>;
    if (job.mean) { /* one block does it all */
        const int most = ROW_LANE_THREADS / HK__WARP;
        HK_LAUNCH(ctx, 1, HK__WARP * (warps < most ? warps : most), 0, kernel, job, lanes);
        return;
    }
    HK_LAUNCH(ctx, hk__grid(warps, 8, 1), 8 * HK__WARP, 0, kernel, job, lanes);
}

/* Whether a cluster took it. Small blocks, so that while some wait for the rest of their cluster others work; and enough
   blocks for all multiprocessors. */
template <class Op, class W, int deep>
static bool row_run_clusters(hk_context *ctx, const row_job &job) {
    const int64_t places = row_ceil(job.units, deep);
    int blocks = 1;
    while (blocks < HK__CLUSTER_MOST &&
           (places > 512 * blocks ||
            (job.rows * blocks < ctx->gpu->multiprocessors && places > 128 * blocks)))
        blocks *= 2;
    const int threads = (int)row_ceil(row_ceil(places, blocks), HK__WARP) * HK__WARP;
    if (blocks == 1 || threads > 1024) return false;
    const size_t shared = sizeof(double) * (HK__WARP + 2 * HK__CLUSTER_MOST);
    void (*const kernel)(row_job) = rows_in_clusters<Op, W, deep>;
    const int64_t most = hk__clusters_at_once(ctx, blocks, threads, shared, kernel);
    if (most < 1) return false;
    HK_LAUNCH_CLUSTERS(ctx, blocks, (unsigned)((job.rows < most ? job.rows : most) * blocks),
                       threads, shared, kernel, job);
    return true;
}

/* Whether rows fit: if not, nothing was done. */
template <class Op, class W> static bool row_run_as(hk_context *ctx, const row_job &job) {
    constexpr int held = (W::lanes > 1 ? ROW_HELD : ROW_HELD_NARROW) / (Op::two ? 2 : 1);
    constexpr int size = W::lanes * (int)sizeof(hk_real);
    constexpr int deep = held / size, shallow = ROW_SHORT / size;
    if (job.units <= 8 * shallow) {
        row_run_lanes<Op, W, shallow>(ctx, job, row_power(row_ceil(job.units, shallow)));
        return true;
    }
    if (job.units <= HK__WARP * deep) {
        const int lanes = row_power(row_ceil(job.units, deep));
        row_run_lanes<Op, W, deep>(ctx, job, lanes < 8 ? 8 : lanes);
        return true;
    }
    if (hk__clusters(ctx) && row_run_clusters<Op, W, deep>(ctx, job)) return true;
    const int threads = (int)row_ceil(row_ceil(job.units, deep), HK__WARP) * HK__WARP;
    if (job.units > 1024 * deep) return false;
    const int64_t most = (int64_t)ctx->gpu->multiprocessors *
                         (1024 / threads); /* 64 registers each: these fit at once */
    void (*const kernel)(row_job) = rows_in_blocks<Op, W, deep>;
    HK_LAUNCH(ctx, (unsigned)(job.rows < most ? job.rows : most), threads, 0, kernel, job);
    return true;
}

static inline bool row_is_wide(const row_job *job) {
    const size_t size = sizeof(hk__vector<hk_real>);
    return job->n % row_wide::lanes == 0 && (uintptr_t)job->x % size == 0 &&
           (uintptr_t)job->g % size == 0 && (uintptr_t)job->out % size == 0;
}

template <class Op> static bool row_run(hk_context *ctx, row_job *job) {
    const bool wide = row_is_wide(job);
    job->units = wide ? job->n / row_wide::lanes : job->n;
    return wide ? row_run_as<Op, row_wide>(ctx, *job) : row_run_as<Op, row_narrow>(ctx, *job);
}

} /* namespace */

#endif
