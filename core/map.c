/* map.c: the driver of element-by-element kernels: blocks, strides, broadcasting.
   SPDX-License-Identifier: MIT */
#include "map.h"

#include "gpu.h"
#include "map_kernels.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    HK_MAP_TILE = 512,   /* elements that pass through the first-level cache at once */
    HK_MAP_BLOCK = 8192, /* elements that a thread takes at once, where all is contiguous */
    HK_MAP_THREADED = 4 * HK_MAP_BLOCK, /* below this one thread is faster than two */
    /* Bytes of output that are streamed. A single pass gains from 4 MiB on, but what reads its result next then
       waits for memory: four activations in a row gain from 32 MiB on. */
    HK_MAP_STREAMED = 32 << 20
};

/* Operands seen through one common shape whose axes were joined where all strides allow. */
typedef struct job {
    const hk_context *ctx;
    hk__map_fn *fn;
    const double *param;
    int rank, n; /* n operands, the output included as number 0 */
    int64_t dim[HK_MAX_RANK];
    int64_t stride[HK_MAP_MAX][HK_MAX_RANK];
    char *data[HK_MAP_MAX];
    size_t size[HK_MAP_MAX]; /* bytes of an element */
    bool accumulate, f64, stream;
    int64_t rows, row;                      /* rows of `row` elements */
    int64_t block_rows, block_cols, across; /* blocks are rectangles, `across` of them in a row */
} job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Joins axis i + 1 into axis i where every operand walks through both as through one. */
static void collapse(job *j) {
    int out = 0;
    for (int i = 0; i < j->rank; i++) {
        if (j->dim[i] == 1) continue;
        bool joins = out > 0;
        for (int k = 0; joins && k < j->n; k++)
            joins = j->stride[k][out - 1] == j->stride[k][i] * j->dim[i];
        if (joins) out--;
        j->dim[out] = joins ? j->dim[out] * j->dim[i] : j->dim[i];
        for (int k = 0; k < j->n; k++) j->stride[k][out] = j->stride[k][i];
        out++;
    }
    j->rank = out;
}

/* Copies n elements of one size between a strided place and the tile. */
static void gather(void *tile, const char *from, int64_t stride, int64_t n, size_t size) {
#define HK_GATHER(type)                                                                            \
    do {                                                                                           \
        type *to = tile;                                                                           \
        const type *at = (const type *)(const void *)from;                                         \
        if (stride == 0)                                                                           \
            for (int64_t i = 0; i < n; i++) to[i] = *at;                                           \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++) to[i] = at[i * stride];                                \
    } while (0)
    if (size == 4)
        HK_GATHER(uint32_t);
    else if (size == 8)
        HK_GATHER(uint64_t);
    else
        HK_GATHER(uint8_t);
#undef HK_GATHER
}

static void scatter(char *to, int64_t stride, const void *tile, int64_t n, size_t size) {
#define HK_SCATTER(type)                                                                           \
    do {                                                                                           \
        const type *from = tile;                                                                   \
        type *at = (type *)(void *)to;                                                             \
        for (int64_t i = 0; i < n; i++) at[i * stride] = from[i];                                  \
    } while (0)
    if (size == 4)
        HK_SCATTER(uint32_t);
    else if (size == 8)
        HK_SCATTER(uint64_t);
    else
        HK_SCATTER(uint8_t);
#undef HK_SCATTER
}

static void add_into(char *to, int64_t stride, const void *tile, int64_t n, bool f64) {
    if (f64) {
        const double *from = tile;
        double *at = (double *)(void *)to;
        for (int64_t i = 0; i < n; i++) at[i * stride] += from[i];
    } else {
        const float *from = tile;
        float *at = (float *)(void *)to;
        if (stride == 1)
            for (int64_t i = 0; i < n; i++) at[i] += from[i];
        else
            for (int64_t i = 0; i < n; i++) at[i * stride] += from[i];
    }
}

bool hk__map_streams(const void *out, size_t bytes) {
    return bytes >= HK_MAP_STREAMED && (uintptr_t)out % HK_ALIGN == 0;
}

