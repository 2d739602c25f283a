/* units_kernels.cu: the statistics of units on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   A unit adds up its images in order, in double, so it does not matter how they fall into batches. Where units lie side by
   side, a thread is a unit. A plane is summed by a warp first, into partial sums of its own. */
#include "units_kernels.h"

#include "launch.cuh"
#include "real.h"

namespace { /* each stamp has its own */

enum { THREADS = 256, ROW_THREADS = 64, WARPS = THREADS / HK__WARP, AHEAD = 8 };

/* NaN is no extreme: it shows in the sums. */
struct lower {
    template <class T> __device__ T operator()(T a, T b) const { return b < a ? b : a; }
};
struct higher {
    template <class T> __device__ T operator()(T a, T b) const { return b > a ? b : a; }
};

/* What is summed of a unit. */
struct sums {
    double sum, squares, low, high, size, zeros, steepest, left, right;

    __device__ void clear() {
        sum = squares = size = zeros = steepest = left = right = 0;
        low = HUGE_VAL;
        high = -HUGE_VAL;
    }
    __device__ void take(double v, double centre) {
        const double d = v - centre;
        sum += d;
        squares += d * d;
        low = lower()(low, v);
        high = higher()(high, v);
        size += fabs(v);
        zeros += v == 0 ? 1.0 : 0.0;
    }
    /* In the type in which the CPU compares: double for rows, the element's for planes. */
    template <class T> __device__ void take_slope(T z, T slope, T limit, T peak) {
        const T s = slope < 0 ? -slope : slope;
        const double flat = s < limit ? 1.0 : 0.0, before = z < peak ? flat : 0.0;
        steepest = higher()(steepest, (double)s);
        left += before;
        right += flat - before;
    }
    __device__ void add(const sums &b) {
        sum += b.sum;
        squares += b.squares;
        low = lower()(low, b.low);
        high = higher()(high, b.high);
        size += b.size;
        zeros += b.zeros;
        steepest = higher()(steepest, b.steepest);
        left += b.left;
        right += b.right;
    }
    __device__ void join_warp() {
        sum = hk__warp_join(sum, hk__add());
        squares = hk__warp_join(squares, hk__add());
        low = hk__warp_join(low, lower());
        high = hk__warp_join(high, higher());
        size = hk__warp_join(size, hk__add());
        zeros = hk__warp_join(zeros, hk__add());
        steepest = hk__warp_join(steepest, higher());
        left = hk__warp_join(left, hk__add());
        right = hk__warp_join(right, hk__add());
    }
};

/* Arrays of a unit's sums; sums of z alone are brief. */
struct place {
    double *at;
    int64_t room;

