/* pool_kernels.cu: pooling of image planes on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   Gradients are gathered: each element of the image looks at the windows that cover it, in their order. So results are
   the CPU's to the bit, but for averages over a plane, or over 2 x 2 of one of odd size: there the order of sums is
   another. */
#include "pool_kernels.h"

#include <string.h>

#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum { THREADS = 256, PLANE_OF_A_WARP = 1024 };

struct pool_job {
    hk__pool2d_axis rows, cols;
    int64_t planes;
    hk_real *image, *pooled;
    void *winner;
    int32_t wide, accumulate;
};

/* n things in one launch at most, so that they are counted in 32 bits. */
static const int64_t most_at_once = (int64_t)1 << 30;

/* The job of `most` planes of `all`, or what is left of them, from the first on. */
static void some_planes(const pool_job *all, int64_t first, int64_t most, pool_job *job) {
    const int64_t windows = first * all->rows.out * all->cols.out;
    memcpy(job, all, sizeof *job);
    job->planes = all->planes - first < most ? all->planes - first : most;
    job->image += first * all->rows.in * all->cols.in;
    job->pooled += windows;
    if (job->winner) job->winner = (char *)job->winner + windows * (job->wide ? 4 : 1);
}

static __device__ inline unsigned thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

static __device__ inline hk_real minus_infinity() {
#ifdef HK_STAMP_f64
    return __longlong_as_double((long long)0xfff0000000000000u);
#else
    return __int_as_float((int)0xff800000u);
#endif
}

/* --- windows of 2 x 2, one after the other; rows and columns are even ------------------------------------------------- */

/* `lanes` elements side by side, of which `lanes` / 2 are a row of windows. */
template <int lanes> using row_of = hk__vector<hk_real, lanes>;
template <int lanes> using result_of = hk__vector<hk_real, lanes / 2>;
template <int lanes> using places_of = hk__vector<uint8_t, lanes / 2>;

/* Whether a, the best so far, stays it when b comes. */
static __device__ inline bool stays(hk_real a, hk_real b) { return !(b > a) && b == b; }

/* Groups of windows: where group i's upper row is, in row_of's, and from there to the lower one. */
template <int lanes> struct place_of_group {
    int64_t above, below;
    __device__ place_of_group(unsigned i, unsigned across)
        : above((int64_t)(i / across) * 2 * across + i % across), below(above + across) {}
};

template <int lanes, bool largest>
static __global__ void pool_2x2(const pool_job job, unsigned groups) {
    const unsigned i = thread_number();
    if (i >= groups) return;
    const place_of_group<lanes> at(i, (unsigned)job.cols.in / lanes);
    const row_of<lanes> *image = (const row_of<lanes> *)job.image;
    const row_of<lanes> above = image[at.above], below = image[at.below];
    result_of<lanes> y;
    places_of<lanes> winner;
#pragma unroll
    for (int k = 0; k < lanes / 2; k++) {
        const hk_real a = above.v[2 * k], b = above.v[2 * k + 1], c = below.v[2 * k],
                      d = below.v[2 * k + 1];
        if (largest) {
            const bool left_above = stays(a, b), left_below = stays(c, d);
            const hk_real p = left_above ? a : b, q = left_below ? c : d;
            const bool upper = stays(p, q);
            y.v[k] = upper ? p : q;
            winner.v[k] = (uint8_t)((upper ? 0 : 2) + ((upper ? left_above : left_below) ? 0 : 1));
        } else {
            y.v[k] = ((a + c) + (b + d)) * HK_REAL(0.25);
        }
    }
    ((result_of<lanes> *)job.pooled)[i] = y;
    if (largest && job.winner) ((places_of<lanes> *)job.winner)[i] = winner;
}

template <int lanes, bool largest>
static __global__ void spread_2x2(const pool_job job, unsigned groups) {
    const unsigned i = thread_number();
    if (i >= groups) return;
    const place_of_group<lanes> at(i, (unsigned)job.cols.in / lanes);
    row_of<lanes> *image = (row_of<lanes> *)job.image;
    const result_of<lanes> g = ((const result_of<lanes> *)job.pooled)[i];
    places_of<lanes> winner = {};
    if (largest) winner = ((const places_of<lanes> *)job.winner)[i];
    row_of<lanes> above, below;
#pragma unroll
    for (int k = 0; k < lanes; k++) {
        const hk_real part = g.v[k / 2] * HK_REAL(0.25);
        above.v[k] = largest ? winner.v[k / 2] == k % 2 ? g.v[k / 2] : 0 : part;
        below.v[k] = largest ? winner.v[k / 2] == k % 2 + 2 ? g.v[k / 2] : 0 : part;
    }
    image[at.above] = above;
    image[at.below] = below;
}

