/* maxout_kernels.cu: the largest of each k neighbours, on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   A thread makes one output, or those of a vector where they lie side by side behind the axis. */
#include "maxout_kernels.h"

#include "map.cuh"
#include "real.h"

namespace { /* each stamp has its own */

struct maxout {
    hk_real *z, *y;
    uint8_t *winner;
    uint32_t count, k; /* of vectors of outputs: below 2^31; of candidates */
    hk__divider inner; /* in vectors: how far apart candidates are */
};

/* Where vector i of the outputs has its first candidate, in vectors. */
static __device__ inline int64_t candidate(const maxout &m, uint32_t i) {
    const uint32_t row = hk__divide(i, m.inner);
    return (int64_t)row * m.k * m.inner.dim + (i - row * m.inner.dim);
}

template <int lanes>
static __global__ void __launch_bounds__(HK__MAP_THREADS) maxout_value(maxout m) {
    typedef hk__vector<hk_real, lanes> vector;
    const uint32_t i = blockIdx.x * HK__MAP_THREADS + threadIdx.x;
    if (i >= m.count) return;
    const vector *z = (const vector *)m.z + candidate(m, i);
    vector most = z[0];
    hk__vector<uint8_t, lanes> which = {};
    for (uint32_t k = 1; k < m.k; k++) {
        const vector v = z[(int64_t)k * m.inner.dim];
#pragma unroll
        for (int j = 0; j < lanes; j++) {
            const bool takes = !(v.v[j] <= most.v[j]) & (most.v[j] == most.v[j]);
            most.v[j] = takes ? v.v[j] : most.v[j];
            which.v[j] = takes ? (uint8_t)k : which.v[j];
        }
    }
    ((vector *)m.y)[i] = most;
    ((hk__vector<uint8_t, lanes> *)m.winner)[i] = which;
}

template <int lanes>
static __global__ void __launch_bounds__(HK__MAP_THREADS) maxout_spread(maxout m) {
    typedef hk__vector<hk_real, lanes> vector;
    const uint32_t i = blockIdx.x * HK__MAP_THREADS + threadIdx.x;
    if (i >= m.count) return;
    vector *z = (vector *)m.z + candidate(m, i);
    const vector g = ((const vector *)m.y)[i];
    const hk__vector<uint8_t, lanes> which = ((const hk__vector<uint8_t, lanes> *)m.winner)[i];
    for (uint32_t k = 0; k < m.k; k++) {
        vector v;
#pragma unroll
        for (int j = 0; j < lanes; j++) v.v[j] = which.v[j] == k ? g.v[j] : 0;
        z[(int64_t)k * m.inner.dim] = v;
    }
}

template <int lanes>
static __global__ void __launch_bounds__(HK__MAP_THREADS) maxout_pick(maxout m) {
    const uint32_t i = blockIdx.x * HK__MAP_THREADS + threadIdx.x;
    if (i >= m.count) return;
    const hk_real *z = m.z + candidate(m, i) * lanes;
    const hk__vector<uint8_t, lanes> which = ((const hk__vector<uint8_t, lanes> *)m.winner)[i];
    hk__vector<hk_real, lanes> y;
#pragma unroll
    for (int j = 0; j < lanes; j++) y.v[j] = z[(int64_t)which.v[j] * m.inner.dim * lanes + j];
    ((hk__vector<hk_real, lanes> *)m.y)[i] = y;
}

/* In launches whose outputs 32 bits count. */
static void run(hk_context *ctx, void (*one)(maxout), void (*four)(maxout), int64_t n, int64_t k,
                int64_t inner, void *z, void *y, uint8_t *winner) {
    constexpr int most = 16 / sizeof(hk_real);
    const bool vectors = inner % most == 0 && ((uintptr_t)z | (uintptr_t)y) % 16 == 0 &&
                         (uintptr_t)winner % most == 0;
    const int lanes = vectors ? most : 1;
    if (inner > 0x7fffffff) {
        hk_fail(ctx, HK_ERR_SHAPE, "maxout", "%lld elements behind the axis are too many",
                (long long)inner);
        return;
    }
    const int64_t at_once = 0x7fffffff / inner;
    for (int64_t row = 0; row < n; row += at_once) {
        const int64_t rows = n - row < at_once ? n - row : at_once, first = row * inner;
        maxout m;
        memset(&m, 0, sizeof m);
        m.z = (hk_real *)z + first * k;
        m.y = (hk_real *)y + first;
        m.winner = winner + first;
        m.count = (uint32_t)(rows * inner / lanes);
        m.k = (uint32_t)k;
        m.inner = hk__divider_of(inner / lanes);
        HK_LAUNCH(ctx, hk__grid(m.count, HK__MAP_THREADS, 1), HK__MAP_THREADS, 0,
                  (vectors ? four : one), m);
    }
}

#define HK_MAXOUT(what)                                                                            \
    static void what(hk_context *ctx, int64_t n, int64_t k, int64_t inner, void *z, void *y,       \
                     uint8_t *winner) {                                                            \
        run(ctx, maxout_##what<1>, maxout_##what<16 / sizeof(hk_real)>, n, k, inner, z, y,         \
            winner);                                                                               \
    }
HK_MAXOUT(value)
HK_MAXOUT(spread)
HK_MAXOUT(pick)

} /* namespace */

const hk__maxout_gpu HK_STAMPED(hk__maxout_gpu) = {value, spread, pick};
