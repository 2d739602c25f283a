/* gather_kernels.cu: rows by index on a GPU. Stamped (stamp.h).
   SPDX-License-Identifier: MIT

   Backward is a gather, too, so that nothing is added by two threads: a warp has one row of the gradient, or a piece of
   it, and finds what belongs there. With few indices it looks through all of them. With many they are sorted first, and
   a row's lie side by side. Either way a row's terms are added in the order of the list, as the CPU adds them. */
#include "gather_kernels.h"

#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum {
    THREADS = 256,
    WARPS = THREADS / HK__WARP,
    LANES = hk__vector<hk_real>::lanes,
    DIGITS = 16, /* sorting goes by 4 bits at a time */
    BITS = 4,
    EACH = 8, /* neighbours that a thread sorts */
    TILE = THREADS * EACH
};

/* Index reads of a whole backward up to which it looks through the list: what these take is less than a dozen launches. */
static const int64_t most_looks = 1 << 26;

/* --- forward ---------------------------------------------------------------------------------------------------------- */

/* A row is `units` of T. */
template <class T>
static __global__ void __launch_bounds__(THREADS)
    gather(const hk__gather_job j, const T *x, T *out, int64_t units, hk__gpu_flag *flag) {
    const int64_t at = blockIdx.x * (int64_t)THREADS + threadIdx.x;
    if (at >= j.count * units) return;
    const int64_t i = at >> 31 ? at / units : (uint32_t)at / (uint32_t)units, unit = at - i * units;
    const int32_t row = j.index[i];
    if (row >= 0 && row < j.rows) {
        out[at] = x[row * units + unit];
        return;
    }
    out[at] = T();
    if (unit == 0) hk__raise_flag(flag, HK__FLAG_INDEX, i, row, j.rows);
}

template <class T>
static void launch_gather(hk_context *ctx, const hk__gather_job *j, const void *x, void *out,
                          int64_t units) {
    HK_LAUNCH(ctx, hk__grid(j->count * units, THREADS, 1), THREADS, 0, gather<T>, *j, (const T *)x,
              (T *)out, units, hk__gpu_flag_of(ctx));
}

static void forward(hk_context *ctx, const hk__gather_job *j, const void *x, void *out,
                    size_t size) {
    const int64_t bytes = j->n * (int64_t)size;
    if (j->count == 0 || bytes == 0) return;
    const uintptr_t all = (uintptr_t)x | (uintptr_t)out | (uintptr_t)bytes;
    if (all % 16 == 0)
        launch_gather<hk__vector<float>>(ctx, j, x, out, bytes / 16);
    else if (all % 4 == 0)
        launch_gather<uint32_t>(ctx, j, x, out, bytes / 4);
    else
        launch_gather<uint8_t>(ctx, j, x, out, bytes);
}

/* --- sorting ------------------------------------------------------------------------------------------------------------

   A stable radix sort. A thread counts the digits of its EACH neighbours by itself, in counters of its own; sums over
   threads and blocks then say where its elements go. */

struct sort_job {
    const int32_t *key, *place; /* place NULL: the first pass, of indices as they came */
    int32_t *key_out, *place_out;
    int32_t *count; /* DIGITS x blocks */
    int64_t n, rows;
    int32_t shift, blocks;
};

/* Bad indices go behind all rows. */
static __device__ inline int32_t key_at(const sort_job &j, int64_t i) {
    const int32_t key = j.key[i];
    return j.place || (key >= 0 && key < j.rows) ? key : (int32_t)j.rows;
}

/* counter[digit][thread], then summed up over threads: exclusive of each one's own. Returns the total of digit
   threadIdx.x / 16. */
static __device__ inline int32_t count_digits(const sort_job &j, int32_t (*counter)[THREADS]) {
    for (int d = 0; d < DIGITS; d++) counter[d][threadIdx.x] = 0;
    const int64_t first = blockIdx.x * (int64_t)TILE + threadIdx.x * EACH;
    for (int64_t i = first; i < first + EACH && i < j.n; i++)
        counter[key_at(j, i) >> j.shift & (DIGITS - 1)][threadIdx.x]++;
    __syncthreads();
    const int digit = threadIdx.x / 16, part = threadIdx.x % 16;
    int32_t sum = 0;
    for (int t = part * 16; t < part * 16 + 16; t++) sum += counter[digit][t];
    int32_t before = sum;
    for (int away = 1; away < 16; away *= 2) {
        const int32_t other = __shfl_up_sync(0xffffffffu, before, away, 16);
        if (part >= away) before += other;
    }
    const int32_t total = __shfl_sync(0xffffffffu, before, 15, 16);
    before -= sum;
    for (int t = part * 16; t < part * 16 + 16; t++) {
        const int32_t own = counter[digit][t];
        counter[digit][t] = before;
        before += own;
    }
    __syncthreads();
    return total;
}

