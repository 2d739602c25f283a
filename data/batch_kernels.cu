/* batch_kernels.cu: a batch is gathered from the data set's bytes on the GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT */
#include "batch_kernels.h"

#include <string.h>

#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum { BLOCK = 256 };

struct gather {
    const void *items;
    const int32_t *labels;
    const int64_t *order;
    const double *place;
    int64_t size, packs; /* packs: of an item */
    double scale, shift;
    int64_t scaled;
    void *x;
    int32_t *y;
};

/* A thread has N elements of an item; the one that has an item's first ones has its label too. */
template <class T, int N> static __global__ void gather_batch(gather g) {
    const int64_t t = (int64_t)blockIdx.x * BLOCK + threadIdx.x, all = g.size * g.packs;
    if (t >= all) return;
    const int64_t i = all <= UINT32_MAX ? (uint32_t)t / (uint32_t)g.packs : t / g.packs;
    const int64_t k = t - i * g.packs, item = g.order ? g.order[(int64_t)*g.place + i] : i;
    const hk__vector<T, N> in = ((const hk__vector<T, N> *)g.items)[item * g.packs + k];
    const hk_real scale = (hk_real)g.scale, shift = (hk_real)g.shift;
    hk__vector<hk_real, N> out;
    for (int n = 0; n < N; n++)
        out.v[n] = g.scaled ? (hk_real)in.v[n] * scale + shift : (hk_real)in.v[n];
    ((hk__vector<hk_real, N> *)g.x)[t] = out;
    if (k == 0) g.y[i] = g.labels ? g.labels[item] : 0;
}

template <class T> static void launch(hk_context *ctx, const hk__gather *job) {
    gather g;
    memset(&g, 0, sizeof g);
    const int n = job->count % 4 == 0 ? 4 : 1;
    g.items = job->items;
    g.labels = job->labels;
    g.order = job->order;
    if (job->order) g.place = hk__gpu_cells(ctx) + job->cell;
    g.size = job->size;
    g.packs = job->count / n;
    g.scale = job->scale;
    g.shift = job->shift;
    g.scaled = job->scaled;
    g.x = job->x;
    g.y = job->y;
    const unsigned grid = hk__grid(g.size * g.packs, BLOCK, 1);
    if (n == 4)
        HK_LAUNCH(ctx, grid, BLOCK, 0, (gather_batch<T, 4>), g);
    else
        HK_LAUNCH(ctx, grid, BLOCK, 0, (gather_batch<T, 1>), g);
}

static void gather_items(hk_context *ctx, const hk__gather *job) {
    switch (job->from) {
    case HK_U8: launch<uint8_t>(ctx, job); break;
    case HK_F64: launch<double>(ctx, job); break;
    default: launch<float>(ctx, job); break;
    }
}

} /* namespace */

extern const hk__batch_gpu HK_STAMPED(hk__batch_gpu);
const hk__batch_gpu HK_STAMPED(hk__batch_gpu) = {gather_items};
