/* row_passes.cuh: kernels for functions of rows that are too long to be held: one pass sums, one writes.
   SPDX-License-Identifier: MIT

   A row is cut into pieces, a block for each. What pieces sum is joined by every block that writes, in the same way. A
   function is a struct Op: a `part`, what a thread, a piece or the row sums up to; begin and add, which make one; join,
   which gives all threads that of the block; write, which turns units into those of the result; finish, once a row. */
#ifndef HK_ROW_PASSES_CUH
#define HK_ROW_PASSES_CUH

#include "row_teams.cuh"

namespace {

enum {
    PASS_THREADS = 512,
    PASS_DEEP = 4 /* units in flight */,
    PASS_MOST = PASS_THREADS /* pieces of a row */
};

typedef struct row_piece {
    int64_t row, start, end, own; /* own: the piece's number in its row */
} row_piece;

static __device__ inline row_piece row_piece_of(const row_job &job, int64_t pieces) {
    const int64_t length = (job.units + pieces - 1) / pieces;
    row_piece p;
    p.row = blockIdx.x / pieces;
    p.own = blockIdx.x - p.row * pieces;
    p.start = p.own * length;
    p.end = p.start + length < job.units ? p.start + length : job.units;
    return p;
}

/* Runs body(x, g, u) with PASS_DEEP units read before. */
template <class Op, class W, class Body>
static __device__ inline void row_walk(const row_job &job, const row_piece &piece, Body body) {
    typedef typename W::unit unit;
    const unit *const x = (const unit *)(job.x + piece.row * job.n);
    const unit *const g = Op::two ? (const unit *)(job.g + piece.row * job.n) : NULL;
    for (int64_t first = piece.start + threadIdx.x; first < piece.end;
         first += PASS_THREADS * PASS_DEEP) {
        unit a[PASS_DEEP], b[PASS_DEEP];
#pragma unroll
        for (int k = 0; k < PASS_DEEP; k++) {
            const int64_t u = first + k * PASS_THREADS;
            if (u >= piece.end) continue;
            a[k] = x[u];
            if (Op::two) b[k] = g[u];
        }
#pragma unroll
        for (int k = 0; k < PASS_DEEP; k++) {
            const int64_t u = first + k * PASS_THREADS;
            if (u < piece.end) body(a[k], b[k], u);
        }
    }
}

template <class Op, class W>
static __global__ void __launch_bounds__(PASS_THREADS)
    row_pass_sum(row_job job, int64_t pieces, typename Op::part *parts) {
    __shared__ double room[HK__WARP];
    block_team team = {(int)threadIdx.x, (int)blockDim.x, room};
    typedef typename W::unit unit;
    typename Op::part part = Op::begin();
    row_walk<Op, W>(job, row_piece_of(job, pieces), [&](const unit &x, const unit &g, int64_t) {
        Op::template add<W>(job, &part, x, g);
    });
    part = Op::join(team, part);
    if (threadIdx.x == 0) parts[blockIdx.x] = part;
}

template <class Op, class W>
static __global__ void __launch_bounds__(PASS_THREADS)
    row_pass_write(row_job job, int64_t pieces, const typename Op::part *parts) {
    __shared__ double room[HK__WARP];
    block_team team = {(int)threadIdx.x, (int)blockDim.x, room};
    typedef typename W::unit unit;
    const row_piece piece = row_piece_of(job, pieces);
    typename Op::part part = Op::begin();
    if (threadIdx.x < pieces) part = parts[piece.row * pieces + threadIdx.x];
    part = Op::join(team, part);
    unit *const out = (unit *)(job.out + piece.row * job.n);
    row_walk<Op, W>(job, piece, [&](unit &x, const unit &g, int64_t u) {
        Op::template write<W>(job, part, piece.row, u, &x, g);
        if (job.accumulate) {
            const unit old = out[u];
            for (int i = 0; i < W::lanes; i++) x.v[i] = old.v[i] + x.v[i];
        }
        out[u] = x;
    });
    if (piece.own == 0 && threadIdx.x == 0) Op::finish(job, piece.row, part);
}

template <class Op, class W> static void row_pass_as(hk_context *ctx, const row_job &job) {
    const int64_t wanted = row_ceil(4 * (int64_t)ctx->gpu->multiprocessors, job.rows);
    const int64_t useful = row_ceil(job.units, PASS_THREADS * PASS_DEEP);
    int64_t pieces = wanted < useful ? wanted : useful;
    if (pieces > PASS_MOST) pieces = PASS_MOST;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    typename Op::part *parts = (typename Op::part *)hk__gpu_scratch(
        ctx, sizeof(typename Op::part) * (size_t)(job.rows * pieces));
    if (!parts) return;
    void (*const sum)(row_job, int64_t, typename Op::part *) = row_pass_sum<Op, W>;
    void (*const write)(row_job, int64_t, const typename Op::part *) = row_pass_write<Op, W>;
    HK_LAUNCH(ctx, (unsigned)(job.rows * pieces), PASS_THREADS, 0, sum, job, pieces, parts);
    HK_LAUNCH(ctx, (unsigned)(job.rows * pieces), PASS_THREADS, 0, write, job, pieces, parts);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

/* job as row_run left it. */
template <class Op> static void row_pass_twice(hk_context *ctx, const row_job &job) {
    if (job.units < job.n)
        row_pass_as<Op, row_wide>(ctx, job);
    else
        row_pass_as<Op, row_narrow>(ctx, job);
}

} /* namespace */

#endif
