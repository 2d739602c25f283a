/* norm_segments.cuh: kernels that normalise a channel or a row, which one block reads piece by piece.
   SPDX-License-Identifier: MIT

   What has one mean is a segment: a channel, chunks of `plane` elements, or a row, one chunk. A block takes a piece of it;
   where channels are columns of single elements, a piece of each of `across` channels, side by side in a warp.
   Where a segment is one piece, one launch finds what it needs and writes; else a first launch leaves what each piece sums
   up to, and every block of the second joins all of it, in the same order.

   Elements count from a shift near their mean, in the stamp's type; what threads have is added in double. */
#ifndef HK_NORM_SEGMENTS_CUH
#define HK_NORM_SEGMENTS_CUH

#include <math.h>

#include "map.cuh"
#include "norm_kernels.h"
#include "real.h"
#include "real_math.h"

namespace { /* each stamp has its own */

enum { NORM_THREADS = 512, NORM_DEEP = 2 /* units in flight */, NORM_PIECES = 1024 /* at most */ };

struct norm_wide {
    static constexpr int lanes = hk__vector<hk_real>::lanes, across = 1;
    typedef hk__vector<hk_real> unit;
};
struct norm_narrow {
    static constexpr int lanes = 1, across = 1;
    typedef hk__vector<hk_real, 1> unit;
};
struct norm_columns : norm_narrow {
    static constexpr int across = HK__WARP;
};

/* With what kernels divide by: units of a chunk, elements of a plane. */
struct norm_call : hk__norm_job {
    hk__divider by_chunk, by_plane;
};

template <class W> static norm_call norm_call_of(const hk__norm_job &job) {
    norm_call call;
    memset((void *)&call, 0, sizeof call);
    (hk__norm_job &)call = job;
    const int64_t plane = job.plane > 0 ? job.plane : 1;
    const int64_t chunk = (job.by_row ? job.c / job.groups * plane : plane) / W::lanes;
    call.by_chunk = hk__divider_of(chunk > 0 ? chunk : 1);
    call.by_plane = hk__divider_of(plane);
    return call;
}

/* A segment, and a block's piece of it, in units. */
struct norm_piece {
    int64_t segment, own; /* numbers */
    int64_t base, chunk, stride;
    int64_t start, end;
    double count;   /* elements of the piece */
    int rank, size; /* of the threads that share it */
    bool there;     /* else a column behind the last one */
};

template <class W>
static __device__ inline norm_piece norm_piece_of(const hk__norm_job &j, int64_t pieces) {
    norm_piece p;
    const int64_t segments = j.by_row ? j.n * j.groups : j.c, task = blockIdx.x / pieces;
    p.own = blockIdx.x - task * pieces;
    p.segment = task * W::across + threadIdx.x % W::across;
    p.rank = (int)threadIdx.x / W::across;
    p.size = (int)blockDim.x / W::across;
    p.there = p.segment < segments;
    const int64_t row = j.c / j.groups * j.plane / W::lanes, plane = j.plane / W::lanes;
    p.chunk = j.by_row ? row : plane;
    p.base = p.segment * p.chunk;
    p.stride = j.c * plane;
    const int64_t units = j.by_row ? row : j.n * plane, length = (units + pieces - 1) / pieces;
    p.start = p.own * length;
    p.end = !p.there ? p.start : p.start + length < units ? p.start + length : units;
    p.count = (double)(p.end > p.start ? (p.end - p.start) * W::lanes : 0);
    return p;
}

/* How many elements have one mean. */
static __device__ inline double norm_count(const hk__norm_job &j) {
    return j.by_row ? (double)(j.c / j.groups) * (double)j.plane : (double)j.n * (double)j.plane;
}

/* Where unit u of the segment lies. */
static __device__ inline int64_t norm_place(const norm_call &j, const norm_piece &p, int64_t u) {
    if (u < p.chunk) return p.base + u;
    const int64_t i =
        (p.end >> 31) == 0 ? (int64_t)hk__divide((uint32_t)u, j.by_chunk) : u / p.chunk;
    return p.base + i * p.stride + (u - i * p.chunk);
}

/* Runs body(x, g, u, place) for this thread's units, NORM_DEEP read before. g: only if `two`. */
template <class W, bool two, class Body>
static __device__ inline void norm_walk(const norm_call &j, const norm_piece &p, Body body) {
    typedef typename W::unit unit;
    constexpr int deep = NORM_DEEP;
    for (int64_t first = p.start + p.rank; first < p.end; first += deep * p.size) {
        unit x[deep], g[deep];
        int64_t place[deep];
#pragma unroll
        for (int k = 0; k < deep; k++) {
            const int64_t u = first + k * (int64_t)p.size;
            if (u >= p.end) continue;
            place[k] = norm_place(j, p, u);
            x[k] = ((const unit *)j.x)[place[k]];
            if (two) g[k] = ((const unit *)j.g)[place[k]];
        }
#pragma unroll
        for (int k = 0; k < deep; k++) {
            const int64_t u = first + k * (int64_t)p.size;
            if (u < p.end) body(x[k], g[k], u, place[k]);
        }
    }
}

/* Over the threads that share a piece. */
template <class W> static __device__ inline double norm_total(double own) {
    if constexpr (W::across == 1) {
        __shared__ double room[HK__WARP];
        return hk__block_join(own, hk__add(), 0.0, room);
    } else {
        __shared__ double room[NORM_THREADS];
        __syncthreads();
        room[threadIdx.x] = own;
        __syncthreads();
        double total = 0;
        for (unsigned i = threadIdx.x % W::across; i < blockDim.x; i += W::across) total += room[i];
        return total;
    }
}

/* --- statistics ------------------------------------------------------------------------------------------------------- */

/* Of a piece: elements, their mean, Σ (x - mean)². */
struct norm_moments {
    double count, mean, squares;
};

/* The shift is the mean of every thread's first unit: of equal elements just that, and never so far from the mean of all
   that many digits are lost. */
template <class W>
static __device__ inline norm_moments norm_measure(const norm_call &j, const norm_piece &p) {
    typedef typename W::unit unit;
    double sample = 0;
    const int64_t u = p.start + p.rank;
    if (u < p.end) {
        const unit x = ((const unit *)j.x)[norm_place(j, p, u)];
        for (int i = 0; i < W::lanes; i++) sample += (double)x.v[i];
    }
    const int64_t units = p.end - p.start < p.size ? p.end - p.start : p.size;
    sample = norm_total<W>(sample);
    const hk_real shift = units > 0 ? (hk_real)(sample / (double)(units * W::lanes)) : 0;
    hk_real sum = 0, square = 0;
    norm_walk<W, false>(j, p, [&](const unit &x, const unit &, int64_t, int64_t) {
        for (int i = 0; i < W::lanes; i++) {
            const hk_real d = x.v[i] - shift;
            sum += d;
            square = HK_FMA(d, d, square);
        }
    });
    const double all = norm_total<W>((double)sum), squares = norm_total<W>((double)square);
    norm_moments m = {p.count, (double)shift, 0};
    if (p.count == 0) return m;
    const double off = all / p.count;
    m.mean += off;
    m.squares = squares - off * off * p.count;
    if (m.squares < 0) m.squares = 0;
    if (m.squares != m.squares) m.mean = m.squares; /* of an infinite element */
    return m;
}

/* Mean and variance of a segment from its pieces. Counted from the first one's mean: equal elements have just that. */
template <class W>
static __device__ inline void norm_join(const norm_piece &p, const norm_moments *parts,
                                        int64_t pieces, double count, double *pair) {
    const double first = p.there ? parts[0].mean : 0;
    double mean = 0, squares = 0;
    for (int64_t i = p.rank; p.there && i < pieces; i += p.size)
        mean += (parts[i].mean - first) * (parts[i].count / count);
    mean = first + norm_total<W>(mean);
    for (int64_t i = p.rank; p.there && i < pieces; i += p.size) {
        const double away = parts[i].mean - mean;
        squares += parts[i].squares / count + away * away * (parts[i].count / count);
    }
    pair[0] = mean;
    pair[1] = norm_total<W>(squares);
}

/* --- from statistics to coefficients -------------------------------------------------------------------------------------- */

/* x̂ = (x - centre)·rate + rest, as hk__scale_of has it. */
struct norm_scale {
    double centre, rate, rest;
};
static __device__ inline norm_scale norm_scale_of(double mean, double var, double eps) {
    const double rate = 1 / sqrt(var + eps), centre = (double)(hk_real)mean;
    return {centre, rate, (centre - mean) * rate};
}
static __device__ inline norm_scale norm_scale_at(const norm_call &j, const norm_piece &p) {
    return norm_scale_of(p.there ? j.stats[2 * p.segment] : 0,
                         p.there ? j.stats[2 * p.segment + 1] : 1, j.eps);
}

/* One thread of all that have the segment, where there is one. */
static __device__ inline bool norm_leads(const norm_piece &p) {
    return p.there && p.own == 0 && p.rank == 0;
}

/* Where the channels of a row's segment begin, and which of them element i is. */
static __device__ inline int64_t norm_first(const norm_call &j, int64_t segment) {
    return j.groups == 1 ? 0 : segment % j.groups * (j.c / j.groups);
}
template <class W>
static __device__ inline int64_t norm_channel(const norm_call &j, const norm_piece &p, int64_t i) {
    if (j.plane == 1) return i;
    return p.end < ((int64_t)1 << 31) / W::lanes ? (int64_t)hk__divide((uint32_t)i, j.by_plane)
                                                 : i / j.plane;
}
static __device__ inline hk_real norm_weight(const void *w, int64_t channel, hk_real none) {
    return w ? ((const hk_real *)w)[channel] : none;
}

template <class W>
static __device__ inline void norm_put(const norm_call &j, int64_t place,
                                       const typename W::unit &value) {
    typedef typename W::unit unit;
    unit y = value;
    if (j.accumulate) {
        const unit old = ((const unit *)j.out)[place];
        for (int i = 0; i < W::lanes; i++) y.v[i] = value.v[i] + old.v[i];
    }
    ((unit *)j.out)[place] = y;
}

/* --- value -------------------------------------------------------------------------------------------------------------------- */

template <class W>
static __device__ inline void norm_write_value(const norm_call &j, const norm_piece &p,
                                               const double *pair) {
    typedef typename W::unit unit;
    const norm_scale s = norm_scale_of(pair[0], pair[1], j.eps);
    const bool own = !j.by_row && p.there;
    const double weight = own ? (double)norm_weight(j.w, p.segment, 1) : 1;
    const double bias = own ? (double)norm_weight(j.b, p.segment, 0) : 0;
    const hk_real k0 = (hk_real)s.centre, k1 = (hk_real)(s.rate * weight),
                  k2 = (hk_real)(s.rest * weight + bias);
    const bool weights = j.by_row && j.w;
    const int64_t first = weights ? norm_first(j, p.segment) : 0;
    const hk_real *const w = (const hk_real *)j.w + first, *const b = (const hk_real *)j.b + first;
    norm_walk<W, false>(j, p, [&](const unit &x, const unit &, int64_t u, int64_t place) {
        unit y;
        for (int i = 0; i < W::lanes; i++) {
            y.v[i] = HK_FMA(x.v[i] - k0, k1, k2);
            if (!weights) continue;
            const int64_t channel = norm_channel<W>(j, p, u * W::lanes + i);
            y.v[i] = HK_FMA(y.v[i], w[channel], b[channel]);
        }
        norm_put<W>(j, place, y);
    });
}

/* Finds the statistics and writes: of segments of one piece, or such as are known (measure = 0). */
template <class W>
static __global__ void __launch_bounds__(NORM_THREADS, 2) norm_value(norm_call j, int64_t pieces) {
    const norm_piece p = norm_piece_of<W>(j, pieces);
    double pair[2] = {0, 0};
    if (j.measure) {
        const norm_moments m = norm_measure<W>(j, p);
        pair[0] = m.mean;
        pair[1] = m.squares / p.count;
    } else if (!p.there) {
        return;
    } else if (j.mean) {
        pair[0] = (double)((const hk_real *)j.mean)[p.segment];
        pair[1] = (double)((const hk_real *)j.var)[p.segment];
    } else {
        pair[0] = j.stats[2 * p.segment];
        pair[1] = j.stats[2 * p.segment + 1];
    }
    if ((j.measure || j.mean) && norm_leads(p)) {
        j.stats[2 * p.segment] = pair[0];
        j.stats[2 * p.segment + 1] = pair[1];
    }
    norm_write_value<W>(j, p, pair);
}

template <class W>
static __global__ void __launch_bounds__(NORM_THREADS, 2)
    norm_value_parts(norm_call j, int64_t pieces, norm_moments *parts) {
    const norm_piece p = norm_piece_of<W>(j, pieces);
    const norm_moments m = norm_measure<W>(j, p);
    if (p.there && p.rank == 0) parts[p.segment * pieces + p.own] = m;
}

template <class W>
static __global__ void __launch_bounds__(NORM_THREADS, 2)
    norm_value_write(norm_call j, int64_t pieces, const norm_moments *parts) {
    const norm_piece p = norm_piece_of<W>(j, pieces);
    double pair[2];
    norm_join<W>(p, parts + p.segment * pieces, pieces, norm_count(j), pair);
    if (norm_leads(p)) {
        j.stats[2 * p.segment] = pair[0];
        j.stats[2 * p.segment + 1] = pair[1];
    }
    norm_write_value<W>(j, p, pair);
}

/* --- pull: with h = g·w, gx = 1/σ·(h - mean(h) - x̂·mean(h·x̂)) ---------------------------------------------------------------- */

/* Σ h and Σ h·(x - centre); of a channel h is g. */
struct norm_sums {
    double plain, along;
};

template <class W>
static __device__ inline norm_sums norm_sum(const norm_call &j, const norm_piece &p,
                                            hk_real centre) {
    typedef typename W::unit unit;
    const bool weights = j.by_row && j.w;
    const hk_real *const w = (const hk_real *)j.w + (weights ? norm_first(j, p.segment) : 0);
    hk_real plain = 0, along = 0;
    norm_walk<W, true>(j, p, [&](const unit &x, const unit &g, int64_t u, int64_t) {
        for (int i = 0; i < W::lanes; i++) {
            hk_real h = g.v[i];
            if (weights) h *= w[norm_channel<W>(j, p, u * W::lanes + i)];
            plain += h;
            along = HK_FMA(h, x.v[i] - centre, along);
        }
    });
    const double a = norm_total<W>((double)plain), b = norm_total<W>((double)along);
    return {a, b};
}

/* Adds to what is there, or not. */
static __device__ inline void norm_add(void *to, int64_t i, int64_t add, double value) {
    hk_real *const at = (hk_real *)to + i;
    *at = (hk_real)(value + (add ? (double)*at : 0));
}

template <class W>
static __device__ inline void norm_write_slope(const norm_call &j, const norm_piece &p,
                                               const norm_scale &s, const norm_sums &sums) {
    typedef typename W::unit unit;
    const double all = s.rate * sums.along + s.rest * sums.plain;
    if (!j.by_row && norm_leads(p)) {
        if (j.gw) norm_add(j.gw, p.segment, j.add_w, all);
        if (j.gb) norm_add(j.gb, p.segment, j.add_b, sums.plain);
    }
    if (!j.out) return;
    const double count = norm_count(j), along = all / count, plain = sums.plain / count;
    const double by = s.rate * (j.by_row || !p.there ? 1 : (double)norm_weight(j.w, p.segment, 1));
    const hk_real k0 = (hk_real)s.centre, k1 = (hk_real)by, k2 = (hk_real)(-by * along * s.rate);
    const hk_real k3 = (hk_real)(-by * (plain + along * s.rest));
    const bool weights = j.by_row && j.w;
    const hk_real *const w = (const hk_real *)j.w + (weights ? norm_first(j, p.segment) : 0);
    norm_walk<W, true>(j, p, [&](const unit &x, const unit &g, int64_t u, int64_t place) {
        unit y;
        for (int i = 0; i < W::lanes; i++) {
            hk_real h = g.v[i];
            if (weights) h *= w[norm_channel<W>(j, p, u * W::lanes + i)];
            y.v[i] = j.given ? h * k1 : HK_FMA(h, k1, HK_FMA(x.v[i] - k0, k2, k3));
        }
        norm_put<W>(j, place, y);
    });
}

/* Sums and writes: of segments of one piece; sums is 0: of such as need none. */
template <class W>
static __global__ void __launch_bounds__(NORM_THREADS, 2)
    norm_pull(norm_call j, int64_t pieces, int sum) {
    const norm_piece p = norm_piece_of<W>(j, pieces);
    const norm_scale s = norm_scale_at(j, p);
    norm_sums sums = {0, 0};
    if (sum) sums = norm_sum<W>(j, p, (hk_real)s.centre);
    norm_write_slope<W>(j, p, s, sums);
}

template <class W>
static __global__ void __launch_bounds__(NORM_THREADS, 2)
    norm_pull_parts(norm_call j, int64_t pieces, norm_sums *parts) {
    const norm_piece p = norm_piece_of<W>(j, pieces);
    const norm_sums sums = norm_sum<W>(j, p, (hk_real)norm_scale_at(j, p).centre);
    if (p.there && p.rank == 0) parts[p.segment * pieces + p.own] = sums;
}

template <class W>
static __global__ void __launch_bounds__(NORM_THREADS, 2)
    norm_pull_write(norm_call j, int64_t pieces, const norm_sums *parts) {
    const norm_piece p = norm_piece_of<W>(j, pieces);
    norm_sums sums = {0, 0};
    for (int64_t i = p.rank; p.there && i < pieces; i += p.size) {
        sums.plain += parts[p.segment * pieces + i].plain;
        sums.along += parts[p.segment * pieces + i].along;
    }
    sums.plain = norm_total<W>(sums.plain);
    sums.along = norm_total<W>(sums.along);
    norm_write_slope<W>(j, p, norm_scale_at(j, p), sums);
}

} /* namespace */

#endif
