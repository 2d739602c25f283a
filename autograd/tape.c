/* tape.c: recording, reverse mode, forward mode.
   SPDX-License-Identifier: MIT */
#include "tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void tape_reset(struct hk__tape *tape) { tape->count = 0; }

static void tape_free(struct hk__tape *tape) {
    hk__hooks_free(&tape->after);
    free(tape->nodes);
    free(tape);
}

/* A context gets its tape on first use, so that core need not know of it. */
static struct hk__tape *tape_of(hk_context *ctx) {
    if (!ctx->tape) {
        ctx->tape = calloc(1, sizeof *ctx->tape);
        if (!ctx->tape) {
            hk_fail(ctx, HK_ERR_MEMORY, "tape", "no memory for the tape");
            return NULL;
        }
        ctx->tape_reset = tape_reset;
        ctx->tape_free = tape_free;
    }
    return ctx->tape;
}

bool hk_grad_enable(hk_context *ctx, bool on) {
    struct hk__tape *tape = ctx ? tape_of(ctx) : NULL;
    if (!tape) return false;
    const bool was = !tape->off;
    tape->off = !on;
    return was;
}

void hk_nan_guard(hk_context *ctx, bool on) {
    struct hk__tape *tape = ctx ? tape_of(ctx) : NULL;
    if (tape) tape->nan_guard = on;
}

bool hk__nan_guarded(const hk_context *ctx) { return ctx->tape && ctx->tape->nan_guard; }

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
        hk__alloc((size_t)hk_shape_count(t->shape) * hk_dtype_size(t->dtype), false);
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
    memset(grad->data, 0, (size_t)hk_shape_count(grad->shape) * hk_dtype_size(grad->dtype));
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

/* --- recording --------------------------------------------------------------------------------------- */

/* Reports a failure of an op's function that did not say why itself. */
static hk_status blame(hk_context *ctx, const hk_op *op, hk_status status) {
    if (status != HK_OK && ctx->status == HK_OK)
        hk_fail(ctx, status, op->name, "%s", hk_status_meaning(status));
    return ctx->status;
}

static hk_status guard(hk_context *ctx, const hk_op *op, const char *what, hk_tensor *t) {
    const int64_t at = hk__first_nonfinite(ctx, t);
    if (at < 0) return HK_OK;
    char text[160];
    return hk_fail(ctx, HK_ERR_NONFINITE, op->name, "%s %s is not finite at element %lld", what,
                   hk__tensor_text(t, text, sizeof text), (long long)at);
}

static hk__node *append(hk_context *ctx, struct hk__tape *tape, const hk_op_call *c,
                        const hk_op *op) {
    if (tape->count == tape->capacity) {
        const int64_t capacity = tape->capacity ? 2 * tape->capacity : 64;
        hk__node **nodes = realloc(tape->nodes, (size_t)capacity * sizeof *nodes);
        if (!nodes) return NULL;
        tape->nodes = nodes;
        tape->capacity = capacity;
    }
    hk__node *node = hk__arena_alloc(&ctx->memory, sizeof *node);
    const int n = c->n_in + c->n_out;
    hk_tensor **refs = hk__arena_alloc(&ctx->memory, sizeof *refs * 2 * (size_t)n);
    if (!node || !refs) return NULL;
    memcpy(refs, c->in, sizeof *refs * (size_t)c->n_in);
    memcpy(refs + c->n_in, c->out, sizeof *refs * (size_t)c->n_out);
    *node = (hk__node){.op = op,
                       .attr = c->attr,
                       .n_in = c->n_in,
                       .n_out = c->n_out,
                       .in = refs,
                       .out = refs + c->n_in,
                       .gin = refs + n,
                       .gout = refs + n + c->n_in,
                       .version = ctx->version,
                       .index = tape->count};
    tape->nodes[tape->count++] = node;
    return node;
}

/* Runs forward and checks what it made. */
static hk_status run_forward(struct hk__tape *tape, const hk_op *op, hk_op_call *c) {
    tape->inside++;
    const hk_status status = op->forward(c);
    tape->inside--;
    HK_TRY(blame(c->ctx, op, status));
    for (int k = 0; k < c->n_out; k++) {
        if (!c->out[k])
            return hk_fail(c->ctx, HK_ERR_STATE, op->name, "forward made no output number %d", k);
        /* An op that hands back an input gives a tensor of its own, or the tape would bite its tail. */
        bool borrowed = c->out[k]->step == 0 || c->out[k]->node;
        for (int i = 0; i < c->n_in; i++) borrowed |= c->out[k] == c->in[i];
        if (borrowed) c->out[k] = hk__view(c->out[k]);
        if (!c->out[k]) return c->ctx->status;
        /* Not for operations inside of others: the one that the user called is to blame. */
        if (tape->nan_guard && tape->inside == 0)
            HK_TRY(guard(c->ctx, op, "forward: the result", c->out[k]));
    }
    return HK_OK;
}

