/* stats_kernels.cu: moments, distances and signs on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   A thread takes what lies a grid apart, a block joins its threads, and a second small launch joins the blocks: an order
   that depends on the number of elements alone. Zeros are told by their bits: the smallest numbers compare equal to 0. */
#include "stats_kernels.h"

#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum { THREADS = 256, WARPS = THREADS / HK__WARP, AT_ONCE = 4, MOST = 1024 /* blocks */ };

typedef hk__vector<hk_real> vector;

static __device__ bool is_zero(hk_real x) {
#ifdef HK_STAMP_f64
    return (uint64_t)__double_as_longlong(x) << 1 == 0;
#else
    return __float_as_uint(x) << 1 == 0;
#endif
}

static unsigned blocks_for(int64_t n) {
    const unsigned blocks = hk__grid(n, THREADS, vector::lanes * AT_ONCE);
    return blocks < 1 ? 1 : blocks < MOST ? blocks : (unsigned)MOST;
}

/* How many leading elements can be taken 16 bytes at once. */
static int64_t whole(int64_t n, const void *x, const void *y) {
    return (((uintptr_t)x | (uintptr_t)y) & 15) == 0 ? n / vector::lanes : 0;
}

/* --- moments -------------------------------------------------------------------------------------------------------- */

/* Of one thread. It counts from its first finite element: see stats_kernels.c. */
struct seen {
    int64_t count, zeros, nonfinite;
    double centre, sum, squares;
    hk_real low, high;

    __device__ void take(hk_real x) {
        zeros += is_zero(x);
        if (!(x - x == 0)) {
            nonfinite++;
            return;
        }
        if (count++ == 0) {
            centre = (double)x;
            low = high = x;
        }
        const double d = (double)x - centre;
        sum += d;
        squares += d * d;
        low = x < low ? x : low;
        high = x > high ? x : high;
    }

    __device__ hk__moments moments() const {
        hk__moments m = {count, zeros, nonfinite, 0, 0, 0, 0};
        if (count == 0) return m;
        const double off = sum / (double)count;
        m.mean = centre + off;
        m.squares = squares - sum * off;
        if (m.squares != m.squares) m.squares = HUGE_VAL; /* too large for a double */
        m.min = (double)low;
        m.max = (double)high;
        return m;
    }
};

/* Joins the moments of a block's threads; *to gets all. */
static __device__ void join(hk__moments mine, hk__moments *to) {
    __shared__ hk__moments room[THREADS];
    room[threadIdx.x] = mine;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) hk__moments_add(&room[threadIdx.x], &room[threadIdx.x + half]);
    }
    if (threadIdx.x == 0) *to = room[0];
}

static __global__ void __launch_bounds__(THREADS)
    moments_of_blocks(int64_t n, int64_t vectors, const hk_real *x, hk__moments *part) {
    seen s = {0, 0, 0, 0, 0, 0, 0, 0};
    const int64_t apart = (int64_t)gridDim.x * THREADS;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t rest = vectors * vector::lanes + i;
    for (; i < vectors; i += AT_ONCE * apart) {
        vector v[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++)
            if (i + k * apart < vectors) v[k] = ((const vector *)x)[i + k * apart];
        for (int k = 0; k < AT_ONCE; k++)
            for (int j = 0; j < vector::lanes; j++)
                if (i + k * apart < vectors) s.take(v[k].v[j]);
    }
    for (i = rest; i < n; i += apart) s.take(x[i]);
    join(s.moments(), &part[blockIdx.x]);
}

static __global__ void __launch_bounds__(THREADS)
    moments_of_all(int blocks, const hk__moments *part, hk__moments *to) {
    hk__moments m = {0, 0, 0, 0, 0, 0, 0};
    for (int i = threadIdx.x; i < blocks; i += THREADS) hk__moments_add(&m, &part[i]);
    join(m, to);
}

