/* activation_functions.h: the blocks of activations.def as functions (for stamped sources: see stamp.h).
   SPDX-License-Identifier: MIT

   f(x, p) is name_f, f'(x) name_d(x, y, p), the slopes by the parameters name_dp(x, y, p, d). The same source for CPU
   and GPU. */
#ifndef HK_ACTIVATION_FUNCTIONS_H
#define HK_ACTIVATION_FUNCTIONS_H

#include <stdbool.h>

#include "real_math.h"

/* --- what several blocks share ---------------------------------------------------------------------------- */

HK_HOST_DEVICE static inline hk_real sigmoid_of(hk_real b, hk_real x) {
    return real_sigmoid_within(real_gate_argument(b, x));
}

/* What the slopes of swish and its like are made of, with u = b·x. */
typedef struct gate {
    hk_real slope;   /* d(uσ(u))/du = σ(u) + uσ(u)σ(-u) */
    hk_real rest;    /* 1 - slope = σ(-u) - uσ(u)σ(-u), with all digits */
    hk_real product; /* σ(u)σ(-u) */
} gate;

HK_HOST_DEVICE static inline gate gate_of(hk_real b, hk_real x) {
    const hk_real u = real_gate_argument(b, x);
    hk_real opposite;
    const hk_real s = real_sigmoid_both(u, &opposite), product = s * opposite;
    const hk_real other = u < 0 ? 1 - s : opposite; /* which is 0 with an s that was flushed to 0 */
    const gate g = {HK_FMA(u, product, s), HK_FMA(-u, product, other), product};
    return g;
}

/* (e·x)²·product for the slope by β: 0 where the product is, whatever x. */
HK_HOST_DEVICE static inline hk_real gate_beta(hk_real e, hk_real x, hk_real product) {
    const hk_real t = e * real_within(x, REAL_MOST);
    return real_gate(t, real_gate(t, product));
}

#ifdef HK_STAMP_f64
#define GELU_TANH_LIMIT 22.0
#else
#define GELU_TANH_LIMIT 10.02f
#endif
/* 2√(2/π)·(c + 0.044715c³) of gelu_tanh in *u, c² in *c2, with c = x limited where σ(u) has become 0 or 1. */
HK_HOST_DEVICE static inline hk_real gelu_tanh_argument(hk_real x, hk_real *c2, hk_real *u) {
    const hk_real c = real_within(x, GELU_TANH_LIMIT);
    *c2 = c * c;
    *u = c * HK_FMA(*c2, HK_REAL(0.071354816272600249), HK_REAL(1.5957691216057308));
    return c;
}

/* Where the powers of pau's argument would leave their range. */
#ifdef HK_STAMP_f64
#define PADE_LIMIT 0x1p100
#else
#define PADE_LIMIT 0x1p25f
#endif
/* P(c)/(1 + |B(c)|) of pau, with c = x within ±PADE_LIMIT; *b = B(c). p: a0..a5, b1..b4. */
HK_HOST_DEVICE static inline hk_real pade(hk_real x, const hk_real *p, hk_real *b, hk_real *c) {
    const hk_real v = real_within(x, PADE_LIMIT);
    hk_real above = HK_FMA(p[5], v, p[4]), below = HK_FMA(p[9], v, p[8]);
    above = HK_FMA(above, v, p[3]);
    above = HK_FMA(above, v, p[2]);
    above = HK_FMA(above, v, p[1]);
    above = HK_FMA(above, v, p[0]);
    below = HK_FMA(below, v, p[7]);
    below = HK_FMA(below, v, p[6]);
    *b = below * v;
    *c = v;
    return real_over(above, 1 + real_abs(*b));
}

/* The straight line through 0 that pau becomes beyond, where it has the value f. */
HK_HOST_DEVICE static inline hk_real pade_far(hk_real x, hk_real f) {
    return real_gate(x, f * real_copysign(1 / PADE_LIMIT, x));
}

/* --- the functions of each block ---------------------------------------------------------------------------- */

#define HK_ACTIVATION_FUNCTIONS
#define HK_VALUE(name) HK_HOST_DEVICE static inline hk_real name##_f(hk_real x, const hk_real *p)
#define HK_SLOPE(name)                                                                             \
    HK_HOST_DEVICE static inline hk_real name##_d(hk_real x, hk_real y, const hk_real *p)
#define HK_PARAM_SLOPES(name)                                                                      \
    HK_HOST_DEVICE static inline void name##_dp(hk_real x, hk_real y, const hk_real *p, hk_real *d)
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
#include "activations.def"
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#undef HK_ACTIVATION_FUNCTIONS
#undef HK_VALUE
#undef HK_SLOPE
#undef HK_PARAM_SLOPES

/* What kernels of activations with parameters add to those of the others: HK_LEARNED and HK_TABLE are theirs to define, and
   HK_TABLE_0. The number at the end is that of the parameters. */
#define HK_LEARNED_0(name, n, keeps)
#define HK_LEARNED_1(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_2(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_3(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_4(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_10(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_11(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_TABLE_1(name) HK_TABLE(name)
#define HK_TABLE_2(name) HK_TABLE(name)
#define HK_TABLE_3(name) HK_TABLE(name)
#define HK_TABLE_4(name) HK_TABLE(name)
#define HK_TABLE_10(name) HK_TABLE(name)
#define HK_TABLE_11(name) HK_TABLE(name)

#endif