static __global__ void __launch_bounds__(THREADS) sort_count(const sort_job j) {
    __shared__ int32_t counter[DIGITS][THREADS];
    const int32_t total = count_digits(j, counter);
    if (threadIdx.x % 16 == 0) j.count[threadIdx.x / 16 * j.blocks + blockIdx.x] = total;
}

/* count[i] becomes the sum of all before it. One block. */
static __global__ void __launch_bounds__(THREADS) sort_sum(int32_t *count, int64_t n) {
    __shared__ int32_t room[2][THREADS];
    int32_t before = 0;
    for (int64_t first = 0; first < n; first += THREADS) {
        const int64_t i = first + threadIdx.x;
        const int32_t own = i < n ? count[i] : 0;
        int turn = 0;
        room[0][threadIdx.x] = own;
        __syncthreads();
        for (int away = 1; away < THREADS; away *= 2, turn ^= 1) {
            const int32_t other = (int)threadIdx.x >= away ? room[turn][threadIdx.x - away] : 0;
            room[turn ^ 1][threadIdx.x] = room[turn][threadIdx.x] + other;
            __syncthreads();
        }
        if (i < n) count[i] = before + room[turn][threadIdx.x] - own;
        before += room[turn][THREADS - 1];
        __syncthreads();
    }
}

static __global__ void __launch_bounds__(THREADS) sort_move(const sort_job j) {
    __shared__ int32_t counter[DIGITS][THREADS];
    count_digits(j, counter);
    const int64_t first = blockIdx.x * (int64_t)TILE + threadIdx.x * EACH;
    for (int64_t i = first; i < first + EACH && i < j.n; i++) {
        const int32_t key = key_at(j, i);
        const int digit = key >> j.shift & (DIGITS - 1);
        const int32_t to = j.count[digit * j.blocks + blockIdx.x] + counter[digit][threadIdx.x]++;
        j.key_out[to] = key;
        j.place_out[to] = j.place ? j.place[i] : (int32_t)i;
    }
}

/* Where each row's stretch of sorted keys begins and ends. */
static __global__ void __launch_bounds__(THREADS)
    find_ends(const int32_t *key, int64_t n, int32_t *begin, int32_t *end) {
    const int64_t i = blockIdx.x * (int64_t)THREADS + threadIdx.x;
    if (i >= n) return;
    if (i == 0 || key[i - 1] != key[i]) begin[key[i]] = (int32_t)i;
    if (i == n - 1 || key[i + 1] != key[i]) end[key[i]] = (int32_t)i + 1;
}

/* --- backward ----------------------------------------------------------------------------------------------------------- */

struct scatter_job {
    hk__gather_job j;
    const hk_real *g;
    hk_real *out;
    const int32_t *place, *begin, *end; /* of sorted indices; NULL: look through the list */
    int64_t pieces;                     /* of a row */
    int64_t accumulate;
};

enum { FLIGHT = 8 }; /* rows that are read before they are added: one may be asked for very often */

/* Adds rows row[] of g, in order; those that are negative are none. g: where the thread's elements of row 0 are. */
template <int N>
static __device__ inline void add(hk__vector<hk_real, N> *sum, const hk_real *g, int64_t n,
                                  const int64_t *row) {
    hk__vector<hk_real, N> term[FLIGHT];
#pragma unroll
    for (int f = 0; f < FLIGHT; f++)
        if (row[f] >= 0) term[f] = *(const hk__vector<hk_real, N> *)(g + row[f] * n);
#pragma unroll
    for (int f = 0; f < FLIGHT; f++)
        for (int l = 0; l < N; l++)
            if (row[f] >= 0) sum->v[l] += term[f].v[l];
}

/* From the sorted places. A warp reads 32 of them at once. */
template <int N>
static __device__ inline void add_sorted(const scatter_job &s, int64_t row, const hk_real *g,
                                         bool live, hk__vector<hk_real, N> *sum) {
    const int lane = threadIdx.x % HK__WARP;
    const int32_t end = s.end[row];
    for (int32_t first = s.begin[row]; first < end; first += HK__WARP) {
        const int32_t own = first + lane < end ? s.place[first + lane] : -1;
        for (int k = 0; k < HK__WARP && first + k < end; k += FLIGHT) {
            int64_t from[FLIGHT];
#pragma unroll
            for (int f = 0; f < FLIGHT; f++) {
                const int32_t place = __shfl_sync(0xffffffffu, own, k + f);
                from[f] = live ? place : -1;
            }
            add<N>(sum, g, s.j.n, from);
        }
    }
}

