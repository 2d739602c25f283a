/* norm_kernels.h: the inner loops of batch, layer and group norm.
   SPDX-License-Identifier: MIT */
#ifndef HK_NORM_KERNELS_H
#define HK_NORM_KERNELS_H

#include <stdint.h>

#include "context.h"

/* x, g, w, b and out are of the stamp's type, everything else is double. Rows have n elements side by side and begin
   `stride` elements apart. A call that sums sees at most HK__NORM_PIECE elements, or HK__NORM_ROWS rows where it sums
   columns, since it adds in the stamp's type. Elements count from a centre (k[0], near their mean and exact in the
   stamp's type), so that a mean which is large beside the deviation costs no digits. out overlaps nothing;
   accumulate: it is added to. */
enum { HK__NORM_PIECE = 4096, HK__NORM_ROWS = 64 };

typedef struct hk__norm_kernels {
    /* --- one centre for all elements --- */
    /* result: the mean m and Σ (x - m)². */
    void (*moments)(int64_t rows, int64_t n, int64_t stride, const void *x, double *result);
    /* result: Σ g and Σ g·(x - centre). */
    void (*sums)(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                 double centre, double *result);
    /* out (+)= (x - k0)·k1 + k2. */
    void (*affine)(int64_t n, const void *x, const double *k, void *out, int accumulate);
    /* out (+)= g·k1 + (x - k0)·k2 + k3. */
    void (*slope)(int64_t n, const void *x, const void *g, const double *k, void *out,
                  int accumulate);

    /* --- the same with a weight for each element of the row --- */
    void (*weighted_sums)(int64_t n, const void *x, const void *g, const void *w, double centre,
                          double *result); /* of g·w */
    /* out = ((x - k0)·k1 + k2)·w + b. */
    void (*weighted_affine)(int64_t n, const void *x, const void *w, const void *b, const double *k,
                            void *out);
    /* out (+)= g·w·k1 + (x - k0)·k2 + k3. */
    void (*weighted_slope)(int64_t n, const void *x, const void *g, const void *w, const double *k,
                           void *out, int accumulate);
    /* For each column i, over the rows: result[i] = Σ g·((x - k0)·k1 + k2), result[stride + i] = Σ g; k: 3 numbers for
       each row. */
    void (*weighted_params)(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                            const double *k, double *result);

    /* --- a centre for each column; k: arrays of the stamp's type, `across` elements apart --- */
    void (*column_moments)(int64_t rows, int64_t n, int64_t stride, const void *x,
                           double *result); /* pairs */
    void (*column_sums)(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                        const void *centre, double *result); /* pairs */
    void (*column_affine)(int64_t rows, int64_t n, int64_t stride, const void *x, const void *k,
                          int64_t across, void *out, int accumulate);
    void (*column_slope)(int64_t rows, int64_t n, int64_t stride, const void *x, const void *g,
                         const void *k, int64_t across, void *out, int accumulate);
} hk__norm_kernels;

HK_STAMP_TABLES(hk__norm_kernels, hk__norm);

/* --- on a GPU ----------------------------------------------------------------------------------- */

/* One call, all in memory of the device but this. x, g and out are (n, c, plane), contiguous. All members have 8 bytes:
   nothing lies between them. */
typedef struct hk__norm_job {
    int64_t n, c, plane, groups;
    int64_t by_row; /* statistics are of a row (layer and group norm), else of a channel */
    int64_t given;  /* they do not depend on x */
    double eps;
    double *stats; /* pairs: mean and biased variance */
    const void *mean,
        *var;        /* value: the statistics are these, and go to stats; NULL: see measure */
    int64_t measure; /* value: finds the statistics and writes them to stats, else they are there */
    const void *x, *g, *w, *b;
    void *out; /* pull: NULL if only gw and gb are wanted */
    int64_t accumulate;
    void *gw, *gb;        /* pull: gradients of weight and bias, NULL if not wanted */
    int64_t add_w, add_b; /* they are added to */
} hk__norm_job;

typedef struct hk__norm_gpu {
    /* As those of a driver in norm.h. */
    void (*value)(hk_context *ctx, const hk__norm_job *job);
    void (*pull)(hk_context *ctx, const hk__norm_job *job);
    /* mean and var, of x's type, from the pairs of c channels. */
    void (*split)(hk_context *ctx, int64_t c, const double *stats, void *mean, void *var);
    /* running = (1 - momentum)·running + momentum·batch's, the variance times `scale`; one more batch. */
    void (*move)(hk_context *ctx, int64_t c, const void *mean, const void *var, double momentum,
                 double scale, void *running_mean, void *running_var, int32_t *batches);
} hk__norm_gpu;

HK_GPU_TABLES(hk__norm_gpu, hk__norm_gpu);

#endif
