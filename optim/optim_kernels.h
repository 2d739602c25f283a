/* optim_kernels.h: the update rules as stamped kernels, and the coefficients that they take.
   SPDX-License-Identifier: MIT

   Coefficients are doubles, computed once a step, and rounded to the element type inside a kernel.
   Every operation is one that IEEE 754 rounds exactly (no fused multiply-add, no approximate root),
   so the bits of a result are the same for every instruction set, compiler, piece length and
   thread. */
#ifndef HK_OPTIM_KERNELS_H
#define HK_OPTIM_KERNELS_H

#include "hk_optim.h"

HK_BEGIN_DECLS

typedef struct hk__sgd_step {
    double momentum, fresh; /* buffer = momentum · buffer + fresh · gradient */
    bool nesterov;
} hk__sgd_step;

typedef struct hk__adam_step {
    double beta1, fresh1, beta2, fresh2; /* moment = beta · moment + fresh · gradient (squared) */
    double correction1;                  /* 1 / (1 - beta1^t), of the first moment */
    double correction2;                  /* 1 / sqrt(1 - beta2^t), of the second one's root */
    double eps;
    bool decoupled; /* AdamW */
} hk__adam_step;

typedef struct hk__rmsprop_step {
    double alpha, fresh, eps, momentum;
} hk__rmsprop_step;

typedef struct hk__optim_kernels {
    void (*sgd)(const hk_optimizer_update *u);
    void (*momentum)(const hk_optimizer_update *u, const hk__sgd_step *s);
    void (*adam)(const hk_optimizer_update *u, const hk__adam_step *s);
    void (*rmsprop)(const hk_optimizer_update *u, const hk__rmsprop_step *s);
    void (*rmsprop_momentum)(const hk_optimizer_update *u, const hk__rmsprop_step *s);
    /* out = g · factor, clamped to ±limit; NaN stays NaN. */
    void (*clip)(int64_t n, const void *g, double factor, double limit, void *out);
} hk__optim_kernels;

/* The kernels that serve a dtype in ctx. */
const hk__optim_kernels *hk__optim_kernels_of(const hk_context *ctx, hk_dtype dtype);

HK_END_DECLS
#endif
