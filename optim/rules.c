/* rules.c: the built-in optimizers: defaults, settings, and the table that names them.
   SPDX-License-Identifier: MIT */
#include "optim_kernels.h"
#include "optimizer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

HK_STAMP_TABLES(hk__optim_kernels, hk__optim);

const hk__optim_kernels *hk__optim_kernels_of(const hk_context *ctx, hk_dtype dtype) {
    return hk__optim_tables[dtype == HK_F64 ? HK__STAMP_f64 : ctx->stamp];
}

/* The kernels for HK_F32 and HK_F64, indexed by dtype. */
typedef struct kernels_by_type {
    const hk__optim_kernels *of[2];
} kernels_by_type;

static kernels_by_type find_kernels(const hk_context *ctx) {
    return (kernels_by_type){
        {hk__optim_kernels_of(ctx, HK_F32), hk__optim_kernels_of(ctx, HK_F64)}};
}

/* With eps = 0 a weight whose gradient was always 0 would become 0/0, and so would padding. */
static hk_status check_eps(hk_context *ctx, const char *where, double eps) {
    if (eps >= FLT_MIN && isfinite(eps)) return HK_OK;
    return hk_fail(ctx, HK_ERR_ARGUMENT, where, "eps is %g; it must be finite and at least %.2g",
                   eps, (double)FLT_MIN);
}

/* --- SGD -------------------------------------------------------------------------------------- */

typedef struct sgd_hyper {
    kernels_by_type kernels;
    double dampening;
    hk__sgd_step step;
} sgd_hyper;

hk_sgd_config hk_sgd_defaults(void) { return (hk_sgd_config){.lr = 0.01}; }

static void sgd_prepare(void *hyper, int64_t t) {
    sgd_hyper *h = hyper;
    h->step.fresh = t == 1 ? 1 : 1 - h->dampening; /* the first gradient enters whole */
}

static void sgd_numbers(const void *hyper, hk__optim_numbers *numbers) {
    const hk__sgd_step *s = &((const sgd_hyper *)hyper)->step;
    numbers->fixed[0] = s->momentum;
    numbers->changing[0] = s->fresh;
}

static hk__optim_rule sgd_rule(const void *hyper) {
    const hk__sgd_step *s = &((const sgd_hyper *)hyper)->step;
    return s->momentum == 0 ? HK__RULE_SGD : s->nesterov ? HK__RULE_NESTEROV : HK__RULE_MOMENTUM;
}

static void sgd_update(const hk_optimizer_update *u) {
    const sgd_hyper *h = u->hyper;
    h->kernels.of[u->dtype]->sgd(u);
}

static void momentum_update(const hk_optimizer_update *u) {
    const sgd_hyper *h = u->hyper;
    h->kernels.of[u->dtype]->momentum(u, &h->step);
}

hk_optimizer *hk_sgd(hk_context *ctx, hk_parameters params, hk_sgd_config c) {
    const bool moves = c.momentum != 0;
    const hk_optimizer_class cls = {
        .name = moves ? "momentum" : "sgd",
        .n_state = moves ? 1 : 0,
        .hyper_size = sizeof(sgd_hyper),
        .update = moves ? momentum_update : sgd_update,
        .elementwise = true,
    };
    if (hk_error(ctx) != HK_OK ||
        hk__optim_check(ctx, cls.name, "momentum", c.momentum, 1) != HK_OK ||
        hk__optim_check(ctx, cls.name, "dampening", c.dampening, 1) != HK_OK)
        return NULL;
    if (c.nesterov && (!moves || c.dampening != 0)) {
        hk_fail(ctx, HK_ERR_ARGUMENT, cls.name, "nesterov needs momentum, and no dampening");
        return NULL;
    }
    const sgd_hyper hyper = {
        .kernels = find_kernels(ctx),
        .dampening = c.dampening,
        .step = {.momentum = c.momentum, .nesterov = c.nesterov},
    };
    static const hk__builtin builtin = {sgd_prepare, sgd_numbers, sgd_rule};
    return hk__optimizer_new(ctx, &cls, &builtin, params, c.lr, c.weight_decay, &hyper);
}

