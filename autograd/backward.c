/* backward.c: gradients of tensors, and reverse mode: the tape from its end to its start.
   SPDX-License-Identifier: MIT */
#include "tape.h"

#include <stdlib.h>

#include "gpu.h"
#include "values.h"

/* --- gradients of kept tensors --------------------------------------------------------------------- */

hk_tensor *hk_require_grad(hk_tensor *t) {
    if (!t || hk__check(t->ctx, t, "require_grad") != HK_OK) return NULL;
    if (t->step != 0 || (t->dtype != HK_F32 && t->dtype != HK_F64)) {
        hk_fail(t->ctx, HK_ERR_GRADIENT, "require_grad",
                "only kept tensors of f32 or f64 can; this is %s %s",
                t->step ? "a step tensor of" : "of", hk_dtype_name(t->dtype));
        return NULL;
    }
    if (t->requires) return t;
    hk_tensor *grad = hk__kept_header(t->ctx, t->dtype, t->shape, t->name);
    if (!grad) return NULL;
    grad->storage = grad->data =
        hk__values_alloc(t->ctx, (size_t)hk_shape_count(t->shape) * hk_dtype_size(t->dtype), false);
    if (!grad->data) {
        hk__kept_free(grad);
        hk_fail(t->ctx, HK_ERR_MEMORY, "require_grad", "no memory for the gradient");
        return NULL;
    }
    grad->clean = true;
    t->grad = grad;
    t->requires = true;
    return t;
}

void hk__grad_settle(hk_tensor *grad) {
    if (!grad->clean) return;
    hk__values_zero(grad->ctx, grad->data,
                    (size_t)hk_shape_count(grad->shape) * hk_dtype_size(grad->dtype));
    grad->clean = false;
}

hk_tensor *hk_grad(hk_tensor *t) {
    if (!t || !t->grad || hk__check(t->ctx, t, "grad") != HK_OK) return NULL;
    hk__grad_settle(t->grad);
    return t->grad;
}

void hk_zero_grad(hk_tensor *t) {
    if (t && t->step == 0 && t->grad) t->grad->clean = true;
}

/* --- hooks ----------------------------------------------------------------------------------------------- */

hk_hook *hk_hook_grad(hk_tensor *t, hk_grad_hook *fn, void *arg) {
    if (!t || hk__check(t->ctx, t, "hook_grad") != HK_OK) return NULL;
    hk_context *ctx = t->ctx;
    char text[160];
    if (!t->requires) {
        hk_fail(ctx, HK_ERR_GRADIENT, "hook_grad", "%s has no gradient",
                hk__tensor_text(t, text, sizeof text));
        return NULL;
    }
    const bool of_step = t->step != 0;
    if (!t->hooks) {
        t->hooks =
            of_step ? hk__arena_alloc(&ctx->memory, sizeof *t->hooks) : malloc(sizeof *t->hooks);
        if (!t->hooks) {
            hk_fail(ctx, HK_ERR_MEMORY, "hook_grad", "no memory");
            return NULL;
        }
        *t->hooks = (hk__grad_hooks){.tensor = t};
    }
    return hk__hook_add(ctx, &t->hooks->list, "hook_grad", (hk__hook_fn *)fn, arg, of_step);
}

static void call_with_grad(const hk_hook *hook, void *what) {
    hk_tensor *t = what;
    ((hk_grad_hook *)hook->fn)(t, t->grad, hook->arg);
}

/* Calls the hooks of t, whose gradient is complete. */
static void show_grad(hk_tensor *t) {
    hk__grad_settle(t->grad);
    hk__hooks_run(&t->hooks->list, call_with_grad, t);
}

/* Notes a kept tensor whose gradient will be complete at the end. */
static void note_reached(struct hk__tape *tape, hk__grad_hooks *hooks) {
    if (hooks->reached) return;
    hooks->reached = true;
    hooks->next = NULL;
    *tape->reached_end = hooks;
    tape->reached_end = &hooks->next;
}

static void forget_reached(struct hk__tape *tape, bool show) {
    for (hk__grad_hooks *h = tape->reached; h; h = h->next) {
        h->reached = false;
        if (show && h->tensor->ctx->status == HK_OK) show_grad(h->tensor);
    }
    tape->reached = NULL;
}

