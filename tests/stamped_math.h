/* stamped_math.h: the functions of real_math.h as loops, for test_exhaustive.c.
   SPDX-License-Identifier: MIT */
#ifndef STAMPED_MATH_H
#define STAMPED_MATH_H

#include <stdint.h>

#include "stamp.h"

enum { MATH_EXP, MATH_EXPM1, MATH_TANH, MATH_LOG1P, MATH_TAIL, MATH_COUNT };

typedef struct math_kernels {
    void (*row[MATH_COUNT])(int64_t n, const float *x, float *y);
} math_kernels;

HK_STAMP_TABLES(math_kernels, math);

#endif