/* --- Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) ---------------------------- */

typedef struct adam_hyper {
    kernels_by_type kernels;
    hk__adam_step step;
} adam_hyper;

hk_adam_config hk_adam_defaults(void) {
    return (hk_adam_config){.lr = 0.001, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
}

hk_adam_config hk_adamw_defaults(void) {
    hk_adam_config c = hk_adam_defaults();
    c.weight_decay = 0.01;
    return c;
}

static void adam_prepare(void *hyper, int64_t t) {
    hk__adam_step *s = &((adam_hyper *)hyper)->step;
    s->correction1 = 1 / (1 - pow(s->beta1, (double)t));
    s->correction2 = 1 / sqrt(1 - pow(s->beta2, (double)t));
}

static void adam_numbers(const void *hyper, hk__optim_numbers *numbers) {
    const hk__adam_step *s = &((const adam_hyper *)hyper)->step;
    const double fixed[] = {s->beta1, s->fresh1, s->beta2, s->fresh2, s->eps, s->decoupled};
    memcpy(numbers->fixed, fixed, sizeof fixed);
    numbers->changing[0] = s->correction1;
    numbers->changing[1] = s->correction2;
}

static hk__optim_rule adam_rule(const void *hyper) {
    (void)hyper;
    return HK__RULE_ADAM;
}

static void adam_update(const hk_optimizer_update *u) {
    const adam_hyper *h = u->hyper;
    h->kernels.of[u->dtype]->adam(u, &h->step);
}

static hk_optimizer *make_adam(hk_context *ctx, hk_parameters params, hk_adam_config c,
                               bool decoupled) {
    const hk_optimizer_class cls = {
        .name = decoupled ? "adamw" : "adam",
        .n_state = 2,
        .hyper_size = sizeof(adam_hyper),
        .update = adam_update,
        .elementwise = true,
    };
    if (hk_error(ctx) != HK_OK || hk__optim_check(ctx, cls.name, "beta1", c.beta1, 1) != HK_OK ||
        hk__optim_check(ctx, cls.name, "beta2", c.beta2, 1) != HK_OK ||
        check_eps(ctx, cls.name, c.eps) != HK_OK)
        return NULL;
    const adam_hyper hyper = {
        .kernels = find_kernels(ctx),
        .step = {.beta1 = c.beta1,
                 .fresh1 = 1 - c.beta1,
                 .beta2 = c.beta2,
                 .fresh2 = 1 - c.beta2,
                 .eps = c.eps,
                 .decoupled = decoupled},
    };
    static const hk__builtin builtin = {adam_prepare, adam_numbers, adam_rule};
    return hk__optimizer_new(ctx, &cls, &builtin, params, c.lr, c.weight_decay, &hyper);
}

hk_optimizer *hk_adam(hk_context *ctx, hk_parameters params, hk_adam_config config) {
    return make_adam(ctx, params, config, false);
}

hk_optimizer *hk_adamw(hk_context *ctx, hk_parameters params, hk_adam_config config) {
    return make_adam(ctx, params, config, true);
}

/* --- RMSprop (Tieleman and Hinton 2012) ------------------------------------------------------- */

typedef struct rmsprop_hyper {
    kernels_by_type kernels;
    hk__rmsprop_step step;
} rmsprop_hyper;

hk_rmsprop_config hk_rmsprop_defaults(void) {
    return (hk_rmsprop_config){.lr = 0.01, .alpha = 0.99, .eps = 1e-8};
}

static void rmsprop_numbers(const void *hyper, hk__optim_numbers *numbers) {
    const hk__rmsprop_step *s = &((const rmsprop_hyper *)hyper)->step;
    const double fixed[] = {s->alpha, s->fresh, s->eps, s->momentum};
    memcpy(numbers->fixed, fixed, sizeof fixed);
}

static hk__optim_rule rmsprop_rule(const void *hyper) {
    const hk__rmsprop_step *s = &((const rmsprop_hyper *)hyper)->step;
    return s->momentum != 0 ? HK__RULE_RMSPROP_MOMENTUM : HK__RULE_RMSPROP;
}

static void rmsprop_update(const hk_optimizer_update *u) {
    const rmsprop_hyper *h = u->hyper;
    const hk__optim_kernels *kernels = h->kernels.of[u->dtype];
    (h->step.momentum != 0 ? kernels->rmsprop_momentum : kernels->rmsprop)(u, &h->step);
}

hk_optimizer *hk_rmsprop(hk_context *ctx, hk_parameters params, hk_rmsprop_config c) {
    const hk_optimizer_class cls = {
        .name = "rmsprop",
        .n_state = c.momentum != 0 ? 2 : 1,
        .hyper_size = sizeof(rmsprop_hyper),
        .update = rmsprop_update,
        .elementwise = true,
    };
    if (hk_error(ctx) != HK_OK || hk__optim_check(ctx, cls.name, "alpha", c.alpha, 1) != HK_OK ||
        hk__optim_check(ctx, cls.name, "momentum", c.momentum, 1) != HK_OK ||
        check_eps(ctx, cls.name, c.eps) != HK_OK)
        return NULL;
    const rmsprop_hyper hyper = {
        .kernels = find_kernels(ctx),
        .step = {.alpha = c.alpha, .fresh = 1 - c.alpha, .eps = c.eps, .momentum = c.momentum},
    };
    static const hk__builtin builtin = {NULL, rmsprop_numbers, rmsprop_rule};
    return hk__optimizer_new(ctx, &cls, &builtin, params, c.lr, c.weight_decay, &hyper);
}

/* --- by name ---------------------------------------------------------------------------------- */

/* name, configuration type, its defaults, a change to them, constructor */
#define OPTIMIZER_ROWS(X)                                                                          \
    X("sgd", hk_sgd_config, hk_sgd_defaults, (void)c, hk_sgd)                                      \
    X("momentum", hk_sgd_config, hk_sgd_defaults, c.momentum = 0.9, hk_sgd)                        \
    X("adam", hk_adam_config, hk_adam_defaults, (void)c, hk_adam)                                  \
    X("adamw", hk_adam_config, hk_adamw_defaults, (void)c, hk_adamw)                               \
    X("rmsprop", hk_rmsprop_config, hk_rmsprop_defaults, (void)c, hk_rmsprop)

static const char *const row_names[] = {
#define ROW_NAME(name, config, defaults, change, create) name,
    OPTIMIZER_ROWS(ROW_NAME)
#undef ROW_NAME
};

enum { ROWS = sizeof row_names / sizeof *row_names };

int hk_optimizer_count(void) { return ROWS; }

const char *hk_optimizer_row(int i) { return i >= 0 && i < ROWS ? row_names[i] : NULL; }

hk_optimizer *hk_optimizer_by_name(hk_context *ctx, const char *name, hk_parameters params,
                                   double lr, double weight_decay) {
    if (hk_error(ctx) != HK_OK) return NULL;
#define ROW_CREATE(row, config, defaults, change, create)                                          \
    if (name && strcmp(name, row) == 0) {                                                          \
        config c = defaults();                                                                     \
        change;                                                                                    \
        if (!(lr < 0)) c.lr = lr;                                                                  \
        if (!(weight_decay < 0)) c.weight_decay = weight_decay;                                    \
        return create(ctx, params, c);                                                             \
    }
    OPTIMIZER_ROWS(ROW_CREATE)
#undef ROW_CREATE
    char known[128] = "";
    for (int i = 0; i < ROWS; i++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", row_names[i]);
    }
    hk_fail(ctx, HK_ERR_NAME, "optimizer", "unknown optimizer '%s'; there are: %s",
            name ? name : "(null)", known);
    return NULL;
}
