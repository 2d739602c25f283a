/* doctor_watch.c: hooks on a network that is being examined, and what is noted of each step.
   SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t bytes_of(const hk_tensor *t) {
    return (size_t)hk_shape_count(t->shape) * hk_dtype_size(t->dtype);
}

void hk__doctor_copy(hk_tensor *to, const hk_tensor *from) {
    hk__values_copy(to->ctx, to->data, from->data, bytes_of(from));
}

/* |x - y|² to *to; |x|² if y is NULL. Both contiguous. */
static void look_apart(const hk_tensor *x, const hk_tensor *y, double *to) {
    hk__squares_apart(x->ctx, x->dtype, x->data, y ? y->data : NULL, hk_shape_count(x->shape), to);
}

static void read_seen(hk__doctor *d, int n) {
    hk__values_read(d->ctx, d->read, d->seen, (size_t)n * sizeof *d->seen);
}

/* --- hooks ------------------------------------------------------------------------------------ */

/* Whether its gradient could be one of the last step. */
static bool may_be_left_over(const hk__watched_parameter *p) {
    return p->trained && p->had_grad && !p->param->grad->clean;
}

/* Whether any gradient is still that of the last step: backward would add to it. */
static void look_for_left_overs(hk__doctor *d) {
    d->looked = true;
    if (!d->stepped) return;
    d->zero_checks++;
    bool any = false;
    for (int i = 0; i < d->n_params; i++) {
        const hk__watched_parameter *p = &d->params[i];
        if (!may_be_left_over(p)) continue;
        any = true;
        look_apart(p->param->grad, p->grad, &d->seen[i].apart2);
        look_apart(p->param->grad, NULL, &d->seen[i].length2);
    }
    if (any) read_seen(d, d->n_params);
    for (int i = 0; i < d->n_params; i++) {
        const hk__watched_parameter *p = &d->params[i];
        if (!may_be_left_over(p) || !(d->read[i].apart2 == 0 && d->read[i].length2 > 0)) continue;
        d->not_zeroed++;
        snprintf(d->left_over, sizeof d->left_over, "%s", hk_tensor_name(p->param));
        return;
    }
}

static void on_out_gradient(hk_tensor *t, hk_tensor *grad, void *arg) {
    (void)t;
    (void)grad;
    hk__doctor *d = arg;
    if (!d->looked) look_for_left_overs(d);
}

static hk__watched *watched_of(hk__doctor *d, const hk_module *m) {
    for (int i = 0; i < d->n_layers; i++)
        if (d->layers[i].module == m) return &d->layers[i];
    return NULL;
}

static void on_forward(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)x;
    hk__doctor *d = arg;
    hk__watched *w = watched_of(d, m);
    if (!w) return;
    if (y->requires) {
        w->out = y;
        w->ran = true;
        w->evaluated |= !m->training;
        hk_hook_grad(y, on_out_gradient, d);
    }
}

static void on_begin(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)y;
    hk__doctor *d = arg;
    if (!d->input) d->input = x;
}

static void on_gradient(hk_tensor *t, hk_tensor *grad, void *arg) {
    (void)t, (void)grad;
    hk__watched_parameter *p = arg;
    p->reached = true;
    p->asks = !p->pulled;
}

/* Of parameters that no gradient but 0 has reached so far. */
static void look_for_pulls(hk__doctor *d) {
    bool any = false;
    for (int i = 0; i < d->n_params; i++) {
        const hk__watched_parameter *p = &d->params[i];
        any |= p->asks;
        if (p->asks) look_apart(p->param->grad, NULL, &d->seen[i].length2);
    }
    if (any) read_seen(d, d->n_params);
    for (int i = 0; i < d->n_params; i++) {
        hk__watched_parameter *p = &d->params[i];
        if (p->asks) p->pulled = d->read[i].length2 > 0;
        p->asks = false;
    }
}

static void look_at_lengths(hk__doctor *d) {
    for (int i = 0; i < d->n_layers; i++) {
        hk_tensor *grad = d->layers[i].out ? hk_grad(d->layers[i].out) : NULL;
        if (grad) hk__moments_of(grad, &d->seen[i].moments);
    }
    read_seen(d, d->n_layers);
    for (int i = 0; i < d->n_layers; i++)
        if (d->layers[i].out && hk_grad(d->layers[i].out))
            d->layers[i].length = hk__stats_of(&d->read[i].moments).l2;
}

