/* real_math.h: elementary functions that loops can vectorise (for stamped sources: see stamp.h).
   SPDX-License-Identifier: MIT

   In float: polynomials without branches or tables, so that a loop around them becomes vector code and
   each element's bits do not depend on its neighbours. In double (f64): libm, since a polynomial made for
   float would show jumps at the borders of its ranges and spoil gradient checks.
   NaN gives NaN, infinities give the limits. Results below 2^-126 may be 0. The greatest errors over all
   floats stand in docs/accuracy.md. */
#ifndef HK_REAL_MATH_H
#define HK_REAL_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "real.h"

#ifdef HK_STAMP_f64

/* How many exponentials (exp, expm1, tanh, the normal tail) this thread has asked for, so that the cost of
   an activation is counted and not asserted. Only the reference counts. */
extern _Thread_local long hk__exponentials;

#define HK_FMA(a, b, c) fma(a, b, c)
#define real_exp(x) (hk__exponentials++, exp(x))
#define real_exp_down(x) (hk__exponentials++, exp(x))
#define real_expm1(x) (hk__exponentials++, expm1(x))
#define real_tanh(x) (hk__exponentials++, tanh(x))
#define real_log1p(u) log1p(u)
#define real_abs(x) fabs(x)
#define real_copysign(x, sign) copysign(x, sign)

#else

#if defined(__FMA__) || defined(__aarch64__)
#define HK_FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define HK_FMA(a, b, c) ((a) * (b) + (c))
#endif
#define real_abs(x) __builtin_fabsf(x)
#define real_copysign(x, sign) __builtin_copysignf(x, sign)

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

/* x = n·ln 2 + r with n = x/ln 2 rounded and |r| <= ln(2)/2. Adding 1.5·2^23 rounds to an integer and
   leaves it in the low bits of n_bits. ln 2 is taken off in two parts, the first with few bits so that its
   product with n is exact. */
static inline float hk__exp_reduce(float x, float *n, uint32_t *n_bits) {
    const float shifted = HK_FMA(x, 1.44269504f, 12582912.0f);
    *n = shifted - 12582912.0f;
    *n_bits = hk__bits_of(shifted);
    const float r = HK_FMA(-*n, 0.693359375f, x);
    return HK_FMA(-*n, -2.12194440e-4f, r);
}

/* e^r - 1 = r + r²·Q(r) for |r| <= ln(2)/2. */
static inline float hk__expm1_core(float r) {
    float q = HK_FMA(0x1.6a2352p-10f, r, 0x1.123a6cp-7f);
    q = HK_FMA(q, r, 0x1.5558f4p-5f);
    q = HK_FMA(q, r, 0x1.55549p-3f);
    q = HK_FMA(q, r, 0x1.fffffcp-2f);
    return HK_FMA(r * r, q, r);
}

/* e^x = 2^n · e^r, any x. 2^n is applied in two halves, since n may leave the range of the exponent. */
static inline float real_exp(float x) {
    const float low = x < -104.0f ? -104.0f : x;
    float n;
    uint32_t n_bits;
    const float r = hk__exp_reduce(low > 89.0f ? 89.0f : low, &n, &n_bits);
    const int32_t k = (int32_t)(n_bits - 0x4B400000u);
    const int32_t half = k >> 1;
    const float scale1 = hk__float_of((uint32_t)(half + 127) << 23);
    const float scale2 = hk__float_of((uint32_t)(k - half + 127) << 23);
    return (1.0f + hk__expm1_core(r)) * scale1 * scale2;
}

/* e^x for x <= 0 (and up to 88), all that activations need: what is below 2^-126 is 0, so 2^n is one number. */
static inline float real_exp_down(float x) {
    float n;
    uint32_t n_bits;
    const float r = hk__exp_reduce(x < -87.3365f ? -87.3365f : x, &n, &n_bits);
    const float scale = hk__float_of((n_bits << 23) + 0x3F800000u);
    return x < -87.3365f ? 0.0f : (1.0f + hk__expm1_core(r)) * scale;
}

