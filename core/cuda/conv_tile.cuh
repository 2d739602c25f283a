/* conv_tile.cuh: convolutions as products of tiles, whose windows are gathered and never stored.
   SPDX-License-Identifier: MIT

   All three directions are sums c(row, column) = Σ a(row, step) · b(column, step), where b is an element of an image, or
   0 beyond its edge:

                rows              columns                       steps
     forward    output channels   places of the output          (input channel, place in the window)
     by data    input channels    places of the input           (output channel, place in the window)
     by weights output channels   (input channel, place in      places of the output, of some images
                                  the window), and one of ones
                                  for the bias

   A block has four warps. A warp computes a tile, TM x TN sums to a thread, from shared memory. The warps stand side by side
   along the columns, and where there are few tiles, `slices` of them share one and divide its steps; then their sums are
   added, in order. While one chunk of steps is worked on, the next is on its way to registers. What a step means is found
   once for 32 of them, by a lane each, and kept in a small table; what a column means, once.

   With a stride, elements of the input that lie as far apart as the stride see the same part of the kernel, so by data
   these are a convolution of their own (a "class"), without a stride. */
#ifndef HK_CONV_TILE_CUH
#define HK_CONV_TILE_CUH

#include <string.h>

#include "conv_gpu.h"
#include "launch.cuh"
#include "real.h"

enum {
    HK__CONV_WARPS = 4,
    HK__CONV_THREADS = HK__CONV_WARPS * HK__WARP,
    HK__CONV_CHUNK = 8, /* steps of a warp between two barriers */
    HK__CONV_OUT =
        -(1 << 30), /* a row of the image that is beyond every edge, also of two of them the sum */
    HK__CONV_ENOUGH =
        132 *
        12, /* warps that keep a large GPU busy. Fixed, so that sums do not depend on the GPU */
};

/* A step: a's and b's offsets, and by how much it moves in the image. */
struct alignas(16) hk__conv_step {
    int a, b, y, x;
};
/* A column: where its b begins, and where that is in the image; what stands for an element beyond the edge. */
struct hk__conv_column {
    const hk_real *p;
    int y, x;
    hk_real beyond;
};

static __device__ inline hk_real hk__conv_fma(hk_real a, hk_real b, hk_real c) {
#ifdef HK_STAMP_f64
    return fma(a, b, c);
#else
    return fmaf(a, b, c);
#endif
}

/* --- forward and by data -------------------------------------------------------------------------------------------- */

/* One axis of the image on both sides. */
struct hk__conv_axis {
    int source, out; /* sizes of what is read and of what is written */
    int kernel, stride, padding, dilation;
    int every; /* by data: of each class every so manieth row of the kernel counts */
};
/* The same for the places of one class: place i is element first + i·step of what is written, and its window begins at
   start + i·scale of what is read; tap t of `taps` is row u0 + t·every of the kernel, and moves by t·move. */
struct hk__conv_class {
    int count, first, step, start, scale, u0, every, taps, move;
};

static __device__ inline hk__conv_class hk__conv_class_of(const hk__conv_axis &a, bool back,
                                                          int first) {
    if (!back) return {a.out, 0, 1, -a.padding, a.stride, 0, 1, a.kernel, a.dilation};
    const int rest = (first + a.padding) % a.stride;
    int u0 = 0;
    while (u0 < a.kernel && (int)((int64_t)u0 * a.dilation % a.stride) != rest) u0++;
    const int start = (int)((first + a.padding - (int64_t)u0 * a.dilation) / a.stride);
    const int move = (int)(-(int64_t)a.every * a.dilation / a.stride);
    const int taps = u0 < a.kernel ? (a.kernel - 1 - u0) / a.every + 1 : 0;
    return {(a.out - first + a.stride - 1) / a.stride,
            first,
            a.stride,
            start,
            1,
            u0,
            a.every,
            taps,
            move};
}

/* A column's image and place. */
struct hk__conv_at {
    int image, y, x;
};

/* Quads: four columns are 2 x 2 places, so that a pooling behind has all it needs; of odd sizes the last is left out.
   Pooled: what is read is the gradient of such a pooling's output, with its winners. */
