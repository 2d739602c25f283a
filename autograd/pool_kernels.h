/* pool_kernels.h: pooling of one image plane after the other, and what the operations and layers share.
   SPDX-License-Identifier: MIT

   hk__pool is the thread pool (pool.h); all that pools images is called hk__pool2d. */
#ifndef HK_POOL_KERNELS_H
#define HK_POOL_KERNELS_H

#include "context.h"
#include "hk_image_ops.h"
#include "stamp.h"

HK_BEGIN_DECLS

/* Kernels work on planes that lie side by side, of the stamp's type. Outputs overlap nothing and are written in full,
   but for gradients with `accumulate`, which are added to. winner may be NULL.
   Max: a NaN wins, of several the last; the first of equals wins; a window that sees nothing is -∞. */

/* Kernel 2, stride 2, no padding, one plane of h rows and w columns: (h/2, w/2) elements, so that an odd last row or
   column is left out and gets gradient 0. Winners are 0 to 3, the place in the window, row-major. */
typedef struct hk__pool2d_kernels {
    void (*max_2x2)(const void *x, int64_t h, int64_t w, void *y, uint8_t *winner);
    void (*max_2x2_backward)(const void *gy, const uint8_t *winner, int64_t h, int64_t w, void *gx);
    void (*avg_2x2)(const void *x, int64_t h, int64_t w, void *y);
    void (*avg_2x2_backward)(const void *gy, int64_t h, int64_t w, void *gx);
    /* y[p] = the mean of the n elements of plane p, and gx (+)= gy[p]/n in all of them. */
    void (*mean)(const void *x, int64_t planes, int64_t n, void *y);
    void (*mean_backward)(const void *gy, int64_t planes, int64_t n, void *gx, bool accumulate);
} hk__pool2d_kernels;

HK_STAMP_TABLES(hk__pool2d_kernels, hk__pool2d);

/* What one window covers along one axis. */
typedef struct hk__pool2d_span {
    int64_t first, count; /* the first row inside of the image, and how many of its rows are */
    int64_t skipped;      /* rows of it before that one, in the padding */
    int64_t places;       /* rows of it in all */
    int64_t divisor;      /* rows that count for an average */
} hk__pool2d_span;

/* One axis of a pooling: `out` windows over `in` elements. kernel 0: adaptive, of what follows only
   the dilation counts, and it is 1. */
typedef struct hk__pool2d_axis {
    int64_t in, out, kernel, stride, padding, dilation;
    int64_t exclude; /* 1: what lies in the padding does not count for an average */
} hk__pool2d_axis;

/* a / b, of numbers that are mostly small: a GPU divides those in a fifth of the time. */
static HK_HOST_DEVICE inline int64_t hk__pool2d_quotient(int64_t a, int64_t b) {
    return ((uint64_t)a | (uint64_t)b) >> 32 == 0 ? (int64_t)((uint32_t)a / (uint32_t)b) : a / b;
}

static HK_HOST_DEVICE inline hk__pool2d_span hk__pool2d_span_of(const hk__pool2d_axis *a,
                                                                int64_t i) {
    hk__pool2d_span s;
    if (a->kernel == 0) {
        s.first = hk__pool2d_quotient(i * a->in, a->out);
        s.skipped = 0;
        s.count = hk__pool2d_quotient((i + 1) * a->in + a->out - 1, a->out) - s.first;
        s.places = s.divisor = s.count;
        return s;
    }
    const int64_t start = i * a->stride - a->padding, end = start + a->kernel;
    s.places = a->kernel;
    s.skipped = start < 0 ? hk__pool2d_quotient(-start + a->dilation - 1, a->dilation) : 0;
    s.first = start + s.skipped * a->dilation;
    s.count = 0;
    if (s.first < a->in)
        s.count = hk__pool2d_quotient(a->in - s.first + a->dilation - 1, a->dilation);
    if (s.count > a->kernel - s.skipped) s.count = a->kernel - s.skipped;
    s.divisor =
        a->exclude ? s.count : (end < a->in + a->padding ? end : a->in + a->padding) - start;
    return s;
}

