/* map.h: element-by-element kernels over strided, broadcast operands.
   SPDX-License-Identifier: MIT

   A kernel sees n contiguous elements of each operand and nothing else, n a multiple of HK_MAP_STEP (the
   driver pads a rest with zeros), so its loop is whole vectors only; p[0] is the output. The driver
   deals blocks over threads and brings operands that are not contiguous (broadcast, transposed, sliced),
   or an output that is to be added to, through a small buffer in the first-level cache. So there is one
   loop for each formula, and a result never depends on layout, length or position. */
#ifndef HK_MAP_H
#define HK_MAP_H

#include "tensor.h"

HK_BEGIN_DECLS

enum {
    HK_MAP_MAX = 16,
    HK_MAP_STEP = 16,
    HK_MAP_STREAM_TILE =
        128,            /* elements of a streamed output between two bursts of stores: few, so that
                                 memory works while the next ones are computed */
    HK_MAP_AHEAD = 1024 /* elements: how far ahead inputs are asked for then */
};

typedef void hk__map_fn(int64_t n, void *const *p, const double *param);

/* On a GPU the tables of stamps cuda and cuda64 hold functions of another type, which launch a kernel on all of the
   operands at once; hk__map casts them back. */
typedef struct hk__map_job {
    int rank, n; /* n operands, the output included as number 0 */
    bool accumulate;
    int64_t count;
    int64_t
        dim[HK_MAX_RANK]; /* joined where all strides allow: rank 1 where all lie side by side */
    int64_t stride[HK_MAP_MAX][HK_MAX_RANK];
    void *data[HK_MAP_MAX];
    const double *param; /* what hk__map was handed, in memory of the host; NULL: none */
} hk__map_job;
typedef void hk__map_launch(hk_context *ctx, const hk__map_job *job);

/* out = fn(operands), or out += fn(operands) if accumulate (f32 and f64 only). n operands beside the
   output, each broadcasting to out's shape. param is handed to fn. */
void hk__map(hk_context *ctx, hk__map_fn *fn, const double *param, hk_tensor *out, int n,
             hk_tensor *const *operands, bool accumulate);

/* For drivers with loops of their own. Whether an output is so large that it is streamed past the caches; what a
   task does with a tile of it, aligned and of whole steps, and what it asks of an input ahead of time; what ends a
   task that streamed. */
bool hk__map_streams(const void *out, size_t bytes);
void hk__map_stream(const hk_context *ctx, void *to, const void *tile, size_t bytes);
void hk__map_ask(const void *input, size_t bytes);
void hk__map_streamed(void);
/* Adds a tile of n elements of `size` bytes, 4 or 8. */
void hk__map_add(void *to, const void *tile, int64_t n, size_t size);

/* dst = src (+= if accumulate) with src broadcast to dst's shape; any strides, equal dtypes. */
void hk__copy(hk_context *ctx, hk_tensor *dst, hk_tensor *src, bool accumulate);
/* dst = (its type) src. */
void hk__convert(hk_context *ctx, hk_tensor *dst, hk_tensor *src);
void hk__fill(hk_context *ctx, hk_tensor *dst, double value);

HK_END_DECLS
#endif
