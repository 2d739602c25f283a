/* own_optimizer.c: an optimizer of one's own: Adagrad (Duchi, Hazan and Singer 2011).
   SPDX-License-Identifier: MIT

   Rates, schedules, groups, clipping, threads and memory come with hk_optimizer_create. */
#include <hillock/hillock.h>

#include <math.h>

typedef struct adagrad_hyper {
    float eps;
} adagrad_hyper;

/* One piece of the parameters; state[0] is as long, and zero before the first update. */
static void adagrad_update(const hk_optimizer_update *u) {
    const adagrad_hyper *h = u->hyper;
    const float *g = u->g, lr = (float)u->lr, decay = (float)u->weight_decay;
    float *w = u->w, *sum = u->state[0];
    for (int64_t i = 0; i < u->n; i++) {
        const float d = g[i] + decay * w[i];
        sum[i] += d * d;
        w[i] -= lr * d / (sqrtf(sum[i]) + h->eps);
    }
}

static const hk_optimizer_class adagrad_class = {
    .name = "adagrad",
    .n_state = 1,
    .hyper_size = sizeof(adagrad_hyper),
    .update = adagrad_update,
    .elementwise = true, /* each weight by itself: may be cut into pieces, one for each thread */
};

static hk_optimizer *adagrad(hk_context *ctx, hk_parameters params, double lr) {
    if (hk_context_describe(ctx).dtype != HK_F32) /* void *w would be doubles */
        hk_fail(ctx, HK_ERR_DTYPE, "adagrad", "written for f32");
    return hk_optimizer_create(ctx, &adagrad_class, params, lr, 0, &(adagrad_hyper){1e-10F});
}