static bool carries_gradients(const hk_tensor *t) {
    return t->dtype == HK_F32 || t->dtype == HK_F64;
}

hk_tensor *hk_apply(const hk_op *op, const void *attr, size_t attr_size, int n,
                    hk_tensor *const *in, int n_out, hk_tensor **outs) {
    hk_tensor *out[HK_OP_MAX_OUT] = {NULL};
    for (int k = 0; outs && k < n_out; k++) outs[k] = NULL;
    for (int i = 0; i < n; i++)
        if (!in[i]) return NULL;
    if (n < 1) return NULL;
    hk_context *ctx = in[0]->ctx;
    for (int i = 0; i < n; i++)
        if (hk__check(ctx, in[i], op->name) != HK_OK) return NULL;
    struct hk__tape *tape = tape_of(ctx);
    if (!tape) return NULL;
    if (n_out < 1 || n_out > HK_OP_MAX_OUT) {
        hk_fail(ctx, HK_ERR_ARGUMENT, op->name, "an operation has 1 to %d outputs", HK_OP_MAX_OUT);
        return NULL;
    }
    bool needed = false;
    if (!tape->off && tape->inside == 0)
        for (int i = 0; i < n; i++) needed |= in[i]->requires;
    void *copy = NULL;
    if (attr_size > 0) {
        copy = hk__arena_alloc(&ctx->memory, attr_size);
        if (!copy)
            hk_fail(ctx, HK_ERR_MEMORY, op->name, "no memory for attributes");
        else
            memcpy(copy, attr, attr_size);
    }
    hk_op_call c = {
        .ctx = ctx, .attr = copy, .n_in = n, .n_out = n_out, .in = in, .out = out, .op = op};
    if (ctx->status != HK_OK || run_forward(tape, op, &c) != HK_OK) return NULL;
    if (needed) {
        hk__node *node = append(ctx, tape, &c, op);
        if (!node) {
            hk_fail(ctx, HK_ERR_MEMORY, op->name, "no memory for the tape");
            return NULL;
        }
        for (int k = 0; k < n_out; k++) {
            out[k]->node = node;
            out[k]->requires = carries_gradients(out[k]);
        }
    }
    for (int k = 0; outs && k < n_out; k++) outs[k] = out[k];
    return out[0];
}

hk_tensor *hk_op_output(hk_op_call *c, int k, hk_dtype dtype, hk_shape shape) {
    if (k < 0 || k >= c->n_out) {
        hk_fail(c->ctx, HK_ERR_ARGUMENT, "op_output", "there is no output number %d", k);
        return NULL;
    }
    return c->out[k] = hk__empty(c->ctx, dtype, shape);
}

hk_status hk__need_real(hk_op_call *c, int first, int last) {
    const hk_dtype dtype = c->in[first]->dtype;
    for (int i = first; i <= last; i++) {
        if (c->in[i]->dtype == dtype && carries_gradients(c->in[i])) continue;
        return carries_gradients(c->in[i])
                   ? hk_fail(c->ctx, HK_ERR_DTYPE, c->op->name,
                             "element types differ: %s and %s; use hk_cast", hk_dtype_name(dtype),
                             hk_dtype_name(c->in[i]->dtype))
                   : hk_fail(c->ctx, HK_ERR_DTYPE, c->op->name,
                             "f32 or f64 is needed, not %s; use hk_cast",
                             hk_dtype_name(c->in[i]->dtype));
    }
    return HK_OK;
}

hk_status hk__shapes_differ(hk_op_call *c, const char *rule, const hk_tensor *a,
                            const hk_tensor *b) {
    char left[160], right[160];
    return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "%s: %s and %s", rule,
                   hk__tensor_text(a, left, sizeof left), hk__tensor_text(b, right, sizeof right));
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
    struct hk__tape *tape = ctx ? tape_of(ctx) : NULL;
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

/* The node that made y, if a gradient can start there. */
static hk__node *start_of(hk_context *ctx, hk_tensor *y, const char *where) {
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
    HK_TRY(blame(ctx, node->op, node->op->backward(&c)));
    for (int i = 0; i < node->n_in; i++) {
        if (!gin[i]) continue;
        if (gin[i]->step != 0) hk__grad_settle(gin[i]); /* an input the op did not touch: zero */
        if (tape->nan_guard && !gin[i]->clean)
            HK_TRY(guard(ctx, node->op, "backward: the gradient of", gin[i]));
    }
    return HK_OK;
}