template <bool Quads, bool Pooled> struct hk__conv_gather {
    const hk_real *a, *b, *bias;
    const uint8_t *winner;
    hk_real *out;
    hk__conv_axis rows, cols;
    int64_t b_image, out_image; /* elements of one group of an image, or class: of all groups */
    int images, groups, m, channels, a_group, a_row, a_channel, plane, out_plane;
    int slices, m_tiles, n_tiles, class_cols; /* n_tiles: of as many warps as stand side by side */
    bool back, add, vectors;

    /* What a block finds out first. */
    struct Part {
        hk__conv_class y, x;
        int group, row, tile, steps;
        unsigned columns;
    };

    __device__ Part part_of(int kind, int group) const {
        Part p = {};
        p.group = group;
        p.y = hk__conv_class_of(rows, back, kind / class_cols);
        p.x = hk__conv_class_of(cols, back, kind % class_cols);
        if (Quads) {
            p.y.count /= 2;
            p.x.count /= 2;
        }
        p.steps = channels * p.y.taps * p.x.taps;
        p.columns =
            (unsigned)images * (unsigned)p.y.count * (unsigned)p.x.count * (Quads ? 4u : 1u);
        return p;
    }
    __device__ Part part() const {
        const unsigned tiles = blockIdx.x / (unsigned)n_tiles, kinds = tiles / (unsigned)m_tiles;
        Part p = part_of((int)(kinds / (unsigned)groups), (int)(kinds % (unsigned)groups));
        p.tile = (int)(blockIdx.x % (unsigned)n_tiles);
        p.row = (int)(tiles % (unsigned)m_tiles);
        return p;
    }

    __device__ hk__conv_at at(const Part &p, unsigned column) const {
        const unsigned place = Quads ? column / 4 : column, line = place / (unsigned)p.x.count;
        hk__conv_at t;
        t.x = (int)(place % (unsigned)p.x.count);
        t.y = (int)(line % (unsigned)p.y.count);
        t.image = (int)(line / (unsigned)p.y.count);
        if (Quads) {
            t.y = 2 * t.y + (int)(column / 2 % 2);
            t.x = 2 * t.x + (int)(column % 2);
        }
        return t;
    }

    __device__ hk__conv_column column(const Part &p, unsigned column) const {
        hk__conv_column c = {b, HK__CONV_OUT, 0, 0};
        if (column >= p.columns) return c;
        const hk__conv_at t = at(p, column);
        c.y = p.y.start + t.y * p.y.scale;
        c.x = p.x.start + t.x * p.x.scale;
        c.p +=
            t.image * b_image * groups + p.group * b_image + (Pooled ? 0 : c.y * cols.source + c.x);
        return c;
    }

    __device__ hk__conv_step step(const Part &p, int k) const {
        if (k >= p.steps) return {0, 0, HK__CONV_OUT, 0};
        const unsigned v = (unsigned)k % (unsigned)p.x.taps,
                       rest = (unsigned)k / (unsigned)p.x.taps;
        const unsigned u = rest % (unsigned)p.y.taps, c = rest / (unsigned)p.y.taps;
        hk__conv_step s;
        s.y = (int)u * p.y.move;
        s.x = (int)v * p.x.move;
        s.a = (int)c * a_channel + (p.y.u0 + (int)u * p.y.every) * cols.kernel + p.x.u0 +
              (int)v * p.x.every;
        s.b = (int)c * plane + (Pooled ? 0 : s.y * cols.source + s.x);
        return s;
    }

    __device__ const hk_real *a_of(const Part &p) const { return a + (int64_t)p.group * a_group; }
    __device__ hk_real a_at(const hk_real *from, int offset, int k) const {
        (void)k;
        return from[offset];
    }

    __device__ hk_real b_at(const hk__conv_column &c, const hk__conv_step &s) const {
        const int y = c.y + s.y, x = c.x + s.x;
        if (!((unsigned)y < (unsigned)rows.source && (unsigned)x < (unsigned)cols.source))
            return c.beyond;
        if (!Pooled) return c.p[s.b];
        const int64_t i = s.b + y / 2 * (cols.source / 2) + x / 2;
        return winner[c.p - b + i] == y % 2 * 2 + x % 2 ? c.p[i] : 0;
    }

    /* Where the first of four columns is written to, in row 0. */
    struct Spot {
        hk__conv_at at;
        unsigned column;
        hk_real *to;
    };
    __device__ hk_real *line_of(const Part &p, const hk__conv_at &t) const {
        hk_real *plane_of = out + (t.image * (int64_t)groups + p.group) * out_image;
        return plane_of + (p.y.first + t.y * p.y.step) * cols.out + p.x.first;
    }
    __device__ Spot spot(const Part &p, unsigned column) const {
        Spot s;
        s.column = column;
        s.at = at(p, column);
        s.to = line_of(p, s.at) + s.at.x * p.x.step;
        return s;
    }

    __device__ void put(const Part &p, const Spot &spot, int row, const hk_real *sum) const {
        const hk_real more = bias ? bias[p.group * m + row] : 0;
        hk_real *to = spot.to + (int64_t)row * out_plane;
        if (Quads) {
            struct alignas(2 * sizeof(hk_real)) pair {
                hk_real v[2];
            };
            *(pair *)to = {{sum[0] + more, sum[1] + more}};
            *(pair *)(to + cols.out) = {{sum[2] + more, sum[3] + more}};
            return;
        }
        if (vectors) {
            typedef hk__vector<hk_real> vector;
#pragma unroll
            for (int i = 0; i < 4; i += vector::lanes) {
                vector v = {};
                if (add) v = *(const vector *)(to + i);
#pragma unroll
                for (int l = 0; l < vector::lanes; l++) {
                    const hk_real one = sum[i + l] + more;
                    v.v[l] = add ? v.v[l] + one : one;
                }
                *(vector *)(to + i) = v;
            }
            return;
        }
        hk__conv_at t = spot.at;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (spot.column + i >= p.columns) return;
            *to = add ? *to + (sum[i] + more) : sum[i] + more;
            to += p.x.step;
            if (++t.x < p.x.count) continue;
            t.x = 0;
            if (++t.y == p.y.count) {
                t.y = 0;
                t.image++;
            }
            to = line_of(p, t) + (int64_t)row * out_plane;
        }
    }
};

