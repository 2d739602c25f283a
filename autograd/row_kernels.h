/* row_kernels.h: softmax and its kin, over contiguous rows.
   SPDX-License-Identifier: MIT */
#ifndef HK_ROW_KERNELS_H
#define HK_ROW_KERNELS_H

#include "gpu.h"
#include "tensor.h"

/* Rows have n elements of the stamp's type. out overlaps nothing. */
typedef struct hk__row_kernels {
    void (*softmax)(int64_t n, const void *x, void *y);
    void (*log_softmax)(int64_t n, const void *x, void *y);
    /* out (+)= y·(g - Σ g·y), and out (+)= g - e^y·Σ g. */
    void (*softmax_slope)(int64_t n, const void *y, const void *g, void *out, int accumulate);
    void (*log_softmax_slope)(int64_t n, const void *y, const void *g, void *out, int accumulate);
    /* p = softmax(x); returns log Σ e^x - (1 - smoothing)·x[label] - smoothing·mean(x). */
    double (*cross_entropy)(int64_t n, const void *x, int32_t label, double smoothing, void *p);
    /* out (+)= scale·(p - target), target = (1 - smoothing)·onehot(label) + smoothing/n. */
    void (*cross_entropy_slope)(int64_t n, const void *p, int32_t label, double smoothing,
                                double scale, void *out, int accumulate);
} hk__row_kernels;

HK_STAMP_TABLES(hk__row_kernels, hk__row);

/* On a GPU: whole tensors of contiguous rows, in the device's memory. */
typedef struct hk__row_gpu {
    void (*softmax)(hk_context *ctx, int64_t rows, int64_t n, bool log, const void *x, void *y);
    void (*slope)(hk_context *ctx, int64_t rows, int64_t n, bool log, const void *y, const void *g,
                  void *out, bool accumulate);
    /* slope = (softmax(x) - target)/rows; loss: the mean of all rows'. A label out of range is flagged, and 0 stands for
       it. */
    void (*cross_entropy)(hk_context *ctx, int64_t rows, int64_t n, const void *x,
                          const int32_t *labels, double smoothing, void *slope, void *loss);
    /* How many of n numbers are equal. */
    void (*equal)(hk_context *ctx, int64_t n, const int32_t *a, const int32_t *b, int64_t *count);
} hk__row_gpu;

HK_GPU_TABLES(hk__row_gpu, hk__row_gpu);

/* --- rows dealt to threads ------------------------------------------------------------------------- */

/* What the two users of these kernels have in common; the first member of their jobs. */
typedef struct hk__rows {
    const hk__row_kernels *k;
    int64_t rows, n, bytes, block; /* bytes of a row; rows of a block */
} hk__rows;

/* The rows of t along its last axis. */
static inline hk__rows hk__rows_of(const hk_tensor *t) {
    enum { BLOCK = 8192 }; /* elements */
    hk__rows r;
    r.k = HK_ON_GPU(t->ctx) ? NULL : hk__row_tables[hk__stamp_of(t->ctx, t->dtype)];
    r.n = t->shape.rank > 0 ? t->shape.dim[t->shape.rank - 1] : 1;
    r.bytes = r.n * (int64_t)hk_dtype_size(t->dtype);
    r.rows = r.n > 0 ? hk_shape_count(t->shape) / r.n : 0;
    r.block = r.n >= BLOCK || r.n == 0 ? 1 : BLOCK / r.n;
    return r;
}

/* Runs the task on all blocks. job begins with *rows. Block b is of rows b·block to hk__rows_end. */
static inline void hk__rows_run(hk_context *ctx, const hk__rows *rows, hk__task *task, void *job) {
    hk__run(ctx, (rows->rows + rows->block - 1) / rows->block, task, job);
}
static inline int64_t hk__rows_end(const hk__rows *rows, int64_t block) {
    const int64_t end = (block + 1) * rows->block;
    return end < rows->rows ? end : rows->rows;
}

#endif
