/* augment_kernels.h: an image read through a map of coordinates.
   SPDX-License-Identifier: MIT */
#ifndef HK_AUGMENT_KERNELS_H
#define HK_AUGMENT_KERNELS_H

#include "batch_kernels.h"
#include "hk_data.h"

/* The output's pixel (i, j) is the image at
       row    map[0]·i + map[1]·j + map[2] + alpha·down(i, j),
       column map[3]·i + map[4]·j + map[5] + alpha·right(i, j),
   between pixels bilinear, 0 outside; then times scale plus shift. All channels share the map. down
   and right are the low and the high halves of the noise as numbers in (-1, 1), convolved with taps
   along both axes, 0 outside. */
typedef struct hk__warp {
    int64_t channels, h, w;
    double map[6];
    const uint32_t *noise; /* h·w words; NULL: no displacement */
    const double *taps;    /* 2·radius + 1 of them */
    int64_t radius;
    double alpha;
    double scale, shift;
    void *room; /* as many bytes as the table's room() says, 64-byte aligned */
} hk__warp;

/* Plain sums and products in one order, none fused: the same bits with every instruction set. */
typedef void hk__warp_fn(const hk__warp *warp, const void *image, void *out);

typedef struct hk__augment_kernels {
    hk__warp_fn *f32, *f64, *u8; /* by the type of the image */
    int64_t (*room)(int64_t channels, int64_t h, int64_t w, int64_t radius);
} hk__augment_kernels;

HK_STAMP_TABLES(hk__augment_kernels, hk__augment);

/* On a GPU, a batch of variants in one launch. */
typedef struct hk__augment_job {
    hk__gather batch;
    int cell;               /* of the epoch */
    const int64_t *numbers; /* where the batch has no order: of its items in the root */
    hk_augment set;
    int64_t channels, h, w, radius;
    const void *taps;      /* of the context's type; NULL: no displacement */
    uint64_t draws, noise; /* keys of the streams */
} hk__augment_job;

typedef struct hk__augment_gpu {
    void (*gather)(hk_context *ctx, const hk__augment_job *job);
} hk__augment_gpu;

HK_GPU_TABLES(hk__augment_gpu, hk__augment_gpu);

#endif
