/* tape.c: recording: operations run, and are appended to the tape.
   SPDX-License-Identifier: MIT */
#include "tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"

static void tape_reset(struct hk__tape *tape) { tape->count = 0; }

static void tape_free(struct hk__tape *tape) {
    hk__hooks_free(&tape->after);
    free(tape->nodes);
    free(tape);
}

/* A context gets its tape on first use, so that core need not know of it. */
struct hk__tape *hk__tape_of(hk_context *ctx) {
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
    struct hk__tape *tape = ctx ? hk__tape_of(ctx) : NULL;
    if (!tape) return false;
    const bool was = !tape->off;
    if (was != on) hk__setting_flip(ctx, tape, 1);
    tape->off = !on;
    return was;
}

void hk_nan_guard(hk_context *ctx, bool on) {
    struct hk__tape *tape = ctx ? hk__tape_of(ctx) : NULL;
    if (!tape || tape->nan_guard == on) return;
    hk__setting_flip(ctx, tape, 2);
    tape->nan_guard = on;
}

bool hk__nan_guarded(const hk_context *ctx) { return ctx->tape && ctx->tape->nan_guard; }

/* --- recording --------------------------------------------------------------------------------------- */

hk_status hk__blame(hk_context *ctx, const hk_op *op, hk_status status) {
    if (status != HK_OK && ctx->status == HK_OK)
        hk_fail(ctx, status, op->name, "%s", hk_status_meaning(status));
    return ctx->status;
}

hk_status hk__guard(hk_context *ctx, const hk_op *op, const char *what, hk_tensor *t) {
    if (HK_ON_GPU(ctx)) hk__gpu_eager(ctx, "the NaN guard looks in");
    const int64_t at = hk__first_nonfinite(ctx, t);
    if (at < 0) return ctx->status;
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
    const char *outer = HK_ON_GPU(c->ctx) ? hk__gpu_in(c->ctx, op->name) : NULL;
    const hk_status status = op->forward(c);
    if (HK_ON_GPU(c->ctx)) hk__gpu_in(c->ctx, outer);
    tape->inside--;
    HK_TRY(hk__blame(c->ctx, op, status));
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
            HK_TRY(hk__guard(c->ctx, op, "forward: the result", c->out[k]));
    }
    return HK_OK;
}

bool hk__carries_gradients(const hk_tensor *t) { return t->dtype == HK_F32 || t->dtype == HK_F64; }

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
    struct hk__tape *tape = hk__tape_of(ctx);
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
            out[k]->requires = hk__carries_gradients(out[k]);
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
        if (c->in[i]->dtype == dtype && hk__carries_gradients(c->in[i])) continue;
        return hk__carries_gradients(c->in[i])
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
