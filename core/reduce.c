/* reduce.c: sums, maxima and norms over any axes of any layout.
   SPDX-License-Identifier: MIT

   Axes fall into kept and reduced ones. The axis whose elements lie side by side decides the inner loop:
   if it is reduced, one output is the sum of rows; if it is kept, a run of outputs is the sum of rows.
   Either way the rows of an output are cut into parts of about PART elements, by the shape alone; parts
   are reduced in any order by any thread, and combined in order. */
#include "reduce.h"

#include <math.h>
#include <string.h>

#include "gpu.h"
#include "map.h"
#include "reduce_kernels.h"

enum { PART = 16384, RUN = 256 };

typedef struct axes_list {
    int rank;
    int64_t dim[HK_MAX_RANK], x[HK_MAX_RANK], out[HK_MAX_RANK]; /* strides in x and in out */
    int64_t count;
} axes_list;

typedef struct job {
    const hk__reduce_kernels *k;
    hk__reduction kind;
    size_t size;
    const char *x;
    axes_list kept, reduced; /* without the inner axis, which is in one of them */
    bool inner_kept;
    int64_t inner, inner_stride, out_stride; /* the inner axis; out_stride if it is kept */
    int64_t runs;                            /* runs of outputs along the inner axis, if kept */
    int64_t part_rows, parts;                /* rows in a part, parts of an output */
    int64_t chunk, chunks;                   /* inner elements in a part, if one row is longer */
    int64_t width;                           /* results of a part: 1, or those of a run */
    int64_t blocks;
    double *partial; /* (outputs or runs) x parts x width */
} job;

static void push(axes_list *list, int64_t dim, int64_t x, int64_t out) {
    list->dim[list->rank] = dim;
    list->x[list->rank] = x;
    list->out[list->rank++] = out;
    list->count *= dim;
}

/* Offset of the i-th element of the list's index space. */
static int64_t offset(const axes_list *list, int64_t i, bool in_out) {
    int64_t at = 0;
    for (int a = list->rank - 1; a >= 0; a--) {
        at += i % list->dim[a] * (in_out ? list->out[a] : list->x[a]);
        i /= list->dim[a];
    }
    return at;
}

/* Splits x's axes; the inner one is that of the smallest stride that is longer than 1. */
static void split_axes(job *j, const hk_tensor *out, const hk_tensor *x, unsigned axes) {
    j->kept.count = j->reduced.count = 1;
    int inner = -1;
    for (int a = 0; a < x->shape.rank; a++)
        if (x->shape.dim[a] > 1 && (inner < 0 || x->stride[a] <= x->stride[inner])) inner = a;
    for (int a = 0; a < x->shape.rank; a++)
        if (x->shape.dim[a] > 1 && a != inner)
            push(axes >> a & 1 ? &j->reduced : &j->kept, x->shape.dim[a], x->stride[a],
                 out->stride[a]);
    j->inner = inner < 0 ? 1 : x->shape.dim[inner];
    j->inner_stride = inner < 0 ? 1 : x->stride[inner];
    j->inner_kept = inner >= 0 && !(axes >> inner & 1);
    j->out_stride = inner < 0 ? 0 : out->stride[inner];
}

/* The row's elements side by side: themselves, or copied to the tile. */
static const void *row_at(const job *j, int64_t at, int64_t n, void *tile) {
    const char *from = j->x + at * (int64_t)j->size;
    if (j->inner_stride == 1) return from;
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)tile + i * (int64_t)j->size, from + i * j->inner_stride * (int64_t)j->size,
               j->size);
    return tile;
}

static double join(hk__reduction kind, double a, double b) {
    if (kind == HK__SUM) return a + b;
    return !(b <= a) && a == a ? b : a;
}

