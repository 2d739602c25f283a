/* map.cu: conversions between element types, copies and fills on a GPU.
   SPDX-License-Identifier: MIT */
#include "map.cuh"

#include "map_kernels.h"

template <class A, class B> static constexpr bool equal = false;
template <class A> static constexpr bool equal<A, A> = true;

/* As on the CPU: a float outside the integer's range becomes the nearest end, NaN 0. */
template <class To, class From> static __host__ __device__ inline To as(From x) {
    constexpr bool integer = (To)0.5 == 0;
    if constexpr (!integer || equal<To, From>) {
        return (To)x;
    } else {
        constexpr double low = sizeof(To) == 1 ? 0 : -2147483648.0,
                         high = sizeof(To) == 1 ? 255 : 2147483647.0;
        const double v = (double)x;
        return v >= high ? (To)high : v > low ? (To)v : v <= low ? (To)low : (To)0;
    }
}

template <class To, class From> struct converted : hk__formula {
    typedef From in;
    typedef To out;
    enum { operands = 1 };
    __device__ To at(const From *x, uint8_t) const { return as<To>(x[0]); }
};

template <class To> struct filled : hk__formula {
    typedef To in, out;
    enum { operands = 0 };
    To value;
    void read(const double *param) { value = as<To>(param[0]); }
    __device__ To at(const To *, uint8_t) const { return value; }
};

/* clang-format off */
#define HK_TO(To) {HK_MAP_ENTRY(converted<To, float>), HK_MAP_ENTRY(converted<To, double>),                                    \
                   HK_MAP_ENTRY(converted<To, uint8_t>), HK_MAP_ENTRY(converted<To, int32_t>)}
/* clang-format on */
const hk__convert_kernels hk__convert_gpu = {
    {HK_TO(float), HK_TO(double), HK_TO(uint8_t), HK_TO(int32_t)},
    {HK_MAP_ENTRY(filled<float>), HK_MAP_ENTRY(filled<double>), HK_MAP_ENTRY(filled<uint8_t>),
     HK_MAP_ENTRY(filled<int32_t>)}};