void hk__map_stream(const hk_context *ctx, void *to, const void *tile, size_t bytes) {
    hk__map_tables[ctx->stamp]->stream(to, tile, bytes);
}

void hk__map_ask(const void *input, size_t bytes) {
    for (size_t i = 0; i < bytes; i += HK_ALIGN) __builtin_prefetch((const char *)input + i);
}

void hk__map_streamed(void) {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

void hk__map_add(void *to, const void *tile, int64_t n, size_t size) {
    add_into(to, 1, tile, n, size == sizeof(double));
}

/* Runs the kernel on m <= HK_MAP_TILE elements, first + 0 .. of every operand; those of `through` by way of a
   tile, whose rest up to a whole step is 0. */
static void run_tile(const job *j, char *const *at, const int64_t *stride, const bool *through,
                     int64_t first, int64_t m) {
    _Alignas(HK_ALIGN) char tile[HK_MAP_MAX][HK_MAP_TILE * sizeof(double)];
    const int64_t whole = (m + HK_MAP_STEP - 1) / HK_MAP_STEP * HK_MAP_STEP;
    void *p[HK_MAP_MAX];
    for (int k = 0; k < j->n; k++) {
        const size_t size = j->size[k];
        char *place = at[k] + first * stride[k] * (int64_t)size;
        p[k] = through[k] || m < whole ? (void *)tile[k] : (void *)place;
        if (j->stream && k > 0) hk__map_ask(place + HK_MAP_AHEAD * size, (size_t)m * size);
        if (k == 0 || p[k] == place) continue;
        gather(tile[k], place, stride[k], m, size);
        memset(tile[k] + (size_t)m * size, 0, (size_t)(whole - m) * size);
    }
    j->fn(whole, p, j->param);
    char *out = at[0] + first * stride[0] * (int64_t)j->size[0];
    if (j->accumulate)
        add_into(out, stride[0], tile[0], m, j->f64);
    else if (j->stream && m % HK_ALIGN == 0)
        hk__map_stream(j->ctx, out, tile[0], (size_t)m * j->size[0]);
    else if (p[0] == (void *)tile[0])
        scatter(out, stride[0], tile[0], m, j->size[0]);
}

/* Runs the kernel on n elements along the last axis, starting at `at` of each operand: at once where all lie
   side by side, but for the rest behind the last whole step; else tile by tile. */
static void run_row(const job *j, char *const *at, int64_t n) {
    const int last = j->rank - 1;
    int64_t stride[HK_MAP_MAX];
    bool through[HK_MAP_MAX], direct = true;
    for (int k = 0; k < j->n; k++) {
        stride[k] = last < 0 ? 1 : j->stride[k][last];
        through[k] = stride[k] != 1 || (k == 0 && (j->accumulate || j->stream));
        direct = direct && !through[k];
    }
    int64_t first = 0;
    if (direct && n >= HK_MAP_STEP) {
        first = n / HK_MAP_STEP * HK_MAP_STEP;
        j->fn(first, (void *const *)at, j->param);
    }
    const int64_t tile = j->stream ? HK_MAP_STREAM_TILE : HK_MAP_TILE;
    for (; first < n; first += tile)
        run_tile(j, at, stride, through, first, least(tile, n - first));
}

static void run_block(void *arg, int64_t b, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t first = b / j->across * j->block_rows, start = b % j->across * j->block_cols;
    const int64_t end = least(j->rows, first + j->block_rows);
    const int64_t n = least(j->row - start, j->block_cols);
    for (int64_t r = first; r < end; r++) {
        char *at[HK_MAP_MAX];
        for (int k = 0; k < j->n; k++) at[k] = j->data[k];
        int64_t rest = r;
        for (int axis = j->rank - 2; axis >= 0; axis--) {
            const int64_t i = rest % j->dim[axis];
            rest /= j->dim[axis];
            for (int k = 0; k < j->n; k++) at[k] += i * j->stride[k][axis] * (int64_t)j->size[k];
        }
        if (j->rank > 0)
            for (int k = 0; k < j->n; k++)
                at[k] += start * j->stride[k][j->rank - 1] * (int64_t)j->size[k];
        run_row(j, at, n);
    }
    if (j->stream) hk__map_streamed();
}

static void map_on_gpu(const job *j, int64_t count) {
    hk__map_job g;
    memset(&g, 0, sizeof g); /* padding too: arguments of launches are compared */
    g.rank = j->rank;
    g.n = j->n;
    g.accumulate = j->accumulate;
    g.count = count;
    memcpy(g.dim, j->dim, sizeof *g.dim * (size_t)j->rank);
    for (int k = 0; k < j->n; k++) {
        memcpy(g.stride[k], j->stride[k], sizeof *g.dim * (size_t)j->rank);
        g.data[k] = j->data[k];
    }
    g.param = j->param;
    ((hk__map_launch *)(void (*)(void))j->fn)((hk_context *)(uintptr_t)j->ctx, &g);
}

void hk__map(hk_context *ctx, hk__map_fn *fn, const double *param, hk_tensor *out, int n,
             hk_tensor *const *operands, bool accumulate) {
    const int64_t count = hk_shape_count(out->shape);
    if (count == 0 || ctx->status != HK_OK) return;
    job j = {.ctx = ctx,
             .fn = fn,
             .param = param,
             .n = n + 1,
             .rank = out->shape.rank,
             .accumulate = accumulate,
             .f64 = out->dtype == HK_F64};
    memcpy(j.dim, out->shape.dim, sizeof j.dim);
    for (int k = 0; k <= n; k++) {
        const hk_tensor *t = k == 0 ? out : operands[k - 1];
        hk__broadcast_strides(t, out->shape, j.stride[k]);
        j.data[k] = t->data;
        j.size[k] = hk_dtype_size(t->dtype);
    }
    collapse(&j);
    if (HK_ON_GPU(ctx)) {
        map_on_gpu(&j, count);
        return;
    }
    j.stream = !accumulate && j.rank == 1 && j.stride[0][0] == 1 &&
               hk__map_streams(j.data[0], (size_t)count * j.size[0]);
    j.row = j.rank > 0 ? j.dim[j.rank - 1] : 1;
    j.rows = count / j.row;
    j.block_rows = j.rows;
    j.block_cols = j.row;
    if (count >= HK_MAP_THREADED) { /* otherwise one block, on the caller */
        j.block_cols = least(j.row, HK_MAP_BLOCK);
        j.block_rows = HK_MAP_BLOCK / j.block_cols;
    }
    j.across = (j.row + j.block_cols - 1) / j.block_cols;
    const int64_t blocks = (j.rows + j.block_rows - 1) / j.block_rows * j.across;
    hk__run(ctx, blocks, run_block, &j);
}

/* --- copies ------------------------------------------------------------------------------------------ */

static void copy1(int64_t n, void *const *p, const double *param) {
    (void)param;
    memcpy(p[0], p[1], (size_t)n);
}
static void copy4(int64_t n, void *const *p, const double *param) {
    (void)param;
    memcpy(p[0], p[1], (size_t)n * 4);
}
static void copy8(int64_t n, void *const *p, const double *param) {
    (void)param;
    memcpy(p[0], p[1], (size_t)n * 8);
}

void hk__copy(hk_context *ctx, hk_tensor *dst, hk_tensor *src, bool accumulate) {
    const size_t size = hk_dtype_size(dst->dtype);
    if (HK_ON_GPU(ctx)) {
        hk__map(ctx, hk__convert_gpu.to[dst->dtype][dst->dtype], NULL, dst, 1, &src, accumulate);
        return;
    }
    hk__map(ctx, size == 1 ? copy1 : size == 4 ? copy4 : copy8, NULL, dst, 1, &src, accumulate);
}

#define HK_TYPES(X) X(HK_F32, float) X(HK_F64, double) X(HK_U8, uint8_t) X(HK_I32, int32_t)
#define HK_CONVERT(to_id, to, from_id, from)                                                       \
    static void from_id##_to_##to_id(int64_t n, void *const *p, const double *param) {             \
        (void)param;                                                                               \
        to *y = p[0];                                                                              \
        const from *x = p[1];                                                                      \
        for (int64_t i = 0; i < n; i++) y[i] = (to)x[i];                                           \
    }