/* --- by weights ------------------------------------------------------------------------------------------------------- */

/* Pooled: as above; four steps are the corners of a window then. */
template <bool Pooled> struct hk__conv_weights {
    const hk_real *a, *b; /* g and x */
    const uint8_t *winner;
    hk_real *out;       /* [part][row of all groups][pitch] */
    hk__conv c;         /* oc, ic: of one group */
    int64_t part_steps; /* whole chunks */
    int images, parts, groups, m, columns, window,
        pitch; /* window: columns that are not the bias; pitch: whole fours of them */
    int a_row, plane, out_h, out_w; /* of places, in windows if pooled */
    int slices, m_tiles, n_tiles, unused;

    struct Part {
        int group, row, tile, steps, part,
            skip; /* skip: steps of the first image that other parts have */
        unsigned columns;
        int64_t first; /* image */
    };

    __device__ Part part() const {
        Part p;
        unsigned i = blockIdx.x;
        p.tile = (int)(i % (unsigned)n_tiles);
        i /= (unsigned)n_tiles;
        p.row = (int)(i % (unsigned)m_tiles);
        i /= (unsigned)m_tiles;
        p.group = (int)(i % (unsigned)groups);
        p.part = (int)(i / (unsigned)groups);
        const int64_t of_image = (int64_t)out_h * out_w * (Pooled ? 4 : 1),
                      from = p.part * part_steps, left = images * of_image - from;
        p.first = from / of_image;
        p.skip = (int)(from - p.first * of_image);
        p.steps = (int)(left < part_steps ? left : part_steps);
        p.columns = (unsigned)columns;
        return p;
    }

    __device__ hk__conv_column column(const Part &p, unsigned column) const {
        hk__conv_column k = {b, HK__CONV_OUT, 0,
                             column == (unsigned)window ? (hk_real)1 : (hk_real)0};
        if (column >= (unsigned)window) return k;
        const unsigned kw = (unsigned)c.kw, kh = (unsigned)c.kh;
        const int v = (int)(column % kw), u = (int)(column / kw % kh),
                  channel = (int)(column / kw / kh);
        k.y = u * (int)c.dh;
        k.x = v * (int)c.dw;
        k.p += ((p.first * groups + p.group) * c.ic + channel) * plane + k.y * (int)c.w + k.x;
        return k;
    }

    __device__ hk__conv_step step(const Part &p, int k) const {
        if (k >= p.steps) return {0, 0, HK__CONV_OUT, 0};
        k += p.skip;
        const unsigned place = Pooled ? (unsigned)k / 4 : (unsigned)k,
                       line = place / (unsigned)out_w;
        int x = (int)(place % (unsigned)out_w), y = (int)(line % (unsigned)out_h);
        const int image = (int)(line / (unsigned)out_h);
        hk__conv_step s;
        s.a = image * groups * m * a_row + y * out_w + x;
        if (Pooled) {
            y = 2 * y + k / 2 % 2;
            x = 2 * x + k % 2;
        }
        s.y = y * (int)c.sh - (int)c.ph;
        s.x = x * (int)c.sw - (int)c.pw;
        s.b = image * groups * (int)c.ic * plane + s.y * (int)c.w + s.x;
        return s;
    }

    __device__ const hk_real *a_of(const Part &p) const {
        return a + (p.first * groups + p.group) * m * a_row;
    }
    __device__ hk_real a_at(const hk_real *from, int offset, int k) const {
        if (!Pooled) return from[offset];
        return winner[from - a + offset] == k % 4 ? from[offset] : 0;
    }

    __device__ hk_real b_at(const hk__conv_column &k, const hk__conv_step &s) const {
        const bool inside =
            (unsigned)(k.y + s.y) < (unsigned)c.h && (unsigned)(k.x + s.x) < (unsigned)c.w;
        return inside ? k.p[s.b] : k.beyond;
    }

    struct Spot {
        hk_real *to;
    };
    __device__ Spot spot(const Part &p, unsigned column) const {
        return {out + ((int64_t)p.part * groups + p.group) * m * pitch + column};
    }
    __device__ void put(const Part &p, const Spot &spot, int row, const hk_real *sum) const {
        (void)p;
        typedef hk__vector<hk_real> vector;
#pragma unroll
        for (int i = 0; i < 4; i += vector::lanes) {
            vector v;
#pragma unroll
            for (int l = 0; l < vector::lanes; l++) v.v[l] = sum[i + l];
            *(vector *)(spot.to + (int64_t)row * pitch + i) = v;
        }
    }
};

