/* buffers.c: named tensors of modules that are no parameters; finding tensors by name.
   SPDX-License-Identifier: MIT

   A buffer has its memory and value from its declaration on: no initialiser draws it, no optimizer moves it. */
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "module.h"
#include "values.h"

hk_tensor *hk_module_buffer(hk_module *m, const char *name, hk_dtype dtype, hk_shape shape,
                            double value) {
    hk_context *ctx = m->object.ctx;
    if (!m->building) {
        hk_fail(ctx, HK_ERR_STATE, m->cls->name, "buffer '%s' is declared outside of build", name);
        return NULL;
    }
    hk_tensor **buffers = realloc(m->buffers, sizeof *buffers * (size_t)(m->n_buffers + 1));
    if (buffers) m->buffers = buffers;
    char *path = hk__joined(m->name, m->name[0] ? "." : "", name);
    hk_tensor *t = buffers && path ? hk__kept_header(ctx, dtype, shape, path) : NULL;
    free(path);
    if (t)
        t->data = hk__values_alloc(ctx, (size_t)hk_shape_count(shape) * hk_dtype_size(dtype), true);
    if (!t || !t->data) {
        hk__kept_free(t);
        hk_fail(ctx, HK_ERR_MEMORY, "module", "no memory for buffer '%s'", name);
        return NULL;
    }
    t->storage = t->data;
    hk__fill(ctx, t, value);
    return m->buffers[m->n_buffers++] = t;
}

/* The buffers of m and of what is below it, once each: their number, the first, all of them in list unless that is
   NULL. */
static int collect(hk_module *m, hk_tensor **list, hk_tensor **first) {
    int count = 0;
    m->visited = true;
    for (int i = 0; i < m->n_buffers; i++) {
        if (!*first) *first = m->buffers[i];
        if (list) list[count] = m->buffers[i];
        count++;
    }
    for (int i = 0; i < m->n_children; i++)
        if (!m->children[i]->visited)
            count += collect(m->children[i], list ? list + count : NULL, first);
    return count;
}

hk_status hk__list_buffers(hk_module *root) {
    hk_tensor *first = NULL;
    const int count = collect(root, NULL, &first);
    hk__unvisit(root);
    root->all_buffers = calloc((size_t)count + 1, sizeof *root->all_buffers);
    if (!root->all_buffers) return hk_fail(root->object.ctx, HK_ERR_MEMORY, "module", "no memory");
    (void)collect(root, root->all_buffers, &first);
    hk__unvisit(root);
    return HK_OK;
}

/* Those of a part of the tree stand side by side in the root's list, as parameters do. */
hk_parameters hk_module_buffers(hk_module *m) {
    if (!m || hk__ensure_built(m, HK_UNKNOWN) != HK_OK) return (hk_parameters){0, NULL};
    hk_tensor *first = NULL, *const *items = hk__root(m)->all_buffers;
    const int count = collect(m, NULL, &first);
    hk__unvisit(m);
    while (first && *items != first) items++;
    return (hk_parameters){count, items};
}

bool hk_buffers_enable(hk_context *ctx, bool on) {
    if (!ctx) return false;
    const bool was = !ctx->buffers_off;
    if (was != on) hk__setting_flip(ctx, &ctx->buffers_off, 1);
    ctx->buffers_off = !on;
    return was;
}

bool hk_buffers_enabled(const hk_context *ctx) { return ctx && !ctx->buffers_off; }

static hk_tensor *find_in(hk_parameters all, const char *name) {
    for (int i = 0; i < all.count; i++)
        if (strcmp(hk_tensor_name(all.items[i]), name) == 0) return all.items[i];
    return NULL;
}

hk_tensor *hk_module_find(hk_module *m, const char *name) {
    hk_tensor *t = find_in(hk_module_parameters(m), name);
    if (!t) t = find_in(hk_module_buffers(m), name);
    if (!t && m)
        hk_fail(m->object.ctx, HK_ERR_NAME, "module_find", "there is no parameter or buffer '%s'",
                name);
    return t;
}
