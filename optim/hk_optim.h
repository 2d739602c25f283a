/* hk_optim.h: optimizers, schedules of the learning rate, clipping.
   SPDX-License-Identifier: MIT

   Update rules and defaults are PyTorch's. Parameters of one module lie side by side in memory, so
   a step is one pass over a few long segments. An optimizer belongs to its context. Every function
   takes NULL for an optimizer: it then does nothing and returns 0, "" or HK_ERR_ARGUMENT. */
#ifndef HK_OPTIM_H
#define HK_OPTIM_H

#include "hk_layers.h"

HK_BEGIN_DECLS

typedef struct hk_optimizer hk_optimizer;

typedef struct hk_sgd_config {
    double lr;           /* 0.01 */
    double momentum;     /* 0 */
    double dampening;    /* 0; from the second step on, the buffer takes 1 - this of the gradient */
    double weight_decay; /* 0; added to the gradient */
    bool nesterov;       /* false; needs momentum, and no dampening */
} hk_sgd_config;

typedef struct hk_adam_config {
    double lr;           /* 0.001 */
    double beta1, beta2; /* 0.9, 0.999 */
    double eps;          /* 1e-8; added to the root */
    double weight_decay; /* Adam: 0, added to the gradient; AdamW: 0.01, taken off the weight */
} hk_adam_config;

typedef struct hk_rmsprop_config {
    double lr;           /* 0.01 */
    double alpha;        /* 0.99 */
    double eps;          /* 1e-8; added to the root */
    double weight_decay; /* 0; added to the gradient */
    double momentum;     /* 0 */
} hk_rmsprop_config;

HK_API hk_sgd_config hk_sgd_defaults(void);
HK_API hk_adam_config hk_adam_defaults(void);
HK_API hk_adam_config hk_adamw_defaults(void);
HK_API hk_rmsprop_config hk_rmsprop_defaults(void);

/* NULL and a sticky error for an empty list, a tensor without gradient or listed twice, or a
   setting out of range: a rate or weight decay that is negative or not finite; a beta, alpha,
   momentum or dampening outside [0, 1); an eps below 1.2e-38 (with 0, a weight whose gradient is 0
   would become NaN). The list is copied; the tensors must outlive the optimizer. State (momentum
   and the like) starts at zero. */
HK_API hk_optimizer *hk_sgd(hk_context *ctx, hk_parameters params, hk_sgd_config config);
HK_API hk_optimizer *hk_adam(hk_context *ctx, hk_parameters params, hk_adam_config config);
HK_API hk_optimizer *hk_adamw(hk_context *ctx, hk_parameters params, hk_adam_config config);
HK_API hk_optimizer *hk_rmsprop(hk_context *ctx, hk_parameters params, hk_rmsprop_config config);
HK_API void hk_optimizer_destroy(hk_optimizer *opt);

/* A group: those of its parameters that are in `params` get their own rate, as a factor on the
   optimizer's, and their own weight decay. A parameter is in the last group that took it; state is
   kept. HK_ERR_ARGUMENT if none of `params` is the optimizer's. */
HK_API HK_WARN_UNUSED hk_status hk_optimizer_group(hk_optimizer *opt, hk_parameters params,
                                                   double lr_factor, double weight_decay);

/* All gradients become zero. (They are marked; the next backward writes instead of adding.) */
HK_API void hk_optimizer_zero_grad(hk_optimizer *opt);

/* One update of every parameter from its gradient; one that no backward reached has gradient zero.
   Gradients stay as they are, also when clipped. Returns the sticky status; in error nothing is
   changed. */
HK_API HK_WARN_UNUSED hk_status hk_optimizer_step(hk_optimizer *opt);

/* The rate of the next step; steps taken so far. Setting a rate ends a schedule. */
HK_API double hk_optimizer_lr(const hk_optimizer *opt);
HK_API HK_WARN_UNUSED hk_status hk_optimizer_set_lr(hk_optimizer *opt, double lr);
HK_API int64_t hk_optimizer_steps(const hk_optimizer *opt);
HK_API const char *hk_optimizer_name(const hk_optimizer *opt);

/* Before each update: gradients scaled so that their common L2 norm is at most max_norm (the factor
   is max_norm/(norm + 1e-6) as in PyTorch); then each element clamped to ±max_value. 0 switches
   off. With max_norm set, a norm that is not finite makes the step fail: HK_ERR_NONFINITE naming
   the parameter. A GPU updates nothing then, but the host hears of it at the end of a step: hk_step_end fails. */