static void moments(hk_context *ctx, int64_t n, const void *x, hk__moments *to) {
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const unsigned blocks = blocks_for(n);
    hk__moments *part =
        blocks > 1 ? (hk__moments *)hk__gpu_scratch(ctx, blocks * sizeof *part) : to;
    HK_LAUNCH(ctx, blocks, THREADS, 0, moments_of_blocks, n, whole(n, x, NULL), (const hk_real *)x,
              part);
    if (blocks > 1) HK_LAUNCH(ctx, 1, THREADS, 0, moments_of_all, (int)blocks, part, to);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

/* --- distances ------------------------------------------------------------------------------------------------------ */

/* y may be NULL. */
static __global__ void __launch_bounds__(THREADS)
    squares_of_blocks(int64_t n, int64_t vectors, const hk_real *x, const hk_real *y,
                      double *part) {
    __shared__ double room[HK__WARP];
    double sum = 0;
    const int64_t apart = (int64_t)gridDim.x * THREADS;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t rest = vectors * vector::lanes + i;
    for (; i < vectors; i += apart) {
        const vector a = ((const vector *)x)[i];
        vector b = {};
        if (y) b = ((const vector *)y)[i];
        for (int j = 0; j < vector::lanes; j++) {
            const double d = (double)a.v[j] - (double)b.v[j];
            sum += d * d;
        }
    }
    for (i = rest; i < n; i += apart) {
        const double d = (double)x[i] - (y ? (double)y[i] : 0.0);
        sum += d * d;
    }
    sum = hk__block_join(sum, hk__add(), 0.0, room);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS)
    squares_of_all(int blocks, const double *part, double *to) {
    __shared__ double room[HK__WARP];
    double sum = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) sum += part[i];
    sum = hk__block_join(sum, hk__add(), 0.0, room);
    if (threadIdx.x == 0) *to = sum;
}

static void squares(hk_context *ctx, int64_t n, const void *x, const void *y, double *to) {
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const unsigned blocks = blocks_for(n);
    double *part = blocks > 1 ? (double *)hk__gpu_scratch(ctx, blocks * sizeof *part) : to;
    HK_LAUNCH(ctx, blocks, THREADS, 0, squares_of_blocks, n, whole(n, x, y), (const hk_real *)x,
              (const hk_real *)y, part);
    if (blocks > 1) HK_LAUNCH(ctx, 1, THREADS, 0, squares_of_all, (int)blocks, part, to);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

/* --- signs ---------------------------------------------------------------------------------------------------------- */

struct either {
    __device__ int operator()(int a, int b) const { return a | b; }
};

/* A warp for a row. */
static __global__ void __launch_bounds__(THREADS)
    signs_of_blocks(const hk_real *x, hk__sign_rows r, const hk_real *g, int64_t width,
                    hk__tally *part) {
    __shared__ int64_t room[HK__WARP];
    const int lane = threadIdx.x % HK__WARP;
    int64_t one = 0, all = 0;
    for (int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / HK__WARP; row < r.rows;
         row += (int64_t)gridDim.x * WARPS) {
        const hk_real *at = x + (row / r.group * r.to_group + row % r.group * r.to_row);
        int signs = 0;
        for (int64_t p = 0; p < r.parts; p++)
            for (int64_t i = lane; i < r.n; i += HK__WARP) {
                const hk_real v = at[p * r.to_part + i];
                signs |= (v > 0) * HK_SIGN_PLUS | (v < 0) * HK_SIGN_MINUS | (v != v) * HK_SIGN_NONE;
            }
        signs = hk__warp_join(signs, either());
        int64_t times = lane == 0;
        if (g) {
            times = 0;
            for (int64_t i = lane; i < width; i += HK__WARP) times += g[row * width + i] != 0;
        }
        all += signs != 0 ? times : 0;
        one += signs == HK_SIGN_PLUS || signs == HK_SIGN_MINUS ? times : 0;
    }
    one = hk__block_join(one, hk__add(), (int64_t)0, room);
    all = hk__block_join(all, hk__add(), (int64_t)0, room);
    if (threadIdx.x == 0) part[blockIdx.x] = {one, all};
}

/* Adds to *to. */
static __global__ void __launch_bounds__(THREADS)
    signs_of_all(int blocks, const hk__tally *part, hk__tally *to) {
    __shared__ int64_t room[HK__WARP];
    int64_t one = 0, all = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) {
        one += part[i].one;
        all += part[i].all;
    }
    one = hk__block_join(one, hk__add(), (int64_t)0, room);
    all = hk__block_join(all, hk__add(), (int64_t)0, room);
    if (threadIdx.x != 0) return;
    to->one += one;
    to->all += all;
}

static void signs(hk_context *ctx, const void *x, const hk__sign_rows *rows, const void *g,
                  int64_t width, hk__tally *to) {
    if (rows->rows == 0) return;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const int64_t wanted = (rows->rows + WARPS - 1) / WARPS;
    const unsigned blocks = (unsigned)(wanted < MOST ? wanted : (int64_t)MOST);
    hk__tally *part = (hk__tally *)hk__gpu_scratch(ctx, blocks * sizeof *part);
    HK_LAUNCH(ctx, blocks, THREADS, 0, signs_of_blocks, (const hk_real *)x, *rows,
              (const hk_real *)g, width, part);
    HK_LAUNCH(ctx, 1, THREADS, 0, signs_of_all, (int)blocks, part, to);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

} /* namespace */

extern const hk__stats_gpu_table HK_STAMPED(hk__stats_gpu);
const hk__stats_gpu_table HK_STAMPED(hk__stats_gpu) = {moments, squares, signs};
