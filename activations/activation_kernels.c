/* activation_kernels.c: the loops of every activation (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The blocks of activations.def become inline functions, and these are put into the few loops below. */
#include "activation_kernels.h"

#include "real_math.h"

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
        for (int64_t i = 0; i < n; i++) y[i] = name##_f(x[i], q);                                  \
    }                                                                                              \
    static void name##_plain_slope(int64_t n, void *const *p, const double *param) {               \
        (void)param;                                                                               \
        HK_NUMBERS(n_params);                                                                      \
        hk_real *restrict out = p[0];                                                              \
        const hk_real *g = p[1];                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            HK_KEPT(keeps);                                                                        \
            out[i] = g[i] * name##_d(x, y, q);                                                     \
        }                                                                                          \
    }                                                                                              \
    HK__JOIN(HK_LEARNED, n_params)(name, n_params, keeps)

/* Kernels with parameters as operands, and one for each parameter's own slope. */
#define HK_LEARNED_0(name, n_params, keeps)
#define HK_LEARNED(name, n_params, keeps)                                                          \
    static void name##_value(int64_t n, void *const *p, const double *param) {                     \
        (void)param;                                                                               \
        hk_real *restrict y = p[0];                                                                \
        const hk_real *x = p[1];                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            HK_OPERANDS(n_params, 2);                                                              \
            y[i] = name##_f(x[i], q);                                                              \
        }                                                                                          \
    }                                                                                              \
    static void name##_slope(int64_t n, void *const *p, const double *param) {                     \
        (void)param;                                                                               \
        hk_real *restrict out = p[0];                                                              \
        const hk_real *g = p[1];                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            HK_KEPT(keeps);                                                                        \
            HK_OPERANDS(n_params, 4);                                                              \
            out[i] = g[i] * name##_d(x, y, q);                                                     \
        }                                                                                          \
    }
#define HK_PARAM_KERNEL(name, n_params, keeps, which)                                              \
    static void name##_param_slope_##which(int64_t n, void *const *p, const double *param) {       \
        (void)param;                                                                               \
        hk_real *restrict out = p[0];                                                              \
        const hk_real *g = p[1];                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            HK_KEPT(keeps);                                                                        \
            HK_OPERANDS(n_params, 4);                                                              \
            hk_real d[HK_ACTIVATION_MAX_PARAMS];                                                   \
            name##_dp(x, y, q, d);                                                                 \
            out[i] = g[i] * d[which];                                                              \
        }                                                                                          \
    }
#define HK_LEARNED_1(name, n, keeps) HK_LEARNED(name, n, keeps) HK_PARAM_KERNEL(name, n, keeps, 0)
#define HK_LEARNED_2(name, n, keeps) HK_LEARNED_1(name, n, keeps) HK_PARAM_KERNEL(name, n, keeps, 1)
#define HK_LEARNED_3(name, n, keeps) HK_LEARNED_2(name, n, keeps) HK_PARAM_KERNEL(name, n, keeps, 2)
#define HK_LEARNED_4(name, n, keeps) HK_LEARNED_3(name, n, keeps) HK_PARAM_KERNEL(name, n, keeps, 3)
#include "activations.def"
#undef HK_ACTIVATION

#define HK_TABLE_0(name)
#define HK_TABLE_1(name)                                                                           \
    .value = name##_value, .slope = name##_slope, .param_slope[0] = name##_param_slope_0,
#define HK_TABLE_2(name) HK_TABLE_1(name).param_slope[1] = name##_param_slope_1,
#define HK_TABLE_3(name) HK_TABLE_2(name).param_slope[2] = name##_param_slope_2,
#define HK_TABLE_4(name) HK_TABLE_3(name).param_slope[3] = name##_param_slope_3,

const hk__activation_kernels HK_STAMPED(hk__activation) = {{
#define HK_ACTIVATION(name, n_params, keeps, ...)                                                  \
    [HK__ACT_##name] = {.plain_value = name##_plain_value,                                         \
                        .plain_slope = name##_plain_slope,                                         \
                        HK__JOIN(HK_TABLE, n_params)(name)},
#include "activations.def"
#undef HK_ACTIVATION
}};
