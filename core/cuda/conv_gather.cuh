/* conv_gather.cuh: forward and by data, as tiles (conv_tile.cuh) whose columns are places of an image.
   SPDX-License-Identifier: MIT

   With a stride, elements of the input that lie as far apart as the stride see the same part of the kernel, so by data
   these are a convolution of their own (a "class"), without a stride. */
#ifndef HK_CONV_GATHER_CUH
#define HK_CONV_GATHER_CUH

#include "conv_tile.cuh"

namespace { /* each stamp has its own */

/* One axis of the image on both sides. */
struct hk__conv_axis {
    int source, out; /* sizes of what is read and of what is written */
    int kernel, stride, padding, dilation;
    int every; /* by data: of each class every so manieth row of the kernel counts */
};
/* The same for the places of one class: place i is element first + i·step of what is written, and its window begins at
   start + i·scale of what is read; tap t of `taps` is row u0 + t·every of the kernel, and moves by t·move, never back: by
   data the kernel is gone through from its end. */
struct hk__conv_class {
    int count, first, step, start, scale, u0, every, taps, move;
};

static __device__ inline hk__conv_class hk__conv_class_of(const hk__conv_axis &a, bool back,
                                                          int first) {
    if (!back) return {a.out, 0, 1, -a.padding, a.stride, 0, 1, a.kernel, a.dilation};
    const int rest = (first + a.padding) % a.stride;
    int u0 = 0;
    while (u0 < a.kernel && u0 * a.dilation % a.stride != rest) u0++;
    const int taps = u0 < a.kernel ? (a.kernel - 1 - u0) / a.every + 1 : 0;
    const int move = taps > 1 ? a.every * a.dilation / a.stride : 0;
    const int start = taps > 0 ? (first + a.padding - u0 * a.dilation) / a.stride : 0;
    const int last = taps > 0 ? taps - 1 : 0;
    return {(a.out - first + a.stride - 1) / a.stride,
            first,
            a.stride,
            start - last * move,
            1,
            u0 + last * a.every,
            -a.every,
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
    int back, add, vectors;

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
        return step_of(p, (int)c, (int)u, (int)v);
    }
    /* Of channel c, tap u down and v across. */
    __device__ hk__conv_step step_of(const Part &p, int c, int u, int v) const {
        hk__conv_step s;
        s.y = u * p.y.move;
        s.x = v * p.x.move;
        s.a = c * a_channel + (p.y.u0 + u * p.y.every) * cols.kernel + p.x.u0 + v * p.x.every;
        s.b = c * plane + (Pooled ? 0 : s.y * cols.source + s.x);
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

    __device__ void put_one(hk_real *to, hk_real sum) const { *to = add ? *to + sum : sum; }
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
            put_one(to, sum[i] + more);
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

/* --- on the host ------------------------------------------------------------------------------------------------------------ */

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

/* What conv_depthwise.cuh is for, and what its strips are. */
static inline bool hk__conv_is_depthwise(const hk__conv *c) { return c->ic == 1 && c->oc <= 4; }
static inline bool hk__conv_in_strips(const hk__conv *c) {
    return c->kh == c->kw && (c->kh == 3 || c->kh == 5 || c->kh == 7) && c->sh == 1 && c->sw == 1 &&
           c->dh == 1 && c->dw == 1;
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

} /* namespace */

#endif
