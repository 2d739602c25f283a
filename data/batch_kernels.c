/* batch_kernels.c: items of any type become numbers of the stamp's type (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "batch_kernels.h"

#include "real.h"

#define HK_SCALE(name, type)                                                                       \
    static void name(int64_t n, const void *items, double scale, double shift, void *result) {     \
        const type *restrict x = items;                                                            \
        hk_real *restrict out = result;                                                            \
        const hk_real a = (hk_real)scale, b = (hk_real)shift;                                      \
        for (int64_t i = 0; i < n; i++) out[i] = (hk_real)x[i] * a + b;                            \
    }
HK_SCALE(from_f32, float)
HK_SCALE(from_f64, double)
HK_SCALE(from_u8, uint8_t)

extern const hk__batch_kernels HK_STAMPED(hk__batch);
const hk__batch_kernels HK_STAMPED(hk__batch) = {.f32 = from_f32, .f64 = from_f64, .u8 = from_u8};
