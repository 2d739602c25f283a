/* optim_rules.h: the update of one weight, rule by rule, as kernels of CPU and GPU share it.
   SPDX-License-Identifier: MIT

   ..._numbers rounds a step's coefficients to the element type, ..._one updates. The order of operations follows
   PyTorch's, where it has a bearing on more than the last bit. */
#ifndef HK_OPTIM_RULES_H
#define HK_OPTIM_RULES_H

#include <math.h>

#include "optim_kernels.h"
#include "real.h"

typedef struct hk__sgd_numbers {
    hk_real lr, decay, keep, fresh;
} hk__sgd_numbers;

HK_HOST_DEVICE static inline hk__sgd_numbers hk__sgd_numbers_of(double lr, double weight_decay,
                                                                const hk__sgd_step *s) {
    hk__sgd_numbers c;
    c.lr = (hk_real)lr;
    c.decay = (hk_real)weight_decay;
    c.keep = (hk_real)s->momentum;
    c.fresh = (hk_real)s->fresh;
    return c;
}

HK_HOST_DEVICE static inline void hk__sgd_one(const hk__sgd_numbers *c, hk_real g, hk_real *w) {
    *w -= c->lr * (g + c->decay * *w);
}

HK_HOST_DEVICE static inline void hk__momentum_one(const hk__sgd_numbers *c, hk_real g, hk_real *w,
                                                   hk_real *buffer) {
    const hk_real b = c->keep * *buffer + c->fresh * (g + c->decay * *w);
    *buffer = b;
    *w -= c->lr * b;
}

HK_HOST_DEVICE static inline void hk__nesterov_one(const hk__sgd_numbers *c, hk_real g, hk_real *w,
                                                   hk_real *buffer) {
    const hk_real d = g + c->decay * *w;
    const hk_real b = c->keep * *buffer + c->fresh * d;
    *buffer = b;
    *w -= c->lr * (d + c->keep * b);
}

typedef struct hk__adam_numbers {
    hk_real beta1, fresh1, beta2, fresh2, rate, correction, eps, shrink, decay;
} hk__adam_numbers;

HK_HOST_DEVICE static inline hk__adam_numbers hk__adam_numbers_of(double lr, double weight_decay,
                                                                  const hk__adam_step *s) {
    hk__adam_numbers c;
    c.beta1 = (hk_real)s->beta1;
    c.fresh1 = (hk_real)s->fresh1;
    c.beta2 = (hk_real)s->beta2;
    c.fresh2 = (hk_real)s->fresh2;
    c.rate = (hk_real)(lr * s->correction1);
    c.correction = (hk_real)s->correction2;
    c.eps = (hk_real)s->eps;
    /* AdamW shrinks the weight, Adam adds to the gradient: one of the two factors does nothing. */
    c.shrink = (hk_real)(s->decoupled ? 1 - lr * weight_decay : 1);
    c.decay = (hk_real)(s->decoupled ? 0 : weight_decay);
    return c;
}

HK_HOST_DEVICE static inline void hk__adam_one(const hk__adam_numbers *c, hk_real g, hk_real *w,
                                               hk_real *first, hk_real *second) {
    const hk_real d = g + c->decay * *w;
    const hk_real m = c->beta1 * *first + c->fresh1 * d;
    const hk_real v = c->beta2 * *second + c->fresh2 * d * d;
    *first = m;
    *second = v;
    *w = c->shrink * *w - c->rate * m / (HK_REAL(sqrt)(v) * c->correction + c->eps);
}

typedef struct hk__rmsprop_numbers {
    hk_real lr, decay, alpha, fresh, eps, keep;
} hk__rmsprop_numbers;

HK_HOST_DEVICE static inline hk__rmsprop_numbers
hk__rmsprop_numbers_of(double lr, double weight_decay, const hk__rmsprop_step *s) {
    hk__rmsprop_numbers c;
    c.lr = (hk_real)lr;
    c.decay = (hk_real)weight_decay;
    c.alpha = (hk_real)s->alpha;
    c.fresh = (hk_real)s->fresh;
    c.eps = (hk_real)s->eps;
    c.keep = (hk_real)s->momentum;
    return c;
}

HK_HOST_DEVICE static inline void hk__rmsprop_one(const hk__rmsprop_numbers *c, hk_real g,
                                                  hk_real *w, hk_real *square) {
    const hk_real d = g + c->decay * *w;
    const hk_real v = c->alpha * *square + c->fresh * d * d;
    *square = v;
    *w -= c->lr * d / (HK_REAL(sqrt)(v) + c->eps);
}

HK_HOST_DEVICE static inline void hk__rmsprop_momentum_one(const hk__rmsprop_numbers *c, hk_real g,
                                                           hk_real *w, hk_real *square,
                                                           hk_real *buffer) {
    const hk_real d = g + c->decay * *w;
    const hk_real v = c->alpha * *square + c->fresh * d * d;
    *square = v;
    const hk_real b = c->keep * *buffer + d / (HK_REAL(sqrt)(v) + c->eps);
    *buffer = b;
    *w -= c->lr * b;
}

/* g · factor, clamped to ±most; NaN stays NaN. */
HK_HOST_DEVICE static inline hk_real hk__clip_one(hk_real g, hk_real factor, hk_real most) {
    const hk_real x = factor * g;
    const hk_real low = x < -most ? -most : x;
    return low > most ? most : low;
}

#endif
