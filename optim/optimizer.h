/* optimizer.h: the inside of an optimizer.
   SPDX-License-Identifier: MIT

   Parameters get places in a state buffer, counted in lines of 64 bytes, in the order of the list;
   each starts on a line of its own. So state is laid out as a module lays out its parameters, and a
   run of parameters that also lie one behind the other in memory (weights and gradients alike) is
   updated as one array, a segment. Groups cut segments, and never move state. */
#ifndef HK_OPTIMIZER_PRIVATE_H
#define HK_OPTIMIZER_PRIVATE_H

#include "context.h"
#include "hk_optim.h"
#include "tensor.h"

HK_BEGIN_DECLS

typedef struct hk__optim_slot {
    hk_tensor *param, *grad;
    int64_t line; /* its place in the state */
    int64_t n;    /* elements */
    int group;
} hk__optim_slot;

typedef struct hk__segment {
    hk_dtype dtype;
    int group;
    int64_t line, n; /* n counts the padding between parameters, which is zero everywhere */
    char *w;
    const char *g;
} hk__segment;

typedef struct hk__group {
    double lr_factor, weight_decay;
} hk__group;

struct hk_optimizer {
    hk__object object;
    hk_optimizer_class cls;
    void *hyper;
    /* Fills what in hyper depends on the step; NULL for rules that are not built in. */
    void (*prepare)(void *hyper, int64_t t);

    int n_slots, n_segments, n_groups;
    hk__optim_slot *slots;
    hk__segment *segments; /* room for n_slots */
    hk__group *groups;
    char *state; /* n_state buffers of `lines` lines */
    int64_t lines;
    bool shared; /* by threads: decided by size alone */

    double lr, max_norm, max_value;
    int64_t steps;
    bool scheduled;
    hk_schedule schedule;
};

/* hk_optimizer_create for built-in rules as well. where: for error messages. */
hk_optimizer *hk__optimizer_new(hk_context *ctx, const hk_optimizer_class *cls,
                                void (*prepare)(void *hyper, int64_t t), hk_parameters params,
                                double lr, double weight_decay, const void *hyper);

/* Sets the error if value is not in [0, end); end may be INFINITY. */
hk_status hk__optim_check(hk_context *ctx, const char *where, const char *what, double value,
                          double end);
/* Sets the error if the schedule's fields do not fit each other. */
hk_status hk__schedule_check(hk_context *ctx, const hk_schedule *schedule);

HK_END_DECLS
#endif
