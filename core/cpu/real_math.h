/* real_math.h: elementary functions that loops can vectorise (for stamped sources: see stamp.h).
   SPDX-License-Identifier: MIT

   In float: polynomials without branches or tables, so that a loop around them becomes vector code and
   each element's bits do not depend on its neighbours. In double (f64): libm, since a polynomial made for
   float would show jumps at the borders of its ranges and spoil gradient checks.
   NaN gives NaN, infinities give the limits. */
#ifndef HK_REAL_MATH_H
#define HK_REAL_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "real.h"

#ifdef HK_STAMP_f64

#define HK_FMA(a, b, c) fma(a, b, c)
#define real_exp(x) exp(x)
#define real_tanh(x) tanh(x)
#define real_abs(x) fabs(x)

#else

#if defined(__FMA__) || defined(__aarch64__)
#define HK_FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define HK_FMA(a, b, c) ((a) * (b) + (c))
#endif
#define real_abs(x) __builtin_fabsf(x)

static inline float hk__float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t hk__bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^x = 2^n · e^r with n = x/ln 2 rounded and |r| <= ln(2)/2; e^r - 1 = r + r²·Q(r). ln 2 is taken off in
   two parts, the first with few bits so that its product with n is exact. Adding 1.5·2^23 rounds to an
   integer and leaves it in the low bits. 2^n is applied in two halves, since n may leave the range of the
   exponent. Measured maximal error 0.97 ulp on normal results. */
static inline float real_exp(float x) {
    const float low = x < -104.0f ? -104.0f : x;
    const float c = low > 89.0f ? 89.0f : low;
    const float shifted = HK_FMA(c, 1.44269504f, 12582912.0f);
    const float n = shifted - 12582912.0f;
    float r = HK_FMA(-n, 0.693359375f, c);
    r = HK_FMA(-n, -2.12194440e-4f, r);
    float q = HK_FMA(0x1.6a2352p-10f, r, 0x1.123a6cp-7f);
    q = HK_FMA(q, r, 0x1.5558f4p-5f);
    q = HK_FMA(q, r, 0x1.55549p-3f);
    q = HK_FMA(q, r, 0x1.fffffcp-2f);
    const float p = HK_FMA(r * r, q, r);
    const int32_t k = (int32_t)(hk__bits_of(shifted) - 0x4B400000u);
    const int32_t half = k >> 1;
    const float scale1 = hk__float_of((uint32_t)(half + 127) << 23);
    const float scale2 = hk__float_of((uint32_t)(k - half + 127) << 23);
    return (1.0f + p) * scale1 * scale2;
}

/* Odd polynomial near 0, where 1 - 2/(e^2|x| + 1) would cancel; beyond |x| = 9.02 the result is ±1. */
static inline float real_tanh(float x) {
    const float a = real_abs(x), s = x * x;
    float p = HK_FMA(-0x1.76ac1ap-8f, s, 0x1.5256d8p-6f);
    p = HK_FMA(p, s, -0x1.b84448p-5f);
    p = HK_FMA(p, s, 0x1.110768p-3f);
    p = HK_FMA(p, s, -0x1.555534p-2f);
    const float near = HK_FMA(x * s, p, x);
    const float c = a > 10.0f ? 10.0f : a;
    const float far = 1.0f - 2.0f / (real_exp(2.0f * c) + 1.0f);
    return __builtin_copysignf(a < 0.625f ? near : far, x); /* -0 gives -0 */
}

#endif

/* σ(x) = 1/(1 + e^-x), from z = e^-|x| <= 1: accurate in both tails, never overflows. */
static inline hk_real real_sigmoid(hk_real x) {
    const hk_real z = real_exp(-real_abs(x));
    return (x < 0 ? z : 1) / (1 + z);
}

#endif
