/* real_math.h: elementary functions that loops can vectorise (for stamped sources: see stamp.h), of CPU and GPU.
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

#ifdef HK_STAMP_cuda64
#define HK_COUNTED(x) x
#else
/* How many exponentials (exp, expm1, tanh, the normal tail) this thread has asked for, so that the cost of
   an activation is counted and not asserted. Only the reference counts. */
extern _Thread_local long hk__exponentials;
#define HK_COUNTED(x) (hk__exponentials++, x)
#endif

#define HK_FMA(a, b, c) fma(a, b, c)
#define real_exp_down(x) HK_COUNTED(exp(x))
#define real_exp_minus(a) HK_COUNTED(exp(-(a)))
#define real_expm1_down(x) HK_COUNTED(expm1(x))
#define real_tanh(x) HK_COUNTED(tanh(x))
#define real_log1p(u) log1p(u)
#define real_abs(x) fabs(x)
#define real_copysign(x, sign) copysign((double)(x), sign)
#define real_at_most(x, limit) ((x) > (limit) ? (limit) : (x))
#define real_over(a, d) ((a) / (d))
#define real_reciprocal(d) (1 / (d))

#else

#if defined(__FMA__) || defined(__aarch64__) || defined(HK_STAMP_cuda)
#define HK_HAS_FMA 1
#define HK_FMA(a, b, c) fmaf(a, b, c)
#else
#define HK_HAS_FMA 0
#define HK_FMA(a, b, c) ((a) * (b) + (c))
#endif
#define real_abs(x) fabsf(x)
#define real_copysign(x, sign) copysignf(x, sign)

HK_HOST_DEVICE static inline float hk__float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

HK_HOST_DEVICE static inline uint32_t hk__bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* x, but limit at most; NaN passes. */
HK_HOST_DEVICE static inline float real_at_most(float x, float limit) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float y;
    asm("min.ftz.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(x), "f"(limit));
    return y;
#else
    return x > limit ? limit : x;
#endif
}

/* a/d and 1/d for d from 1 to 2^126; beyond, up to infinity without it, they may be 0 where they are below 2^-126. On a
   GPU a division looks first whether its operands are of a range where few steps are enough, which takes as long as
   the steps, and brings a branch. These are the steps: an estimate, refined by FMA to a correctly rounded
   quotient, so with the bits of a division. Denormals are not flushed on the way: what is left of a may be one. */
#if defined(__CUDA_ARCH__) && defined(HK_STAMP_cuda)
static __device__ inline float hk__fma_whole(float a, float b, float c) {
    float x;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(x) : "f"(a), "f"(b), "f"(c));
    return x;
}
HK_HOST_DEVICE static inline float real_reciprocal(float d) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(d));
    return HK_FMA(r, hk__fma_whole(-d, r, 1.0f), r);
}
HK_HOST_DEVICE static inline float real_over(float a, float d) {
    const float r = real_reciprocal(d), q = a * r;
    return HK_FMA(r, hk__fma_whole(-d, q, a), q);
}
#else
HK_HOST_DEVICE static inline float real_over(float a, float d) { return a / d; }
HK_HOST_DEVICE static inline float real_reciprocal(float d) { return 1.0f / d; }
#endif

/* e^r - 1 = r + r²·Q(r), and 2^n: x = n·ln 2 + r with n = x/ln 2 rounded and |r| <= ln(2)/2, for x from -88 to 88.
   Adding 1.5·2^23 + 127 rounds to an integer and leaves n + 127, the exponent of 2^n, in the low bits; 0 there is 0,
   so e^x is 0 below -87.68. ln 2 is taken off in two parts, the first with few bits so that its product with n is
   exact. */