#define HK_TO_F32(from_id, from) HK_CONVERT(HK_F32, float, from_id, from)
#define HK_TO_F64(from_id, from) HK_CONVERT(HK_F64, double, from_id, from)
HK_TYPES(HK_TO_F32)
HK_TYPES(HK_TO_F64)

/* A float outside the integer's range would be undefined in C: it becomes the nearest end, NaN 0. */
#define HK_TO_INTEGER(to_id, to, low, high, from_id, from)                                         \
    static void from_id##_to_##to_id(int64_t n, void *const *p, const double *param) {             \
        (void)param;                                                                               \
        to *y = p[0];                                                                              \
        const from *x = p[1];                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const double v = (double)x[i];                                                         \
            y[i] = v >= (high) ? (to)(high) : v > (low) ? (to)v : v <= (low) ? (to)(low) : (to)0;  \
        }                                                                                          \
    }
#define HK_TO_U8(from_id, from) HK_TO_INTEGER(HK_U8, uint8_t, 0, 255, from_id, from)
#define HK_TO_I32(from_id, from)                                                                   \
    HK_TO_INTEGER(HK_I32, int32_t, -2147483648.0, 2147483647.0, from_id, from)
HK_TYPES(HK_TO_U8)
HK_TYPES(HK_TO_I32)