/* --- a tile -------------------------------------------------------------------------------------------------------------- */

/* Four neighbours in shared memory, 16 bytes at a time. */
static __device__ inline void hk__conv_four(const hk_real *from, hk_real *to) {
    typedef hk__vector<hk_real> vector;
    for (int i = 0; i < 4; i += vector::lanes) {
        const vector v = *(const vector *)(from + i);
        for (int l = 0; l < vector::lanes; l++) to[i + l] = v.v[l];
    }
}

static __device__ inline void hk__conv_put_four(hk_real *to, const hk_real *from) {
    typedef hk__vector<hk_real> vector;
    for (int i = 0; i < 4; i += vector::lanes) {
        vector v;
        for (int l = 0; l < vector::lanes; l++) v.v[l] = from[i + l];
        *(vector *)(to + i) = v;
    }
}

/* LM lanes of a warp stand along the rows, 32/LM along the columns. A thread's sums are in groups of 4 x 4. */
template <class Job, int LM, int TM, int TN>
static __global__ void __launch_bounds__(HK__CONV_THREADS, 3) hk__conv_tile(const Job job) {
    constexpr int LN = HK__WARP / LM, M = LM * TM, N = LN * TN, CHUNK = HK__CONV_CHUNK;
    constexpr int A_LOADS = M * CHUNK / HK__WARP, B_LOADS = N / HK__WARP;
    constexpr int A_LINE = M + 4; /* what is stored together then lies in different banks */
    struct Buffers {
        hk_real a[2][HK__CONV_WARPS][CHUNK * A_LINE]; /* of each slice */
        hk_real b[2][HK__CONV_WARPS][CHUNK * N];      /* of each warp */
    };
    union Memory {
        Buffers buffer;
        hk_real sums[HK__CONV_WARPS][M * N];
    };
    __shared__ __align__(16) char memory[sizeof(Memory)];
    __shared__ hk__conv_step table[HK__CONV_WARPS][HK__WARP];
    Buffers &buffer = ((Memory *)memory)->buffer;

    const int lane = threadIdx.x % HK__WARP, warp = threadIdx.x / HK__WARP;
    const int slices = job.slices, across = HK__CONV_WARPS / slices, slice = warp / across,
              place = warp % across;
    const typename Job::Part part = job.part();
    const int row = part.row * M;
    const unsigned first = ((unsigned)part.tile * (unsigned)across + (unsigned)place) * N;

    hk__conv_column column[B_LOADS];
    for (int i = 0; i < B_LOADS; i++)
        column[i] = job.column(part, first + (unsigned)(lane + i * HK__WARP));
    /* The warps of a slice share its rows: a lane takes step lane % 8 of rows 4·(place + i·across) + lane/8. */
    const hk_real *a = job.a_of(part);
    const int a_rows = job.m - row - lane / 8 - 4 * place, a_step = 4 * across * job.a_row;
    const int a_first = (row + lane / 8 + 4 * place) * job.a_row,
              a_loads = (A_LOADS - place + across - 1) / across;

    hk_real sum[TM][TN] = {}, next_a[A_LOADS], next_b[CHUNK][B_LOADS];
    const int width = CHUNK * slices, chunks = (part.steps + width - 1) / width;

    auto load = [&](int chunk) {
        const int k = chunk * width + slice * CHUNK;
        if (chunk % 4 == 0) {
            __syncwarp();
            table[warp][lane] = job.step(part, k + lane / CHUNK * width + lane % CHUNK);
            __syncwarp();
        }
        const hk__conv_step *steps = table[warp] + chunk % 4 * CHUNK;
        const bool live = k + lane % CHUNK < part.steps;
        int at = a_first + steps[lane % CHUNK].a;
#pragma unroll
        for (int i = 0; i < A_LOADS; i++)
            if (i < a_loads) {
                next_a[i] =
                    live && 4 * across * i < a_rows ? job.a_at(a, at, lane % CHUNK) : (hk_real)0;
                at += a_step;
            }
#pragma unroll
        for (int s = 0; s < CHUNK; s++) {
            const hk__conv_step step = steps[s];
#pragma unroll
            for (int i = 0; i < B_LOADS; i++) next_b[s][i] = job.b_at(column[i], step);
        }
    };
    auto store = [&](int which) {
        hk_real *to_a = buffer.a[which][slice] + lane % CHUNK * A_LINE + lane / 8 + 4 * place;
        hk_real *to_b = buffer.b[which][warp] + lane;
#pragma unroll
        for (int i = 0; i < A_LOADS; i++)
            if (i < a_loads) to_a[4 * across * i] = next_a[i];
#pragma unroll
        for (int s = 0; s < CHUNK; s++)
#pragma unroll
            for (int i = 0; i < B_LOADS; i++) to_b[s * N + i * HK__WARP] = next_b[s][i];
    };

    const int lm = lane % LM * 4, ln = lane / LM * 4;
    if (chunks > 0) {
        load(0);
        store(0);
    }
    __syncthreads();
    for (int chunk = 0; chunk < chunks; chunk++) {
        if (chunk + 1 < chunks) load(chunk + 1);
        const hk_real *from_a = buffer.a[chunk % 2][slice] + lm,
                      *from_b = buffer.b[chunk % 2][warp] + ln;
#pragma unroll
        for (int s = 0; s < CHUNK; s++) {
            hk_real p[TM], q[TN];
#pragma unroll
            for (int i = 0; i < TM; i += 4) hk__conv_four(from_a + s * A_LINE + i * LM, p + i);
#pragma unroll
            for (int j = 0; j < TN; j += 4) hk__conv_four(from_b + s * N + j * LN, q + j);
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sum[i][j] = hk__conv_fma(p[i], q[j], sum[i][j]);
        }
        if (chunk + 1 < chunks) store((chunk + 1) % 2);
        __syncthreads();
    }

    /* By way of shared memory every thread gets some fours of columns, of the sums of all slices. */
    hk_real(&sums)[HK__CONV_WARPS][M * N] = ((Memory *)memory)->sums;
    constexpr int FOURS = N / 4;
#pragma unroll
    for (int j = 0; j < TN; j += 4)
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const int at_row = i / 4 * 4 * LM + lm + i % 4,
                      four = (j * LN + ln) / 4 ^ at_row / 4 % 8;
            hk__conv_put_four(sums[warp] + at_row * N + four * 4, sum[i] + j);
        }
    __syncthreads();
    for (int tile = 0; tile < across; tile++) {
        const int four = threadIdx.x % FOURS;
        const unsigned at =
            ((unsigned)part.tile * (unsigned)across + (unsigned)tile) * N + 4 * four;
        if (at >= part.columns) continue;
        const typename Job::Spot spot = job.spot(part, at);
        for (int i = threadIdx.x / FOURS; i < M && row + i < job.m; i += HK__CONV_THREADS / FOURS) {
            hk_real total[4], more[4];
            const int from = i * N + (four ^ i / 4 % 8) * 4;
            hk__conv_four(sums[tile] + from, total);
            for (int s = 1; s < slices; s++) {
                hk__conv_four(sums[s * across + tile] + from, more);
#pragma unroll
                for (int k = 0; k < 4; k++) total[k] += more[k];
            }
            job.put(part, spot, row + i, total);
        }
    }
}

