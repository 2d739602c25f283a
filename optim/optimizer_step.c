/* optimizer_step.c: zeroing, clipping and the update itself.
   SPDX-License-Identifier: MIT */
#include "gpu.h"
#include "optim_kernels.h"
#include "optimizer.h"
#include "reduce.h"
#include "tape.h"
#include "values.h"

#include <math.h>

enum {
    CLIP_BYTES = 8 << 10, /* a piece of clipped gradient, in the first-level cache */
    DEALT_LINES = 256     /* parameters shorter than this share one deal with what follows */
};

/* One step, as the tasks see it. */
typedef struct update_job {
    const hk_optimizer *opt;
    double lr;
    int64_t shares;
    bool clips;
    double factor, limit;       /* of clipping */
    char *clipped;              /* whole parameters only: room for the longest one's gradient */
    const hk__optim_slot *slot; /* of update_copied: a parameter, and copies of it */
    char *w;
    const char *g;
} update_job;

void hk_optimizer_zero_grad(hk_optimizer *opt) {
    if (!opt || hk_error(opt->object.ctx) != HK_OK) return;
    for (int i = 0; i < opt->n_slots; i++) opt->slots[i].grad->clean = true;
}

/* Gradients that are zero in name alone become so in memory. */
static void settle_gradients(const hk_optimizer *opt) {
    for (int i = 0; i < opt->n_slots; i++) hk__grad_settle(opt->slots[i].grad);
}

/* --- norm ------------------------------------------------------------------------------------- */

static double norm_of_gradients(const hk_optimizer *opt) {
    double sum = 0;
    for (int i = 0; i < opt->n_segments; i++) {
        const hk__segment *s = &opt->segments[i];
        sum += hk__sum_squares(opt->object.ctx, s->dtype, s->g, s->n);
    }
    return sqrt(sum);
}

double hk_optimizer_grad_norm(hk_optimizer *opt) {
    if (!opt) return 0;
    if (hk_error(opt->object.ctx) != HK_OK) return NAN;
    settle_gradients(opt);
    return norm_of_gradients(opt);
}

static hk_status report_norm(const hk_optimizer *opt, double norm) {
    hk_context *ctx = opt->object.ctx;
    for (int i = 0; i < opt->n_slots; i++) {
        const int64_t at = hk__first_nonfinite(ctx, opt->slots[i].grad);
        char text[128];
        if (at >= 0)
            return hk_fail(ctx, HK_ERR_NONFINITE, opt->cls.name,
                           "cannot clip by norm: element %lld of the gradient of %s is not finite",
                           (long long)at, hk__tensor_text(opt->slots[i].param, text, sizeof text));
    }
    return hk_fail(ctx, HK_ERR_NONFINITE, opt->cls.name,
                   "cannot clip by norm: the gradients are too large, their norm is %g", norm);
}

void hk__optimizer_report_norm(hk__object *object) {
    report_norm((const hk_optimizer *)object, INFINITY);
}

/* --- update ----------------------------------------------------------------------------------- */

/* Updates n elements that start at byte `at` of w, g and the state. */
static void update_run(const update_job *job, hk_dtype dtype, int group, char *w, const char *g,
                       int64_t line, int64_t at, int64_t n) {
    const hk_optimizer *opt = job->opt;
    const hk__group *settings = &opt->groups[group];
    void *state[HK_OPTIMIZER_MAX_STATE] = {0};
    for (int k = 0; k < opt->cls.n_state; k++)
        state[k] = opt->state + (k * opt->lines + line) * HK_ALIGN + at;
    const hk_optimizer_update u = {
        .dtype = dtype,
        .n = n,
        .w = w + at,
        .g = g,
        .state = state,
        .lr = job->lr * settings->lr_factor,
        .weight_decay = settings->weight_decay,
        .t = opt->steps + 1,
        .hyper = opt->hyper,
    };
    opt->cls.update(&u);
}

/* Elements [begin, end) of a segment. With clipping, a clipped copy of the gradient goes through
   the first-level cache: rules know nothing of clipping, and gradients stay as they are. */
static void update_elements(const update_job *job, const hk__segment *s, int64_t begin,
                            int64_t end) {
    const int64_t size = (int64_t)hk_dtype_size(s->dtype);
    if (!job->clips) {
        update_run(job, s->dtype, s->group, s->w, s->g + begin * size, s->line, begin * size,
                   end - begin);
        return;
    }
    const hk__optim_kernels *kernels = hk__optim_kernels_of(job->opt->object.ctx, s->dtype);
    _Alignas(HK_ALIGN) char clipped[CLIP_BYTES];
    const int64_t most = CLIP_BYTES / size;
    for (int64_t i = begin; i < end; i += most) {
        const int64_t n = end - i < most ? end - i : most;
        kernels->clip(n, s->g + i * size, job->factor, job->limit, clipped);
        update_run(job, s->dtype, s->group, s->w, clipped, s->line, i * size, n);
    }
}

/* Lines [first, last). *segment is the last segment that starts at or before `first`, or one before it;
   it moves on. */
static void update_lines(const update_job *job, int64_t first, int64_t last, int *segment) {
    const hk_optimizer *opt = job->opt;
    while (*segment + 1 < opt->n_segments && opt->segments[*segment + 1].line <= first)
        (*segment)++;
    for (int i = *segment; i < opt->n_segments && opt->segments[i].line < last; i++) {
        const hk__segment *s = &opt->segments[i];
        const int64_t per_line = HK_ALIGN / (int64_t)hk_dtype_size(s->dtype);
        const int64_t begin = first > s->line ? (first - s->line) * per_line : 0;
        const int64_t after = (last - s->line) * per_line;
        const int64_t end = after < s->n ? after : s->n;
        if (begin < end) update_elements(job, s, begin, end);
    }
}