/* Pooling of one plane of h·w elements to oh·ow. */
typedef struct hk__pool2d_plan {
    int64_t h, w, oh, ow;
    hk_pair dilation;
    const hk__pool2d_span *rows, *cols; /* oh and ow of them */
    /* Winners are i32, the element's place in the plane (-1: the window saw none), else u8, its place in the window.
       A window that saw none has winner 0 then, which lies in the padding. */
    bool wide;
} hk__pool2d_plan;

/* One plane of any plan. pick: y = x at the winners, which is what forward mode asks for. */
typedef struct hk__pool2d_any_kernels {
    void (*max)(const hk__pool2d_plan *plan, const void *x, void *y, void *winner);
    void (*max_backward)(const hk__pool2d_plan *plan, const void *gy, const void *winner, void *gx,
                         bool accumulate);
    void (*pick)(const hk__pool2d_plan *plan, const void *x, const void *winner, void *y);
    void (*avg)(const hk__pool2d_plan *plan, const void *x, void *y);
    void (*avg_backward)(const hk__pool2d_plan *plan, const void *gy, void *gx, bool accumulate);
} hk__pool2d_any_kernels;

HK_STAMP_TABLES(hk__pool2d_any_kernels, hk__pool2d_any);

/* --- which way was taken ------------------------------------------------------------------------------- */

#define HK__POOL2D_KINDS(X)                                                                        \
    X(MAX_2X2, "max 2x2")                                                                          \
    X(MAX_2X2_BACKWARD, "max 2x2, backward")                                                       \
    X(AVG_2X2, "average 2x2")                                                                      \
    X(AVG_2X2_BACKWARD, "average 2x2, backward")                                                   \
    X(MEAN, "mean of a plane")                                                                     \
    X(MEAN_BACKWARD, "mean of a plane, backward")                                                  \
    X(MAX, "max")                                                                                  \
    X(MAX_BACKWARD, "max, backward")                                                               \
    X(PICK, "max, forward mode")                                                                   \
    X(AVG, "average")                                                                              \
    X(AVG_BACKWARD, "average, backward")
typedef enum hk__pool2d_kind {
#define HK__POOL2D_ENUM(name, text) HK__POOL2D_##name,
    HK__POOL2D_KINDS(HK__POOL2D_ENUM)
#undef HK__POOL2D_ENUM
        HK__POOL2D_KIND_COUNT
} hk__pool2d_kind;

/* How many calls of operations took this way, since the process began; its name. */
uint64_t hk__pool2d_chosen(hk__pool2d_kind kind);
const char *hk__pool2d_kind_name(hk__pool2d_kind kind);

/* --- on a GPU -------------------------------------------------------------------------------------------- */

typedef struct hk__pool2d_gpu {
    /* Runs one kind on `planes` planes, all contiguous; image, pooled and winner as with the kernels above. */
    void (*run)(hk_context *ctx, hk__pool2d_kind kind, const hk__pool2d_axis *rows,
                const hk__pool2d_axis *cols, bool wide, int64_t planes, void *image, void *pooled,
                void *winner, bool accumulate);
} hk__pool2d_gpu;

HK_GPU_TABLES(hk__pool2d_gpu, hk__pool2d_gpu);

/* --- settings and sizes, for operations and layers ------------------------------------------------------ */

/* *full = *config with its defaults filled in. HK_ERR_ARGUMENT, sticky, if a setting is out of range. */
hk_status hk__pool2d_settings(hk_context *ctx, const char *where, bool max,
                              const hk_pool2d_config *config, hk_pool2d_config *full);
/* The same of an adaptive pooling's output. */
hk_status hk__pool2d_settings_out(hk_context *ctx, const char *where, hk_pair out);
/* The rows and columns that come out of h and w; -1 gives -1. HK_ERR_SHAPE, sticky, if no window fits; image is how
   the message names what goes in. config: with its defaults filled in. */
hk_status hk__pool2d_size(hk_context *ctx, const char *where, const hk_pool2d_config *config,
                          const char *image, int64_t h, int64_t w, hk_pair *out);

HK_END_DECLS
#endif
