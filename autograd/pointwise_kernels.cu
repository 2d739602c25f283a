/* pointwise_kernels.cu: the rows of pointwise.def on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "pointwise_kernels.h"

#include "map.cuh"
#include "real.h"

namespace { /* each stamp has its own */

struct real_formula : hk__formula {
    typedef hk_real in, out;
};

/* Of rows of pointwise.def. */
struct with_numbers : real_formula {
    hk_real p0, p1;
    void read(const double *param) {
        p0 = param ? (hk_real)param[0] : 0;
        p1 = param ? (hk_real)param[1] : 0;
    }
};

#define HK_VALUE(name, n, expr)                                                                    \
    struct name##_value : with_numbers {                                                           \
        enum { operands = n };                                                                     \
        __device__ hk_real at(const hk_real *x, uint8_t) const {                                   \
            const hk_real a = x[0], b = x[n - 1];                                                  \
            (void)a, (void)b;                                                                      \
            return (expr);                                                                         \
        }                                                                                          \
    };
/* Operands are g, a, b if there is one, y. */
#define HK_SLOPE(name, which, n, expr)                                                             \
    struct name##_slope_##which : with_numbers {                                                   \
        enum { operands = n + 2 };                                                                 \
        __device__ hk_real at(const hk_real *x, uint8_t) const {                                   \
            const hk_real g = x[0], a = x[1], b = x[n], y = x[n + 1];                              \
            (void)a, (void)b, (void)y;                                                             \
            return g * (expr);                                                                     \
        }                                                                                          \
    };
#define HK_ONE(name, y_, da) HK_VALUE(name, 1, y_) HK_SLOPE(name, a, 1, da)
#define HK_TWO(name, y_, da, db)                                                                   \
    HK_VALUE(name, 2, y_) HK_SLOPE(name, a, 2, da) HK_SLOPE(name, b, 2, db)
#include "pointwise.def"
#undef HK_ONE
#undef HK_TWO

#define HK_COMPARE(name, operation)                                                                \
    struct name : hk__formula {                                                                    \
        typedef hk_real in;                                                                        \
        typedef uint8_t out;                                                                       \
        enum { operands = 2 };                                                                     \
        __device__ uint8_t at(const hk_real *x, uint8_t) const {                                   \
            return (uint8_t)(x[0] operation x[1]);                                                 \
        }                                                                                          \
    };
HK_COMPARE(less, <)
HK_COMPARE(less_equal, <=)
HK_COMPARE(greater, >)
HK_COMPARE(greater_equal, >=)
HK_COMPARE(equal, ==)
HK_COMPARE(not_equal, !=)

struct where : real_formula {
    enum { operands = 3, mask = 1 };
    __device__ hk_real at(const hk_real *x, uint8_t m) const { return m ? x[0] : x[1]; }
};
struct where_true : real_formula {
    enum { operands = 2, mask = 2 };
    __device__ hk_real at(const hk_real *x, uint8_t m) const { return m ? x[0] : 0; }
};
struct where_false : real_formula {
    enum { operands = 2, mask = 2 };
    __device__ hk_real at(const hk_real *x, uint8_t m) const { return m ? 0 : x[0]; }
};
struct masked : real_formula {
    enum { operands = 2, mask = 2 };
    hk_real scale, on, off;
    void read(const double *param) {
        scale = (hk_real)param[0];
        on = (hk_real)param[1];
        off = (hk_real)param[2];
    }
    __device__ hk_real at(const hk_real *x, uint8_t m) const { return m ? scale * x[0] + on : off; }
};

/* clang-format off */
} /* namespace */

const hk__pointwise_kernels HK_STAMPED(hk__pointwise) = {
    {
#define HK_ONE(id, y, da) {#id, 1, HK_MAP_ENTRY(id##_value), {HK_MAP_ENTRY(id##_slope_a), NULL}},
#define HK_TWO(id, y, da, db)                                                                                                  \
    {#id, 2, HK_MAP_ENTRY(id##_value), {HK_MAP_ENTRY(id##_slope_a), HK_MAP_ENTRY(id##_slope_b)}},
#include "pointwise.def"
    },
    {HK_MAP_ENTRY(less), HK_MAP_ENTRY(less_equal), HK_MAP_ENTRY(greater), HK_MAP_ENTRY(greater_equal), HK_MAP_ENTRY(equal),
     HK_MAP_ENTRY(not_equal)},
    HK_MAP_ENTRY(where),
    HK_MAP_ENTRY(masked),
    {HK_MAP_ENTRY(where_true), HK_MAP_ENTRY(where_false)}};
/* clang-format on */
