/* optim_kernels.h: the update rules as stamped kernels, and the coefficients that they take.
   SPDX-License-Identifier: MIT

   Coefficients are doubles, computed once a step, and rounded to the element type inside a kernel.
   Every operation is one that IEEE 754 rounds exactly (no fused multiply-add, no approximate root),
   so the bits of a result are the same for every instruction set, compiler, piece length and
   thread. */
#ifndef HK_OPTIM_KERNELS_H
#define HK_OPTIM_KERNELS_H

#include "hk_optim.h"
#include "stamp.h"

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

/* The CPU's kernels that serve a dtype in ctx. */
const hk__optim_kernels *hk__optim_kernels_of(const hk_context *ctx, hk_dtype dtype);

/* --- on a GPU ------------------------------------------------------------------------------------- */

typedef enum hk__optim_rule {
    HK__RULE_OWN, /* a user's */
    HK__RULE_SGD,
    HK__RULE_MOMENTUM,
    HK__RULE_NESTEROV,
    HK__RULE_ADAM,
    HK__RULE_RMSPROP,
    HK__RULE_RMSPROP_MOMENTUM
} hk__optim_rule;

/* A rule's coefficients: those that stay, and those that change from step to step, which kernels find in cells behind the
   rate. In the order of the structs above; decoupled: 0 or 1. */
enum { HK__OPTIM_FIXED = 6, HK__OPTIM_CHANGING = 2 };
typedef struct hk__optim_numbers {
    double fixed[HK__OPTIM_FIXED], changing[HK__OPTIM_CHANGING];
} hk__optim_numbers;

/* A segment of weights of one dtype (optimizer.h), as a kernel finds it in a table on the device. */
typedef struct hk__optim_segment {
    void *w;
    const void *g;
    int64_t n, line, first_block;
    int64_t whole; /* w and g may be read by vectors */
    double lr_factor, weight_decay;
} hk__optim_segment;

typedef struct hk__optim_launch {
    const hk__optim_segment *segments;
    int64_t n_segments, blocks;
    char *state;
    int64_t lines;
    const double *cells; /* rate, changing coefficients */
    double *partial; /* sums of squared gradients, of all dtypes; NULL: the norm is not asked for */
    int64_t partials;
    double max_norm, limit; /* of clipping; 0 and INFINITY: none */
    struct hk__gpu_flag *flag;
    int64_t key; /* of the object that is flagged */
    double fixed[HK__OPTIM_FIXED];
    int64_t rule;
} hk__optim_launch;

typedef struct hk__optim_gpu {
    int64_t (*blocks)(int64_t n); /* that update n elements */
    /* Some of partial[], from number `first` on; how many. */
    int64_t (*squares)(hk_context *ctx, const hk__optim_launch *u, int64_t first);
    void (*update)(hk_context *ctx, const hk__optim_launch *u);
} hk__optim_gpu;

HK_GPU_TABLES(hk__optim_gpu, hk__optim_gpu);

HK_END_DECLS
#endif
