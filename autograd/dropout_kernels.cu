/* dropout_kernels.cu: random draws of whole tensors on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   One block of the generator is four draws, so a thread works on four elements side by side. */
#include "dropout_kernels.h"

#include "launch.cuh"
#include "random.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum { THREADS = 256, QUADS = 4 /* of a thread */, WARPS = THREADS / HK__WARP };
typedef hk__vector<hk_real> vector;

struct drawing {
    uint64_t key;
    const double *cells;
    hk_real scale, on, off;
    uint32_t threshold;
};

static __device__ inline hk_real value_of(const drawing &d, bool keeps, hk_real x) {
    return keeps ? d.scale * x + d.on : d.off;
}

static bool aligned(const void *p) { return (uintptr_t)p % sizeof(vector) == 0; }

/* The four elements of a quad; those from count on are not touched. */
template <bool wide>
static __device__ inline void load_four(const hk_real *x, int64_t at, int64_t count, hk_real *v) {
    if (wide && at + 4 <= count) {
        for (int k = 0; k < 4; k += vector::lanes)
            *(vector *)(v + k) = *(const vector *)(x + at + k);
        return;
    }
    for (int k = 0; k < 4; k++) v[k] = at + k < count ? x[at + k] : 0;
}
template <bool wide>
static __device__ inline void store_four(hk_real *y, int64_t at, int64_t count, const hk_real *v) {
    if (wide && at + 4 <= count) {
        for (int k = 0; k < 4; k += vector::lanes)
            *(vector *)(y + at + k) = *(const vector *)(v + k);
        return;
    }
    for (int k = 0; k < 4 && at + k < count; k++) y[at + k] = v[k];
}

/* A draw for each element. */
template <bool wide>
static __global__ void drop_elements(drawing d, int64_t count, const hk_real *x, uint8_t *mask,
                                     hk_real *y) {
    const uint64_t moment = hk__random_moment(d.cells);
    const int64_t first = (int64_t)blockIdx.x * (THREADS * QUADS) + threadIdx.x;
    alignas(16) hk_real v[QUADS][4];
    for (int q = 0; q < QUADS; q++) load_four<wide>(x, 4 * (first + q * THREADS), count, v[q]);
    for (int q = 0; q < QUADS; q++) {
        const int64_t quad = first + q * THREADS, at = 4 * quad;
        if (at >= count) return;
        uint32_t word[4];
        hk__random_four(d.key, moment, (uint64_t)quad, word);
        uint32_t keeps = 0; /* a byte for each */
        for (int k = 0; k < 4; k++) {
            const uint32_t one = hk__random_24(word[k]) >= d.threshold;
            keeps |= one << 8 * k;
            v[q][k] = value_of(d, one, v[q][k]);
        }
        store_four<wide>(y, at, count, v[q]);
        if (at + 4 <= count)
            *(uint32_t *)(mask + at) = keeps;
        else
            for (int k = 0; at + k < count; k++) mask[at + k] = (uint8_t)(keeps >> 8 * k);
    }
}

/* A draw, and a warp, for each plane. */
template <bool wide>
static __global__ void drop_planes(drawing d, int64_t draws, int64_t plane, const hk_real *x,
                                   uint8_t *mask, hk_real *y) {
    const int lane = threadIdx.x % HK__WARP;
    const int64_t draw = (int64_t)blockIdx.x * WARPS + threadIdx.x / HK__WARP;
    if (draw >= draws) return;
    const uint32_t bits = hk__random_one(d.key, hk__random_moment(d.cells), (uint64_t)draw);
    const bool keeps = hk__random_24(bits) >= d.threshold;
    if (lane == 0) mask[draw] = keeps;
    x += draw * plane;
    y += draw * plane;
    if constexpr (wide) {
#pragma unroll 4
        for (int64_t i = lane * vector::lanes; i < plane; i += HK__WARP * vector::lanes) {
            vector v = *(const vector *)(x + i);
            for (int k = 0; k < vector::lanes; k++) v.v[k] = value_of(d, keeps, v.v[k]);
            *(vector *)(y + i) = v;
        }
    } else {
        for (int64_t i = lane; i < plane; i += HK__WARP) y[i] = value_of(d, keeps, x[i]);
    }
}

static void drop(hk_context *ctx, uint64_t key, uint32_t threshold, const double *param,
                 int64_t draws, int64_t plane, const void *in, uint8_t *mask, void *out) {
    const hk_real *x = (const hk_real *)in;
    hk_real *y = (hk_real *)out;
    if (draws == 0 || plane == 0) return;
    drawing d;
    memset(&d, 0, sizeof d);
    d.key = key;
    d.cells = hk__gpu_cells(ctx);
    d.scale = (hk_real)param[0];
    d.on = (hk_real)param[1];
    d.off = (hk_real)param[2];
    d.threshold = threshold;
    const bool wide = aligned(x) && aligned(y);
    if (plane == 1) {
        const unsigned grid = hk__grid(draws, THREADS, 4 * QUADS);
        if (wide)
            HK_LAUNCH(ctx, grid, THREADS, 0, drop_elements<true>, d, draws, x, mask, y);
        else
            HK_LAUNCH(ctx, grid, THREADS, 0, drop_elements<false>, d, draws, x, mask, y);
    } else if (wide && plane % vector::lanes == 0) {
        HK_LAUNCH(ctx, hk__grid(draws, WARPS, 1), THREADS, 0, drop_planes<true>, d, draws, plane, x,
                  mask, y);
    } else {
        HK_LAUNCH(ctx, hk__grid(draws, WARPS, 1), THREADS, 0, drop_planes<false>, d, draws, plane,
                  x, mask, y);
    }
}

static __global__ void uniform_elements(uint64_t key, const double *cells, double low, double width,
                                        int64_t count, hk_real *y) {
    const int64_t quad = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (4 * quad >= count) return;
    uint32_t word[4];
    hk__random_four(key, hk__random_moment(cells), (uint64_t)quad, word);
    alignas(16) hk_real v[4];
    for (int k = 0; k < 4; k++) v[k] = (hk_real)(low + width * hk__random_uniform(word[k]));
    store_four<true>(y, 4 * quad, count, v);
}

static void uniform(hk_context *ctx, uint64_t key, double low, double width, int64_t count,
                    void *out) {
    if (count == 0) return;
    HK_LAUNCH(ctx, hk__grid(count, THREADS, 4), THREADS, 0, uniform_elements, key,
              hk__gpu_cells(ctx), low, width, count, (hk_real *)out);
}

} /* namespace */

const hk__dropout_kernels HK_STAMPED(hk__dropout) = {drop, uniform};