#define HK_ROW(to)                                                                                 \
    { HK_F32_to_##to, HK_F64_to_##to, HK_U8_to_##to, HK_I32_to_##to }
static hk__map_fn *const converters[4][4] = {HK_ROW(HK_F32), HK_ROW(HK_F64), HK_ROW(HK_U8),
                                             HK_ROW(HK_I32)};

void hk__convert(hk_context *ctx, hk_tensor *dst, hk_tensor *src) {
    if (HK_ON_GPU(ctx)) {
        hk__map(ctx, hk__convert_gpu.to[dst->dtype][src->dtype], NULL, dst, 1, &src, false);
        return;
    }
    hk__map(ctx, converters[dst->dtype][src->dtype], NULL, dst, 1, &src, false);
}

void hk__fill(hk_context *ctx, hk_tensor *dst, double value) {
    if (HK_ON_GPU(ctx)) {
        hk__map(ctx, hk__convert_gpu.fill[dst->dtype], &value, dst, 0, NULL, false);
        return;
    }
    hk_tensor scalar = {.ctx = ctx, .data = &value, .dtype = HK_F64};
    hk__convert(ctx, dst, &scalar);
}

hk_status hk_tensor_add(hk_tensor *dst, hk_tensor *src) {
    if (!dst || !src) return HK_ERR_ARGUMENT;
    hk_context *ctx = dst->ctx;
    char a[160], b[160];
    HK_TRY(hk__check(ctx, dst, "tensor_add"));
    HK_TRY(hk__check(ctx, src, "tensor_add"));
    if (dst->step != 0)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "tensor_add", "the target is no kept tensor");
    if (!hk_shape_equal(dst->shape, src->shape))
        return hk_fail(ctx, HK_ERR_SHAPE, "tensor_add", "shapes differ: %s and %s",
                       hk__tensor_text(dst, a, sizeof a), hk__tensor_text(src, b, sizeof b));
    if (dst->dtype != src->dtype || (dst->dtype != HK_F32 && dst->dtype != HK_F64))
        return hk_fail(ctx, HK_ERR_DTYPE, "tensor_add", "both must be f32 or f64, not %s and %s",
                       hk_dtype_name(dst->dtype), hk_dtype_name(src->dtype));
    hk__copy(ctx, dst, src, true);
    return ctx->status;
}
