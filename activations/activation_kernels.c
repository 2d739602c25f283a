/* activation_kernels.c: the loops of every activation (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The blocks of activations.def become inline functions, and these are put into the few loops below. */
#include "activation_kernels.h"

#include "real_math.h"

#ifdef HK_STAMP_f64
_Thread_local long hk__exponentials;
#endif

/* --- what several blocks share ---------------------------------------------------------------------------- */

static inline hk_real sigmoid_of(hk_real b, hk_real x) {
    return real_sigmoid_within(real_gate_argument(b, x));
}

/* What the slopes of swish and its like are made of, with u = b·x. */
typedef struct gate {
    hk_real slope;   /* d(uσ(u))/du = σ(u) + uσ(u)σ(-u) */
    hk_real rest;    /* 1 - slope = σ(-u) - uσ(u)σ(-u), with all digits */
    hk_real product; /* σ(u)σ(-u) */
} gate;

static inline gate gate_of(hk_real b, hk_real x) {
    const hk_real u = real_gate_argument(b, x);
    hk_real opposite;
    const hk_real s = real_sigmoid_both(u, &opposite), product = s * opposite;
    const hk_real other = u < 0 ? 1 - s : opposite; /* which is 0 with an s that was flushed to 0 */
    return (gate){HK_FMA(u, product, s), HK_FMA(-u, product, other), product};
}

/* (e·x)²·product for the slope by β: 0 where the product is, whatever x. */
static inline hk_real gate_beta(hk_real e, hk_real x, hk_real product) {
    const hk_real t = e * real_within(x, REAL_MOST);
    return real_gate(t, real_gate(t, product));
}

#ifdef HK_STAMP_f64
#define GELU_TANH_LIMIT 22.0
#else
#define GELU_TANH_LIMIT 10.02f
#endif
/* 2√(2/π)·(c + 0.044715c³) of gelu_tanh in *u, c² in *c2, with c = x limited where σ(u) has become 0 or 1. */
static inline hk_real gelu_tanh_argument(hk_real x, hk_real *c2, hk_real *u) {
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
static inline hk_real pade(hk_real x, const hk_real *p, hk_real *b, hk_real *c) {
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
    return above / (1 + real_abs(*b));
}

/* The straight line through 0 that pau becomes beyond, where it has the value f. */
static inline hk_real pade_far(hk_real x, hk_real f) {
    return real_gate(x, f * real_copysign(1 / PADE_LIMIT, x));
}

/* lane += x, lane by lane, so that the compiler may vectorise without changing the order. */
static void add_lanes(int64_t n, const hk_real *x, hk_real *lane) {
    enum { LANES = HK__ACTIVATION_LANES };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += x[i + k];
    for (; i < n; i += HK_MAP_STEP)
        for (int k = 0; k < HK_MAP_STEP; k++) lane[k] += x[i + k];
}

/* --- the functions of each block ---------------------------------------------------------------------------- */

#define HK_ACTIVATION_FUNCTIONS
#define HK_VALUE(name) static inline hk_real name##_f(hk_real x, const hk_real *p)
#define HK_SLOPE(name) static inline hk_real name##_d(hk_real x, hk_real y, const hk_real *p)
#define HK_PARAM_SLOPES(name)                                                                      \
    static inline void name##_dp(hk_real x, hk_real y, const hk_real *p, hk_real *d)
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

/* --- the loops ------------------------------------------------------------------------------------------------ */

/* n is a multiple of HK_MAP_STEP (map.h). Said so that the compiler sees it: no code for a rest. */
#define HK_WHOLE(n) ((n) & -(int64_t)HK_MAP_STEP)
/* Operands are the output itself or do not overlap it, so no iteration depends on another. */
#if defined(__clang__)
#define HK_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define HK_INDEPENDENT _Pragma("GCC ivdep")
#else
#define HK_INDEPENDENT
#endif
/* Parameters of element i: the same numbers everywhere, or the i-th of each operand from `first` on. */
#define HK_NUMBERS(n)                                                                              \
    hk_real q[HK_ACTIVATION_MAX_PARAMS] = {0};                                                     \
    for (int k = 0; k < (n); k++) q[k] = (hk_real)param[k]
#define HK_OPERANDS(n, first)                                                                      \
    hk_real q[HK_ACTIVATION_MAX_PARAMS] = {0};                                                     \
    for (int k = 0; k < (n); k++) q[k] = ((const hk_real *)p[(first) + k])[i]
#define HK_KEPT(keeps)                                                                             \
    const hk_real x = (keeps)&HK_KEEP_INPUT ? ((const hk_real *)p[2])[i] : 0;                      \
    const hk_real y = (keeps)&HK_KEEP_OUTPUT ? ((const hk_real *)p[3])[i] : 0

#define HK_ACTIVATION(name, n_params, keeps, ...)                                                  \
    static void name##_plain_value(int64_t n, void *const *p, const double *param) {               \
        (void)param;                                                                               \
        HK_NUMBERS(n_params);                                                                      \
        hk_real *restrict y = p[0];                                                                \
        const hk_real *x = p[1];                                                                   \
        HK_INDEPENDENT                                                                             \
        for (int64_t i = 0; i < HK_WHOLE(n); i++) y[i] = name##_f(x[i], q);                        \
    }                                                                                              \
    static void name##_plain_slope(int64_t n, void *const *p, const double *param) {               \
        (void)param;                                                                               \
        HK_NUMBERS(n_params);                                                                      \
        hk_real *restrict out = p[0];                                                              \
        const hk_real *g = p[1];                                                                   \
        HK_INDEPENDENT                                                                             \
        for (int64_t i = 0; i < HK_WHOLE(n); i++) {                                                \
            HK_KEPT(keeps);                                                                        \
            out[i] = g[i] * name##_d(x, y, q);                                                     \
        }                                                                                          \
    }                                                                                              \
    HK__JOIN(HK_LEARNED, n_params)(name, n_params, keeps)