HK_API HK_WARN_UNUSED hk_status hk_optimizer_clip_norm(hk_optimizer *opt, double max_norm);
HK_API HK_WARN_UNUSED hk_status hk_optimizer_clip_value(hk_optimizer *opt, double max_value);
/* L2 norm of all gradients, before clipping, now. NaN in error. */
HK_API double hk_optimizer_grad_norm(hk_optimizer *opt);

/* --- schedules: the rate as a function of the step t = 0, 1, ... ------------------------------ */

typedef enum hk_schedule_kind {
    HK_CONSTANT,
    HK_STEP,     /* lr · gamma^floor(t / step_size) */
    HK_COSINE,   /* min_lr + (lr - min_lr)(1 + cos(π t / total)) / 2; min_lr beyond total */
    HK_ONE_CYCLE /* PyTorch's OneCycleLR with cosine phases: from lr/25 up to lr over the first
                    pct_start of total, then down to lr/(25·1e4) at total - 1 */
} hk_schedule_kind;

typedef struct hk_schedule {
    hk_schedule_kind kind;
    int64_t total; /* steps of the whole run; HK_CONSTANT and HK_STEP do not use it */
    /* The first `warmup` steps have the first rate times (t + 1)/warmup; then the schedule runs,
       over total - warmup steps. Not with HK_ONE_CYCLE. */
    int64_t warmup;
    int64_t step_size;
    double gamma, min_lr, pct_start;
} hk_schedule;

/* "constant", "step", "cosine", "one-cycle", or one of the first three with "warmup-" before it
   (warm-up over 5 % of the run, at least one step), with the usual settings: step: gamma 0.1 every
   third of the run; cosine: min_lr 0; one-cycle: pct_start 0.3. HK_ERR_NAME lists the names;
   HK_ERR_ARGUMENT if total < 1. */
HK_API HK_WARN_UNUSED hk_status hk_schedule_parse(hk_context *ctx, const char *name, int64_t total,
                                                  hk_schedule *schedule);
HK_API double hk_schedule_rate(const hk_schedule *schedule, double lr, int64_t t);
/* From now on the rate of step t is hk_schedule_rate(schedule, lr, t), t = hk_optimizer_steps.
   Copied. HK_ERR_ARGUMENT if its fields do not fit each other. */
HK_API HK_WARN_UNUSED hk_status hk_optimizer_schedule(hk_optimizer *opt,
                                                      const hk_schedule *schedule);

/* --- by name, and one's own ------------------------------------------------------------------- */

/* "sgd", "momentum" (SGD with momentum 0.9), "adam", "adamw", "rmsprop", with its defaults; lr < 0
   and weight_decay < 0: the default. HK_ERR_NAME lists the names. */
HK_API hk_optimizer *hk_optimizer_by_name(hk_context *ctx, const char *name, hk_parameters params,
                                          double lr, double weight_decay);
HK_API int hk_optimizer_count(void);
HK_API const char *hk_optimizer_row(int i); /* its name; NULL outside */

enum { HK_OPTIMIZER_MAX_STATE = 3 };

/* One's own rule. It runs on the host: with a GPU on copies of each parameter, and state stays in the host's memory. One
   call updates n weights w from gradients g (clipped already), with n_state
   buffers of the same length, zero at first; all of type dtype, on no common layout. Denormals are
   flushed. */
typedef struct hk_optimizer_update {
    hk_dtype dtype; /* HK_F32 or HK_F64: what w, g and state point to */
    int64_t n;
    void *w;
    const void *g;
    void *const *state;
    double lr, weight_decay; /* of the group, the schedule applied */
    int64_t t;               /* this is update number t, from 1 */
    const void *hyper;       /* the optimizer's copy */
} hk_optimizer_update;
typedef struct hk_optimizer_class {
    const char *name;
    int n_state;       /* at most HK_OPTIMIZER_MAX_STATE */
    size_t hyper_size; /* bytes */
    void (*update)(const hk_optimizer_update *u);
    /* true: an element's update depends on that element alone; then update gets pieces of any
       length, and from several threads at once. false: one call for each parameter, in order, on
       the caller's thread: a rule may use norms of the whole w and g. */
    bool elementwise;
} hk_optimizer_class;
/* hyper (hyper_size bytes, or NULL for zeros) and cls are copied. */
HK_API hk_optimizer *hk_optimizer_create(hk_context *ctx, const hk_optimizer_class *cls,
                                         hk_parameters params, double lr, double weight_decay,
                                         const void *hyper);

HK_END_DECLS
#endif