HK_HOST_DEVICE static inline float hk__expm1_part(float x, float *power) {
    const float magic = 12583039.0f, shifted = HK_FMA(x, 1.44269504f, magic), n = shifted - magic;
    *power = hk__float_of(hk__bits_of(shifted) << 23);
    float r = HK_FMA(-n, 0.693359375f, x);
    r = HK_FMA(-n, -2.12194440e-4f, r);
    float q = HK_FMA(0x1.6a2352p-10f, r, 0x1.123a6cp-7f);
    q = HK_FMA(q, r, 0x1.5558f4p-5f);
    q = HK_FMA(q, r, 0x1.55549p-3f);
    q = HK_FMA(q, r, 0x1.fffffcp-2f);
    return HK_FMA(r * r, q, r);
}

/* e^x = 2^n + 2^n·(e^r - 1) for x from -88 to 88. */
HK_HOST_DEVICE static inline float hk__exp_part(float x) {
    float power;
    const float part = hk__expm1_part(x, &power);
#if HK_HAS_FMA
    return HK_FMA(part, power, power);
#else
    return (1.0f + part) * power; /* a product part·power alone could be flushed to 0 */
#endif
}

/* e^x for x <= 0, all that activations need. */
HK_HOST_DEVICE static inline float real_exp_down(float x) {
    return hk__exp_part(x < -88.0f ? -88.0f : x);
}

/* e^-a for a >= 0. */
HK_HOST_DEVICE static inline float real_exp_minus(float a) {
    return hk__exp_part(-real_at_most(a, 88.0f));
}

/* e^x - 1 = 2^n·(e^r - 1) + (2^n - 1) for x <= 0: exact as r near 0, and -1 far below. */
HK_HOST_DEVICE static inline float real_expm1_down(float x) {
    float power;
    const float part = hk__expm1_part(x < -30.0f ? -30.0f : x, &power);
    return HK_FMA(power, part, power - 1.0f);
}

/* Odd polynomial near 0, where 1 - 2/(e^2|x| + 1) would cancel; beyond |x| = 9.02 the result is ±1. */
HK_HOST_DEVICE static inline float real_tanh(float x) {
    const float a = real_abs(x), s = x * x;
    float p = HK_FMA(-0x1.76ac1ap-8f, s, 0x1.5256d8p-6f);
    p = HK_FMA(p, s, -0x1.b84448p-5f);
    p = HK_FMA(p, s, 0x1.110768p-3f);
    p = HK_FMA(p, s, -0x1.555534p-2f);
    const float near = HK_FMA(x * s, p, x);
    const float c = real_at_most(a, 10.0f);
    const float far = 1.0f - real_over(2.0f, hk__exp_part(2.0f * c) + 1.0f);
    return real_copysign(a < 0.625f ? near : far, x); /* -0 gives -0 */
}

/* log(1 + u) = u + u²·Q(u) for 0 <= u <= 1, all that softplus needs. A polynomial rather than 2·artanh(u/(2 + u)): no
   division. Fitted to the least relative error, 5e-9. */
HK_HOST_DEVICE static inline float real_log1p(float u) {
    float q = HK_FMA(-0x1.a93368p-9f, u, 0x1.453f0ep-6f);
    q = HK_FMA(q, u, -0x1.d29ccap-5f);
    q = HK_FMA(q, u, 0x1.b25360p-4f);
    q = HK_FMA(q, u, -0x1.397562p-3f);
    q = HK_FMA(q, u, 0x1.92f696p-3f);
    q = HK_FMA(q, u, -0x1.ff0f88p-3f);
    q = HK_FMA(q, u, 0x1.554c80p-2f);
    q = HK_FMA(q, u, -0x1.ffffbep-2f);
    return HK_FMA(u * u, q, u);
}

#endif

/* x brought into ±limit; NaN passes. */
HK_HOST_DEVICE static inline hk_real real_within(hk_real x, hk_real limit) {
    const hk_real c = x < -limit ? -limit : x;
    return c > limit ? limit : c;
}

/* Where σ(-|u|) and Φ(-|x|) leave the range of normal numbers. Kernels run with denormals flushed, so they are 0
   there. */
