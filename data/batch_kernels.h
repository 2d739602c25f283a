/* batch_kernels.h: items of any type become numbers of the stamp's type.
   SPDX-License-Identifier: MIT */
#ifndef HK_BATCH_KERNELS_H
#define HK_BATCH_KERNELS_H

#include <stdint.h>

#include "stamp.h"

/* out[i] = (real)x[i] * (real)scale + (real)shift for n elements, rounded after each step: the same
   bits with every instruction set. */
typedef void hk__scale_fn(int64_t n, const void *x, double scale, double shift, void *out);

typedef struct hk__batch_kernels {
    hk__scale_fn *f32, *f64, *u8; /* by the type of x */
} hk__batch_kernels;

HK_STAMP_TABLES(hk__batch_kernels, hk__batch);

#endif
