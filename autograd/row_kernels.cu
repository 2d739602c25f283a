/* row_kernels.cu: softmax and its kin on a GPU (stamped: see stamp.h).
   SPDX-License-Identifier: MIT

   The formulas are those of row_kernels.c; sums are added in another order. */
#include "row_kernels.h"

#include "row_passes.cuh"

namespace { /* each stamp has its own */

#define HK_NONE ((hk_real)-INFINITY) /* its exponential is 0 */

/* --- what happens to a row while it is held ------------------------------------------------------------------------- */

template <class W, int deep, class Team>
static __device__ inline hk_real largest(Team &team, int units, const typename W::unit *x) {
    hk_real most = HK_NONE;
    ROW_EACH(k, deep, team, units, {
        for (int i = 0; i < W::lanes; i++) most = hk__larger()(most, x[k].v[i]);
    })
    return team.join(most, hk__larger(), HK_NONE);
}

/* Σ e^(x - most); x becomes these exponentials if keep. */
template <class W, int deep, bool keep, class Team>
static __device__ inline hk_real exponentials(Team &team, int units, hk_real most,
                                              typename W::unit *x) {
    hk_real total = 0;
    ROW_EACH(k, deep, team, units, {
        for (int i = 0; i < W::lanes; i++) {
            const hk_real e = real_exp_down(x[k].v[i] - most);
            total += e;
            if (keep) x[k].v[i] = e;
        }
    })
    return team.join(total, hk__add(), (hk_real)0);
}

struct value_op {
    enum { two = 0 };
    static __device__ hk_real nothing() { return HK_NONE; }
    template <class W, int deep, class Team>
    static __device__ inline void run(Team &team, const row_job &job, int64_t, int,
                                      typename W::unit *x, typename W::unit *, double *) {
        const int all = (int)job.units;
        const hk_real most = largest<W, deep>(team, all, x);
        if (job.log) {
            const hk_real total = exponentials<W, deep, false>(team, all, most, x);
            const hk_real shift = (hk_real)log((double)total);
            ROW_EACH(k, deep, team, all, {
                for (int i = 0; i < W::lanes; i++) x[k].v[i] = x[k].v[i] - most - shift;
            })
        } else {
            const hk_real by = 1 / exponentials<W, deep, true>(team, all, most, x);
            ROW_EACH(k, deep, team, all, {
                for (int i = 0; i < W::lanes; i++) x[k].v[i] *= by;
            })
        }
    }
};

/* x is the value. */
static __device__ inline hk_real slope_of(bool log, hk_real y, hk_real g, hk_real total) {
    return log ? g - real_exp_down(y) * total : y * (g - total);
}

struct slope_op {
    enum { two = 1 };
    static __device__ hk_real nothing() { return 0; }
    template <class W, int deep, class Team>
    static __device__ inline void run(Team &team, const row_job &job, int64_t, int,
                                      typename W::unit *y, typename W::unit *g, double *) {
        const int all = (int)job.units;
        hk_real total = 0;
        ROW_EACH(k, deep, team, all, {
            for (int i = 0; i < W::lanes; i++) total += job.log ? g[k].v[i] : g[k].v[i] * y[k].v[i];
        })
        total = team.join(total, hk__add(), (hk_real)0);
        ROW_EACH(k, deep, team, all, {
            for (int i = 0; i < W::lanes; i++)
                y[k].v[i] = slope_of(job.log, y[k].v[i], g[k].v[i], total);
        })
    }
};

/* A label outside of the classes is noted, and 0 stands for it. */
static __device__ inline int64_t label_of(const row_job &job, int64_t row, bool note) {
    const int32_t label = job.labels[row];
    if (label >= 0 && label < job.n) return label;
    if (note) hk__raise_flag(job.flag, HK__FLAG_LABEL, row, label, job.n);
    return 0;
}

/* Of the mean loss by the logit whose probability is p. */
static __device__ inline hk_real loss_slope(const row_job &job, hk_real p, bool at_label) {
    return job.by * (p - (at_label ? job.own : job.others));
}

/* All of it relative to the largest logit, which cancels. around: Σ (x - most). */
static __device__ inline double loss_of(const row_job &job, int64_t row, hk_real most,
                                        hk_real total, double around) {
    const int64_t label = label_of(job, row, true);
    const double at = (double)job.x[row * job.n + label] - (double)most;
    double loss = log((double)total) - (1 - job.smoothing) * at;
    if (job.smoothing > 0) loss -= job.smoothing * around / (double)job.n;
    return loss;
}

struct loss_op {
    enum { two = 0 };
    static __device__ hk_real nothing() { return HK_NONE; }
    template <class W, int deep, class Team>
    static __device__ inline void run(Team &team, const row_job &job, int64_t row, int units,
                                      typename W::unit *x, typename W::unit *, double *kept) {
        const int all = (int)job.units;
        const hk_real most = largest<W, deep>(team, all, x);
        double around = 0;
        if (job.smoothing > 0) {
            ROW_EACH(k, deep, team, all, {
                if (team.rank + k * team.size < units)
                    for (int i = 0; i < W::lanes; i++) around += (double)x[k].v[i] - (double)most;
            })
            around = team.join(around, hk__add(), 0.0);
        }
        const hk_real total = exponentials<W, deep, true>(team, all, most, x), by = 1 / total;
        const int64_t label = units > 0 ? label_of(job, row, false) : 0;
        ROW_EACH(k, deep, team, all, {
            const int64_t first = (int64_t)(team.rank + k * team.size) * W::lanes;
            for (int i = 0; i < W::lanes; i++)
                x[k].v[i] = loss_slope(job, x[k].v[i] * by, first + i == label);
        })
        if (team.rank != 0 || units == 0) return;
        const double loss = loss_of(job, row, most, total, around);
        if (job.losses)
            job.losses[row] = loss;
        else
            *kept += loss;
    }
};

/* --- rows too long to be held: two passes --------------------------------------------------------------------------- */

struct value_passes {
    /* e^x is summed relative to the largest element so far. */
    struct part {
        hk_real most, total;
        double around; /* Σ x */
    };
    static __device__ part begin() { return {HK_NONE, 0, 0}; }
    static __device__ hk_real base(hk_real most) { return most == HK_NONE ? 0 : most; }
    template <class W>
    static __device__ inline void add(const row_job &job, part *p, const typename W::unit &x,
                                      const typename W::unit &) {
        hk_real most = p->most;
        for (int i = 0; i < W::lanes; i++) most = hk__larger()(most, x.v[i]);
        if (most > p->most || most != most) p->total *= real_exp_down(p->most - most);
        p->most = most;
        for (int i = 0; i < W::lanes; i++) p->total += real_exp_down(x.v[i] - base(most));
        if (job.smoothing > 0)
            for (int i = 0; i < W::lanes; i++) p->around += (double)x.v[i];
    }
    static __device__ inline part join(block_team &team, const part &own) {
        part all;
        all.most = team.join(own.most, hk__larger(), HK_NONE);
        all.total =
            team.join(own.total * real_exp_down(own.most - base(all.most)), hk__add(), (hk_real)0);
        all.around = team.join(own.around, hk__add(), 0.0);
        return all;
    }
    template <class W>
    static __device__ inline void write(const row_job &job, const part &p, int64_t row, int64_t u,
                                        typename W::unit *x, const typename W::unit &) {
        const hk_real by = 1 / p.total, shift = job.log ? (hk_real)log((double)p.total) : 0;
        const int64_t at = job.labels ? label_of(job, row, false) - u * W::lanes : 0;
        for (int i = 0; i < W::lanes; i++) {
            x->v[i] = job.log ? x->v[i] - p.most - shift : real_exp_down(x->v[i] - p.most) * by;
            if (job.labels) x->v[i] = loss_slope(job, x->v[i], i == at);
        }
    }
    static __device__ inline void finish(const row_job &job, int64_t row, const part &p) {
        if (job.losses)
            job.losses[row] =
                loss_of(job, row, p.most, p.total, p.around - (double)job.n * (double)p.most);
    }
    enum { two = 0 };
};

struct slope_passes {
    enum { two = 1 };
    struct part {
        hk_real total;
    };
    static __device__ part begin() { return {0}; }
    template <class W>
    static __device__ inline void add(const row_job &job, part *p, const typename W::unit &y,
                                      const typename W::unit &g) {
        for (int i = 0; i < W::lanes; i++) p->total += job.log ? g.v[i] : g.v[i] * y.v[i];
    }
    static __device__ inline part join(block_team &team, const part &own) {
        return {team.join(own.total, hk__add(), (hk_real)0)};
    }
    template <class W>
    static __device__ inline void write(const row_job &job, const part &p, int64_t, int64_t,
                                        typename W::unit *y, const typename W::unit &g) {
        for (int i = 0; i < W::lanes; i++) y->v[i] = slope_of(job.log, y->v[i], g.v[i], p.total);
    }
    static __device__ inline void finish(const row_job &, int64_t, const part &) {}
};

/* --- drivers ----------------------------------------------------------------------------------------------------------- */

static row_job job_of(int64_t rows, int64_t n, const void *x, void *out) {
    row_job job;
    memset((void *)&job, 0, sizeof job);
    job.rows = rows;
    job.n = n;
    job.x = (const hk_real *)x;
    job.out = (hk_real *)out;
    return job;
}

static void softmax(hk_context *ctx, int64_t rows, int64_t n, bool log, const void *x, void *y) {
    if (rows == 0 || n == 0) return;
    row_job job = job_of(rows, n, x, y);
    job.log = log;
    if (!row_run<value_op>(ctx, &job)) row_pass_twice<value_passes>(ctx, job);
}

static void slope(hk_context *ctx, int64_t rows, int64_t n, bool log, const void *y, const void *g,
                  void *out, bool accumulate) {
    if (rows == 0 || n == 0) return;
    row_job job = job_of(rows, n, y, out);
    job.g = (const hk_real *)g;
    job.log = log;
    job.accumulate = accumulate;
    if (!row_run<slope_op>(ctx, &job)) row_pass_twice<slope_passes>(ctx, job);
}

static __global__ void __launch_bounds__(1024) mean_of(int64_t n, const double *x, hk_real *mean) {
    __shared__ double room[HK__WARP];
    double sum = 0;
#pragma unroll 8
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    sum = hk__block_join(sum, hk__add(), 0.0, room);
    if (threadIdx.x == 0) *mean = (hk_real)(sum / (double)n);
}

static void cross_entropy(hk_context *ctx, int64_t rows, int64_t n, const void *x,
                          const int32_t *labels, double smoothing, void *slope, void *loss) {
    /* Few elements: one block is enough, if rows are short enough for its warps. */
    enum { FEW = 8192, SHORT = HK__WARP * ROW_HELD_NARROW / (int)sizeof(hk_real) };
    row_job job = job_of(rows, n, x, slope);
    job.labels = labels;
    job.smoothing = smoothing;
    job.by = (hk_real)(1 / (double)rows);
    job.own = (hk_real)(1 - smoothing + smoothing / (double)n);
    job.others = (hk_real)(smoothing / (double)n);
    job.flag = hk__gpu_flag_of(ctx);
    if (rows * n <= FEW && n <= SHORT) {
        job.mean = (hk_real *)loss;
        row_run<loss_op>(ctx, &job);
        return;
    }
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    job.losses = (double *)hk__gpu_scratch(ctx, (size_t)rows * sizeof(double));
    if (!job.losses) return;
    if (!row_run<loss_op>(ctx, &job)) row_pass_twice<value_passes>(ctx, job);
    HK_LAUNCH(ctx, 1, 1024, 0, mean_of, rows, job.losses, (hk_real *)loss);
    hk__arena_rewind(&ctx->gpu_scratch, mark);
}

/* --- accuracy ------------------------------------------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(1024)
    count_equal(int64_t n, const int32_t *a, const int32_t *b, int64_t *count) {
    __shared__ int64_t room[HK__WARP];
    int64_t equal = 0;
#pragma unroll 8
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) equal += a[i] == b[i];
    equal = hk__block_join(equal, hk__add(), (int64_t)0, room);
    if (threadIdx.x == 0) *count = equal;
}

static void equal(hk_context *ctx, int64_t n, const int32_t *a, const int32_t *b, int64_t *count) {
    HK_LAUNCH(ctx, 1, 1024, 0, count_equal, n, a, b, count);
}

} /* namespace */

const hk__row_gpu HK_STAMPED(hk__row_gpu) = {softmax, slope, cross_entropy, equal};
