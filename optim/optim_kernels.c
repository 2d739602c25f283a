/* optim_kernels.c: the update rules, one pass over weights, gradients and state. Stamped (stamp.h).
   SPDX-License-Identifier: MIT

   Loops are plain so that the compiler vectorises them; buffers of one call never overlap. */
#include "optim_kernels.h"

#include "optim_rules.h"

static void sgd(const hk_optimizer_update *u) {
    hk_real *restrict w = u->w;
    const hk_real *restrict g = u->g;
    const hk__sgd_step none = {.momentum = 0};
    const hk__sgd_numbers c = hk__sgd_numbers_of(u->lr, u->weight_decay, &none);
    for (int64_t i = 0; i < u->n; i++) hk__sgd_one(&c, g[i], &w[i]);
}

static void momentum(const hk_optimizer_update *u, const hk__sgd_step *s) {
    hk_real *restrict w = u->w, *restrict buffer = u->state[0];
    const hk_real *restrict g = u->g;
    const hk__sgd_numbers c = hk__sgd_numbers_of(u->lr, u->weight_decay, s);
    if (s->nesterov) {
        for (int64_t i = 0; i < u->n; i++) hk__nesterov_one(&c, g[i], &w[i], &buffer[i]);
    } else {
        for (int64_t i = 0; i < u->n; i++) hk__momentum_one(&c, g[i], &w[i], &buffer[i]);
    }
}

static void adam(const hk_optimizer_update *u, const hk__adam_step *s) {
    hk_real *restrict w = u->w, *restrict first = u->state[0], *restrict second = u->state[1];
    const hk_real *restrict g = u->g;
    const hk__adam_numbers c = hk__adam_numbers_of(u->lr, u->weight_decay, s);
    for (int64_t i = 0; i < u->n; i++) hk__adam_one(&c, g[i], &w[i], &first[i], &second[i]);
}

static void rmsprop(const hk_optimizer_update *u, const hk__rmsprop_step *s) {
    hk_real *restrict w = u->w, *restrict square = u->state[0];
    const hk_real *restrict g = u->g;
    const hk__rmsprop_numbers c = hk__rmsprop_numbers_of(u->lr, u->weight_decay, s);
    for (int64_t i = 0; i < u->n; i++) hk__rmsprop_one(&c, g[i], &w[i], &square[i]);
}

static void rmsprop_momentum(const hk_optimizer_update *u, const hk__rmsprop_step *s) {
    hk_real *restrict w = u->w, *restrict square = u->state[0], *restrict buffer = u->state[1];
    const hk_real *restrict g = u->g;
    const hk__rmsprop_numbers c = hk__rmsprop_numbers_of(u->lr, u->weight_decay, s);
    for (int64_t i = 0; i < u->n; i++)
        hk__rmsprop_momentum_one(&c, g[i], &w[i], &square[i], &buffer[i]);
}

static void clip(int64_t n, const void *grad, double factor, double limit, void *clipped) {
    const hk_real *restrict g = grad;
    hk_real *restrict out = clipped;
    const hk_real c = (hk_real)factor, most = (hk_real)limit;
    for (int64_t i = 0; i < n; i++) out[i] = hk__clip_one(g[i], c, most);
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