/* e^x - 1 = 2^n·(e^r - 1) + (2^n - 1): exact as r near 0, and -1 far below. */
static inline float real_expm1(float x) {
    const float low = x < -30.0f ? -30.0f : x;
    float n;
    uint32_t n_bits;
    const float r = hk__exp_reduce(low > 88.0f ? 88.0f : low, &n, &n_bits);
    const float scale = hk__float_of((n_bits << 23) + 0x3F800000u);
    const float y = HK_FMA(scale, hk__expm1_core(r), scale - 1.0f);
    return x > 88.7228317f ? HUGE_VALF : y;
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
    const float far = 1.0f - 2.0f / (real_exp_down(2.0f * c) + 1.0f);
    return real_copysign(a < 0.625f ? near : far, x); /* -0 gives -0 */
}

/* log(1 + u) for 0 <= u <= 1: 2·artanh(s) with s = u/(2 + u). */
static inline float real_log1p(float u) {
    const float s = u / (2.0f + u), t = s * s;
    float p = HK_FMA(0x1.f1aeep-4f, t, 0x1.b6d6a4p-4f);
    p = HK_FMA(p, t, 0x1.250972p-3f);
    p = HK_FMA(p, t, 0x1.9996a8p-3f);
    p = HK_FMA(p, t, 0x1.555558p-2f);
    return HK_FMA(2.0f * s * t, p, 2.0f * s);
}

#endif

/* σ(x) = 1/(1 + e^-x), from z = e^-|x| <= 1: accurate in both tails, never overflows. */
static inline hk_real real_sigmoid(hk_real x) {
    const hk_real z = real_exp_down(-real_abs(x));
    return (x < 0 ? z : 1) / (1 + z);
}

/* σ(x) and σ(-x) from one exponential; both keep all digits, which 1 - σ(x) would not. */
static inline hk_real real_sigmoid_both(hk_real x, hk_real *opposite) {
    const hk_real z = real_exp_down(-real_abs(x)), big = 1 / (1 + z), small = z / (1 + z);
    *opposite = x < 0 ? big : small;
    return x < 0 ? small : big;
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). */
static inline hk_real real_softplus(hk_real x) {
    return (x < 0 ? 0 : x) + real_log1p(real_exp_down(-real_abs(x)));
}

/* Φ(-|x|), the normal distribution's tail, and its density φ(x) in *density. In float, with a = |x|,
   Φ(-a) = e^(-a²/2)·u·P(u), u = 1/(1 + 0.35 a); what a² loses in rounding, times -1/2, corrects the
   exponential, which would lose 40 ulp at a = 13. */
static inline hk_real real_normal_tail(hk_real x, hk_real *density) {
#ifdef HK_STAMP_f64
    *density = 0.39894228040143267794 * real_exp(-x * x / 2);
    return 0.5 * erfc(fabs(x) * 0.70710678118654752440);
#else
    const float b = real_abs(x), a = b > 15.0f ? 15.0f : b, h = a * a;
#if defined(__FMA__) || defined(__aarch64__)
    const float lost = HK_FMA(a, a, -h);
#else
    /* Without FMA the loss comes from halves of 12 bits, whose products are exact (Dekker 1971). */
    const float high = hk__float_of(hk__bits_of(a) & 0xFFFFF000u), low = a - high;
    const float lost = ((high * high - h) + 2.0f * high * low) + low * low;
#endif
    float e = real_exp_down(-0.5f * h);
    e = HK_FMA(e * -0.5f, lost, e);
    const float u = 1.0f / HK_FMA(0.35f, a, 1.0f);
    float p = HK_FMA(-0x1.ddb908p-6f, u, 0x1.26f9aep-3f);
    p = HK_FMA(p, u, -0x1.05faa8p-2f);
    p = HK_FMA(p, u, 0x1.464966p-3f);
    p = HK_FMA(p, u, -0x1.7c4fa2p-6f);
    p = HK_FMA(p, u, 0x1.b057d2p-4f);
    p = HK_FMA(p, u, 0x1.eac9bap-4f);
    p = HK_FMA(p, u, 0x1.1e70c4p-3f);
    p = HK_FMA(p, u, 0x1.1df1c6p-3f);
    *density = 0.39894228f * e;
    return e * u * p;
#endif
}

/* x·w, 0 where w is: a gate that closes wins over an infinite x. NaN passes. */
static inline hk_real real_gate(hk_real x, hk_real w) { return w == 0 ? 0 : x * w; }

/* x brought into ±limit; NaN passes. */
static inline hk_real real_within(hk_real x, hk_real limit) {
    const hk_real c = x < -limit ? -limit : x;
    return c > limit ? limit : c;
}

#endif
