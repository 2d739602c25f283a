/* activation_kernels.cu: the kernels of every activation on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The blocks of activations.def, the functions that the CPU's loops hold too, become formulas for map.cuh. */
#include "activation_functions.h"
#include "learn.cuh"

namespace { /* each stamp has its own */

/* Parameters as numbers, from param[first] on. */
template <int n, int first> struct with_numbers : hk__formula {
    typedef hk_real in, out;
    hk_real q[n];
    void read(const double *param) {
        for (int k = 0; k < n; k++) q[k] = (hk_real)param[first + k];
    }
};
template <int first> struct with_numbers<0, first> : hk__formula {
    typedef hk_real in, out;
    static constexpr const hk_real *q = nullptr;
};

#define HK_X(x) (kept & HK_KEEP_INPUT ? x[1] : 0)
#define HK_Y(x) (kept & HK_KEEP_OUTPUT ? x[2] : 0)

#define HK_ACTIVATION(name, n_params, keeps, ...)                                                  \
    struct name##_plain_value : with_numbers<n_params, 0> {                                        \
        enum { operands = 1 };                                                                     \
        __device__ hk_real at(const hk_real *x, uint8_t) const { return name##_f(x[0], q); }       \
    };                                                                                             \
    struct name##_plain_slope : with_numbers<n_params, 0> {                                        \
        enum { operands = 3, kept = keeps };                                                       \
        __device__ hk_real at(const hk_real *x, uint8_t) const {                                   \
            return x[0] * name##_d(HK_X(x), HK_Y(x), q);                                           \
        }                                                                                          \
    };                                                                                             \
    HK__JOIN(HK_LEARNED, n_params)(name, n_params, keeps)

/* Of activations with parameters. */
#define HK_LEARNED(name, n, keeps_)                                                                \
    struct name##_value : with_numbers<n, 1> {                                                     \
        enum { operands = 1 + n, numbers = 1 };                                                    \
        __device__ hk_real number(int k) const { return q[k - 1]; }                                \
        __device__ hk_real at(const hk_real *x, uint8_t) const { return name##_f(x[0], x + 1); }   \
    };                                                                                             \
    struct name##_slope : with_numbers<n, 1> {                                                     \
        enum { operands = 3 + n, numbers = 1, kept = keeps_ };                                     \
        __device__ hk_real number(int k) const { return q[k - 3]; }                                \
        __device__ hk_real at(const hk_real *x, uint8_t) const {                                   \
            return x[0] * name##_d(HK_X(x), HK_Y(x), x + 3);                                       \
        }                                                                                          \
    };                                                                                             \
    struct name##_param_slope : with_numbers<n, 1> {                                               \
        enum { operands = 3 + n, numbers = 1, kept = keeps_ };                                     \
        int32_t which, unused;                                                                     \
        void read(const double *param) {                                                           \
            with_numbers<n, 1>::read(param);                                                       \
            which = (int32_t)param[0];                                                             \
        }                                                                                          \
        __device__ hk_real number(int k) const { return q[k - 3]; }                                \
        __device__ hk_real at(const hk_real *x, uint8_t) const {                                   \
            hk_real d[n], slope;                                                                   \
            name##_dp(HK_X(x), HK_Y(x), x + 3, d);                                                 \
            slope = d[0];                                                                          \
            for (int k = 1; k < n; k++) slope = k == which ? d[k] : slope;                         \
            return x[0] * slope;                                                                   \
        }                                                                                          \
    };                                                                                             \
    struct name##_learn {                                                                          \
        enum { params = n, keeps = keeps_ };                                                       \
        static __device__ hk_real value(hk_real x, const hk_real *p) { return name##_f(x, p); }    \
        static __device__ hk_real at(hk_real x, hk_real y, const hk_real *p) {                     \
            return name##_d(x, y, p);                                                              \
        }                                                                                          \
        static __device__ void slopes(hk_real x, hk_real y, const hk_real *p, hk_real *d) {        \
            name##_dp(x, y, p, d);                                                                 \
        }                                                                                          \
    };
#include "activations.def"
#undef HK_ACTIVATION

typedef void learn_entry(int64_t n, void *const *p, const double *param, void *lanes);
#define HK_TABLE(name)                                                                             \
    , HK_MAP_ENTRY(name##_value), HK_MAP_ENTRY(name##_slope), HK_MAP_ENTRY(name##_param_slope),    \
        (learn_entry *)(void (*)(void))hk__learn_run<name##_learn>
#define HK_TABLE_0(name) , NULL, NULL, NULL, NULL

/* clang-format off */
} /* namespace */

const hk__activation_kernels HK_STAMPED(hk__activation) = {{
#define HK_ACTIVATION(name, n_params, keeps, ...)                                                                              \
    {HK_MAP_ENTRY(name##_plain_value), HK_MAP_ENTRY(name##_plain_slope) HK__JOIN(HK_TABLE, n_params)(name)},
#include "activations.def"
}};
/* clang-format on */