/* Part `p` of output `o`: some rows, or a chunk of one row. */
static void reduce_output(const job *j, int64_t o, int64_t p, double *result) {
    char tile[RUN * sizeof(double)];
    const int64_t first = p / j->chunks * j->part_rows;
    const int64_t end =
        first + j->part_rows < j->reduced.count ? first + j->part_rows : j->reduced.count;
    const int64_t start = p % j->chunks * j->chunk;
    const int64_t stop = start + j->chunk < j->inner ? start + j->chunk : j->inner;
    const int64_t base = offset(&j->kept, o, false);
    const int64_t step = j->inner_stride == 1 ? stop - start : RUN;
    double total = j->kind == HK__SUM ? 0 : -INFINITY;
    for (int64_t r = first; r < end; r++) {
        const int64_t at = base + offset(&j->reduced, r, false);
        for (int64_t i = start; i < stop; i += step) {
            const int64_t n = stop - i < step ? stop - i : step;
            const void *row = row_at(j, at + i * j->inner_stride, n, tile);
            total =
                join(j->kind, total, j->kind == HK__SUM ? j->k->sum(n, row) : j->k->max(n, row));
        }
    }
    *result = total;
}

/* Part `p` of a run of outputs that lie along the inner axis. */
static void reduce_run(const job *j, int64_t run, int64_t p, double *result) {
    char tile[RUN * sizeof(double)];
    const int64_t start = run % j->runs * RUN;
    const int64_t n = j->inner - start < RUN ? j->inner - start : RUN;
    const int64_t base = offset(&j->kept, run / j->runs, false) + start * j->inner_stride;
    const int64_t first = p * j->part_rows;
    const int64_t end =
        first + j->part_rows < j->reduced.count ? first + j->part_rows : j->reduced.count;
    for (int64_t i = 0; i < n; i++) result[i] = j->kind == HK__SUM ? 0 : -INFINITY;
    /* One reduced axis of rows: a single call walks all of them. */
    const bool plain = j->reduced.rank <= 1 && j->inner_stride == 1;
    const int64_t step = plain ? end - first : 1;
    for (int64_t r = first; r < end; r += step) {
        const void *row = row_at(j, base + offset(&j->reduced, r, false), n, tile);
        const int64_t stride = plain && j->reduced.rank == 1 ? j->reduced.x[0] : 0;
        if (j->kind == HK__SUM)
            j->k->add_rows(n, step, row, stride, result);
        else
            j->k->max_rows(n, step, row, stride, result);
    }
}

static void reduce_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const job *j = arg;
    if (j->inner_kept)
        reduce_run(j, block / j->parts, block % j->parts, j->partial + block * j->width);
    else
        reduce_output(j, block / j->parts, block % j->parts, j->partial + block);
}

/* All blocks on the caller, as one task: too little work for two threads. */
static void reduce_all(void *arg, int64_t block, int worker) {
    (void)block;
    const job *j = arg;
    for (int64_t b = 0; b < j->blocks; b++) reduce_block(arg, b, worker);
}

static void store(hk_tensor *out, int64_t at, double value, bool accumulate) {
    if (out->dtype == HK_F64) {
        double *y = (double *)out->data + at;
        *y = accumulate ? *y + value : value;
    } else {
        float *y = (float *)out->data + at;
        *y = accumulate ? *y + (float)value : (float)value;
    }
}