/* --- on the host ---------------------------------------------------------------------------------------------------------- */

static inline int64_t hk__conv_parts_of(int64_t n, int64_t each) { return (n + each - 1) / each; }

/* Launches tiles of one shape. columns: the most of any kind; a kind is a class or a part. */
template <class Job, int LM, int TM, int TN>
static void hk__conv_launch(hk_context *ctx, Job *job, int64_t columns, int64_t kinds,
                            int64_t steps) {
    const int64_t m_tiles = hk__conv_parts_of(job->m, LM * TM),
                  n_tiles = hk__conv_parts_of(columns, HK__WARP / LM * TN),
                  tiles = m_tiles * n_tiles * job->groups * kinds;
    job->slices = tiles >= HK__CONV_ENOUGH ? 1 : 2 * tiles >= HK__CONV_ENOUGH ? 2 : 4;
    while (job->slices > 1 && steps < 2 * HK__CONV_CHUNK * job->slices) job->slices /= 2;
    job->m_tiles = (int)m_tiles;
    job->n_tiles = (int)hk__conv_parts_of(n_tiles, HK__CONV_WARPS / job->slices);
    const int64_t blocks = kinds * job->groups * m_tiles * job->n_tiles;
    HK_LAUNCH(ctx, dim3((unsigned)blocks), HK__CONV_THREADS, 0, (hk__conv_tile<Job, LM, TM, TN>),
              *job);
}

