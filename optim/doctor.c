/* doctor.c: an examination: looks on while a network trains, judges, and puts everything back.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <math.h>
#include <stdlib.h>

/* --- the optimizer's state -------------------------------------------------------------------- */

typedef struct optimizer_copy {
    char *state;
    size_t size;
    int64_t steps;
} optimizer_copy;

static hk_status copy_optimizer(hk_context *ctx, const hk_optimizer *opt, optimizer_copy *copy) {
    if (!opt) return HK_OK;
    copy->steps = opt->steps;
    copy->size = hk__optimizer_state_bytes(opt);
    copy->state = malloc(copy->size + 1);
    if (!copy->state) return hk_fail(ctx, HK_ERR_MEMORY, "doctor", "no memory");
    hk__optimizer_state_read(opt, copy->state);
    return ctx->status;
}

static void restore_optimizer(hk_optimizer *opt, const optimizer_copy *copy) {
    if (!opt || !copy->state) return;
    opt->steps = copy->steps;
    hk__optimizer_state_write(opt, copy->state);
}

/* --- the steps -------------------------------------------------------------------------------- */

/* The first twenty, for what goes wrong at once, and every fifth after them. */
static bool is_sampled(const hk__doctor *d) {
    return d->step <= 20 || d->step % 5 == 0 || d->step == d->config.steps;
}

/* A value that the NaN guard or clipping refuses is what is looked for, and ends the steps. */
static bool forgive_nonfinite(hk__doctor *d) {
    if (d->ctx->status != HK_ERR_NONFINITE) return false;
    d->nonfinite_step = d->step;
    hk__doctor_find_nonfinite(d);
    hk_error_clear(d->ctx);
    d->loss[d->step - 1] = NAN;
    return true;
}

static void keep_probe(hk__doctor *d, hk_tensor *x) {
    if (!x || d->n_probes == HK__PROBES || d->data.samples > 2 * d->config.probe) return;
    d->probes[d->n_probes] = hk_tensor_keep(x);
    if (d->probes[d->n_probes]) d->n_probes++;
}

static hk_status run_steps(hk__doctor *d) {
    hk_context *ctx = d->ctx;
    for (d->step = 1; d->step <= d->config.steps; d->step++) {
        hk_doctor_step made = {.x = NULL};
        d->sampled = is_sampled(d);
        hk__doctor_before_step(d);
        const bool go_on = d->config.train(&made, d->config.arg);
        const bool forgiven = forgive_nonfinite(d);
        if (ctx->status == HK_OK && !forgiven && (go_on || made.loss)) {
            const hk_status status =
                hk__doctor_data_add(ctx, &d->data, d->config.probe, made.x, made.y, made.out);
            if (status == HK_OK) hk__doctor_after_step(d, &made);
            keep_probe(d, d->input);
        }
        if (hk_step_end(ctx) != HK_OK || !go_on || forgiven || !isfinite(d->loss[d->step - 1])) {
            if (go_on || forgiven || made.loss) d->step++; /* the one that was made counts */
            break;
        }
    }
    d->step--;
    return ctx->status;
}

/* --- putting back ----------------------------------------------------------------------------- */

/* Also after an error. */
static void put_back(hk__doctor *d, const optimizer_copy *copy) {
    const hk_status status = d->ctx->status;
    d->ctx->status = HK_OK;
    for (int i = 0; i < d->n_params; i++) {
        hk__doctor_copy(d->params[i].param, d->params[i].start);
        hk_zero_grad(d->params[i].param);
    }
    for (int i = 0; i < d->n_buffers; i++) hk__doctor_copy(d->net->all_buffers[i], d->buffers[i]);
    restore_optimizer(d->opt, copy);
    if (status != HK_OK) d->ctx->status = status;
}

static hk_status check(hk_module *net, const hk_doctor_config *config, const hk_diagnosis *result) {
    if (!net) return HK_ERR_ARGUMENT;
    hk_context *ctx = net->object.ctx;
    HK_TRY(ctx->status);
    if (!config || !config->train || !result)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "doctor", "config.train and result are needed");
    if (net->parent || !net->built)
        return hk_fail(ctx, HK_ERR_STATE, "doctor", "build the network first, and give its root");
    if (config->steps < 0 || config->probe < 0)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "doctor", "steps and probe must not be negative");
    return HK_OK;
}

static hk_status examine(hk__doctor *d, hk_diagnosis *result) {
    optimizer_copy copy = {.state = NULL};
    hk_status status = copy_optimizer(d->ctx, d->opt, &copy);
    if (status == HK_OK) status = hk__doctor_watch(d);
    if (status == HK_OK) status = run_steps(d);
    if (status == HK_OK) status = hk__doctor_look_at_units(d);
    if (status == HK_OK) {
        hk__doctor_conclude(d);
        hk__doctor_judge(d, result);
        status = d->ctx->status;
    }
    if (!d->config.keep && d->n_params > 0) put_back(d, &copy);
    free(copy.state);
    return status;
}

hk_status hk_doctor_examine(hk_module *net, hk_optimizer *opt, const hk_doctor_config *config,
                            hk_diagnosis *result) {
    HK_TRY(check(net, config, result));
    hk__doctor d = {.ctx = net->object.ctx, .net = net, .opt = opt, .config = *config};
    if (d.config.steps == 0) d.config.steps = 300;
    if (d.config.probe == 0) d.config.probe = 1000;
    *result = (hk_diagnosis){.count = 0};
    d.loss = calloc((size_t)d.config.steps, sizeof *d.loss);
    d.samples = calloc((size_t)d.config.steps, sizeof *d.samples);
    d.probes = calloc(HK__PROBES, sizeof(hk_tensor *));
    hk_status status = HK_OK;
    if (!d.loss || !d.samples || !d.probes)
        status = hk_fail(d.ctx, HK_ERR_MEMORY, "doctor", "no memory");
    else
        status = examine(&d, result);
    hk__doctor_unwatch(&d);
    hk__doctor_data_free(&d.data);
    for (int i = 0; i < d.n_probes; i++) hk_tensor_destroy(d.probes[i]);
    free(d.probes);
    free(d.samples);
    free(d.loss);
    return status;
}
