/* optim_kernels.cu: the update rules on a GPU, all segments in one launch. Stamped (stamp.h).
   SPDX-License-Identifier: MIT

   A block updates 256 vectors of one segment: all that a thread needs is asked for at once, and while it comes, one
   thread rounds the step's coefficients for the block. Where gradients are clipped by norm, a first launch sums squares
   in at most 256 blocks, and each block of the second adds up their sums in the same order. */
#include "launch.cuh"
#include "optim_rules.h"

namespace { /* each stamp has its own */

enum { THREADS = 256, LANES = hk__vector<hk_real>::lanes, NORM_BLOCKS = 256, STEPS = 16 };

/* --- rules: how many states, coefficients of a step, one update ------------------------------------------------------ */

struct sgd {
    enum { STATES = 0 };
    hk__sgd_numbers c;
    __device__ void prepare(const hk__optim_launch &u, double lr, double decay) {
        hk__sgd_step s;
        s.momentum = u.fixed[0];
        s.fresh = u.cells[1];
        c = hk__sgd_numbers_of(lr, decay, &s);
    }
    __device__ void one(hk_real g, hk_real *w, hk_real **) const { hk__sgd_one(&c, g, w); }
};
struct momentum : sgd {
    enum { STATES = 1 };
    __device__ void one(hk_real g, hk_real *w, hk_real **s) const {
        hk__momentum_one(&c, g, w, s[0]);
    }
};
struct nesterov : sgd {
    enum { STATES = 1 };
    __device__ void one(hk_real g, hk_real *w, hk_real **s) const {
        hk__nesterov_one(&c, g, w, s[0]);
    }
};
struct adam {
    enum { STATES = 2 };
    hk__adam_numbers c;
    __device__ void prepare(const hk__optim_launch &u, double lr, double decay) {
        hk__adam_step s;
        s.beta1 = u.fixed[0];
        s.fresh1 = u.fixed[1];
        s.beta2 = u.fixed[2];
        s.fresh2 = u.fixed[3];
        s.eps = u.fixed[4];
        s.decoupled = u.fixed[5] != 0;
        s.correction1 = u.cells[1];
        s.correction2 = u.cells[2];
        c = hk__adam_numbers_of(lr, decay, &s);
    }
    __device__ void one(hk_real g, hk_real *w, hk_real **s) const {
        hk__adam_one(&c, g, w, s[0], s[1]);
    }
};
struct rmsprop {
    enum { STATES = 1 };
    hk__rmsprop_numbers c;
    __device__ void prepare(const hk__optim_launch &u, double lr, double decay) {
        hk__rmsprop_step s;
        s.alpha = u.fixed[0];
        s.fresh = u.fixed[1];
        s.eps = u.fixed[2];
        s.momentum = u.fixed[3];
        c = hk__rmsprop_numbers_of(lr, decay, &s);
    }
    __device__ void one(hk_real g, hk_real *w, hk_real **s) const {
        hk__rmsprop_one(&c, g, w, s[0]);
    }
};
struct rmsprop_momentum : rmsprop {
    enum { STATES = 2 };
    __device__ void one(hk_real g, hk_real *w, hk_real **s) const {
        hk__rmsprop_momentum_one(&c, g, w, s[0], s[1]);
    }
};

/* --- places ----------------------------------------------------------------------------------------------------------- */

static __device__ inline const hk__optim_segment *segment_of(const hk__optim_launch &u,
                                                             int64_t block) {
    int64_t low = 0, high = u.n_segments - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (u.segments[middle].first_block <= block)
            low = middle;
        else
            high = middle - 1;
    }
    return u.segments + low;
}

static __device__ inline hk__vector<hk_real> get(const hk_real *p, int64_t left, bool whole) {
    hk__vector<hk_real> v;
    if (whole && left >= LANES) return *(const hk__vector<hk_real> *)p;
    for (int l = 0; l < LANES; l++) v.v[l] = l < left ? p[l] : 0;
    return v;
}

static __device__ inline void put(hk_real *p, const hk__vector<hk_real> &v, int64_t left,
                                  bool whole) {
    if (whole && left >= LANES) {
        *(hk__vector<hk_real> *)p = v;
        return;
    }
    for (int l = 0; l < LANES && l < left; l++) p[l] = v.v[l];
}

/* --- kernels ------------------------------------------------------------------------------------------------------------ */