template <int lanes>
static void launch_2x2(hk_context *ctx, hk__pool2d_kind kind, const pool_job *all) {
    const int64_t plane = all->rows.out * all->cols.out, groups_of_plane = plane / (lanes / 2);
    const int64_t most = most_at_once / groups_of_plane < 1 ? 1 : most_at_once / groups_of_plane;
    for (int64_t first = 0; first < all->planes; first += most) {
        pool_job job;
        some_planes(all, first, most, &job);
        const unsigned groups = (unsigned)(job.planes * groups_of_plane),
                       grid = hk__grid(groups, THREADS, 1);
        if (kind == HK__POOL2D_MAX_2X2)
            HK_LAUNCH(ctx, grid, THREADS, 0, (pool_2x2<lanes, true>), job, groups);
        else if (kind == HK__POOL2D_AVG_2X2)
            HK_LAUNCH(ctx, grid, THREADS, 0, (pool_2x2<lanes, false>), job, groups);
        else if (kind == HK__POOL2D_MAX_2X2_BACKWARD)
            HK_LAUNCH(ctx, grid, THREADS, 0, (spread_2x2<lanes, true>), job, groups);
        else
            HK_LAUNCH(ctx, grid, THREADS, 0, (spread_2x2<lanes, false>), job, groups);
    }
}

/* As many lanes as fit into rows and places, 16 bytes at most; false: rows or columns are odd. */
static bool run_2x2(hk_context *ctx, hk__pool2d_kind kind, const pool_job *job) {
    if (job->rows.in % 2 != 0 || job->cols.in % 2 != 0) return false;
    const bool aligned = ((uintptr_t)job->image | (uintptr_t)job->pooled) % 16 == 0 &&
                         (uintptr_t)job->winner % 2 == 0;
    if (!aligned) return false;
    if (sizeof(hk_real) == 4 && job->cols.in % 4 == 0)
        launch_2x2<16 / sizeof(hk_real)>(ctx, kind, job);
    else
        launch_2x2<2>(ctx, kind, job);
    return true;
}

/* --- any windows ---------------------------------------------------------------------------------------------------------- */

/* Number n among planes of `rows` x `columns`. */
struct spot {
    int64_t plane, row, column;
    __device__ spot(int64_t n, int64_t rows, int64_t columns) {
        const int64_t line = hk__pool2d_quotient(n, columns);
        plane = hk__pool2d_quotient(line, rows);
        row = line - plane * rows;
        column = n - line * columns;
    }
};

/* Where in the plane the winner of window (i, j) stands; -1 if it has none. */
static __device__ inline int64_t winner_of(const pool_job &job, int64_t window, int64_t i,
                                           int64_t j) {
    if (job.wide) return ((const int32_t *)job.winner)[window];
    const hk__pool2d_span r = hk__pool2d_span_of(&job.rows, i),
                          c = hk__pool2d_span_of(&job.cols, j);
    const int place = ((const uint8_t *)job.winner)[window], width = (int)c.places;
    const int64_t u = place / width - r.skipped, v = place % width - c.skipped;
    if (u < 0 || v < 0) return -1; /* in the padding */
    return (r.first + u * job.rows.dilation) * job.cols.in + c.first + v * job.cols.dilation;
}

/* One window to a thread. */
template <int kind> static __global__ void pool_any(const pool_job job, int64_t windows) {
    const int64_t window = thread_number();
    if (window >= windows) return;
    const spot at_window(window, job.rows.out, job.cols.out);
    const int64_t i = at_window.row, j = at_window.column;
    const hk_real *x = job.image + at_window.plane * job.rows.in * job.cols.in;
    if (kind == HK__POOL2D_PICK) {
        const int64_t at = winner_of(job, window, i, j);
        job.pooled[window] = at < 0 ? 0 : x[at];
        return;
    }
    const hk__pool2d_span r = hk__pool2d_span_of(&job.rows, i),
                          c = hk__pool2d_span_of(&job.cols, j);
    const int64_t down = job.rows.dilation * job.cols.in, right = job.cols.dilation;
    hk_real best = kind == HK__POOL2D_MAX ? minus_infinity() : (hk_real)0;
    int64_t best_at = -1, place = 0;
    for (int64_t u = 0; u < r.count; u++)
        for (int64_t v = 0; v < c.count; v++) {
            const int64_t at = r.first * job.cols.in + c.first + u * down + v * right;
            const hk_real value = x[at];
            if (kind == HK__POOL2D_AVG) {
                best += value;
            } else if (value > best || value != value || best_at < 0) {
                best = value;
                best_at = at;
                place = (r.skipped + u) * c.places + c.skipped + v;
            }
        }
    job.pooled[window] = kind == HK__POOL2D_AVG ? best / (hk_real)(r.divisor * c.divisor) : best;
    if (kind == HK__POOL2D_AVG || !job.winner) return;
    if (job.wide)
        ((int32_t *)job.winner)[window] = (int32_t)best_at;
    else
        ((uint8_t *)job.winner)[window] = (uint8_t)place;
}

