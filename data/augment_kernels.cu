/* augment_kernels.cu: variants of images, a batch in one launch (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   A block makes one image: its draws, its field of displacements, its pixels. The formulas are the CPU's, and so are the
   order of the sums and all roundings; where a map is turned, sin and cos of the two may differ in the last bit of a
   double. */
#include "augment_kernels.h"

#include <string.h>

#include "augment_point.h"
#include "launch.cuh"
#include "random.cuh"

namespace { /* each stamp has its own */

/* Of the 48 KiB that a block may have without asking, `vary` itself takes some bytes. */
enum { BLOCK = 512, SHARED_MOST = (48 << 10) - 256 };

struct variants {
    const void *items;
    const int32_t *labels;
    const int64_t *order, *numbers;
    const double *place, *epoch;
    int64_t channels, h, w, radius;
    hk_augment set;
    const hk_real *taps;
    uint64_t draws, noise;
    double scale, shift;
    hk_real *room; /* NULL: in shared memory */
    hk_real *x;
    int32_t *y;
};

/* Two fields, down and right, of h·w numbers each, and room for as many in between. */
static int64_t room_count(int64_t h, int64_t w) { return 4 * h * w; }

/* Number `at` of the fields: noise of one half of its word. Four words come at once. */
static __device__ void draw_noise(const variants *v, int64_t image, uint64_t epoch,
                                  hk_real *field) {
    const int64_t n = v->h * v->w;
    const uint64_t first = (uint64_t)image * (uint64_t)n, end = first + (uint64_t)n;
    for (uint64_t quad = first / 4 + threadIdx.x; 4 * quad < end; quad += BLOCK) {
        uint32_t word[4];
        hk__random_four(v->noise, epoch, quad, word);
        for (int k = 0; k < 4; k++) {
            const uint64_t at = 4 * quad + (uint64_t)k;
            if (at < first || at >= end) continue;
            field[at - first] = hk__augment_noise(word[k]);
            field[n + (int64_t)(at - first)] = hk__augment_noise(word[k] >> 16);
        }
    }
}

/* out = in convolved with the taps along an axis whose neighbours are `step` apart; 0 outside of the image. */
static __device__ void smooth(const variants *v, int32_t length, int32_t step, const hk_real *in,
                              hk_real *out) {
    const int32_t n = (int32_t)(v->h * v->w), radius = (int32_t)v->radius;
    for (int32_t p = (int32_t)threadIdx.x; p < 2 * n; p += BLOCK) {
        const int32_t at = (p < n ? p : p - n) / step % length, left = length - 1 - at;
        const int32_t from = at < radius ? radius - at : 0,
                      to = radius + (left < radius ? left : radius);
        hk_real sum = 0;
        for (int32_t k = from; k <= to; k++) sum += v->taps[k] * in[p + (k - radius) * step];
        out[p] = sum;
    }
}

/* The image's pixel (row, column), counted from 1; 0 around it. */
template <class T>
static __device__ hk_real pixel(const variants *v, const T *image, int32_t row, int32_t column) {
    if (row < 1 || row > v->h || column < 1 || column > v->w) return 0;
    return (hk_real)image[(row - 1) * v->w + column - 1];
}

template <class T>
static __device__ void sample(const variants *v, const double *map, const hk_real *field,
                              const T *image, hk_real *out) {
    const int32_t n = (int32_t)(v->h * v->w), width = (int32_t)v->w;
    const hk_real bottom = (hk_real)(v->h + 1), end = (hk_real)(v->w + 1);
    const hk_real dy = (hk_real)map[1], dx = (hk_real)map[4], alpha = (hk_real)v->set.elastic_alpha;
    const hk_real scale = (hk_real)v->scale, shift = (hk_real)v->shift;
    for (int32_t p = (int32_t)threadIdx.x; p < n; p += BLOCK) {
        const int32_t i = p / width, j = p - i * width;
        const hk_real y0 = (hk_real)(map[0] * (double)i + map[2] + 1),
                      x0 = (hk_real)(map[3] * (double)i + map[5] + 1);
        const hk_real y = hk__augment_place(y0, dy, j, alpha, field ? field[p] : 0, bottom);
        const hk_real x = hk__augment_place(x0, dx, j, alpha, field ? field[n + p] : 0, end);
        const int32_t top = (int32_t)y, left = (int32_t)x;
        const hk_real below_top = y - (hk_real)top, behind_left = x - (hk_real)left;
        for (int64_t c = 0; c < v->channels; c++) {
            const T *in = image + c * n;
            const hk_real above = hk__augment_between(pixel(v, in, top, left),
                                                      pixel(v, in, top, left + 1), behind_left);
            const hk_real below = hk__augment_between(pixel(v, in, top + 1, left),
                                                      pixel(v, in, top + 1, left + 1), behind_left);
            out[c * n + p] = hk__augment_between(above, below, below_top) * scale + shift;
        }
    }
}

template <class T> static __global__ void __launch_bounds__(BLOCK) vary(variants v) {
    HK_SHARED(hk_real, shared);
    __shared__ double map[6];
    const int64_t b = blockIdx.x, n = v.h * v.w;
    const int64_t number = v.order ? v.order[(int64_t)*v.place + b] : v.numbers[b],
                  item = v.order ? number : b;
    const uint64_t epoch = (uint64_t)*v.epoch;
    if (threadIdx.x == 0) {
        double u[4];
        for (int k = 0; k < 4; k++) {
            const uint64_t index = 4 * (uint64_t)number + (uint64_t)k;
            u[k] = hk__random_uniform(hk__random_one(v.draws, epoch, index));
        }
        const hk__augment_draw draw = hk__augment_draw_of(&v.set, u);
        hk__augment_map(&draw, v.h, v.w, map);
        v.y[b] = v.labels ? v.labels[item] : 0;
    }
    hk_real *field = NULL;
    if (v.taps) {
        field = v.room ? v.room + b * 4 * n : shared;
        draw_noise(&v, number, epoch, field);
        __syncthreads();
        smooth(&v, (int32_t)v.h, (int32_t)v.w, field, field + 2 * n);
        __syncthreads();
        smooth(&v, (int32_t)v.w, 1, field + 2 * n, field);
    }
    __syncthreads();
    const int64_t count = v.channels * n;
    sample(&v, map, field, (const T *)v.items + item * count, v.x + b * count);
}

static void launch(hk_context *ctx, const hk__augment_job *job) {
    const hk__gather *g = &job->batch;
    const double *cells = hk__gpu_cells(ctx);
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const size_t bytes = job->taps ? (size_t)room_count(job->h, job->w) * sizeof(hk_real) : 0;
    variants v;
    memset(&v, 0, sizeof v);
    v.items = g->items;
    v.labels = g->labels;
    v.order = g->order;
    v.numbers = job->numbers;
    v.place = cells + g->cell;
    v.epoch = cells + job->cell;
    v.channels = job->channels;
    v.h = job->h;
    v.w = job->w;
    v.radius = job->radius;
    v.set = job->set;
    v.taps = (const hk_real *)job->taps;
    v.draws = job->draws;
    v.noise = job->noise;
    v.scale = g->scale;
    v.shift = g->shift;
    if (bytes > SHARED_MOST) v.room = (hk_real *)hk__gpu_scratch(ctx, (size_t)g->size * bytes);
    v.x = (hk_real *)g->x;
    v.y = g->y;
    const unsigned grid = (unsigned)g->size;
    const size_t shared = v.room ? 0 : bytes;
    if (g->from == HK_U8)
        HK_LAUNCH(ctx, grid, BLOCK, shared, vary<uint8_t>, v);
    else if (g->from == HK_F64)
        HK_LAUNCH(ctx, grid, BLOCK, shared, vary<double>, v);
    else
        HK_LAUNCH(ctx, grid, BLOCK, shared, vary<float>, v);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

} /* namespace */

extern const hk__augment_gpu HK_STAMPED(hk__augment_gpu);
const hk__augment_gpu HK_STAMPED(hk__augment_gpu) = {launch};