/* Of activations with parameters. */
#define HK_LEARNED(name, n_params, keeps)                                                          \
    static void name##_value(int64_t n, void *const *p, const double *param) {                     \
        (void)param;                                                                               \
        hk_real *restrict y = p[0];                                                                \
        const hk_real *x = p[1];                                                                   \
        HK_INDEPENDENT                                                                             \
        for (int64_t i = 0; i < HK_WHOLE(n); i++) {                                                \
            HK_OPERANDS(n_params, 2);                                                              \
            y[i] = name##_f(x[i], q);                                                              \
        }                                                                                          \
    }                                                                                              \
    static void name##_slope(int64_t n, void *const *p, const double *param) {                     \
        (void)param;                                                                               \
        hk_real *restrict out = p[0];                                                              \
        const hk_real *g = p[1];                                                                   \
        HK_INDEPENDENT                                                                             \
        for (int64_t i = 0; i < HK_WHOLE(n); i++) {                                                \
            HK_KEPT(keeps);                                                                        \
            HK_OPERANDS(n_params, 4);                                                              \
            out[i] = g[i] * name##_d(x, y, q);                                                     \
        }                                                                                          \
    }                                                                                              \
    static void name##_param_slope(int64_t n, void *const *p, const double *param) {               \
        const int which = (int)param[0];                                                           \
        const hk_real *g = p[1];                                                                   \
        for (int64_t first = 0; first < n; first += HK__ACTIVATION_TILE) {                         \
            const int64_t m = n - first < HK__ACTIVATION_TILE ? n : first + HK__ACTIVATION_TILE;   \
            hk_real part[n_params][HK__ACTIVATION_TILE];                                           \
            HK_INDEPENDENT                                                                         \
            for (int64_t i = first; i < HK_WHOLE(m); i++) {                                        \
                HK_KEPT(keeps);                                                                    \
                HK_OPERANDS(n_params, 4);                                                          \
                hk_real d[HK_ACTIVATION_MAX_PARAMS];                                               \
                name##_dp(x, y, q, d);                                                             \
                for (int k = 0; k < (n_params); k++) part[k][i - first] = g[i] * d[k];             \
            }                                                                                      \
            memcpy((hk_real *)p[0] + first, part[which], (size_t)(m - first) * sizeof(hk_real));   \
        }                                                                                          \
    }                                                                                              \
    static void name##_learn(int64_t n, void *const *p, const double *param, void *lanes) {        \
        HK_NUMBERS(n_params);                                                                      \
        hk_real part[n_params][HK__ACTIVATION_TILE];                                               \
        hk_real *restrict out = p[0];                                                              \
        const hk_real *g = p[1];                                                                   \
        HK_INDEPENDENT                                                                             \
        for (int64_t i = 0; i < HK_WHOLE(n); i++) {                                                \
            HK_KEPT(keeps);                                                                        \
            hk_real d[HK_ACTIVATION_MAX_PARAMS];                                                   \
            name##_dp(x, y, q, d);                                                                 \
            for (int k = 0; k < (n_params); k++) part[k][i] = g[i] * d[k];                         \
            out[i] = g[i] * name##_d(x, y, q);                                                     \
        }                                                                                          \
        for (int k = 0; k < (n_params); k++)                                                       \
            add_lanes(n, part[k], (hk_real *)lanes + k * HK__ACTIVATION_LANES);                    \
    }
#define HK_LEARNED_0(name, n, keeps)
#define HK_LEARNED_1(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_2(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_3(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_4(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_10(name, n, keeps) HK_LEARNED(name, n, keeps)
#define HK_LEARNED_11(name, n, keeps) HK_LEARNED(name, n, keeps)
#include "activations.def"
#undef HK_ACTIVATION

#define HK_TABLE(name)                                                                             \
    .value = name##_value, .slope = name##_slope, .param_slope = name##_param_slope,               \
    .learn = name##_learn,
#define HK_TABLE_0(name)
#define HK_TABLE_1(name) HK_TABLE(name)
#define HK_TABLE_2(name) HK_TABLE(name)
#define HK_TABLE_3(name) HK_TABLE(name)
#define HK_TABLE_4(name) HK_TABLE(name)
#define HK_TABLE_10(name) HK_TABLE(name)
#define HK_TABLE_11(name) HK_TABLE(name)

const hk__activation_kernels HK_STAMPED(hk__activation) = {{
#define HK_ACTIVATION(name, n_params, keeps, ...)                                                  \
    [HK__ACT_##name] = {.plain_value = name##_plain_value,                                         \
                        .plain_slope = name##_plain_slope,                                         \
                        HK__JOIN(HK_TABLE, n_params)(name)},
#include "activations.def"
#undef HK_ACTIVATION
}};