static void combine(const job *j, hk_tensor *out, double scale, bool accumulate) {
    const int64_t width = j->width;
    const int64_t groups = j->kept.count * (j->inner_kept ? j->runs : 1);
    for (int64_t g = 0; g < groups; g++) {
        const int64_t start = j->inner_kept ? g % j->runs * RUN : 0;
        const int64_t n = !j->inner_kept ? 1 : j->inner - start < RUN ? j->inner - start : RUN;
        const int64_t at = offset(&j->kept, j->inner_kept ? g / j->runs : g, true);
        for (int64_t i = 0; i < n; i++) {
            double total = j->partial[g * j->parts * width + i];
            for (int64_t p = 1; p < j->parts; p++)
                total = join(j->kind, total, j->partial[(g * j->parts + p) * width + i]);
            store(out, at + (start + i) * j->out_stride, total * scale, accumulate);
        }
    }
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static bool reduce_values(hk_context *ctx, job *j, hk_tensor *out, double scale, bool accumulate) {
    j->width = !j->inner_kept ? 1 : j->inner < RUN ? j->inner : RUN;
    const int64_t row = j->inner_kept ? j->width : j->inner;
    j->runs = j->inner_kept ? ceil_div(j->inner, RUN) : 1;
    j->chunk = j->inner_kept || j->inner <= PART ? j->inner : PART;
    j->chunks = j->inner_kept ? 1 : ceil_div(j->inner, j->chunk);
    j->part_rows = row >= PART ? 1 : PART / row;
    if (j->part_rows > j->reduced.count) j->part_rows = j->reduced.count;
    j->parts = ceil_div(j->reduced.count, j->part_rows) * j->chunks;
    const int64_t blocks = j->kept.count * (j->inner_kept ? j->runs : 1) * j->parts;
    j->blocks = blocks;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    j->partial = hk__scratch(ctx, (size_t)(blocks * j->width) * sizeof(double));
    if (!j->partial) return false;
    const int64_t work = j->kept.count * j->reduced.count * j->inner;
    if (work <= 2 * PART)
        hk__run(ctx, 1, reduce_all, j);
    else
        hk__run(ctx, blocks, reduce_block, j);
    combine(j, out, scale, accumulate);
    hk__arena_rewind(&ctx->scratch, mark);
    return true;
}

/* --- argmax ----------------------------------------------------------------------------------------- */

typedef struct argmax_job {
    const hk_tensor *x, *out;
    axes_list kept;
    int64_t n, stride, block;
} argmax_job;

static double value_at(const hk_tensor *x, int64_t at) {
    return x->dtype == HK_F64 ? ((const double *)x->data)[at]
                              : (double)((const float *)x->data)[at];
}

static void argmax_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const argmax_job *j = arg;
    const int64_t first = block * j->block;
    const int64_t end = first + j->block < j->kept.count ? first + j->block : j->kept.count;
    for (int64_t o = first; o < end; o++) {
        const int64_t base = offset(&j->kept, o, false);
        int64_t best = 0;
        double most = value_at(j->x, base);
        for (int64_t i = 1; i < j->n && most == most; i++) {
            const double v = value_at(j->x, base + i * j->stride);
            if (!(v <= most)) most = v, best = i;
        }
        ((int32_t *)j->out->data)[offset(&j->kept, o, true)] = (int32_t)best;
    }
}

static void argmax(hk_context *ctx, hk_tensor *out, hk_tensor *x, unsigned axes) {
    argmax_job j = {.x = x, .out = out, .kept = {.count = 1}, .n = 1};
    for (int a = 0; a < x->shape.rank; a++) {
        if (axes >> a & 1)
            j.n = x->shape.dim[a], j.stride = x->stride[a];
        else
            push(&j.kept, x->shape.dim[a], x->stride[a], out->stride[a]);
    }
    j.block = ceil_div(PART, j.n);
    hk__run(ctx, ceil_div(j.kept.count, j.block), argmax_block, &j);
}

/* --- doors -------------------------------------------------------------------------------------------- */

bool hk__reduce(hk_context *ctx, hk__reduction kind, hk_tensor *out, hk_tensor *x, unsigned axes,
                double scale, bool accumulate) {
    if (hk_shape_count(out->shape) == 0) return true;
    if (hk_shape_count(x->shape) == 0) { /* an empty sum is 0 */
        if (!accumulate) hk__fill(ctx, out, 0);
        return true;
    }
    if (HK_ON_GPU(ctx))
        return hk__reduce_gpu_tables[x->dtype]->reduce(ctx, kind, out, x, axes, scale, accumulate);
    if (kind == HK__ARGMAX) {
        argmax(ctx, out, x, axes);
        return true;
    }
    job j = {.k = hk__reduce_tables[hk__stamp_of(ctx, x->dtype)],
             .kind = kind,
             .size = hk_dtype_size(x->dtype),
             .x = x->data};
    split_axes(&j, out, x, axes);
    return reduce_values(ctx, &j, out, scale, accumulate);
}