hk_hook *hk_hook_backward(hk_context *ctx, hk_backward_hook *fn, void *arg) {
    struct hk__tape *tape = ctx ? hk__tape_of(ctx) : NULL;
    if (!tape) return NULL;
    return hk__hook_add(ctx, &tape->after, "hook_backward", (hk__hook_fn *)fn, arg, false);
}

static void call_after(const hk_hook *hook, void *what) {
    ((hk_backward_hook *)hook->fn)(what, hook->arg);
}

/* --- reverse mode -------------------------------------------------------------------------------------- */

bool hk_op_needs(const hk_op_call *c, int i) { return c->gin && c->gin[i]; }

hk_tensor *hk__grad_target(hk_op_call *c, int i, bool *accumulate) {
    if (!hk_op_needs(c, i)) return NULL;
    *accumulate = !c->gin[i]->clean;
    c->gin[i]->clean = false;
    return c->gin[i];
}

hk_status hk_op_add_grad(hk_op_call *c, int i, hk_tensor *g) {
    if (!g || c->ctx->status != HK_OK)
        return c->ctx->status != HK_OK ? c->ctx->status : HK_ERR_ARGUMENT;
    hk_shape common;
    if (hk_op_needs(c, i) && (!hk__broadcast(c->gin[i]->shape, g->shape, &common) ||
                              !hk_shape_equal(common, g->shape) || g->dtype != c->gin[i]->dtype)) {
        char a[160], b[160];
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "a gradient %s of %s for an input %s",
                       hk__tensor_text(g, a, sizeof a), hk_dtype_name(g->dtype),
                       hk__tensor_text(c->gin[i], b, sizeof b));
    }
    bool accumulate;
    hk_tensor *target = hk__grad_target(c, i, &accumulate);
    if (target) hk__sum_to(c->ctx, target, g, accumulate);
    return c->ctx->status;
}

/* Whether nothing was added to the gradient of input i, and nothing will be: no op between the one that made it and this
   one takes it. */
static bool is_sole_source(const hk_op_call *c, int i) {
    const hk_tensor *x = c->in[i];
    const hk__node *own = c->out[0]->node, *made = x->node;
    if (!own || own->in != c->in || !made || !c->gin[i]->clean) return false;
    int uses = 0;
    for (int64_t k = made->index + 1; k <= own->index; k++)
        for (int j = 0; j < c->ctx->tape->nodes[k]->n_in; j++)
            uses += c->ctx->tape->nodes[k]->in[j] == x;
    return uses == 1;
}

hk_status hk__hand_grad(hk_op_call *c, int i, hk_tensor *g) {
    if (!g || !hk_op_needs(c, i) || !hk__is_contiguous(g) ||
        !hk_shape_equal(g->shape, c->gin[i]->shape) || !is_sole_source(c, i))
        return hk_op_add_grad(c, i, g);
    c->gin[i]->data = g->data;
    c->gin[i]->clean = false;
    return c->ctx->status;
}

/* The node that made y, if a gradient can start there. */
hk__node *hk__start_of(hk_context *ctx, hk_tensor *y, const char *where) {
    if (!ctx || !y || hk__check(ctx, y, where) != HK_OK) {
        if (ctx && ctx->status == HK_OK)
            hk_fail(ctx, HK_ERR_ARGUMENT, where, "no tensor was given");
        return NULL;
    }
    if (y->node && y->requires) return y->node;
    hk_fail(ctx, HK_ERR_GRADIENT, where,
            "the result depends on no tensor that requires a gradient, or recording was off");
    return NULL;
}

/* Gradients of a node's inputs, where needed; an intermediate gets one on first use. */
static hk_status collect_inputs(hk_context *ctx, struct hk__tape *tape, const hk__node *node,
                                hk_tensor **gin) {
    for (int i = 0; i < node->n_in; i++) {
        hk_tensor *x = node->in[i];
        gin[i] = NULL;
        if (!x->requires) continue;
        if (!x->grad) {
            x->grad = hk__empty(ctx, x->dtype, x->shape);
            if (!x->grad) return ctx->status;
            x->grad->clean = true;
            x->grad->name = x->name;
        }
        if (x->step == 0 && x->hooks) note_reached(tape, x->hooks);
        gin[i] = x->grad;
    }
    return HK_OK;
}

