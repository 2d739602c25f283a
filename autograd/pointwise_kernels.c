/* pointwise_kernels.c: loops over the rows of pointwise.def (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "pointwise_kernels.h"

#include <math.h>

#include "real.h"

#define HK_BEGIN                                                                                   \
    const hk_real p0 = param ? (hk_real)param[0] : 0, p1 = param ? (hk_real)param[1] : 0;          \
    (void)p0, (void)p1;

#define HK_VALUE(name, expr, load)                                                                 \
    static void name##_value(int64_t n, void *const *p, const double *param) {                     \
        HK_BEGIN hk_real *restrict out = p[0];                                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            load(1);                                                                               \
            out[i] = (expr);                                                                       \
        }                                                                                          \
    }
#define HK_SLOPE(name, which, expr, load, y_at)                                                    \
    static void name##_slope_##which(int64_t n, void *const *p, const double *param) {             \
        HK_BEGIN hk_real *restrict out = p[0];                                                     \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const hk_real g = ((const hk_real *)p[1])[i], y = ((const hk_real *)p[y_at])[i];       \
            load(2);                                                                               \
            (void)y;                                                                               \
            out[i] = g * (expr);                                                                   \
        }                                                                                          \
    }
#define HK_LOAD_A(first)                                                                           \
    const hk_real a = ((const hk_real *)p[first])[i];                                              \
    (void)a
#define HK_LOAD_AB(first)                                                                          \
    const hk_real a = ((const hk_real *)p[first])[i], b = ((const hk_real *)p[(first) + 1])[i];    \
    (void)a, (void)b

#define HK_ONE(name, y_, da)                                                                       \
    HK_VALUE(name, y_, HK_LOAD_A)                                                                  \
    HK_SLOPE(name, a, da, HK_LOAD_A, 3)
#define HK_TWO(name, y_, da, db)                                                                   \
    HK_VALUE(name, y_, HK_LOAD_AB)                                                                 \
    HK_SLOPE(name, a, da, HK_LOAD_AB, 4)                                                           \
    HK_SLOPE(name, b, db, HK_LOAD_AB, 4)
#include "pointwise.def"
#undef HK_ONE
#undef HK_TWO

#define HK_COMPARE(name, operation)                                                                \
    static void name(int64_t n, void *const *p, const double *param) {                             \
        (void)param;                                                                               \
        uint8_t *restrict y = p[0];                                                                \
        const hk_real *a = p[1], *b = p[2];                                                        \
        for (int64_t i = 0; i < n; i++) y[i] = (uint8_t)(a[i] operation b[i]);                     \
    }
HK_COMPARE(less, <)
HK_COMPARE(less_equal, <=)
HK_COMPARE(greater, >)
HK_COMPARE(greater_equal, >=)
HK_COMPARE(equal, ==)
HK_COMPARE(not_equal, !=)

static void where(int64_t n, void *const *p, const double *param) {
    (void)param;
    hk_real *restrict y = p[0];
    const uint8_t *cond = p[1];
    const hk_real *a = p[2], *b = p[3];
    for (int64_t i = 0; i < n; i++) y[i] = cond[i] ? a[i] : b[i];
}

static void where_true(int64_t n, void *const *p, const double *param) {
    (void)param;
    hk_real *restrict out = p[0];
    const hk_real *g = p[1];
    const uint8_t *cond = p[2];
    for (int64_t i = 0; i < n; i++) out[i] = cond[i] ? g[i] : 0;
}

static void where_false(int64_t n, void *const *p, const double *param) {
    (void)param;
    hk_real *restrict out = p[0];
    const hk_real *g = p[1];
    const uint8_t *cond = p[2];
    for (int64_t i = 0; i < n; i++) out[i] = cond[i] ? 0 : g[i];
}

static void masked(int64_t n, void *const *p, const double *param) {
    const hk_real scale = (hk_real)param[0], on = (hk_real)param[1], off = (hk_real)param[2];
    hk_real *restrict y = p[0];
    const hk_real *x = p[1];
    const uint8_t *mask = p[2];
    for (int64_t i = 0; i < n; i++) y[i] = mask[i] ? scale * x[i] + on : off;
}

const hk__pointwise_kernels HK_STAMPED(hk__pointwise) = {
    .row =
        {
#define HK_ONE(id, y, da)                                                                          \
    [HK__PW_##id] = {.name = #id, .operands = 1, .value = id##_value, .slope = {id##_slope_a}},
#define HK_TWO(id, y, da, db)                                                                      \
    [HK__PW_##id] = {                                                                              \
        .name = #id, .operands = 2, .value = id##_value, .slope = {id##_slope_a, id##_slope_b}},
#include "pointwise.def"
#undef HK_ONE
#undef HK_TWO
        },
    .compare = {less, less_equal, greater, greater_equal, equal, not_equal},
    .where = where,
    .masked = masked,
    .where_part = {where_true, where_false}};
