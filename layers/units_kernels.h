/* units_kernels.h: the inner loops of the statistics of units; on a GPU whole drivers.
   SPDX-License-Identifier: MIT */
#ifndef HK_UNITS_KERNELS_H
#define HK_UNITS_KERNELS_H

#include <stdint.h>

#include "context.h"

HK_BEGIN_DECLS

/* What is kept for a unit: arrays of doubles with one element for each. Values count from a centre, the first one, so
   that a constant has a variance of exactly 0 and a large mean costs no digits. */
enum {
    HK__UNITS_CENTRE,  /* given */
    HK__UNITS_SUM,     /* Σ (h - centre) */
    HK__UNITS_SQUARES, /* Σ (h - centre)² */
    HK__UNITS_LOW,
    HK__UNITS_HIGH,
    HK__UNITS_BRIEF,                  /* of z these are all */
    HK__UNITS_SIZE = HK__UNITS_BRIEF, /* Σ |h| */
    HK__UNITS_ZEROS,                  /* how many h are 0 */
    /* with slopes alone */
    HK__UNITS_STEEPEST,  /* the largest |f'| */
    HK__UNITS_LEFT,      /* how many |f'| are below LIMIT, with z below PEAK */
    HK__UNITS_RIGHT,     /* and with other z */
    HK__UNITS_LIMIT,     /* given */
    HK__UNITS_PEAK,      /* given */
    HK__UNITS_THRESHOLD, /* not the kernels': what STEEPEST is judged by */
    HK__UNITS_ARRAYS
};

/* n values of the stamp's type, side by side. */
typedef struct hk__units_tile {
    int64_t n;
    const void *h;
    const void *z, *slope; /* f' at z; both NULL where there is no slope */
    double *const *of_h;   /* where a unit stands in each array */
    double *const *of_z; /* the same for sums of z alone, up to HK__UNITS_BRIEF; NULL: not wanted */
    void *steepest;      /* of planes with slopes: the largest |f'| at each of the n positions */
} hk__units_tile;

typedef struct hk__units_kernels {
    void (*row)(const hk__units_tile *t);   /* one value of each of n units */
    void (*plane)(const hk__units_tile *t); /* n values of one unit */
} hk__units_kernels;

HK_STAMP_TABLES(hk__units_kernels, hk__units);

/* A batch of values of the units, (outer, units, inner), contiguous, for a GPU. */
typedef struct hk__units_gpu_job {
    int64_t outer, units, inner;
    const void *h;
    const void *z, *slope; /* slope NULL: neither is looked at */
    double *to;            /* arrays of `room` elements, one behind the other */
    int64_t room;
    bool brief, start; /* brief: sums up to HK__UNITS_BRIEF alone; start: the first of a round */
    void *steepest;    /* as above, of all units; NULL: not wanted */
} hk__units_gpu_job;

typedef struct hk__units_gpu_table {
    void (*add)(hk_context *ctx, const hk__units_gpu_job *job);
} hk__units_gpu_table;

HK_GPU_TABLES(hk__units_gpu_table, hk__units_gpu);

HK_END_DECLS

#endif