/* A thread's share: the same part of every parameter, where products give it the same rows (gemm_run.c),
   so that weights and gradients stay in the caches of one core. Small parameters are dealt as one. */
static void update_share(void *arg, int64_t share, int worker) {
    (void)worker;
    const update_job *job = arg;
    const hk_optimizer *opt = job->opt;
    int segment = 0;
    for (int slot = 0; slot < opt->n_slots;) {
        const int64_t start = opt->slots[slot].line;
        int64_t lines = 0;
        while (lines < DEALT_LINES && slot < opt->n_slots) {
            slot++;
            lines = (slot < opt->n_slots ? opt->slots[slot].line : opt->lines) - start;
        }
        update_lines(job, start + lines * share / job->shares,
                     start + lines * (share + 1) / job->shares, &segment);
    }
}

static void update_slot(const update_job *job, const hk__optim_slot *slot, char *w, const char *g) {
    const hk_dtype dtype = slot->param->dtype;
    if (slot->n == 0) return;
    if (job->clips) {
        hk__optim_kernels_of(job->opt->object.ctx, dtype)
            ->clip(slot->n, g, job->factor, job->limit, job->clipped);
        g = job->clipped;
    }
    update_run(job, dtype, slot->group, w, g, slot->line, 0, slot->n);
}

/* Rules that see whole parameters: one after the other, in a task so that denormals are flushed. */
static void update_whole(void *arg, int64_t block, int worker) {
    (void)block, (void)worker;
    const update_job *job = arg;
    for (int i = 0; i < job->opt->n_slots; i++) {
        const hk__optim_slot *slot = &job->opt->slots[i];
        update_slot(job, slot, slot->param->data, slot->grad->data);
    }
}

/* A user's rule runs on the host, also where tensors lie on a GPU: on copies of one parameter after the other. */
static void update_copied(void *arg, int64_t block, int worker) {
    (void)block, (void)worker;
    const update_job *job = arg;
    update_slot(job, job->slot, job->w, job->g);
}

static hk_status update_copies(hk_optimizer *opt, update_job *job) {
    hk_context *ctx = opt->object.ctx;
    for (int i = 0; i < opt->n_slots && ctx->status == HK_OK; i++) {
        const hk__mark mark = hk__arena_mark(&ctx->scratch);
        hk_tensor *param = opt->slots[i].param;
        void *w = hk__host_room(param);
        job->slot = &opt->slots[i];
        job->w = w;
        job->g = hk__host_view(job->slot->grad);
        if (w && job->g) {
            hk__values_read(ctx, w, param->data,
                            (size_t)job->slot->n * hk_dtype_size(param->dtype));
            hk__run(ctx, 1, update_copied, job);
            hk__host_done(param, w);
        }
        hk__arena_rewind(&ctx->scratch, mark);
    }
    return ctx->status;
}

static size_t longest_gradient(const hk_optimizer *opt) {
    size_t longest = 1;
    for (int i = 0; i < opt->n_slots; i++) {
        const size_t bytes = (size_t)opt->slots[i].n * hk_dtype_size(opt->slots[i].param->dtype);
        longest = bytes > longest ? bytes : longest;
    }
    return longest;
}

static hk_status run_update(hk_optimizer *opt, update_job *job) {
    hk_context *ctx = opt->object.ctx;
    if (opt->cls.elementwise && !HK_ON_GPU(ctx)) {
        if (opt->builtin && opt->builtin->prepare)
            opt->builtin->prepare(opt->hyper, opt->steps + 1);
        job->shares = opt->shared ? hk__pool_threads(ctx->pool) : 1;
        hk__run(ctx, job->shares, update_share, job);
        return HK_OK;
    }
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    if (job->clips) {
        job->clipped = hk__scratch(ctx, longest_gradient(opt));
        if (!job->clipped) return hk_error(ctx);
    }
    hk_status status = HK_OK;
    if (HK_ON_GPU(ctx))
        status = update_copies(opt, job);
    else
        hk__run(ctx, 1, update_whole, job);
    hk__arena_rewind(&ctx->scratch, mark);
    return status;
}

hk_status hk_optimizer_step(hk_optimizer *opt) {
    if (!opt) return HK_ERR_ARGUMENT;
    hk_context *ctx = opt->object.ctx;
    HK_TRY(hk_error(ctx));
    update_job job = {.opt = opt, .lr = hk_optimizer_lr(opt), .factor = 1, .limit = INFINITY};
    if (!isfinite(job.lr))
        return hk_fail(ctx, HK_ERR_NONFINITE, opt->cls.name,
                       "the schedule gives rate %g at step %lld", job.lr, (long long)opt->steps);
    settle_gradients(opt);
    if (HK_ON_GPU(ctx) && opt->builtin) {
        hk__gpu_in(ctx, opt->cls.name);
        const hk_status status = hk__optimizer_gpu_step(opt);
        hk__gpu_in(ctx, NULL);
        return status;
    }
    if (opt->max_norm > 0) {
        const double norm = norm_of_gradients(opt);
        if (!isfinite(norm)) return report_norm(opt, norm);
        const double factor = opt->max_norm / (norm + 1e-6);
        job.factor = factor < 1 ? factor : 1;
    }
    if (opt->max_value > 0) job.limit = opt->max_value;
    job.clips = job.factor < 1 || opt->max_value > 0;
    HK_TRY(run_update(opt, &job));
    opt->steps++;
    ctx->version++;
    return HK_OK;
}
