/* residual.c: what two ways give is added: y = body(x) + shortcut(x), or body(x) + x.
   SPDX-License-Identifier: MIT */
#include "module.h"

/* Children: the body, and the shortcut if there is one. */
enum { BODY, SHORTCUT };

/* What is added must be of one shape: nothing broadcasts here, or a wrong body would pass unseen. */
static hk_status check_shapes(const hk_module *m, hk_shape body, hk_shape other) {
    bool equal = body.rank < 0 || other.rank < 0 || body.rank == other.rank;
    for (int i = 0; equal && body.rank >= 0 && i < other.rank; i++)
        equal = body.dim[i] < 0 || other.dim[i] < 0 || body.dim[i] == other.dim[i];
    if (equal) return HK_OK;
    char a[160], b[160];
    const bool has_shortcut = m->n_children > SHORTCUT;
    return hk_fail(m->object.ctx, HK_ERR_SHAPE, "residual",
                   "%s: the body gives %s but %s %s: to be added they must be equal%s",
                   hk__place_of(m), hk__shape_pattern(body, a, sizeof a),
                   has_shortcut ? "the shortcut" : "its input is",
                   hk__shape_pattern(other, b, sizeof b),
                   has_shortcut ? "" : "; a shortcut would bring the input to that shape");
}

static hk_status residual_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)state;
    /* The sum is what an activation behind it sees, so both ways start for that activation. */
    for (int i = 0; i < m->n_children; i++) {
        m->children[i]->following = m->following;
        HK_TRY(hk_module_shape(m->children[i], in, &m->child_outputs[i]));
    }
    const hk_shape body = m->child_outputs[BODY],
                   other = m->n_children > SHORTCUT ? m->child_outputs[SHORTCUT] : in;
    HK_TRY(check_shapes(m, body, other));
    *out = body.rank >= 0 ? body : other;
    for (int i = 0; i < out->rank && other.rank >= 0; i++)
        if (out->dim[i] < 0) out->dim[i] = other.dim[i];
    return HK_OK;
}

static hk_tensor *residual_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)state;
    hk_tensor *body = hk_forward(m->children[BODY], x);
    hk_tensor *other = m->n_children > SHORTCUT ? hk_forward(m->children[SHORTCUT], x) : x;
    if (!body || !other || check_shapes(m, body->shape, other->shape) != HK_OK) return NULL;
    return hk_add(body, other);
}

static const hk_module_class residual_class = {
    .name = "residual", .build = residual_build, .forward = residual_forward};

hk_module *hk_residual(hk_context *ctx, hk_module *body, hk_module *shortcut) {
    hk_module *m = hk_module_create(ctx, &residual_class, NULL);
    if (!m) return NULL;
    if (!body)
        hk_fail(ctx, HK_ERR_ARGUMENT, "residual", "the body is NULL");
    else if (hk_module_adopt(m, "body", body) && shortcut)
        hk_module_adopt(m, "shortcut", shortcut);
    return hk_error(ctx) == HK_OK ? m : NULL;
}
