/* jvp.c: forward mode: the tape from its start to its end.
   SPDX-License-Identifier: MIT */
#include "tape.h"

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
        if (hk__carries_gradients(node->out[k])) return true;
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
    HK_TRY(hk__blame(ctx, node->op, node->op->jvp(&c)));
    for (int k = 0; k < node->n_out; k++) node->out[k]->tangent = tout[k];
    return HK_OK;
}

hk_tensor *hk_jvp(hk_context *ctx, hk_tensor *y, int n, hk_tensor *const *x, hk_tensor *const *v) {
    hk__node *last = hk__start_of(ctx, y, "jvp");
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