#ifdef HK_STAMP_f64
#define REAL_GATE_LIMIT 745.5
#define REAL_TAIL_LIMIT 40.0
#define REAL_EXP(u) real_exp_down(u)
#define REAL_MOST 0x1.fffffffffffffp1023
#else
#define REAL_GATE_LIMIT 87.5f
#define REAL_TAIL_LIMIT 13.2f
#define REAL_EXP(u) hk__exp_part(u)
#define REAL_MOST 0x1.fffffep127f
#endif

/* b·x within the gate's limit. x is limited, not the product, so that b = 0 and x = ∞ give 0. */
HK_HOST_DEVICE static inline hk_real real_gate_argument(hk_real b, hk_real x) {
    const hk_real far = REAL_GATE_LIMIT / real_abs(b);
    return b * real_within(x, far < REAL_MOST ? far : REAL_MOST);
}

/* σ(u) = 1/(1 + e^-u) for |u| within the gate's limit; all digits in both tails. */
HK_HOST_DEVICE static inline hk_real real_sigmoid_within(hk_real u) {
    return real_reciprocal(1 + REAL_EXP(-u));
}

/* σ(x), any x. */
HK_HOST_DEVICE static inline hk_real real_sigmoid(hk_real x) {
    return real_sigmoid_within(real_within(x, REAL_GATE_LIMIT));
}

/* σ(u) and *opposite = σ(-u), both with all digits, which 1 - σ(u) would not have; |u| within the gate's limit. */
HK_HOST_DEVICE static inline hk_real real_sigmoid_both(hk_real u, hk_real *opposite) {
#ifdef HK_STAMP_f64
    const double z = real_exp_minus(fabs(u)), big = 1 / (1 + z), small = z * big;
    *opposite = u < 0 ? big : small;
    return u < 0 ? small : big;
#else
    const float z = hk__exp_part(-u), s = real_reciprocal(1 + z);
    *opposite = z * s;
    return s;
#endif
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). */
HK_HOST_DEVICE static inline hk_real real_softplus(hk_real x) {
    return (x < 0 ? 0 : x) + real_log1p(real_exp_minus(real_abs(x)));
}

/* Φ(-a), the normal distribution's tail, and its density φ(a) in *density, with a = *limited = |x| within its limit. In float,
   Φ(-a) = e^(-a²/2)·u·P(u), u = 1/(1 + 0.35 a); what a²/2 loses in rounding corrects the exponential, which would
   lose 40 ulp at a = 13. Beyond 13.2 the tail is below the normal numbers. */
HK_HOST_DEVICE static inline hk_real real_normal_tail(hk_real x, hk_real *limited,
                                                      hk_real *density) {
    const hk_real a = real_at_most(real_abs(x), REAL_TAIL_LIMIT);
    *limited = a;
#ifdef HK_STAMP_f64
    *density = 0.39894228040143267794 * real_exp_down(-a * a / 2);
    return 0.5 * erfc(a * 0.70710678118654752440);
#else
    const float m = -0.5f * a, h = m * a;
#if HK_HAS_FMA
    const float part = hk__exp_part(h), e = HK_FMA(part, HK_FMA(m, a, -h), part);
#else
    /* Without FMA the loss comes from halves of 12 bits, whose products are exact (Dekker 1971). */
    const float high = hk__float_of(hk__bits_of(a) & 0xFFFFF000u), low = a - high;
    const float lost = ((-0.5f * high * high - h) - high * low) - 0.5f * low * low;
    const float e = hk__exp_part(h) * (1.0f + lost); /* the power times `lost` may be a denormal */
#endif
    const float u = real_reciprocal(HK_FMA(0.35f, a, 1.0f));
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
HK_HOST_DEVICE static inline hk_real real_gate(hk_real x, hk_real w) { return w == 0 ? 0 : x * w; }

#endif
