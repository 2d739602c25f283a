/* jacobian.c: looks at a module's Jacobian, and leaves everything as it was.
   SPDX-License-Identifier: MIT

   One forward pass is recorded; then any number of products with J and its transpose run on it (jacobian_numbers.c).
   Parameters require no gradient meanwhile, which leaves theirs alone, and spares computing them. */
#include "jacobian.h"

#include <math.h>
#include <stdlib.h>

/* What is put back in the end. */
typedef struct state {
    bool recording, buffers_off;
    int n_modules;
    bool *training, *requires; /* of modules, of parameters */
    hk_parameters parameters;
} state;

/* Saves the modes of m and all below, or puts them back; how many there are. */
static int each_mode(hk_module *m, bool *training, bool put_back) {
    int count = 1;
    if (training && put_back) m->training = training[0];
    if (training && !put_back) training[0] = m->training;
    for (int i = 0; i < m->n_children; i++)
        count += each_mode(m->children[i], training ? training + count : NULL, put_back);
    return count;
}

static hk_status set_state(hk__study *s, state *was) {
    hk_context *ctx = s->ctx;
    was->parameters = hk_module_parameters(s->m);
    was->n_modules = each_mode(s->m, NULL, false);
    was->training = calloc((size_t)(was->n_modules + was->parameters.count), sizeof *was->training);
    if (!was->training) return hk_fail(ctx, HK_ERR_MEMORY, "jacobian", "no memory");
    was->requires = was->training + was->n_modules;
    (void)each_mode(s->m, was->training, false);
    for (int i = 0; i < was->parameters.count; i++) {
        was->requires[i] = was->parameters.items[i]->requires;
        was->parameters.items[i]->requires = false;
    }
    (void)hk_module_train(s->m, false);
    was->buffers_off = ctx->buffers_off;
    ctx->buffers_off = true;
    was->recording = hk_grad_enable(ctx, true);
    return ctx->status;
}

/* Also that no training step has passed: random draws would be others. */
static void restore_state(hk__study *s, state *was) {
    s->ctx->stepped_backward = false;
    if (!was->training) return;
    (void)hk_grad_enable(s->ctx, was->recording);
    s->ctx->buffers_off = was->buffers_off;
    (void)each_mode(s->m, was->training, true);
    for (int i = 0; i < was->parameters.count; i++) {
        was->parameters.items[i]->requires = was->requires[i];
    }
    free(was->training);
}

static hk_status check_config(hk__study *s, const hk_jacobian_config *config) {
    hk_jacobian_config *c = &s->config;
    if (config) *c = *config;
    if (c->probes < 0 || c->iterations < 0 || !(c->tolerance >= 0) || c->full_up_to < 0)
        return hk_fail(s->ctx, HK_ERR_ARGUMENT, "jacobian",
                       "probes, iterations, tolerance and full_up_to must not be negative: %d, %d, "
                       "%g, %lld",
                       c->probes, c->iterations, c->tolerance, (long long)c->full_up_to);
    if (c->probes == 0) c->probes = 16;
    if (c->iterations == 0) c->iterations = 50;
    if (c->tolerance == 0) c->tolerance = 1e-3;
    return HK_OK;
}

/* s->x, a kept copy of x, is there also after an error. */
static hk_status copy_input(hk__study *s, hk_tensor *x) {
    HK_TRY(hk__check(s->ctx, x, "jacobian"));
    char text[160];
    if (x->shape.rank < 1 || hk_shape_count(x->shape) < 1 ||
        (x->dtype != HK_F32 && x->dtype != HK_F64))
        return hk_fail(s->ctx, HK_ERR_ARGUMENT, "jacobian",
                       "samples are wanted, (n, ...) of f32 or f64, not %s of %s",
                       hk__tensor_text(x, text, sizeof text), hk_dtype_name(x->dtype));
    s->n = x->shape.dim[0];
    s->in = hk_shape_count(x->shape) / s->n;
    s->x = hk_tensor_keep(x);
    if (!hk_require_grad(s->x)) return s->ctx->status;
    const hk__mark mark = hk__arena_mark(&s->ctx->scratch);
    const hk_tensor near = hk__near(s->x);
    for (int64_t i = 0; near.data && i < s->n * s->in; i++)
        if (!isfinite(hk__number_at(&near, i)))
            hk_fail(s->ctx, HK_ERR_NONFINITE, "jacobian", "sample %lld has %g at element %lld",
                    (long long)(i / s->in), hk__number_at(&near, i), (long long)(i % s->in));
    hk__arena_rewind(&s->ctx->scratch, mark);
    return s->ctx->status;
}

/* The recorded pass. A module may hand back its input (dropout), so that is made an operation's result first. */
static hk_status record(hk__study *s) {
    s->y = hk_forward(s->m, hk_scale(s->x, 1, 0));
    HK_TRY(s->ctx->status);
    char text[160];
    if (!s->y || s->y->shape.rank < 1 || s->y->shape.dim[0] != s->n || s->y->dtype != s->x->dtype)
        return hk_fail(s->ctx, HK_ERR_SHAPE, "jacobian",
                       "%s does not give each of %lld samples an output of its own: %s",
                       hk__place_of(s->m), (long long)s->n,
                       s->y ? hk__tensor_text(s->y, text, sizeof text) : "nothing");
    s->out = hk_shape_count(s->y->shape) / s->n;
    if (s->out < 1 || !s->y->requires)
        return hk_fail(s->ctx, HK_ERR_GRADIENT, "jacobian", "the output of %s does not depend on x",
                       hk__place_of(s->m));
    s->result->samples = s->n;
    s->result->inputs = s->in;
    s->result->outputs = s->out;
    return HK_OK;
}

/* Everything that needs a step of its own. */
static hk_status between_steps(hk__study *s, double *spectrum) {
    HK_TRY(hk_step_end(s->ctx));
    hk_shape input = s->x->shape;
    input.dim[0] = -1;
    HK_TRY(hk__ensure_built(s->m, input));
    state was = {.training = NULL};
    hk_status status = set_state(s, &was);
    if (status == HK_OK) status = record(s);
    if (status == HK_OK) status = hk__study_measure(s, spectrum);
    restore_state(s, &was);
    const hk_status end = hk_step_end(s->ctx);
    return status != HK_OK ? status : end;
}

hk_status hk_module_jacobian(hk_module *m, hk_tensor *x, const hk_jacobian_config *config,
                             hk_jacobian *result, double *spectrum) {
    const hk_jacobian nothing = {.radius = NAN};
    hk_context *ctx = m ? m->object.ctx : x ? x->ctx : NULL;
    if (result) *result = nothing;
    if (!ctx) return HK_ERR_ARGUMENT;
    HK_TRY(ctx->status);
    if (!m || !x || !result)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "jacobian", "no %s was given",
                       !m   ? "module"
                       : !x ? "input"
                            : "place for the result");
    hk__study s = {.ctx = ctx, .m = m, .result = result};
    hk_status status = check_config(&s, config);
    if (status == HK_OK) status = copy_input(&s, x);
    if (status == HK_OK) status = between_steps(&s, spectrum);
    hk_tensor_destroy(s.x);
    if (status != HK_OK) *result = nothing;
    return status;
}