hk_status hk_backward_from(hk_context *ctx, hk_tensor *y, hk_tensor *gy) {
    hk__node *last = start_of(ctx, y, "backward");
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

hk_status hk_backward(hk_context *ctx, hk_tensor *loss) {
    if (!start_of(ctx, loss, "backward")) return hk_error(ctx);
    if (hk_shape_count(loss->shape) != 1) {
        char text[160];
        return hk_fail(ctx, HK_ERR_SHAPE, "backward",
                       "a loss has one element, this has %s; sum it, or use hk_backward_from",
                       hk__tensor_text(loss, text, sizeof text));
    }
    hk_tensor *one = hk_full(ctx, loss->dtype, loss->shape, 1.0);
    return one ? hk_backward_from(ctx, loss, one) : ctx->status;
}

/* --- forward mode --------------------------------------------------------------------------------------- */

hk_tensor *hk__tangent_target(hk_op_call *c, int k, bool *accumulate) {
    *accumulate = c->tout[k] != NULL;
    if (!c->tout[k]) c->tout[k] = hk__empty(c->ctx, c->out[k]->dtype, c->out[k]->shape);
    return c->tout[k];
}

hk_status hk_op_add_tangent(hk_op_call *c, int k, hk_tensor *t) {
    if (!t || c->ctx->status != HK_OK)
        return c->ctx->status != HK_OK ? c->ctx->status : HK_ERR_ARGUMENT;
    hk_shape common;
    if (!hk__broadcast(c->out[k]->shape, t->shape, &common) ||
        !hk_shape_equal(common, c->out[k]->shape)) {
        char a[160], b[160];
        return hk_fail(c->ctx, HK_ERR_SHAPE, c->op->name, "a direction %s for an output %s",
                       hk__tensor_text(t, a, sizeof a), hk__tensor_text(c->out[k], b, sizeof b));
    }
    bool accumulate;
    hk_tensor *target = hk__tangent_target(c, k, &accumulate);
    if (target) hk__copy(c->ctx, target, t, accumulate);
    return c->ctx->status;
}

/* Masks and indices have none. */
static bool has_directions(const hk__node *node) {
    for (int k = 0; k < node->n_out; k++)
        if (carries_gradients(node->out[k])) return true;
    return false;
}

static hk_status node_jvp(hk_context *ctx, const hk__node *node) {
    hk_tensor **const tin = node->gin, **const tout = node->gout;
    bool reached = false;
    for (int k = 0; k < node->n_out; k++) tout[k] = NULL;
    for (int i = 0; i < node->n_in; i++) reached |= (tin[i] = node->in[i]->tangent) != NULL;
    if (!reached || !has_directions(node)) return HK_OK;
    if (node->version != ctx->version)
        return hk_fail(ctx, HK_ERR_GRADIENT, "jvp",
                       "%s was computed before the last optimizer step; run the forward pass again",
                       node->op->name);
    if (!node->op->jvp)
        return hk_fail(ctx, HK_ERR_GRADIENT, "jvp", "%s has no forward-mode derivative",
                       node->op->name);
    hk_op_call c = {.ctx = ctx,
                    .op = node->op,
                    .attr = node->attr,
                    .n_in = node->n_in,
                    .n_out = node->n_out,
                    .in = node->in,
                    .out = node->out,
                    .tin = tin,
                    .tout = tout};
    HK_TRY(blame(ctx, node->op, node->op->jvp(&c)));
    for (int k = 0; k < node->n_out; k++) node->out[k]->tangent = tout[k];
    return HK_OK;
}

hk_tensor *hk_jvp(hk_context *ctx, hk_tensor *y, int n, hk_tensor *const *x, hk_tensor *const *v) {
    hk__node *last = start_of(ctx, y, "jvp");
    if (!last) return NULL;
    for (int i = 0; i < n; i++) {
        if (!x[i] || !v[i] || hk__check(ctx, v[i], "jvp") != HK_OK) return NULL;
        if (hk_shape_equal(x[i]->shape, v[i]->shape) && x[i]->dtype == v[i]->dtype &&
            x[i]->requires)
            continue;
        char a[160], b[160];
        hk_fail(ctx, HK_ERR_SHAPE, "jvp", "direction %s for x %s, which must require a gradient",
                hk__tensor_text(v[i], a, sizeof a), hk__tensor_text(x[i], b, sizeof b));
        return NULL;
    }
    struct hk__tape *tape = ctx->tape;
    for (int64_t i = 0; i < tape->count; i++)
        for (int k = 0; k < tape->nodes[i]->n_out; k++) tape->nodes[i]->out[k]->tangent = NULL;
    for (int i = 0; i < n; i++) x[i]->tangent = v[i];
    tape->inside++;
    for (int64_t i = 0; i <= last->index && ctx->status == HK_OK; i++)
        (void)node_jvp(ctx, tape->nodes[i]);
    tape->inside--;
    for (int i = 0; i < n; i++) x[i]->tangent = NULL;
    if (ctx->status != HK_OK) return NULL;
    return y->tangent ? y->tangent : hk_full(ctx, y->dtype, y->shape, 0.0);
}
