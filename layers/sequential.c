/* sequential.c: modules one after the other.
   SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "conv_block.h"
#include "linear_block.h"

static const hk_module_class sequential_class;

/* Whether the members of m, from number i on, decide which activation comes next: *found, NULL if another
   module comes first. What only passes elements on is looked through, sequentials are looked into. */
static bool first_activation(const hk_module *m, int i, hk_module **found) {
    for (; i < m->n_children; i++) {
        hk_module *next = m->children[i];
        if (next->cls == &sequential_class) {
            if (first_activation(next, 0, found)) return true;
        } else if (!next->cls->passes_on) {
            *found = next->cls == &hk__activation_class ? next : NULL;
            return true;
        }
    }
    return false;
}

/* Which activation the output of member i goes to. */
static hk_module *activation_after(const hk_module *m, int i) {
    hk_module *found = NULL;
    return first_activation(m, i + 1, &found) ? found : m->following;
}

static hk_status sequential_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)state;
    hk_shape shape = in;
    for (int i = 0; i < m->n_children; i++) {
        if (!m->children[i]->built) m->children[i]->following = activation_after(m, i);
        HK_TRY(hk_module_shape(m->children[i], shape, &shape));
        m->child_outputs[i] = shape;
    }
    *out = shape;
    return HK_OK;
}

static hk_tensor *sequential_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)state;
    for (int i = 0, taken; i < m->n_children; i += taken) {
        hk_module *const *members = m->children + i;
        const int left = m->n_children - i;
        if ((taken = hk__conv_block_length(members, left)) > 0)
            x = hk__conv_block_forward(members, x);
        else if ((taken = hk__linear_block_length(members, left)) > 0)
            x = hk__linear_block_forward(members, x);
        else
            x = hk_forward(members[0], x), taken = 1;
    }
    return x;
}

static const hk_module_class sequential_class = {
    .name = "sequential", .build = sequential_build, .forward = sequential_forward};

hk_module *hk_sequential_n(hk_context *ctx, int n, hk_module *const *members) {
    hk_module *m = hk_module_create(ctx, &sequential_class, NULL);
    for (int i = 0; m && i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (!members[i])
            hk_fail(ctx, HK_ERR_ARGUMENT, "sequential", "member %d of %d is NULL", i, n);
        else
            hk_module_adopt(m, name, members[i]);
        if (hk_error(ctx) != HK_OK) return NULL;
    }
    return m;
}
