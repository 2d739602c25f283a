/* optim_kernels.c: the update rules, one pass over weights, gradients and state. Stamped (stamp.h).
   SPDX-License-Identifier: MIT

   The order of operations follows PyTorch's, where it has a bearing on more than the last bit.
   Loops are plain so that the compiler vectorises them; buffers of one call never overlap. */
#include "optim_kernels.h"
#include "real.h"

#include <math.h>

static void sgd(const hk_optimizer_update *u) {
    hk_real *restrict w = u->w;
    const hk_real *restrict g = u->g;
    const hk_real lr = (hk_real)u->lr, decay = (hk_real)u->weight_decay;
    for (int64_t i = 0; i < u->n; i++) w[i] -= lr * (g[i] + decay * w[i]);
}

static void momentum(const hk_optimizer_update *u, const hk__sgd_step *s) {
    hk_real *restrict w = u->w, *restrict buffer = u->state[0];
    const hk_real *restrict g = u->g;
    const hk_real lr = (hk_real)u->lr, decay = (hk_real)u->weight_decay;
    const hk_real keep = (hk_real)s->momentum, fresh = (hk_real)s->fresh;
    if (s->nesterov) {
        for (int64_t i = 0; i < u->n; i++) {
            const hk_real d = g[i] + decay * w[i];
            buffer[i] = keep * buffer[i] + fresh * d;
            w[i] -= lr * (d + keep * buffer[i]);
        }
    } else {
        for (int64_t i = 0; i < u->n; i++) {
            buffer[i] = keep * buffer[i] + fresh * (g[i] + decay * w[i]);
            w[i] -= lr * buffer[i];
        }
    }
}

static void adam(const hk_optimizer_update *u, const hk__adam_step *s) {
    hk_real *restrict w = u->w, *restrict first = u->state[0], *restrict second = u->state[1];
    const hk_real *restrict g = u->g;
    const hk_real beta1 = (hk_real)s->beta1, fresh1 = (hk_real)s->fresh1;
    const hk_real beta2 = (hk_real)s->beta2, fresh2 = (hk_real)s->fresh2;
    const hk_real rate = (hk_real)(u->lr * s->correction1);
    const hk_real correction = (hk_real)s->correction2, eps = (hk_real)s->eps;
    /* AdamW shrinks the weight, Adam adds to the gradient: one of the two factors does nothing. */
    const hk_real shrink = (hk_real)(s->decoupled ? 1 - u->lr * u->weight_decay : 1);
    const hk_real decay = (hk_real)(s->decoupled ? 0 : u->weight_decay);
    for (int64_t i = 0; i < u->n; i++) {
        const hk_real d = g[i] + decay * w[i];
        const hk_real m = beta1 * first[i] + fresh1 * d;
        const hk_real v = beta2 * second[i] + fresh2 * d * d;
        first[i] = m;
        second[i] = v;
        w[i] = shrink * w[i] - rate * m / (HK_REAL(sqrt)(v) * correction + eps);
    }
}

static void rmsprop(const hk_optimizer_update *u, const hk__rmsprop_step *s) {
    hk_real *restrict w = u->w, *restrict square = u->state[0];
    const hk_real *restrict g = u->g;
    const hk_real lr = (hk_real)u->lr, decay = (hk_real)u->weight_decay;
    const hk_real alpha = (hk_real)s->alpha, fresh = (hk_real)s->fresh, eps = (hk_real)s->eps;
    for (int64_t i = 0; i < u->n; i++) {
        const hk_real d = g[i] + decay * w[i];
        const hk_real v = alpha * square[i] + fresh * d * d;
        square[i] = v;
        w[i] -= lr * d / (HK_REAL(sqrt)(v) + eps);
    }
}

static void rmsprop_momentum(const hk_optimizer_update *u, const hk__rmsprop_step *s) {
    hk_real *restrict w = u->w, *restrict square = u->state[0], *restrict buffer = u->state[1];
    const hk_real *restrict g = u->g;
    const hk_real lr = (hk_real)u->lr, decay = (hk_real)u->weight_decay;
    const hk_real keep = (hk_real)s->momentum;
    const hk_real alpha = (hk_real)s->alpha, fresh = (hk_real)s->fresh, eps = (hk_real)s->eps;
    for (int64_t i = 0; i < u->n; i++) {
        const hk_real d = g[i] + decay * w[i];
        const hk_real v = alpha * square[i] + fresh * d * d;
        square[i] = v;
        buffer[i] = keep * buffer[i] + d / (HK_REAL(sqrt)(v) + eps);
        w[i] -= lr * buffer[i];
    }
}

static void clip(int64_t n, const void *grad, double factor, double limit, void *clipped) {
    const hk_real *restrict g = grad;
    hk_real *restrict out = clipped;
    const hk_real c = (hk_real)factor, most = (hk_real)limit;
    for (int64_t i = 0; i < n; i++) {
        const hk_real x = c * g[i];
        const hk_real low = x < -most ? -most : x;
        out[i] = low > most ? most : low;
    }
}

extern const hk__optim_kernels HK_STAMPED(hk__optim);
const hk__optim_kernels HK_STAMPED(hk__optim) = {
    .sgd = sgd,
    .momentum = momentum,
    .adam = adam,
    .rmsprop = rmsprop,
    .rmsprop_momentum = rmsprop_momentum,
    .clip = clip,
};