static void on_backward(hk_context *ctx, void *arg) {
    (void)ctx;
    hk__doctor *d = arg;
    d->backward = true;
    look_for_pulls(d);
    if (d->step == 1) look_at_lengths(d);
}

/* --- adding and removing them ----------------------------------------------------------------- */

static int count_leaves(hk_module *m) {
    if (m->n_children == 0) return 1;
    int n = 0;
    for (int i = 0; i < m->n_children; i++) n += count_leaves(m->children[i]);
    return n;
}

/* A module with children may have parameters of its own, too. */
static void note_leaves(hk__doctor *d, hk_module *m) {
    for (int i = 0; i < m->n_children; i++) note_leaves(d, m->children[i]);
    if (m->n_children > 0 || watched_of(d, m)) return;
    d->layers[d->n_layers++] = (hk__watched){.module = m, .length = NAN};
}

static const hk__watched *owner_of(const hk__doctor *d, const hk_tensor *param) {
    for (int i = 0; i < d->n_layers; i++)
        for (int k = 0; k < d->layers[i].module->n_slots; k++)
            if (d->layers[i].module->slots[k].t == param) return &d->layers[i];
    return NULL;
}

static bool is_trained(const hk__doctor *d, const hk_tensor *param) {
    if (!d->opt) return true;
    for (int i = 0; i < d->opt->n_slots; i++)
        if (d->opt->slots[i].param == param)
            return d->opt->groups[d->opt->slots[i].group].lr_factor > 0;
    return false;
}

static hk_status watch_parameter(hk__doctor *d, hk__watched_parameter *p, hk_tensor *param) {
    *p = (hk__watched_parameter){
        .param = param, .layer = owner_of(d, param), .trained = is_trained(d, param)};
    p->start = hk_tensor_keep(param);
    p->before = hk_tensor_keep(param);
    p->grad = hk_tensor_new(d->ctx, param->dtype, param->shape);
    p->hook = hk_hook_grad(param, on_gradient, p);
    return d->ctx->status;
}

hk_status hk__doctor_watch(hk__doctor *d) {
    hk_context *ctx = d->ctx;
    const hk_parameters params = hk_module_parameters(d->net), buffers = hk_module_buffers(d->net);
    d->layers = calloc((size_t)count_leaves(d->net), sizeof *d->layers);
    d->params = calloc((size_t)params.count + 1, sizeof *d->params);
    d->buffers = calloc((size_t)buffers.count + 1, sizeof(hk_tensor *));
    const size_t most = (size_t)(count_leaves(d->net) + params.count + 1);
    d->seen = hk__values_alloc(ctx, most * sizeof *d->seen, true);
    d->read = calloc(most, sizeof *d->read);
    if (!d->layers || !d->params || !d->buffers || !d->seen || !d->read)
        return hk_fail(ctx, HK_ERR_MEMORY, "doctor", "no memory");
    note_leaves(d, d->net);
    for (int i = 0; i < d->n_layers; i++) {
        d->layers[i].hook = hk_hook_forward(d->layers[i].module, on_forward, d);
        HK_TRY(ctx->status);
    }
    for (int i = 0; i < params.count; i++) {
        d->n_params++;
        HK_TRY(watch_parameter(d, &d->params[i], params.items[i]));
    }
    for (int i = 0; i < buffers.count; i++) {
        d->buffers[i] = hk_tensor_keep(buffers.items[i]);
        d->n_buffers++;
    }
    d->before = hk_hook_before(d->net, on_begin, d);
    d->after = hk_hook_backward(ctx, on_backward, d);
    return ctx->status;
}