static hk_status node_backward(hk_context *ctx, struct hk__tape *tape, const hk__node *node) {
    hk_tensor **const gin = node->gin, **const gout = node->gout;
    bool reached = false;
    for (int k = 0; k < node->n_out; k++) reached |= (gout[k] = node->out[k]->grad) != NULL;
    if (!reached) return HK_OK;
    if (node->version != ctx->version)
        return hk_fail(ctx, HK_ERR_GRADIENT, "backward",
                       "%s was computed before the last optimizer step; run the forward pass again",
                       node->op->name);
    if (!node->op->backward)
        return hk_fail(ctx, HK_ERR_GRADIENT, "backward", "%s has no gradient", node->op->name);
    for (int k = 0; k < node->n_out; k++)
        if (gout[k] && node->out[k]->hooks) show_grad(node->out[k]);
    HK_TRY(collect_inputs(ctx, tape, node, gin));
    hk_op_call c = {.ctx = ctx,
                    .op = node->op,
                    .attr = node->attr,
                    .n_in = node->n_in,
                    .n_out = node->n_out,
                    .in = node->in,
                    .out = node->out,
                    .gout = gout,
                    .gin = gin};
    const char *outer = HK_ON_GPU(ctx) ? hk__gpu_in(ctx, node->op->name) : NULL;
    const hk_status status = node->op->backward(&c);
    if (HK_ON_GPU(ctx)) hk__gpu_in(ctx, outer);
    HK_TRY(hk__blame(ctx, node->op, status));
    for (int i = 0; i < node->n_in; i++) {
        if (!gin[i]) continue;
        if (gin[i]->step != 0) hk__grad_settle(gin[i]); /* an input the op did not touch: zero */
        if (tape->nan_guard && !gin[i]->clean)
            HK_TRY(hk__guard(ctx, node->op, "backward: the gradient of", gin[i]));
    }
    return HK_OK;
}

hk_status hk_backward_from(hk_context *ctx, hk_tensor *y, hk_tensor *gy) {
    hk__node *last = hk__start_of(ctx, y, "backward");
    if (!last) return hk_error(ctx);
    if (!gy)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "backward", "no gradient of the result was given");
    HK_TRY(hk__check(ctx, gy, "backward"));
    if (!hk_shape_equal(y->shape, gy->shape) || y->dtype != gy->dtype) {
        char a[160], b[160];
        return hk_fail(ctx, HK_ERR_SHAPE, "backward", "y is %s and its gradient %s",
                       hk__tensor_text(y, a, sizeof a), hk__tensor_text(gy, b, sizeof b));
    }
    struct hk__tape *tape = ctx->tape;
    for (int64_t i = 0; i < tape->count; i++)
        for (int k = 0; k < tape->nodes[i]->n_out; k++) tape->nodes[i]->out[k]->grad = NULL;
    y->grad = gy;
    tape->reached_end = &tape->reached;
    tape->inside++;
    for (int64_t i = last->index; i >= 0 && ctx->status == HK_OK; i--)
        (void)node_backward(ctx, tape, tape->nodes[i]);
    forget_reached(tape, ctx->status == HK_OK);
    if (ctx->status == HK_OK && tape->after.first) hk__hooks_run(&tape->after, call_after, ctx);
    tape->inside--;
    ctx->stepped_backward = true;
    return ctx->status;
}

/* A 1 like the loss. */
static hk_tensor *seed_of(hk_context *ctx, const hk_tensor *loss) {
    if (!HK_ON_GPU(ctx)) return hk_full(ctx, loss->dtype, loss->shape, 1.0);
    hk_tensor *one = hk__header(ctx, loss->dtype, loss->shape);
    if (one) one->data = hk__gpu_one(ctx, loss->dtype);
    return one;
}

hk_status hk_backward(hk_context *ctx, hk_tensor *loss) {
    if (!hk__start_of(ctx, loss, "backward")) return hk_error(ctx);
    if (hk_shape_count(loss->shape) != 1) {
        char text[160];
        return hk_fail(ctx, HK_ERR_SHAPE, "backward",
                       "a loss has one element, this has %s; sum it, or use hk_backward_from",
                       hk__tensor_text(loss, text, sizeof text));
    }
    hk_tensor *one = seed_of(ctx, loss);
    return one ? hk_backward_from(ctx, loss, one) : ctx->status;
}
