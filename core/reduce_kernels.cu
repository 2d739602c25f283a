/* reduce_kernels.cu: sums, maxima, squares, the place of a maximum, on a GPU. Stamped (stamp.h).
   SPDX-License-Identifier: MIT

   As on the CPU axes fall into kept and reduced ones, and the axis whose elements lie side by side decides. If it is
   reduced, a team of 8, 32 or 256 threads walks along the elements of one output ("rows"). If it is kept, each thread
   takes some neighbouring outputs and walks down ("columns"). Where that leaves most of the chip idle, outputs are
   cut into parts, whose results a second launch joins. A thread sums up to 16 steps in the element type, the rest is
   added in double, and the order is one of the shape alone. */
#include "reduce_kernels.h"

#include <string.h>

#include "launch.cuh"
#include "real.h"
#include "reduce_axes.cuh"

namespace { /* each stamp has its own */

enum {
    THREADS = 256,
    LANES = hk__vector<hk_real>::lanes,
    FLIGHT = 4,  /* reads under way in a thread */
    STEPS = 16,  /* until a thread goes over to double */
    MANY = 256,  /* blocks from which no output is cut */
    WANTED = 512 /* blocks that cutting is to give */
};

enum kind { SUM, MAX, SQUARES };

struct job {
    axes_list kept, reduced;
    const void *x;
    void *out;
    double *partial; /* if not NULL: results go here, number `part` of `parts` for each output */
    double scale;
    int64_t parts, part; /* steps of a part */
    int32_t team, accumulate;
};

/* --- what is done with elements ------------------------------------------------------------------------------------- */

template <int KIND, class T> static __device__ inline T start() {
    return KIND == MAX ? (T)-INFINITY : (T)0;
}
template <int KIND, class T> static __device__ inline T take(T a, T v) {
    return KIND == MAX ? hk__larger()(a, v) : KIND == SQUARES ? a + v * v : a + v;
}
template <int KIND> static __device__ inline double join(double a, double b) {
    return KIND == MAX ? hk__larger()(a, b) : a + b;
}

static __device__ inline void put(const job &j, int64_t output, int64_t at, int64_t part,
                                  double value) {
    if (j.partial) {
        j.partial[output * j.parts + part] = value;
        return;
    }
    hk_real *y = (hk_real *)j.out + at;
    const hk_real v = (hk_real)(value * j.scale);
    *y = j.accumulate ? *y + v : v;
}

/* Walks from `step` to `end` by `by`, N elements to a step, which at(step) finds; adds to total[]. */
template <int KIND, class T, int N, class At>
static __device__ inline void walk(int64_t step, int64_t end, int64_t by, At at, double *total) {
    typedef hk__vector<T, N> lanes;
    while (step < end) {
        T sum[N];
#pragma unroll
        for (int l = 0; l < N; l++) sum[l] = start<KIND, T>();
        for (int done = 0; done < STEPS && step < end; done += FLIGHT, step += FLIGHT * by) {
            lanes v[FLIGHT];
            if (step + (FLIGHT - 1) * by < end) {
#pragma unroll
                for (int f = 0; f < FLIGHT; f++) v[f] = *(const lanes *)at(step + f * by);
#pragma unroll
                for (int f = 0; f < FLIGHT; f++)
#pragma unroll
                    for (int l = 0; l < N; l++) sum[l] = take<KIND>(sum[l], v[f].v[l]);
            } else {
                for (int64_t s = step; s < end; s += by) {
                    v[0] = *(const lanes *)at(s);
#pragma unroll
                    for (int l = 0; l < N; l++) sum[l] = take<KIND>(sum[l], v[0].v[l]);
                }
            }
        }
#pragma unroll
        for (int l = 0; l < N; l++) total[l] = join<KIND>(total[l], (double)sum[l]);
    }
}

/* The same where the reduced axes are in the way; one axis needs no divisions. */
template <int KIND, class T, int N>
static __device__ inline void walk_reduced(const axes_list &l, const T *x, int64_t elements,
                                           int64_t step, int64_t end, int64_t by, double *total) {
    const int64_t stride = l.rank > 0 ? l.x[0] * elements : 0;
    if (l.rank <= 1)
        walk<KIND, T, N>(
            step, end, by, [=](int64_t s) { return x + s * stride; }, total);
    else
        walk<KIND, T, N>(
            step, end, by, [&](int64_t s) { return x + axes_place(l, l.x, s * elements); }, total);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* The result of a team; every thread of the block takes part. */
template <int KIND> static __device__ inline double join_team(double x, int team) {
    __shared__ double room[HK__WARP];
    const auto joined = [](double a, double b) { return join<KIND>(a, b); };
    if (team > HK__WARP) return hk__block_join(x, joined, start<KIND, double>(), room);
    return hk__warp_join(x, joined, team);
}

/* N elements at once lie side by side, and so do the teams' outputs in a block. */
template <int KIND, class T, int N>
static __global__ void __launch_bounds__(THREADS) rows(const job j) {
    const int t = threadIdx.x % j.team;
    const int64_t output = blockIdx.x * (int64_t)(THREADS / j.team) + threadIdx.x / j.team,
                  part = blockIdx.y;
    const int64_t steps = j.reduced.count / N, first = part * j.part;
    const int64_t end = output >= j.kept.count   ? 0
                        : first + j.part < steps ? first + j.part
                                                 : steps;
    const T *x = (const T *)j.x + (end > 0 ? axes_place(j.kept, j.kept.x, output) : 0);
    double total[N];
    for (int l = 0; l < N; l++) total[l] = start<KIND, double>();
    walk_reduced<KIND, T, N>(j.reduced, x, N, first + t, end, j.team, total);
    for (int l = 1; l < N; l++) total[0] = join<KIND>(total[0], total[l]);
    const double result = join_team<KIND>(total[0], j.team);
    if (t == 0 && end > 0)
        put(j, output, j.partial ? 0 : axes_place(j.kept, j.kept.out, output), part, result);
}

/* --- columns ------------------------------------------------------------------------------------------------------ */

/* Blocks of (across, down) threads; N outputs to a thread, along the last kept axis. */
template <int KIND, int N> static __global__ void __launch_bounds__(THREADS) columns(const job j) {
    __shared__ double room[THREADS * N];
    const axes_list &kept = j.kept;
    const int last = (int)kept.rank - 1;
    const int64_t units = kept.dim[last] / N, across = (units + blockDim.x - 1) / blockDim.x;
    const unsigned column = blockIdx.x % (unsigned)across, outer = blockIdx.x / (unsigned)across;
    const int64_t unit = (int64_t)column * blockDim.x + threadIdx.x;
    const int64_t output = outer * kept.dim[last] + unit * N, part = blockIdx.y,
                  first = part * j.part;
    const int64_t stop = first + j.part < j.reduced.count ? first + j.part : j.reduced.count;
    double total[N];
    for (int l = 0; l < N; l++) total[l] = start<KIND, double>();
    if (unit < units) {
        const hk_real *x = (const hk_real *)j.x + axes_place(kept, kept.x, output);
        walk_reduced<KIND, hk_real, N>(j.reduced, x, 1, first + threadIdx.y, stop, blockDim.y,
                                       total);
    }
    for (int l = 0; l < N; l++) room[(threadIdx.y * blockDim.x + threadIdx.x) * N + l] = total[l];
    __syncthreads();
    if (threadIdx.y != 0 || unit >= units) return;
    for (int l = 0; l < N; l++) {
        double sum = room[threadIdx.x * N + l];
        for (unsigned y = 1; y < blockDim.y; y++)
            sum = join<KIND>(sum, room[(y * blockDim.x + threadIdx.x) * N + l]);
        put(j, output + l, j.partial ? 0 : axes_place(kept, kept.out, output + l), part, sum);
    }
}

/* --- argmax -------------------------------------------------------------------------------------------------------- */

/* Whether (b, at b) comes before (a, at a): NaN before numbers, the larger, the earlier. */
static __device__ inline bool beats(hk_real b, int32_t at_b, hk_real a, int32_t at_a) {
    const bool nan_a = a != a, nan_b = b != b;
    if (nan_a || nan_b) return nan_b && (!nan_a || at_b < at_a);
    return b > a || (b == a && at_b < at_a);
}

static __global__ void __launch_bounds__(THREADS) argmax(const job j) {
    const int t = threadIdx.x % j.team;
    const int64_t output = blockIdx.x * (int64_t)(THREADS / j.team) + threadIdx.x / j.team;
    const bool live = output < j.kept.count;
    const int64_t n = live ? j.reduced.count : 0, stride = j.reduced.rank > 0 ? j.reduced.x[0] : 0;
    const hk_real *x = (const hk_real *)j.x + (live ? axes_place(j.kept, j.kept.x, output) : 0);
    hk_real most = -INFINITY;
    int32_t best = INT32_MAX;
    for (int64_t i = t; i < n; i += j.team) {
        const hk_real v = x[i * stride];
        if (beats(v, (int32_t)i, most, best)) most = v, best = (int32_t)i;
    }
    for (int away = j.team / 2; away > 0; away /= 2) {
        const hk_real v = __shfl_xor_sync(0xffffffffu, most, away);
        const int32_t i = __shfl_xor_sync(0xffffffffu, best, away);
        if (beats(v, i, most, best)) most = v, best = i;
    }
    if (live && t == 0) ((int32_t *)j.out)[axes_place(j.kept, j.kept.out, output)] = best;
}

/* --- the first that is not finite ------------------------------------------------------------------------------------ */

struct earlier {
    __device__ int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

/* The lowest number of such an element among those that the block looks at. */
static __global__ void __launch_bounds__(THREADS)
    nonfinite(const axes_list all, const hk_real *x, int64_t *found) {
    __shared__ int64_t room[HK__WARP];
    int64_t first = INT64_MAX;
    const int64_t by = (int64_t)gridDim.x * THREADS;
    for (int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x;
         i < all.count && first == INT64_MAX; i += by)
        if (!isfinite(x[axes_place(all, all.x, i)])) first = i;
    first = hk__block_join(first, earlier(), INT64_MAX, room);
    if (threadIdx.x == 0) found[blockIdx.x] = first;
}

/* --- drivers --------------------------------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static bool divisible(const axes_list *l, int64_t axes) {
    for (int i = 0; i < axes; i++)
        if (l->x[i] % LANES != 0) return false;
    return true;
}

/* Whether vectors along the last axis of `inner` can be read: it lies side by side, and all else in whole vectors. */
static bool whole(const job *j, const axes_list *inner, const axes_list *other) {
    const int64_t last = inner->rank - 1;
    return last >= 0 && inner->x[last] == 1 && inner->dim[last] % LANES == 0 &&
           (uintptr_t)j->x % 16 == 0 && divisible(inner, last) && divisible(other, other->rank);
}

/* Joins the parts of each output that lie in scratch. */
static void join_parts(hk_context *ctx, int kind, const job *cut, double *results) {
    job j = *cut;
    j.x = cut->partial;
    j.partial = results;
    j.parts = 1;
    int64_t step = cut->parts;
    for (int a = (int)j.kept.rank - 1; a >= 0; a--) {
        j.kept.x[a] = step;
        step *= j.kept.dim[a];
    }
    memset(&j.reduced, 0, sizeof j.reduced);
    j.reduced.count = j.reduced.dim[0] = j.part = cut->parts;
    j.reduced.rank = j.reduced.x[0] = 1;
    j.team = cut->parts <= 16 ? 8 : 32;
    const unsigned blocks = hk__grid(j.kept.count, THREADS / j.team, 1);
    if (kind == MAX)
        HK_LAUNCH(ctx, blocks, THREADS, 0, (rows<MAX, double, 1>), j);
    else
        HK_LAUNCH(ctx, blocks, THREADS, 0, (rows<SUM, double, 1>), j);
}

template <int KIND> static void launch_rows(hk_context *ctx, const job *j, bool vectors) {
    const dim3 grid((unsigned)ceil_div(j->kept.count, THREADS / j->team), (unsigned)j->parts);
    if (vectors)
        HK_LAUNCH(ctx, grid, THREADS, 0, (rows<KIND, hk_real, LANES>), *j);
    else
        HK_LAUNCH(ctx, grid, THREADS, 0, (rows<KIND, hk_real, 1>), *j);
}

template <int KIND>
static void launch_columns(hk_context *ctx, const job *j, bool vectors, dim3 grid, dim3 block) {
    if (vectors)
        HK_LAUNCH(ctx, grid, block, 0, (columns<KIND, LANES>), *j);
    else
        HK_LAUNCH(ctx, grid, block, 0, (columns<KIND, 1>), *j);
}

/* Cuts `steps` of each output into parts of some per thread, if `blocks` alone are few. */
static void cut(job *j, int64_t blocks, int64_t steps, int64_t threads) {
    const bool few = blocks < MANY && steps > 2 * STEPS * threads;
    j->parts = few ? least(ceil_div(steps, STEPS / 2 * threads), ceil_div(WANTED, blocks)) : 1;
    j->part = ceil_div(steps, j->parts);
    j->parts = ceil_div(steps, j->part);
}

/* Runs j; its results go to `results` in double, or to the output. False if out of memory. */
static bool run(hk_context *ctx, int kind, job *j, double *results) {
    const int64_t kept_last =
        j->kept.rank > 0 ? axes_distance(j->kept.x[j->kept.rank - 1]) : INT64_MAX;
    const int64_t reduced_last =
        j->reduced.rank > 0 ? axes_distance(j->reduced.x[j->reduced.rank - 1]) : INT64_MAX;
    const bool down = kept_last < reduced_last && j->reduced.count > 1;
    const bool vectors = down ? whole(j, &j->kept, &j->reduced) : whole(j, &j->reduced, &j->kept);
    dim3 grid, block;
    if (down) {
        const int64_t row = j->kept.dim[j->kept.rank - 1], units = vectors ? row / LANES : row;
        unsigned across = 1;
        while (across < HK__WARP && across < units) across *= 2;
        block = dim3(across, THREADS / across);
        const int64_t blocks = j->kept.count / row * ceil_div(units, across);
        cut(j, blocks, j->reduced.count, block.y);
        grid = dim3((unsigned)blocks, (unsigned)j->parts);
    } else {
        const int64_t steps = vectors ? j->reduced.count / LANES : j->reduced.count;
        j->team = steps <= 32                          ? 8
                  : steps > 1024 || j->kept.count < 32 ? (int)THREADS
                                                       : (int)HK__WARP;
        cut(j, j->team == THREADS ? j->kept.count : (int64_t)MANY, steps, THREADS);
    }
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    j->partial = results;
    if (j->parts > 1) {
        j->partial =
            (double *)hk__gpu_scratch(ctx, (size_t)(j->kept.count * j->parts) * sizeof(double));
        if (!j->partial) return false;
    }
    if (down)
        kind == MAX ? launch_columns<MAX>(ctx, j, vectors, grid, block)
                    : launch_columns<SUM>(ctx, j, vectors, grid, block);
    else
        kind == MAX       ? launch_rows<MAX>(ctx, j, vectors)
        : kind == SQUARES ? launch_rows<SQUARES>(ctx, j, vectors)
                          : launch_rows<SUM>(ctx, j, vectors);
    if (j->parts > 1) join_parts(ctx, kind, j, results);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
    return ctx->status == HK_OK;
}

static void launch_argmax(hk_context *ctx, job *j) {
    const bool side_by_side = j->reduced.rank > 0 && j->reduced.x[0] == 1;
    j->team = !side_by_side ? 1 : j->reduced.count <= 64 ? 8 : 32;
    HK_LAUNCH(ctx, hk__grid(j->kept.count, THREADS / j->team, 1), THREADS, 0, argmax, *j);
}

static bool reduce(hk_context *ctx, hk__reduction kind, hk_tensor *out, hk_tensor *x, unsigned axes,
                   double scale, bool accumulate) {
    job j;
    memset(&j, 0, sizeof j);
    j.x = x->data;
    j.out = out->data;
    j.scale = scale;
    j.accumulate = accumulate;
    j.kept.count = j.reduced.count = 1;
    for (int a = 0; a < x->shape.rank; a++)
        if (x->shape.dim[a] > 1)
            axes_push(axes >> a & 1 ? &j.reduced : &j.kept, x->shape.dim[a], x->stride[a],
                      axes >> a & 1 ? 0 : out->stride[a]);
    axes_collapse(&j.kept);
    if (kind == HK__ARGMAX) {
        launch_argmax(ctx, &j);
        return ctx->status == HK_OK;
    }
    for (int a = 0; a < j.reduced.rank; a++)
        j.reduced.out[a] = j.reduced.x[a]; /* they do not stand in the way */
    axes_collapse(&j.reduced);
    return run(ctx, kind == HK__MAX ? MAX : SUM, &j, NULL);
}

static void sum_squares(hk_context *ctx, const void *x, int64_t n, double *to) {
    job j;
    memset(&j, 0, sizeof j);
    j.x = x;
    j.kept.count = 1;
    j.reduced.count = j.reduced.dim[0] = n;
    j.reduced.rank = j.reduced.x[0] = 1;
    run(ctx, SQUARES, &j, to);
}

/* The host looks through what the blocks found. */
static int64_t first_nonfinite(hk_context *ctx, hk_tensor *x) {
    axes_list all;
    memset(&all, 0, sizeof all);
    all.count = hk_shape_count(x->shape);
    if (all.count == 0) return -1;
    all.rank = x->shape.rank;
    memcpy(all.dim, x->shape.dim, sizeof *all.dim * (size_t)x->shape.rank);
    memcpy(all.x, x->stride, sizeof *all.x * (size_t)x->shape.rank);
    memcpy(all.out, x->stride, sizeof *all.x * (size_t)x->shape.rank);
    axes_collapse(&all);
    int64_t found[MANY], first = INT64_MAX;
    const unsigned blocks = (unsigned)least(ceil_div(all.count, THREADS), MANY);
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    int64_t *place = (int64_t *)hk__gpu_scratch(ctx, sizeof found);
    if (!place) return -1;
    HK_LAUNCH(ctx, blocks, THREADS, 0, nonfinite, all, (const hk_real *)x->data, place);
    hk__gpu_read(ctx, found, place, blocks * sizeof *found);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
    for (unsigned b = 0; b < blocks && ctx->status == HK_OK; b++) first = least(first, found[b]);
    return first == INT64_MAX ? -1 : first;
}

} /* namespace */

const hk__reduce_gpu HK_STAMPED(hk__reduce_gpu) = {reduce, sum_squares, first_nonfinite};