void hk__doctor_unwatch(hk__doctor *d) {
    hk_hook_remove(d->before);
    hk_hook_remove(d->after);
    for (int i = 0; i < d->n_layers; i++) hk_hook_remove(d->layers[i].hook);
    for (int i = 0; i < d->n_params; i++) {
        hk__watched_parameter *p = &d->params[i];
        hk_hook_remove(p->hook);
        hk_tensor_destroy(p->start);
        hk_tensor_destroy(p->before);
        hk_tensor_destroy(p->grad);
    }
    for (int i = 0; i < d->n_buffers; i++) hk_tensor_destroy(d->buffers[i]);
    free(d->layers);
    free(d->params);
    free(d->buffers);
    hk__values_free(d->ctx, d->seen);
    free(d->read);
    d->n_layers = d->n_params = d->n_buffers = 0;
}

/* --- a step ----------------------------------------------------------------------------------- */

void hk__doctor_before_step(hk__doctor *d) {
    d->backward = false;
    d->looked = false;
    d->input = NULL;
    d->optimizer_steps = hk_optimizer_steps(d->opt);
    for (int i = 0; i < d->n_layers; i++) d->layers[i].out = NULL;
    for (int i = 0; i < d->n_params; i++) hk__doctor_copy(d->params[i].before, d->params[i].param);
}

/* Weights = before + factor·(now - before), both in memory of the host. */
static void place_weights(hk__doctor *d, const hk_tensor *before, const hk_tensor *now,
                          double factor) {
    hk_context *ctx = d->ctx;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    for (int i = 0; i < d->n_params; i++, hk__arena_rewind(&ctx->scratch, mark)) {
        hk_tensor *p = d->params[i].param, to = *p;
        to.data = hk__host_room(p);
        if (!to.data) return;
        for (int64_t k = 0; k < hk_shape_count(p->shape); k++) {
            const double from = hk__number_at(&before[i], k);
            hk__number_put(&to, k, from + factor * (hk__number_at(&now[i], k) - from));
        }
        hk__host_done(p, to.data);
    }
}

/* Tries the update of this step at other lengths: is there a better rate? */
static void search(hk__doctor *d, const hk_tensor *loss, hk__search *s, double before,
                   double after) {
    hk_context *ctx = d->ctx;
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    const size_t n = (size_t)d->n_params;
    hk_tensor *before_here = hk__scratch(ctx, n * sizeof *before_here);
    hk_tensor *now = hk__scratch(ctx, n * sizeof *now);
    bool ok = before_here && now;
    for (int i = 0; ok && i < d->n_params; i++) {
        hk_tensor *p = d->params[i].param;
        before_here[i] = hk__near(d->params[i].before);
        now[i] = *p;
        now[i].data = hk__scratch(ctx, bytes_of(p));
        ok = now[i].data && before_here[i].data;
        if (ok) hk__values_read(ctx, now[i].data, p->data, bytes_of(p));
    }
    *s = (hk__search){.done = ok, .loss = before, .own = after, .best = before, .factor = 0};
    for (int k = -8; ok && k <= 12; k++) {
        const double factor = pow(10, k / 2.0);
        place_weights(d, before_here, now, factor);
        const double there = hk__doctor_replay(d->ctx, loss);
        if (!(there < s->best)) continue;
        s->best = there;
        s->factor = factor;
    }
    for (int i = 0; ok && i < d->n_params; i++)
        hk__values_write(ctx, d->params[i].param->data, now[i].data, bytes_of(&now[i]));
    hk__arena_rewind(&ctx->scratch, mark);
}

static void note_updates(hk__doctor *d) {
    bool any = false;
    for (int i = 0; i < d->n_params; i++)
        look_apart(d->params[i].param, d->params[i].before, &d->seen[i].apart2);
    read_seen(d, d->n_params);
    for (int i = 0; i < d->n_params; i++) {
        hk__watched_parameter *p = &d->params[i];
        const bool moved = d->read[i].apart2 != 0;
        any |= moved;
        p->moved |= moved;
        const hk_tensor *grad = p->param->grad;
        p->had_grad = grad && !grad->clean;
        if (p->had_grad) hk__doctor_copy(p->grad, grad);
    }
    d->stepped = d->opt ? hk_optimizer_steps(d->opt) > d->optimizer_steps : any;
    d->updates += d->stepped;
}

static bool is_finite(hk_tensor *t) { return !t || hk__first_nonfinite(t->ctx, t) < 0; }