/* Places are many: tiles as high as there are rows, as far as registers reach. */
template <class Job>
static void hk__conv_launch_gather(hk_context *ctx, Job *job, int64_t columns, int64_t kinds,
                                   int64_t steps) {
#ifdef HK_STAMP_f64
    hk__conv_launch<Job, 4, 8, 4>(ctx, job, columns, kinds, steps);
#else
    if (job->m > 32)
        hk__conv_launch<Job, 8, 8, 8>(ctx, job, columns, kinds, steps);
    else if (job->m > 16)
        hk__conv_launch<Job, 4, 8, 8>(ctx, job, columns, kinds, steps);
    else if (job->m > 8)
        hk__conv_launch<Job, 4, 4, 8>(ctx, job, columns, kinds, steps);
    else
        hk__conv_launch<Job, 2, 4, 4>(ctx, job, columns, kinds, steps);
#endif
}

/* What conv_direct.cuh is for: one channel, all of it of small odd size. */
static inline bool hk__conv_is_direct(const hk__conv *c) {
    return c->groups == 1 && c->ic == 1 && c->kh == c->kw && (c->kh == 3 || c->kh == 5) &&
           c->sh == 1 && c->sw == 1 && c->dh == 1 && c->dw == 1;
}

/* Images of a batch that one launch takes: their places are counted in 32 bits. */
static inline int64_t hk__conv_images(const hk__conv *c) {
    const int64_t places = c->oh * c->ow > c->h * c->w ? c->oh * c->ow : c->h * c->w,
                  most = (1 << 30) / places;
    return most < 1 ? 1 : most < c->n ? most : c->n;
}

template <class Job>
static void hk__conv_forward_job(const hk__conv *c, const void *x, const void *w, const void *bias,
                                 Job *job) {
    memset((void *)job, 0, sizeof *job);
    const int taps = (int)(c->kh * c->kw);
    job->a = (const hk_real *)w;
    job->b = (const hk_real *)x;
    job->bias = (const hk_real *)bias;
    job->rows = {(int)c->h, (int)c->oh, (int)c->kh, (int)c->sh, (int)c->ph, (int)c->dh, 1};
    job->cols = {(int)c->w, (int)c->ow, (int)c->kw, (int)c->sw, (int)c->pw, (int)c->dw, 1};
    job->plane = (int)(c->h * c->w);
    job->out_plane = (int)(c->oh * c->ow);
    job->b_image = c->ic * c->h * c->w;
    job->out_image = c->oc * c->oh * c->ow;
    job->groups = (int)c->groups;
    job->m = (int)c->oc;
    job->channels = (int)c->ic;
    job->a_channel = taps;
    job->a_row = (int)c->ic * taps;
    job->a_group = (int)(c->oc * c->ic) * taps;
    job->class_cols = 1;
}

#endif
