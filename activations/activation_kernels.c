/* activation_kernels.c: the loops of every activation (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The blocks of activations.def become inline functions, and these are put into the few loops below. */
#include "activation_kernels.h"

#include "activation_functions.h"

#ifdef HK_STAMP_f64
_Thread_local long hk__exponentials;
#endif

/* lane += x, lane by lane, so that the compiler may vectorise without changing the order. */
static void add_lanes(int64_t n, const hk_real *x, hk_real *lane) {
    enum { LANES = HK__ACTIVATION_LANES };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += x[i + k];
    for (; i < n; i += HK_MAP_STEP)
        for (int k = 0; k < HK_MAP_STEP; k++) lane[k] += x[i + k];
}

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
#include "activations.def"
#undef HK_ACTIVATION

#define HK_TABLE(name)                                                                             \
    .value = name##_value, .slope = name##_slope, .param_slope = name##_param_slope,               \
    .learn = name##_learn,
#define HK_TABLE_0(name)

const hk__activation_kernels HK_STAMPED(hk__activation) = {{
#define HK_ACTIVATION(name, n_params, keeps, ...)                                                  \
    [HK__ACT_##name] = {.plain_value = name##_plain_value,                                         \
                        .plain_slope = name##_plain_slope,                                         \
                        HK__JOIN(HK_TABLE, n_params)(name)},
#include "activations.def"
#undef HK_ACTIVATION
}};