/* From the list as it came. */
template <int N>
static __device__ inline void add_listed(const scatter_job &s, int64_t row, const hk_real *g,
                                         bool live, hk__vector<hk_real, N> *sum) {
    const int lane = threadIdx.x % HK__WARP;
    for (int64_t first = 0; first < s.j.count; first += HK__WARP) {
        const bool mine = first + lane < s.j.count && s.j.index[first + lane] == row;
        unsigned found = __ballot_sync(0xffffffffu, mine);
        while (found) {
            int64_t from[FLIGHT];
#pragma unroll
            for (int f = 0; f < FLIGHT; f++, found &= found - 1)
                from[f] = live && found ? first + __ffs((int)found) - 1 : -1;
            add<N>(sum, g, s.j.n, from);
        }
    }
}

/* A warp has a piece of a row, 32 x N elements. */
template <int N> static __global__ void __launch_bounds__(THREADS) scatter(const scatter_job s) {
    const int lane = threadIdx.x % HK__WARP;
    const int64_t warp = blockIdx.x * (int64_t)WARPS + threadIdx.x / HK__WARP;
    const int64_t row = warp / s.pieces, column = (warp % s.pieces * HK__WARP + lane) * N;
    if (row >= s.j.rows) return;
    const bool live = column < s.j.n;
    hk_real *to = s.out + row * s.j.n + column;
    hk__vector<hk_real, N> sum;
    for (int l = 0; l < N; l++) sum.v[l] = live && s.accumulate ? to[l] : 0;
    if (s.place)
        add_sorted<N>(s, row, s.g + column, live, &sum);
    else
        add_listed<N>(s, row, s.g + column, live, &sum);
    if (live) *(hk__vector<hk_real, N> *)to = sum;
}

/* Sorts the indices, into scratch memory. Where there is none, nothing more is launched. */
static void sort(hk_context *ctx, scatter_job *s) {
    const int64_t n = s->j.count, blocks = (n + TILE - 1) / TILE, rows = s->j.rows;
    int32_t *keys[2], *places[2];
    for (int i = 0; i < 2; i++) {
        keys[i] = (int32_t *)hk__gpu_scratch(ctx, (size_t)n * 4);
        places[i] = (int32_t *)hk__gpu_scratch(ctx, (size_t)n * 4);
    }
    int32_t *count = (int32_t *)hk__gpu_scratch(ctx, (size_t)blocks * DIGITS * 4);
    int32_t *ends = (int32_t *)hk__gpu_scratch(ctx, (size_t)(rows + 1) * 2 * 4);
    if (ctx->status != HK_OK) return;
    int turn = 0;
    sort_job j = {s->j.index, NULL, keys[0], places[0], count, n, rows, 0, (int32_t)blocks};
    for (; rows >> j.shift > 0 || j.shift == 0; j.shift += BITS, turn ^= 1) {
        j.key_out = keys[turn];
        j.place_out = places[turn];
        HK_LAUNCH(ctx, (unsigned)blocks, THREADS, 0, sort_count, j);
        HK_LAUNCH(ctx, 1, THREADS, 0, sort_sum, count, blocks * DIGITS);
        HK_LAUNCH(ctx, (unsigned)blocks, THREADS, 0, sort_move, j);
        j.key = keys[turn];
        j.place = places[turn];
    }
    hk__gpu_zero(ctx, ends, (size_t)(rows + 1) * 2 * 4);
    HK_LAUNCH(ctx, hk__grid(n, THREADS, 1), THREADS, 0, find_ends, j.key, n, ends, ends + rows + 1);
    s->place = j.place;
    s->begin = ends;
    s->end = ends + rows + 1;
}

static void backward(hk_context *ctx, const hk__gather_job *j, const void *g, void *out,
                     bool accumulate) {
    if (j->rows == 0 || j->n == 0) return;
    scatter_job s = {*j, (const hk_real *)g, (hk_real *)out, NULL, NULL, NULL, 0, accumulate};
    const bool whole = ((uintptr_t)g | (uintptr_t)out) % 16 == 0 && j->n % LANES == 0;
    const int64_t step = HK__WARP * (whole ? (int64_t)LANES : 1);
    s.pieces = (j->n + step - 1) / step;
    const unsigned blocks = hk__grid(j->rows * s.pieces, WARPS, 1);
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    if (j->count > most_looks / (j->rows * s.pieces)) sort(ctx, &s);
    if (whole)
        HK_LAUNCH(ctx, blocks, THREADS, 0, scatter<LANES>, s);
    else
        HK_LAUNCH(ctx, blocks, THREADS, 0, scatter<1>, s);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

} /* namespace */

const hk__gather_gpu HK_STAMPED(hk__gather_gpu) = {forward, backward};
