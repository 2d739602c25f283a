/* conv_weights.cuh: the gradients of weights and bias, by tiles (conv_tile.cuh) whose steps are places of the output.
   SPDX-License-Identifier: MIT

   There are few tiles and many steps, so these are cut into parts, in number and place fixed by the sizes, and a second
   launch adds them in order. Steps go by windows of 2 x 2 places, corner by corner. Behind a pooling three of these are 0
   and so change nothing: its sums have the bits of those over the whole image, whose odd last row and column, of which a
   pooling knows nothing, come last in each part. */
#ifndef HK_CONV_WEIGHTS_CUH
#define HK_CONV_WEIGHTS_CUH

#include "conv_gather.cuh"

namespace { /* each stamp has its own */

/* Pooled: g is the gradient of a 2 x 2 pooling's output, with its winners. */
template <bool Pooled> struct hk__conv_weights {
    const hk_real *a, *b; /* g and x */
    const uint8_t *winner;
    hk_real *out;       /* [part][row of all groups][pitch] */
    hk__conv c;         /* oc, ic: of one group */
    int64_t part_steps; /* of windows, in whole chunks */
    int images, parts, groups, m, columns;
    int window;             /* columns that are not the bias */
    int pitch;              /* columns in whole fours */
    int down, across;       /* windows of a plane */
    int a_row, plane, edge; /* elements of a plane of g and of x; places of the odd edge */
    int slices, m_tiles, n_tiles;

    struct Part {
        int group, row, tile, steps, part;
        int whole;                 /* steps of windows */
        int skip;                  /* steps of the first image that other parts have */
        int edge_image, edge_skip; /* the same of the edge; its first image, from `first` on */
        unsigned columns;
        int64_t first; /* image */
    };

    __device__ Part part() const {
        Part p = {};
        unsigned i = blockIdx.x;
        p.tile = (int)(i % (unsigned)n_tiles);
        i /= (unsigned)n_tiles;
        p.row = (int)(i % (unsigned)m_tiles);
        i /= (unsigned)m_tiles;
        p.group = (int)(i % (unsigned)groups);
        p.part = (int)(i / (unsigned)groups);
        const int64_t of_image = (int64_t)down * across * 4;
        if (of_image > 0) {
            const int64_t from = p.part * part_steps, left = images * of_image - from;
            p.first = from / of_image;
            p.skip = (int)(from - p.first * of_image);
            p.whole = (int)(left < part_steps ? left : part_steps);
        }
        p.steps = p.whole;
        if (edge > 0) { /* its part begins where that of windows does, or before */
            const int64_t all = (int64_t)images * edge, from = all * p.part / parts;
            if (of_image == 0) p.first = from / edge;
            p.edge_image = (int)(from / edge - p.first);
            p.edge_skip = (int)(from % edge);
            p.steps += (int)(all * (p.part + 1) / parts - from);
        }
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
        int image, y, x, at;
        if (k < p.whole) {
            const unsigned corner = (unsigned)k % 4, window = (unsigned)(p.skip + k) / 4,
                           line = window / (unsigned)across;
            x = (int)(window % (unsigned)across);
            y = (int)(line % (unsigned)down);
            image = (int)(line / (unsigned)down);
            at = y * across + x;
            y = 2 * y + (int)(corner / 2);
            x = 2 * x + (int)(corner % 2);
        } else {
            const int place = p.edge_skip + k - p.whole, i = place % edge,
                      column = c.ow % 2 == 1 ? (int)c.oh : 0;
            image = p.edge_image + place / edge;
            y = i < column ? i : (int)c.oh - 1;
            x = i < column ? (int)c.ow - 1 : i - column;
            at = 0;
        }
        hk__conv_step s;
        s.a = image * groups * m * a_row + (Pooled ? at : y * (int)c.ow + x);
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

/* --- the sum of the parts --------------------------------------------------------------------------------------------------- */

enum { SUM_LANES = 16, MOST_PARTS = 256 };

struct parts_job {
    const hk_real *from; /* [part][row][pitch] */
    hk_real *gw, *gb;
    int64_t rows;
    int parts, columns, window, pitch;
    int add_w, add_b;
};

/* gw and gb (+)= the sum of the parts: sixteen lanes of each element take every sixteenth part. */
static __global__ void sum_parts(const parts_job job) {
    __shared__ hk_real sums[SUM_LANES][HK__WARP];
    const int64_t all = job.rows * job.columns, at = (int64_t)blockIdx.x * HK__WARP + threadIdx.x;
    const int64_t row = at / job.columns, column = at % job.columns,
                  part_size = job.rows * job.pitch;
    hk_real sum = 0;
    if (at < all) {
#pragma unroll 8
        for (int part = threadIdx.y; part < job.parts; part += SUM_LANES)
            sum += job.from[part * part_size + row * job.pitch + column];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || at >= all) return;
    for (int i = 1; i < SUM_LANES; i++) sum += sums[i][threadIdx.x];
    hk_real *to = column < job.window ? job.gw + row * job.window + column : job.gb + row;
    *to = (column < job.window ? job.add_w : job.add_b) ? *to + sum : sum;
}

/* Adds the parts of a job, which are in scratch memory. */
static void launch_sum(hk_context *ctx, const hk__conv_gradients *to, int64_t rows,
                       const hk_real *from, int parts, int columns, int window, int pitch) {
    parts_job sum;
    memset(&sum, 0, sizeof sum);
    sum.from = from;
    sum.gw = (hk_real *)to->gw;
    sum.gb = (hk_real *)to->gb;
    sum.rows = rows;
    sum.parts = parts;
    sum.columns = columns;
    sum.window = window;
    sum.pitch = pitch;
    sum.add_w = to->add_w;
    sum.add_b = to->add_b;
    HK_LAUNCH(ctx, hk__grid(rows * columns, HK__WARP, 1), dim3(HK__WARP, SUM_LANES), 0, sum_parts,
              sum);
}

template <class Job, int LM, int TM, int TN>
static void run_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to,
                        Job *job) {
    const int64_t tiles = hk__conv_parts_of(job->m, LM * TM) *
                          hk__conv_parts_of(job->columns, HK__WARP / LM * TN),
                  larger = hk__most(c->ic * c->h * c->w, c->oc * c->oh * c->ow) * c->groups,
                  steps = c->n * c->oh * c->ow, whole = c->n * job->down * job->across * 4,
                  width = HK__CONV_WARPS * HK__CONV_CHUNK;
    int64_t parts = hk__least(HK__CONV_ENOUGH / (2 * tiles * c->groups), MOST_PARTS);
    parts = hk__most(1, hk__least(parts, steps / (4 * width)));
    /* Offsets inside of a part have 32 bits. */
    parts = hk__most(parts, hk__conv_parts_of(c->n * larger, HK__CONV_MOST));
    job->part_steps = hk__conv_parts_of(hk__conv_parts_of(whole, parts), width) * width;
    if (whole > 0) parts = hk__conv_parts_of(whole, job->part_steps);
    const int64_t rows = c->groups * c->oc;
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    job->parts = (int)parts;
    job->out =
        (hk_real *)hk__gpu_scratch(ctx, (size_t)(parts * rows * job->pitch) * sizeof(hk_real));
    if (job->out) {
        hk__conv_launch<Job, LM, TM, TN>(ctx, job, job->columns, parts, steps / parts);
        launch_sum(ctx, to, rows, job->out, job->parts, job->columns, job->window, job->pitch);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

template <bool Pooled>
static void by_weights(hk_context *ctx, const hk__conv *c, const hk__conv_gradients *to) {
    typedef hk__conv_weights<Pooled> job_type;
    job_type job;
    memset((void *)&job, 0, sizeof job);
    job.a = (const hk_real *)to->g;
    job.b = (const hk_real *)to->x;
    job.winner = to->winner;
    job.c = *c;
    job.images = (int)c->n;
    job.groups = (int)c->groups;
    job.m = (int)c->oc;
    job.window = to->gw ? (int)(c->ic * c->kh * c->kw) : 0;
    job.columns = job.window + (to->gb ? 1 : 0);
    job.pitch = (job.columns + 3) / 4 * 4;
    job.down = (int)(c->oh / 2);
    job.across = (int)(c->ow / 2);
    job.a_row = Pooled ? job.down * job.across : (int)(c->oh * c->ow);
    job.plane = (int)(c->h * c->w);
    job.edge = Pooled ? 0 : (int)(c->oh * c->ow) - 4 * job.down * job.across;
#ifdef HK_STAMP_f64
    run_weights<job_type, 4, 8, 4>(ctx, c, to, &job);
#else
    if (job.m > 32 && job.columns > 32)
        run_weights<job_type, 8, 8, 8>(ctx, c, to, &job);
    else if (job.m > 16)
        run_weights<job_type, 4, 8, 4>(ctx, c, to, &job);
    else
        run_weights<job_type, 4, 4, 4>(ctx, c, to, &job);
#endif
}

} /* namespace */

#endif
