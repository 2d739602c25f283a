/* schedule.c: the learning rate as a function of the step.
   SPDX-License-Identifier: MIT */
#include "optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {
    [HK_CONSTANT] = "constant",
    [HK_STEP] = "step",
    [HK_COSINE] = "cosine",
    [HK_ONE_CYCLE] = "one-cycle",
};

enum { KINDS = sizeof kind_names / sizeof *kind_names };

static const double pi = 3.14159265358979323846;

/* From `start` at share 0 to `end` at share 1, along half a cosine. */
static double along_cosine(double start, double end, double share) {
    return end + (start - end) * (1 + cos(pi * share)) / 2;
}

/* Phases end at pct_start·total - 1 and total - 1, which need not be whole numbers; so the first
   may be empty, and when its end is 0 it is the one step 0, at the top. */
static double one_cycle(const hk_schedule *s, double lr, int64_t t) {
    const double low = lr / 25, lowest = low / 1e4;
    const double top_at = s->pct_start * (double)s->total - 1, end_at = (double)s->total - 1;
    const double now = (double)t < end_at ? (double)t : end_at;
    if (now <= top_at) return top_at > 0 ? along_cosine(low, lr, now / top_at) : lr;
    return along_cosine(lr, lowest, (now - top_at) / (end_at - top_at));
}

static double main_rate(const hk_schedule *s, double lr, int64_t t) {
    switch (s->kind) {
    case HK_CONSTANT: return lr;
    case HK_STEP: return lr * pow(s->gamma, floor((double)t / (double)s->step_size));
    case HK_COSINE: {
        const int64_t total = s->total - s->warmup;
        return t < total ? along_cosine(lr, s->min_lr, (double)t / (double)total) : s->min_lr;
    }
    case HK_ONE_CYCLE: return one_cycle(s, lr, t);
    }
    return lr;
}

double hk_schedule_rate(const hk_schedule *schedule, double lr, int64_t t) {
    if (!schedule) return lr;
    t = t > 0 ? t : 0;
    if (t >= schedule->warmup) return main_rate(schedule, lr, t - schedule->warmup);
    return main_rate(schedule, lr, 0) * (double)(t + 1) / (double)schedule->warmup;
}

hk_status hk__schedule_check(hk_context *ctx, const hk_schedule *s) {
    static const char where[] = "schedule";
    if (!s || (int)s->kind < 0 || (int)s->kind >= KINDS)
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "there is no schedule of that kind");
    const char *name = kind_names[s->kind];
    const bool ends = s->kind == HK_COSINE || s->kind == HK_ONE_CYCLE;
    if (ends && s->total < 1)
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s: total is %lld; it must be at least 1",
                       name, (long long)s->total);
    if (s->warmup < 0 || (s->kind == HK_COSINE && s->warmup >= s->total) ||
        (s->kind == HK_ONE_CYCLE && s->warmup != 0))
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s: a warm-up of %lld steps does not fit",
                       name, (long long)s->warmup);
    if (s->kind == HK_STEP && s->step_size < 1)
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s: step_size is %lld; it must be at least 1",
                       name, (long long)s->step_size);
    if (s->kind == HK_STEP) return hk__optim_check(ctx, where, "gamma", s->gamma, INFINITY);
    if (s->kind == HK_COSINE) return hk__optim_check(ctx, where, "min_lr", s->min_lr, INFINITY);
    if (s->kind == HK_ONE_CYCLE && !(s->pct_start >= 0 && s->pct_start <= 1))
        return hk_fail(ctx, HK_ERR_ARGUMENT, where, "%s: pct_start is %g; it must be in [0, 1]",
                       name, s->pct_start);
    return HK_OK;
}

static hk_status fail_name(hk_context *ctx, const char *name) {
    char known[128] = "";
    for (int i = 0; i < 2 * KINDS; i++) {
        if (i == KINDS + HK_ONE_CYCLE) continue;
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s%s", i > 0 ? ", " : "",
                 i < KINDS ? "" : "warmup-", kind_names[i % KINDS]);
    }
    return hk_fail(ctx, HK_ERR_NAME, "schedule", "unknown schedule '%s'; there are: %s",
                   name ? name : "(null)", known);
}

hk_status hk_schedule_parse(hk_context *ctx, const char *name, int64_t total,
                            hk_schedule *schedule) {
    static const char prefix[] = "warmup-";
    HK_TRY(hk_error(ctx));
    if (total < 1)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "schedule", "the run has %lld steps",
                       (long long)total);
    const bool warms = name && strncmp(name, prefix, sizeof prefix - 1) == 0;
    const char *rest = warms ? name + sizeof prefix - 1 : name;
    int kind = 0;
    while (kind < KINDS && !(rest && strcmp(rest, kind_names[kind]) == 0)) kind++;
    if (kind == KINDS || (warms && kind == HK_ONE_CYCLE)) return fail_name(ctx, name);
    hk_schedule s = {
        .kind = (hk_schedule_kind)kind, .total = total, .gamma = 0.1, .pct_start = 0.3};
    if (warms && total > 1) /* a run of one step has nothing to warm up to */
        s.warmup = total >= 20 ? total / 20 : 1;
    s.step_size = (total - s.warmup - 1) / 3 + 1; /* rounded up: three levels, never a fourth */
    *schedule = s;
    return HK_OK;
}