/* Behind note_updates: a way that is finite leads to a finite weight. */
static void note_nonfinite(hk__doctor *d, const hk_doctor_step *made, double loss) {
    bool finite = isfinite(loss) && is_finite(made->out);
    for (int i = 0; finite && i < d->n_params; i++)
        finite = isfinite(d->read[i].apart2) || is_finite(d->params[i].param);
    if (finite || d->nonfinite_step > 0) return;
    d->nonfinite_step = d->step;
    hk__doctor_find_nonfinite(d);
    for (int i = 0; !d->nonfinite_what[0] && i < d->n_params; i++) {
        if (is_finite(d->params[i].param)) continue;
        snprintf(d->nonfinite_place, sizeof d->nonfinite_place, "%s",
                 hk_tensor_name(d->params[i].param));
        snprintf(d->nonfinite_what, sizeof d->nonfinite_what, "the weight after its update");
    }
}

void hk__doctor_after_step(hk__doctor *d, const hk_doctor_step *made) {
    const double loss = made->loss ? hk_tensor_item(made->loss) : NAN;
    const hk_tensor *mean = made->loss ? hk__doctor_look_at_loss(d, made->loss) : NULL;
    d->loss[d->step - 1] = mean ? hk_tensor_item((hk_tensor *)(uintptr_t)mean) : loss;
    d->passes += d->backward;
    note_updates(d);
    note_nonfinite(d, made, made->loss ? loss : 0);
    if (!made->loss || d->nonfinite_step > 0 || d->ctx->status != HK_OK) return;
    if (d->step == 1 && d->backward) hk__doctor_check_gradients(d, made->loss);
    if (!d->sampled || !d->stepped || !d->backward) return;
    const double after = hk__doctor_replay(d->ctx, made->loss);
    d->samples[d->n_samples++] = (hk__sample){d->step, loss, after};
    if (d->step == 1) search(d, made->loss, &d->early, loss, after);
    if (d->step == d->config.steps) search(d, made->loss, &d->late, loss, after);
}

/* --- at the end ------------------------------------------------------------------------------- */

/* Share of rows of a weight, biases included, that are equal to another row: such units compute, and learn, the
   same. */
static double equal_rows(hk_tensor *weight, hk_tensor *bias) {
    const int64_t rows = weight->shape.dim[0];
    if (rows < 2) return 0;
    const hk__mark mark = hk__arena_mark(&weight->ctx->scratch);
    const size_t one = hk_dtype_size(weight->dtype), size = bytes_of(weight) / (size_t)rows;
    const char *w = hk__host_view(weight), *b = bias ? hk__host_view(bias) : NULL;
    int64_t equal = 0;
    for (int64_t i = 0; i < rows && weight->ctx->status == HK_OK; i++) {
        bool same = false;
        for (int64_t k = 0; !same && k < rows; k++)
            same = k != i && memcmp(w + (size_t)i * size, w + (size_t)k * size, size) == 0 &&
                   (!b || memcmp(b + (size_t)i * one, b + (size_t)k * one, one) == 0);
        equal += same;
    }
    hk__arena_rewind(&weight->ctx->scratch, mark);
    return (double)equal / (double)rows;
}

static const hk__watched_parameter *bias_of(const hk__doctor *d, const hk__watched_parameter *w) {
    const int64_t rows = w->param->shape.dim[0];
    for (int i = 0; i < d->n_params; i++) {
        const hk_shape s = d->params[i].param->shape;
        if (d->params[i].layer == w->layer && s.rank == 1 && s.dim[0] == rows) return &d->params[i];
    }
    return NULL;
}

/* Equal at the start and still so at the end; a last layer that starts at 0 soon is not. */
void hk__doctor_conclude(hk__doctor *d) {
    for (int i = 0; i < d->n_params; i++) {
        hk__watched_parameter *p = &d->params[i];
        if (!p->layer || p->param->shape.rank < 2) continue;
        const hk__watched_parameter *b = bias_of(d, p);
        p->equal = equal_rows(p->start, b ? b->start : NULL);
        if (p->equal > 0) p->equal = fmin(p->equal, equal_rows(p->param, b ? b->param : NULL));
    }
}