bool hk__sum_to(hk_context *ctx, hk_tensor *out, hk_tensor *x, bool accumulate) {
    if (hk_shape_equal(out->shape, x->shape)) {
        hk__copy(ctx, out, x, accumulate);
        return true;
    }
    /* out as seen with x's rank: leading axes of size 1. */
    hk_tensor wide = *out;
    wide.shape.rank = x->shape.rank;
    unsigned axes = 0;
    for (int a = 0; a < x->shape.rank; a++) {
        const int own = a - (x->shape.rank - out->shape.rank);
        wide.shape.dim[a] = own < 0 ? 1 : out->shape.dim[own];
        wide.stride[a] = own < 0 ? 0 : out->stride[own];
        if (wide.shape.dim[a] == 1 && x->shape.dim[a] != 1) axes |= 1u << a;
    }
    return hk__reduce(ctx, HK__SUM, &wide, x, axes, 1.0, accumulate);
}

typedef struct squares_job {
    const hk__reduce_kernels *k;
    const char *x;
    size_t size;
    int64_t n;
    double *partial;
} squares_job;

static void squares_block(void *arg, int64_t block, int worker) {
    (void)worker;
    const squares_job *j = arg;
    const int64_t first = block * PART;
    const int64_t n = j->n - first < PART ? j->n - first : PART;
    j->partial[block] = j->k->sum_squares(n, j->x + first * (int64_t)j->size);
}

double hk__sum_squares(hk_context *ctx, hk_dtype dtype, const void *x, int64_t n) {
    if (n == 0) return 0;
    if (HK_ON_GPU(ctx)) {
        double all = NAN;
        const hk__mark start = hk__arena_mark(&ctx->gpu_scratch);
        double *there = hk__gpu_scratch(ctx, sizeof *there);
        if (there) hk__reduce_gpu_tables[dtype]->sum_squares(ctx, x, n, there);
        if (there) hk__gpu_read(ctx, &all, there, sizeof all);
        hk__arena_rewind(&ctx->gpu_scratch, start);
        return all;
    }
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    const int64_t blocks = ceil_div(n, PART);
    squares_job j = {.k = hk__reduce_tables[hk__stamp_of(ctx, dtype)],
                     .x = x,
                     .size = hk_dtype_size(dtype),
                     .n = n,
                     .partial = hk__scratch(ctx, (size_t)blocks * sizeof(double))};
    if (!j.partial) return NAN;
    hk__run(ctx, blocks, squares_block, &j);
    double total = 0;
    for (int64_t b = 0; b < blocks; b++) total += j.partial[b];
    hk__arena_rewind(&ctx->scratch, mark);
    return total;
}

int64_t hk__first_nonfinite(hk_context *ctx, hk_tensor *x) {
    if (x->dtype != HK_F32 && x->dtype != HK_F64) return -1;
    if (HK_ON_GPU(ctx)) return hk__reduce_gpu_tables[x->dtype]->first_nonfinite(ctx, x);
    const hk__reduce_kernels *k = hk__reduce_tables[hk__stamp_of(ctx, x->dtype)];
    const int64_t count = hk_shape_count(x->shape);
    if (count > 0 && hk__is_contiguous(x)) return k->first_nonfinite(count, x->data);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0, rest = i;
        for (int a = x->shape.rank - 1; a >= 0; a--) {
            at += rest % x->shape.dim[a] * x->stride[a];
            rest /= x->shape.dim[a];
        }
        if (!isfinite(value_at(x, at))) return i;
    }
    return -1;
}
