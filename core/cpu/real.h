/* real.h: the element type of a stamp, for plain loops that the compiler vectorises.
   SPDX-License-Identifier: MIT */
#ifndef HK_REAL_H
#define HK_REAL_H

#include "stamp.h"

#ifdef HK_STAMP_f64
typedef double hk_real;
#define HK_REAL(x) x
#define HK_LIBM(name) name
#else
typedef float hk_real;
#define HK_REAL(x) x##f
#define HK_LIBM(name) name##f /* fabsf of fabs */
#endif

/* What rows of pointwise.def are written with. */
#define HK_HALF ((hk_real)0.5)
#define HK_SELECT(condition, yes, no) ((condition) ? (hk_real)(yes) : (hk_real)(no))

#endif
