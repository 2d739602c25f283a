/* real.h: the element type of a stamp, for plain loops that the compiler vectorises.
   SPDX-License-Identifier: MIT */
#ifndef HK_REAL_H
#define HK_REAL_H

#include "stamp.h"

#ifdef HK_STAMP_f64
typedef double hk_real;
#define HK_REAL(x) x
#else
typedef float hk_real;
#define HK_REAL(x) x##f
#endif

#endif