/* The windows that may cover element `at` of an axis: first to last. */
struct covering {
    int64_t first, last;
    __device__ covering(const hk__pool2d_axis &a, int64_t at) {
        if (a.kernel == 0) {
            first = hk__pool2d_quotient(at * a.out, a.in);
            last = hk__pool2d_quotient((at + 1) * a.out - 1, a.in);
            return;
        }
        const int64_t end = at + a.padding, reach = (a.kernel - 1) * a.dilation;
        first = end <= reach ? 0 : hk__pool2d_quotient(end - reach + a.stride - 1, a.stride);
        last = hk__pool2d_quotient(end, a.stride);
        if (last >= a.out) last = a.out - 1;
    }
};
/* Which of its rows it is in window i; -1 if it lies between them. */
static __device__ inline int64_t place_in(const hk__pool2d_axis &a, int64_t at, int64_t i) {
    if (a.kernel == 0) return at - hk__pool2d_quotient(i * a.in, a.out);
    const int64_t from_start = at + a.padding - i * a.stride,
                  place = hk__pool2d_quotient(from_start, a.dilation);
    return place * a.dilation == from_start ? place : -1;
}

/* One element of the image to a thread. */
template <bool largest> static __global__ void spread_any(const pool_job job, int64_t elements) {
    const int64_t element = thread_number();
    if (element >= elements) return;
    const spot at(element, job.rows.in, job.cols.in);
    const int64_t y = at.row, x = at.column, first_window = at.plane * job.rows.out * job.cols.out;
    const covering down(job.rows, y), right(job.cols, x);
    hk_real sum = job.accumulate ? job.image[element] : (hk_real)0;
    for (int64_t i = down.first; i <= down.last; i++) {
        const int64_t u = place_in(job.rows, y, i);
        if (u < 0) continue;
        for (int64_t j = right.first; j <= right.last; j++) {
            const int64_t v = place_in(job.cols, x, j),
                          window = first_window + i * job.cols.out + j;
            if (v < 0) continue;
            const hk__pool2d_span c = hk__pool2d_span_of(&job.cols, j);
            if (!largest) {
                const hk__pool2d_span r = hk__pool2d_span_of(&job.rows, i);
                sum += job.pooled[window] / (hk_real)(r.divisor * c.divisor);
            } else if (job.wide ? ((const int32_t *)job.winner)[window] == y * job.cols.in + x
                                : ((const uint8_t *)job.winner)[window] == u * c.places + v) {
                sum += job.pooled[window];
            }
        }
    }
    job.image[element] = sum;
}

static void run_any(hk_context *ctx, hk__pool2d_kind kind, const pool_job *all) {
    const int64_t in = all->rows.in * all->cols.in, out = all->rows.out * all->cols.out,
                  larger = in > out ? in : out;
    const int64_t most = most_at_once / larger < 1 ? 1 : most_at_once / larger;
    for (int64_t first = 0; first < all->planes; first += most) {
        pool_job job;
        some_planes(all, first, most, &job);
        const int64_t windows = job.planes * out, elements = job.planes * in;
        const unsigned grid = hk__grid(windows, THREADS, 1),
                       back_grid = hk__grid(elements, THREADS, 1);
        if (kind == HK__POOL2D_MAX || kind == HK__POOL2D_MAX_2X2)
            HK_LAUNCH(ctx, grid, THREADS, 0, pool_any<HK__POOL2D_MAX>, job, windows);
        else if (kind == HK__POOL2D_PICK)
            HK_LAUNCH(ctx, grid, THREADS, 0, pool_any<HK__POOL2D_PICK>, job, windows);
        else if (kind == HK__POOL2D_AVG || kind == HK__POOL2D_AVG_2X2)
            HK_LAUNCH(ctx, grid, THREADS, 0, pool_any<HK__POOL2D_AVG>, job, windows);
        else if (kind == HK__POOL2D_MAX_BACKWARD || kind == HK__POOL2D_MAX_2X2_BACKWARD)
            HK_LAUNCH(ctx, back_grid, THREADS, 0, spread_any<true>, job, elements);
        else
            HK_LAUNCH(ctx, back_grid, THREADS, 0, spread_any<false>, job, elements);
    }
}

