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
#include "optim_kernels.h"
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

/* A built-in rule. */
typedef struct hk__builtin {
    void (*prepare)(void *hyper, int64_t t); /* fills what in hyper depends on the step; or NULL */
    void (*numbers)(const void *hyper, hk__optim_numbers *numbers);
    hk__optim_rule (*rule)(const void *hyper);
} hk__builtin;

/* What a built-in rule needs on a GPU. Segments of f32 come first in the table, then those of f64. */
typedef struct hk__optim_device {
    hk__optim_segment *table;
    int n_segments[2];
    int64_t blocks[2];
    double *partial;
    int cells; /* the first of them */
    bool open;
} hk__optim_device;

struct hk_optimizer {
    hk__object object;
    hk_optimizer_class cls;
    void *hyper;
    const hk__builtin *builtin; /* NULL: a user's class */
    hk__optim_device device;

    int n_slots, n_segments, n_groups;
    hk__optim_slot *slots;
    hk__segment *segments; /* room for n_slots */
    hk__group *groups;
    char *
        state; /* n_state buffers of `lines` lines; of a user's class in the host's memory, always */
    int64_t lines;
    bool shared; /* by threads: decided by size alone */

    double lr, max_norm, max_value;
    int64_t steps;
    bool scheduled;
    hk_schedule schedule;
};

/* hk_optimizer_create for built-in rules as well. where: for error messages. */
hk_optimizer *hk__optimizer_new(hk_context *ctx, const hk_optimizer_class *cls,
                                const hk__builtin *builtin, hk_parameters params, double lr,
                                double weight_decay, const void *hyper);

/* Bytes of state, and all of it from or to the host's memory. */
size_t hk__optimizer_state_bytes(const hk_optimizer *opt);
void hk__optimizer_state_read(const hk_optimizer *opt, void *to);
void hk__optimizer_state_write(hk_optimizer *opt, const void *from);

/* Sets the error of a norm that is not finite; it names the parameter. */
void hk__optimizer_report_norm(hk__object *object);

/* optimizer_gpu.cu: opens what a built-in rule needs; makes the table anew after segments changed; one step, whose gradients
   are settled. */
/* The numbers of the coming step into cells; false if its rate is not finite. */
bool hk__optimizer_gpu_cells(hk_optimizer *opt);
hk_status hk__optimizer_gpu_open(hk_optimizer *opt);
void hk__optimizer_gpu_close(hk_optimizer *opt);
hk_status hk__optimizer_gpu_segments(hk_optimizer *opt);
hk_status hk__optimizer_gpu_step(hk_optimizer *opt);

/* Sets the error if value is not in [0, end); end may be INFINITY. */
hk_status hk__optim_check(hk_context *ctx, const char *where, const char *what, double value,
                          double end);
/* Sets the error if the schedule's fields do not fit each other. */
hk_status hk__schedule_check(hk_context *ctx, const hk_schedule *schedule);

HK_END_DECLS
#endif
