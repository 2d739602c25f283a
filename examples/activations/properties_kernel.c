/* properties_kernel.c: runs an activation's kernels, forward and backward, on any floats.
   SPDX-License-Identifier: MIT */
#include "progress.h"
#include "properties.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool evaluator_open(evaluator *e, const char *text, const char *isa, int64_t n) {
    memset(e, 0, sizeof *e);
    e->ctx = hk_context_create(&(hk_context_config){.threads = 1, .isa = isa, .no_blas = true});
    if (hk_activation_parse(e->ctx, text, &e->spec) != HK_OK) return false;
    const int chooser = e->spec.info->surrogate;
    e->has_slope = !chooser || e->spec.value[chooser] != 0;
    e->n = n;
    e->tensor = hk_tensor_new(e->ctx, HK_F32, HK_SHAPE(n));
    e->ones = hk_tensor_keep(hk_full(e->ctx, HK_F32, HK_SHAPE(n), 1));
    if (e->has_slope) hk_require_grad(e->tensor);
    e->x = hk_tensor_data(e->tensor);
    return hk_step_end(e->ctx) == HK_OK;
}

void evaluator_close(evaluator *e) { hk_context_destroy(e->ctx); }

bool evaluate(evaluator *e) {
    if (hk_step_end(e->ctx) != HK_OK) return false;
    hk_tensor *y = hk_activate_with(e->tensor, &e->spec, NULL);
    e->slope = NULL;
    if (e->has_slope) {
        hk_zero_grad(e->tensor);
        if (hk_backward_from(e->ctx, y, e->ones) != HK_OK) return false;
        e->slope = hk_tensor_data(hk_grad(e->tensor));
    }
    e->y = hk_tensor_data(y);
    return hk_error(e->ctx) == HK_OK;
}

void canonical_text(const hk_activation_spec *spec, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s", spec->info->name);
    for (int k = 0; k < spec->info->n_params && used < size; k++)
        used += (size_t)snprintf(text + used, size - used, ":%s=%.17g", spec->info->params[k].name,
                                 spec->value[k]);
}

/* --- cost ----------------------------------------------------------------------------------- */

enum { TIMED = 16384, ROUNDS = 9, REPEATS = 24 };

/* Least seconds of a few rounds of REPEATS calls, forward, and with backward. */
static bool time_calls(evaluator *e, double *forward, double *both) {
    *forward = *both = HUGE_VAL;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        const bool back = round % 2;
        if (back && !e->has_slope) continue;
        const bool was = hk_grad_enable(e->ctx, back);
        const double start = clock_seconds();
        for (int i = 0; i < REPEATS; i++) {
            hk_tensor *y = hk_activate_with(e->tensor, &e->spec, NULL);
            if (back && hk_backward_from(e->ctx, y, e->ones) != HK_OK) return false;
            if (hk_step_end(e->ctx) != HK_OK) return false;
        }
        const double seconds = clock_seconds() - start;
        hk_grad_enable(e->ctx, was);
        double *best = back ? both : forward;
        if (seconds < *best) *best = seconds;
    }
    return true;
}

bool measure_cost(const char *text, const char *isa, cost *c) {
    evaluator e;
    double forward = NAN, both = NAN;
    bool ok = evaluator_open(&e, text, isa, TIMED);
    const hk_random draws = hk_random_stream(1, "cost", 0);
    for (int i = 0; ok && i < TIMED; i++) e.x[i] = (float)hk_random_normal(draws, (uint64_t)i);
    ok = ok && time_calls(&e, &forward, &both);
    if (!ok)
        fprintf(stderr, "activations table: %s\n",
                e.ctx ? hk_error_message(e.ctx) : "out of memory");
    const double elements = (double)TIMED * REPEATS;
    c->ns = forward / elements * 1e9;
    c->ns_back = e.has_slope ? (both - forward) / elements * 1e9 : NAN;
    evaluator_close(&e);
    return ok;
}