/* --- the mean of a plane -------------------------------------------------------------------------------------------------- */

/* A warp for each plane, or a block. */
static __global__ void mean_of_warps(const pool_job job, int64_t n) {
    const int64_t plane = (int64_t)blockIdx.x * (THREADS / HK__WARP) + threadIdx.x / HK__WARP;
    if (plane >= job.planes) return;
    const hk_real *x = job.image + plane * n;
    hk_real sum = 0;
#pragma unroll 4
    for (int64_t i = threadIdx.x % HK__WARP; i < n; i += HK__WARP) sum += x[i];
    sum = hk__warp_join(sum, hk__add());
    if (threadIdx.x % HK__WARP == 0) job.pooled[plane] = sum / (hk_real)n;
}

static __global__ void mean_of_blocks(const pool_job job, int64_t n) {
    __shared__ hk_real room[HK__WARP];
    for (int64_t plane = blockIdx.x; plane < job.planes; plane += gridDim.x) {
        const hk_real *x = job.image + plane * n;
        hk_real sum = 0;
#pragma unroll 8
        for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += x[i];
        sum = hk__block_join(sum, hk__add(), (hk_real)0, room);
        if (threadIdx.x == 0) job.pooled[plane] = sum / (hk_real)n;
    }
}

/* gx (+)= gy/n, `lanes` elements of a plane to a thread. */
template <int lanes>
static __global__ void spread_mean(const pool_job job, int64_t n, int64_t groups) {
    typedef hk__vector<hk_real, lanes> group;
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= groups) return;
    const hk_real g = job.pooled[hk__pool2d_quotient(i * lanes, n)] / (hk_real)n;
    group *to = (group *)job.image + i, out = {};
    if (job.accumulate) out = *to;
#pragma unroll
    for (int k = 0; k < lanes; k++) out.v[k] = job.accumulate ? out.v[k] + g : g;
    *to = out;
}

static void run_mean(hk_context *ctx, hk__pool2d_kind kind, const pool_job *job) {
    const int64_t n = job->rows.in * job->cols.in, all = job->planes * n;
    const int lanes = 16 / sizeof(hk_real);
    if (kind == HK__POOL2D_MEAN && n <= PLANE_OF_A_WARP)
        HK_LAUNCH(ctx, hk__grid(job->planes, THREADS / HK__WARP, 1), THREADS, 0, mean_of_warps,
                  *job, n);
    else if (kind == HK__POOL2D_MEAN)
        HK_LAUNCH(ctx, hk__grid(job->planes, 1, 1), THREADS, 0, mean_of_blocks, *job, n);
    else if (n % lanes == 0 && (uintptr_t)job->image % 16 == 0)
        HK_LAUNCH(ctx, hk__grid(all, THREADS, lanes), THREADS, 0, spread_mean<16 / sizeof(hk_real)>,
                  *job, n, all / lanes);
    else
        HK_LAUNCH(ctx, hk__grid(all, THREADS, 1), THREADS, 0, spread_mean<1>, *job, n, all);
}

static void run(hk_context *ctx, hk__pool2d_kind kind, const hk__pool2d_axis *rows,
                const hk__pool2d_axis *cols, bool wide, int64_t planes, void *image, void *pooled,
                void *winner, bool accumulate) {
    if (planes == 0) return;
    pool_job job;
    memset(&job, 0, sizeof job);
    job.rows = *rows;
    job.cols = *cols;
    job.planes = planes;
    job.image = (hk_real *)image;
    job.pooled = (hk_real *)pooled;
    job.winner = winner;
    job.wide = wide;
    job.accumulate = accumulate;
    if (kind == HK__POOL2D_MEAN || kind == HK__POOL2D_MEAN_BACKWARD)
        run_mean(ctx, kind, &job);
    else if (kind >= HK__POOL2D_MAX || !run_2x2(ctx, kind, &job))
        run_any(ctx, kind, &job);
}

} /* namespace */

const hk__pool2d_gpu HK_STAMPED(hk__pool2d_gpu) = {run};