    __device__ double &of(int array, int64_t unit) const { return at[array * room + unit]; }
    __device__ sums load(int64_t unit, bool brief) const {
        sums s;
        s.clear();
        s.sum = of(HK__UNITS_SUM, unit);
        s.squares = of(HK__UNITS_SQUARES, unit);
        s.low = of(HK__UNITS_LOW, unit);
        s.high = of(HK__UNITS_HIGH, unit);
        if (brief) return s;
        s.size = of(HK__UNITS_SIZE, unit);
        s.zeros = of(HK__UNITS_ZEROS, unit);
        s.steepest = of(HK__UNITS_STEEPEST, unit);
        s.left = of(HK__UNITS_LEFT, unit);
        s.right = of(HK__UNITS_RIGHT, unit);
        return s;
    }
    __device__ void store(int64_t unit, const sums &s, bool brief) const {
        of(HK__UNITS_SUM, unit) = s.sum;
        of(HK__UNITS_SQUARES, unit) = s.squares;
        of(HK__UNITS_LOW, unit) = s.low;
        of(HK__UNITS_HIGH, unit) = s.high;
        if (brief) return;
        of(HK__UNITS_SIZE, unit) = s.size;
        of(HK__UNITS_ZEROS, unit) = s.zeros;
        of(HK__UNITS_STEEPEST, unit) = s.steepest;
        of(HK__UNITS_LEFT, unit) = s.left;
        of(HK__UNITS_RIGHT, unit) = s.right;
    }
};

/* h: (outer, units, inner); slope and z may be NULL. */
struct values {
    int64_t outer, units, inner, brief;
    const hk_real *h, *z, *slope;
    place to;
};

/* The first value of each unit is what it counts from. */
static __global__ void __launch_bounds__(THREADS) start(values v) {
    const int64_t unit = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (unit >= v.units) return;
    sums s;
    s.clear();
    v.to.store(unit, s, false);
    v.to.of(HK__UNITS_CENTRE, unit) = (double)v.h[unit * v.inner];
}

static __global__ void __launch_bounds__(ROW_THREADS) add_rows(values v) {
    const int64_t unit = (int64_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (unit >= v.units) return;
    sums s = v.to.load(unit, v.brief);
    const double centre = v.to.of(HK__UNITS_CENTRE, unit);
    const double limit = v.slope ? v.to.of(HK__UNITS_LIMIT, unit) : 0;
    const double peak = v.slope ? v.to.of(HK__UNITS_PEAK, unit) : 0;
    for (int64_t r = 0; r < v.outer; r += AHEAD) {
        hk_real h[AHEAD], z[AHEAD], slope[AHEAD];
        for (int k = 0; k < AHEAD; k++) {
            if (r + k >= v.outer) break;
            const int64_t i = (r + k) * v.units + unit;
            h[k] = v.h[i];
            z[k] = v.slope ? v.z[i] : 0;
            slope[k] = v.slope ? v.slope[i] : 0;
        }
        for (int k = 0; k < AHEAD; k++) {
            if (r + k >= v.outer) break;
            s.take((double)h[k], centre);
            if (v.slope) s.take_slope((double)z[k], (double)slope[k], limit, peak);
        }
    }
    v.to.store(unit, s, v.brief);
}

/* A warp for a plane. */
static __global__ void __launch_bounds__(THREADS) sum_planes(values v, sums *part) {
    const int64_t plane = (int64_t)blockIdx.x * WARPS + threadIdx.x / HK__WARP;
    if (plane >= v.outer * v.units) return;
    const int lane = threadIdx.x % HK__WARP;
    const int64_t unit = plane % v.units;
    const double centre = v.to.of(HK__UNITS_CENTRE, unit);
    const hk_real limit = v.slope ? (hk_real)v.to.of(HK__UNITS_LIMIT, unit) : 0;
    const hk_real peak = v.slope ? (hk_real)v.to.of(HK__UNITS_PEAK, unit) : 0;
    sums s;
    s.clear();
    for (int64_t k = lane; k < v.inner; k += HK__WARP) {
        const int64_t i = plane * v.inner + k;
        s.take((double)v.h[i], centre);
        if (v.slope) s.take_slope(v.z[i], v.slope[i], limit, peak);
    }
    s.join_warp();
    if (lane == 0) part[plane] = s;
}

static __global__ void __launch_bounds__(ROW_THREADS) add_planes(values v, const sums *part) {
    const int64_t unit = (int64_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    if (unit >= v.units) return;
    sums s = v.to.load(unit, v.brief);
    for (int64_t r = 0; r < v.outer; r++) s.add(part[r * v.units + unit]);
    v.to.store(unit, s, v.brief);
}

/* The largest |f'| at each position. */
static __global__ void __launch_bounds__(THREADS)
    steepest_positions(int64_t outer, int64_t positions, const hk_real *slope, hk_real *steepest) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= positions) return;
    hk_real most = steepest[i];
    for (int64_t r = 0; r < outer; r++) {
        const hk_real s = slope[r * positions + i];
        most = higher()(most, s < 0 ? -s : s);
    }
    steepest[i] = most;
}

static void add(hk_context *ctx, const hk__units_gpu_job *job) {
    const values v = {job->outer,
                      job->units,
                      job->inner,
                      job->brief,
                      (const hk_real *)job->h,
                      (const hk_real *)job->z,
                      (const hk_real *)job->slope,
                      {job->to, job->room}};
    if (job->start) HK_LAUNCH(ctx, hk__grid(v.units, THREADS, 1), THREADS, 0, start, v);
    if (v.inner == 1) {
        HK_LAUNCH(ctx, hk__grid(v.units, ROW_THREADS, 1), ROW_THREADS, 0, add_rows, v);
        return;
    }
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    const int64_t planes = v.outer * v.units, positions = v.units * v.inner;
    sums *part = (sums *)hk__gpu_scratch(ctx, (size_t)planes * sizeof *part);
    HK_LAUNCH(ctx, hk__grid(planes, WARPS, 1), THREADS, 0, sum_planes, v, part);
    HK_LAUNCH(ctx, hk__grid(v.units, ROW_THREADS, 1), ROW_THREADS, 0, add_planes, v, part);
    if (job->steepest)
        HK_LAUNCH(ctx, hk__grid(positions, THREADS, 1), THREADS, 0, steepest_positions, v.outer,
                  positions, v.slope, (hk_real *)job->steepest);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

} /* namespace */

extern const hk__units_gpu_table HK_STAMPED(hk__units_gpu);
const hk__units_gpu_table HK_STAMPED(hk__units_gpu) = {add};