/* Blocks of squared gradients, all those of number blockIdx.x, + gridDim.x, ... */
static __global__ void __launch_bounds__(THREADS) squares(const hk__optim_launch u, int64_t first) {
    __shared__ double room[HK__WARP];
    double total = 0;
    int64_t block = blockIdx.x;
    while (block < u.blocks) {
        hk_real sum = 0;
        for (int step = 0; step < STEPS && block < u.blocks; step++, block += gridDim.x) {
            const hk__optim_segment *s = segment_of(u, block);
            const int64_t at = ((block - s->first_block) * THREADS + threadIdx.x) * LANES;
            const hk__vector<hk_real> g = get((const hk_real *)s->g + at, s->n - at, s->whole);
            for (int l = 0; l < LANES; l++) sum += g.v[l] * g.v[l];
        }
        total += (double)sum;
    }
    total = hk__block_join(total, hk__add(), 0.0, room);
    if (threadIdx.x == 0) u.partial[first + blockIdx.x] = total;
}

/* What gradients are multiplied by; all threads take part. -1 if the norm is not finite. */
static __device__ inline double factor_of(const hk__optim_launch &u, double *room) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < u.partials; i += THREADS) sum += u.partial[i];
    const double norm = sqrt(hk__block_join(sum, hk__add(), 0.0, room));
    if (!isfinite(norm)) return -1;
    const double factor = u.max_norm / (norm + 1e-6);
    return factor < 1 ? factor : 1;
}

template <class RULE>
static __global__ void __launch_bounds__(THREADS) update(const hk__optim_launch u) {
    __shared__ RULE shared_rule;
    __shared__ double room[HK__WARP];
    const hk__optim_segment s = *segment_of(u, blockIdx.x);
    const int64_t at = ((blockIdx.x - s.first_block) * THREADS + threadIdx.x) * LANES,
                  left = s.n - at;
    hk_real *const place = (hk_real *)s.w + at;
    hk_real *state[RULE::STATES + 1];
    hk__vector<hk_real> g = get((const hk_real *)s.g + at, left, s.whole),
                        w = get(place, left, s.whole);
    hk__vector<hk_real> old[RULE::STATES + 1];
    for (int k = 0; k < RULE::STATES; k++) {
        state[k] = (hk_real *)(u.state + (k * u.lines + s.line) * HK_ALIGN) + at;
        old[k] = get(state[k], left, true);
    }
    double factor = 1;
    if (u.partial) factor = factor_of(u, room);
    if (factor < 0) { /* the whole grid finds the same */
        if (blockIdx.x == 0 && threadIdx.x == 0)
            hk__raise_flag(u.flag, HK__FLAG_OBJECT, 0, 0, u.key);
        return;
    }
    if (threadIdx.x == 0) shared_rule.prepare(u, u.cells[0] * s.lr_factor, s.weight_decay);
    __syncthreads();
    const RULE rule = shared_rule;
    const bool clips = u.partial || u.limit < (double)INFINITY;
    for (int l = 0; l < LANES; l++) {
        hk_real *one[RULE::STATES + 1];
        for (int k = 0; k < RULE::STATES; k++) one[k] = &old[k].v[l];
        const hk_real d = clips ? hk__clip_one(g.v[l], (hk_real)factor, (hk_real)u.limit) : g.v[l];
        rule.one(d, &w.v[l], one);
    }
    put(place, w, left, s.whole);
    for (int k = 0; k < RULE::STATES; k++) put(state[k], old[k], left, true);
}

/* --- drivers ----------------------------------------------------------------------------------------------------------- */

static int64_t blocks_of(int64_t n) { return (n + THREADS * LANES - 1) / (THREADS * LANES); }

static int64_t launch_squares(hk_context *ctx, const hk__optim_launch *u, int64_t first) {
    const int64_t blocks = u->blocks < NORM_BLOCKS ? u->blocks : NORM_BLOCKS;
    HK_LAUNCH(ctx, (unsigned)blocks, THREADS, 0, squares, *u, first);
    return blocks;
}

static void launch_update(hk_context *ctx, const hk__optim_launch *u) {
    const unsigned blocks = (unsigned)u->blocks;
    switch ((hk__optim_rule)u->rule) {
    case HK__RULE_SGD: HK_LAUNCH(ctx, blocks, THREADS, 0, update<sgd>, *u); break;
    case HK__RULE_MOMENTUM: HK_LAUNCH(ctx, blocks, THREADS, 0, update<momentum>, *u); break;
    case HK__RULE_NESTEROV: HK_LAUNCH(ctx, blocks, THREADS, 0, update<nesterov>, *u); break;
    case HK__RULE_ADAM: HK_LAUNCH(ctx, blocks, THREADS, 0, update<adam>, *u); break;
    case HK__RULE_RMSPROP: HK_LAUNCH(ctx, blocks, THREADS, 0, update<rmsprop>, *u); break;
    case HK__RULE_RMSPROP_MOMENTUM:
        HK_LAUNCH(ctx, blocks, THREADS, 0, update<rmsprop_momentum>, *u);
        break;
    case HK__RULE_OWN: break;
    }
}

} /* namespace */

const hk__optim_gpu HK_STAMPED(hk__optim_gpu) = {blocks_of, launch_squares, launch_update};
