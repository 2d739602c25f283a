/* units_kernels.h: the inner loops of the statistics of units.
   SPDX-License-Identifier: MIT */
#ifndef HK_UNITS_KERNELS_H
#define HK_UNITS_KERNELS_H

#include <stdint.h>

#include "stamp.h"

/* What is kept for a unit: arrays of doubles with one element for each. Values count from a centre, the first one, so
   that a constant has a variance of exactly 0 and a large mean costs no digits. */
enum {
    HK__UNITS_CENTRE,
    HK__UNITS_SUM,     /* Σ (h - centre) */
    HK__UNITS_SQUARES, /* Σ (h - centre)² */
    HK__UNITS_SIZE,    /* Σ |h| */
    HK__UNITS_LOW,
    HK__UNITS_HIGH,
    HK__UNITS_ZEROS, /* how many h are 0 */
    /* with slopes alone */
    HK__UNITS_STEEPEST,  /* the largest |f'| */
    HK__UNITS_LEFT,      /* how many |f'| are below LIMIT, with z below PEAK */
    HK__UNITS_RIGHT,     /* and with other z */
    HK__UNITS_THRESHOLD, /* given: |f'| above this passes a gradient on */
    HK__UNITS_LIMIT,     /* given */
    HK__UNITS_PEAK,      /* given */
    HK__UNITS_ARRAYS
};

/* h, z and slope (f' at z) are n values of the stamp's type, side by side; z and slope are both NULL where there is no
   slope. */
typedef struct hk__units_kernels {
    /* One value of each of n units; sums: the first unit's place in each array. */
    void (*row)(int64_t n, const void *h, const void *z, const void *slope, double *const *sums);
    /* n values of one unit. alive[i] becomes 1 where |f'| passes a gradient on. */
    void (*plane)(int64_t n, const void *h, const void *z, const void *slope, double *const *sums,
                  uint8_t *alive);
} hk__units_kernels;

HK_STAMP_TABLES(hk__units_kernels, hk__units);

#endif
