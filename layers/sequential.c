/* sequential.c: modules one after the other.
   SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "module.h"

/* Which activation the output of member i goes to: the next one, before any other module that has an
   activation of its own to look forward to. What only passes elements on is looked through. */
static hk_module *activation_after(const hk_module *m, int i) {
    for (int k = i + 1; k < m->n_children; k++) {
        hk_module *next = m->children[k];
        if (next->cls == &hk__activation_class) return next;
        if (!hk__passes_on(next)) return NULL;
    }
    return m->following;
}

static hk_status sequential_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)state;
    hk_shape shape = in;
    for (int i = 0; i < m->n_children; i++) {
        m->children[i]->following = activation_after(m, i);
        HK_TRY(hk_module_shape(m->children[i], shape, &shape));
    }
    *out = shape;
    return HK_OK;
}

static hk_tensor *sequential_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)state;
    for (int i = 0; i < m->n_children; i++) x = hk_forward(m->children[i], x);
    return x;
}

static const hk_module_class sequential_class = {"sequential", 0, sequential_build, sequential_forward, NULL};

hk_module *hk_sequential_n(hk_context *ctx, int n, hk_module *const *members) {
    hk_module *m = hk_module_create(ctx, &sequential_class, NULL);
    for (int i = 0; m && i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        if (!members[i])
            hk_fail(ctx, HK_ERR_ARGUMENT, "sequential", "member %d of %d is NULL", i, n);
        else hk_module_adopt(m, name, members[i]);
        if (hk_error(ctx) != HK_OK) return NULL;
    }
    return m;
}
