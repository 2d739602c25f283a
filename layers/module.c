/* module.c: the tree of modules: describing it, building it, running it.
   SPDX-License-Identifier: MIT */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- making and freeing ------------------------------------------------------------------------------ */

static void module_free(hk__object *object) {
    hk_module *m = (hk_module *)object;
    if (m->cls->destroy) m->cls->destroy(m, m->state);
    for (int i = 0; i < m->n_slots; i++) {
        if (m->slots[i].t) hk__kept_free(m->slots[i].t->grad);
        hk__kept_free(m->slots[i].t);
        free(m->slots[i].stream);
    }
    for (int i = 0; i < m->n_children; i++) {
        hk_module *child = m->children[i];
        /* A module that stands in several places is freed with the first. */
        bool again = false;
        for (int k = 0; k < i; k++) again |= m->children[k] == child;
        if (!again) module_free(&child->object);
        free(m->child_names[i]);
    }
    for (int k = 0; k < 3; k++) free(m->list[k]);
    hk__free(m->weights);
    hk__free(m->grads);
    free(m->children);
    free(m->child_names);
    free(m->slots);
    free(m->name);
    free(m->stream);
    free(m->state);
    free(m);
}

void hk_module_destroy(hk_module *m) {
    if (!m || m->parent) return;
    hk__object_remove(&m->object);
    module_free(&m->object);
}

static hk_status no_memory(hk_context *ctx) { return hk_fail(ctx, HK_ERR_MEMORY, "module", "no memory"); }

hk_module *hk_module_create(hk_context *ctx, const hk_module_class *cls, const void *state) {
    if (!ctx || ctx->status != HK_OK) return NULL;
    hk_module *m = calloc(1, sizeof *m);
    void *copy = calloc(1, cls->state_size + 1);
    char *name = strdup(""), *stream = strdup("");
    if (!m || !copy || !name || !stream) {
        free(m);
        free(copy);
        free(name);
        free(stream);
        no_memory(ctx);
        return NULL;
    }
    if (state) memcpy(copy, state, cls->state_size);
    m->cls = cls;
    m->state = copy;
    m->name = name;
    m->stream = stream;
    m->training = true;
    m->output = HK_UNKNOWN;
    hk__object_add(ctx, &m->object, module_free);
    return m;
}

/* --- the tree ---------------------------------------------------------------------------------------------- */

hk_module *hk_module_adopt(hk_module *m, const char *name, hk_module *child) {
    if (!m || !child) return NULL;
    hk_context *ctx = m->object.ctx;
    if (child->object.ctx != ctx || (child->parent && child->parent != m) || child->built || child == m || m->built) {
        hk_fail(ctx, HK_ERR_STATE, m->cls->name, "member '%s' %s", name,
                child->object.ctx != ctx ? "is of another context"
                : child->built || m->built ? "is built already: describe first, build last"
                                         : "belongs to another module already");
        return NULL;
    }
    hk_module **children = realloc(m->children, sizeof *children * (size_t)(m->n_children + 1));
    if (children) m->children = children;
    char **names = realloc(m->child_names, sizeof *names * (size_t)(m->n_children + 1));
    if (names) m->child_names = names;
    char *copy = strdup(name);
    if (!children || !names || !copy) {
        free(copy);
        no_memory(ctx);
        return NULL;
    }
    m->children[m->n_children] = child;
    m->child_names[m->n_children++] = copy;
    if (!child->parent) hk__object_remove(&child->object);
    child->object.ctx = ctx;
    child->parent = m;
    return child;
}

hk_module *hk__root(hk_module *m) {
    while (m->parent) m = m->parent;
    return m;
}

static char *joined(const char *a, const char *separator, const char *b) {
    const size_t size = strlen(a) + strlen(separator) + strlen(b) + 1;
    char *text = malloc(size);
    if (text) snprintf(text, size, "%s%s%s", a, separator, b);
    return text;
}

/* How many siblings of its class stand before the child in its parent. */
static int ordinal_of(const hk_module *child) {
    int ordinal = 0;
    const hk_module *parent = child->parent;
    for (int i = 0; i < parent->n_children && parent->children[i] != child; i++)
        ordinal += strcmp(parent->children[i]->cls->name, child->cls->name) == 0;
    return ordinal;
}

/* Names a child by its parent, which has its own name by now. */
static hk_status name_child(hk_module *child) {
    const hk_module *parent = child->parent;
    const char *name = "";
    for (int i = parent->n_children - 1; i >= 0; i--)
        if (parent->children[i] == child) name = parent->child_names[i];
    char own[96];
    snprintf(own, sizeof own, "%s%d", child->cls->name, ordinal_of(child));
    char *path = joined(parent->name, parent->name[0] ? "." : "", name);
    char *stream = joined(parent->stream, parent->stream[0] ? "." : "", own);
    if (!path || !stream) {
        free(path);
        free(stream);
        return no_memory(child->object.ctx);
    }
    free(child->name);
    free(child->stream);
    child->name = path;
    child->stream = stream;
    return HK_OK;
}

hk_status hk_module_shape(hk_module *child, hk_shape in, hk_shape *out) {
    if (!child) return HK_ERR_ARGUMENT;
    if (child->built) { /* stands in a second place: its parameters are shared */
        *out = child->output;
        return HK_OK;
    }
    if (child->parent) HK_TRY(name_child(child));
    child->training = hk__root(child)->training;
    child->building = true;
    *out = in;
    const hk_status status = child->cls->build(child, child->state, in, out);
    child->building = false;
    if (status != HK_OK)
        return hk_fail(child->object.ctx, status, child->cls->name, "%s: %s", child->name,
                       hk_status_meaning(status));
    HK_TRY(child->object.ctx->status);
    child->built = true;
    child->output = *out;
    return HK_OK;
}

hk_tensor *hk_module_parameter(hk_module *m, const char *name, hk_shape shape, hk_init init) {
    hk_context *ctx = m->object.ctx;
    if (!m->building) {
        hk_fail(ctx, HK_ERR_STATE, m->cls->name, "parameter '%s' is declared outside of build", name);
        return NULL;
    }
    hk__slot *slots = realloc(m->slots, sizeof *slots * (size_t)(m->n_slots + 1));
    if (slots) m->slots = slots;
    char *path = joined(m->name, m->name[0] ? "." : "", name);
    char *own = joined(m->stream, ".", name), *stream = own ? joined("init/", "", own) : NULL;
    hk_tensor *t = slots && path && stream ? hk__kept_header(ctx, ctx->config.dtype, shape, path) : NULL;
    hk_tensor *grad = t ? hk__kept_header(ctx, ctx->config.dtype, shape, path) : NULL;
    free(path);
    free(own);
    if (!grad) {
        hk__kept_free(t);
        free(stream);
        if (ctx->status == HK_OK) no_memory(ctx);
        return NULL;
    }
    t->grad = grad;
    t->requires = true;
    m->slots[m->n_slots++] = (hk__slot){t, init, stream};
    return t;
}

/* --- building: all parameters side by side in one buffer, gradients alike in another -------------------------- */

typedef hk_status visit(hk_module *m, hk__slot *slot, void *arg);

static hk_status walk(hk_module *m, visit *fn, void *arg) {
    m->visited = true;
    hk_status status = HK_OK;
    for (int i = 0; status == HK_OK && i < m->n_slots; i++) status = fn(m, &m->slots[i], arg);
    for (int i = 0; status == HK_OK && i < m->n_children; i++)
        if (!m->children[i]->visited) status = walk(m->children[i], fn, arg);
    return status;
}

void hk__unvisit(hk_module *m) {
    m->visited = false;
    for (int i = 0; i < m->n_children; i++) hk__unvisit(m->children[i]);
}

/* Every slot of the tree once, in order of declaration. */
static hk_status for_each_slot(hk_module *root, visit *fn, void *arg) {
    const hk_status status = walk(root, fn, arg);
    hk__unvisit(root);
    return status;
}

typedef struct layout {
    hk_module *root;
    size_t bytes;
    int count;
} layout;

static hk_status measure(hk_module *m, hk__slot *slot, void *arg) {
    (void)m;
    layout *l = arg;
    const size_t bytes = (size_t)hk_shape_count(slot->t->shape) * hk_dtype_size(slot->t->dtype);
    l->bytes += (bytes + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    l->count++;
    return HK_OK;
}

static hk_status place(hk_module *m, hk__slot *slot, void *arg) {
    layout *l = arg;
    slot->t->data = (char *)l->root->weights + l->bytes;
    slot->t->grad->data = (char *)l->root->grads + l->bytes;
    slot->t->grad->clean = true;
    const int kind = m->cls == &hk__activation_class ? HK_OF_ACTIVATIONS : HK_OF_WEIGHTS;
    l->root->list[0][l->root->count[0]++] = slot->t;
    l->root->list[kind][l->root->count[kind]++] = slot->t;
    return measure(m, slot, arg);
}

static hk_status initialise(hk_module *m, hk__slot *slot, void *arg) {
    return hk__initialise(m, slot, ((layout *)arg)->root->init_name);
}

static hk_status build_tree(hk_module *root, hk_shape input) {
    hk_shape out;
    HK_TRY(hk_module_shape(root, input, &out));
    layout l = {.root = root};
    HK_TRY(for_each_slot(root, measure, &l));
    root->weights = hk__alloc(l.bytes, true);
    root->grads = hk__alloc(l.bytes, true);
    bool ok = root->weights && root->grads;
    for (int k = 0; k < 3; k++) {
        root->list[k] = calloc((size_t)l.count + 1, sizeof **root->list);
        ok = ok && root->list[k];
    }
    if (!ok) return no_memory(root->object.ctx);
    l.bytes = 0;
    HK_TRY(for_each_slot(root, place, &l));
    return for_each_slot(root, initialise, &l);
}

hk_status hk_module_build(hk_module *m, hk_shape input, const char *init) {
    if (!m) return HK_ERR_ARGUMENT;
    hk_context *ctx = m->object.ctx;
    HK_TRY(ctx->status);
    if (m->parent || m->built)
        return hk_fail(ctx, HK_ERR_STATE, "module_build", "%s",
                       m->built ? "the module is built already" : "build the root of the tree");
    HK_TRY(hk__init_check(ctx, init));
    m->init_name = init ? init : "auto";
    return build_tree(m, input);
}

hk_status hk__ensure_built(hk_module *m, hk_shape input) {
    hk_module *root = hk__root(m);
    return root->built ? root->object.ctx->status : hk_module_build(root, input, NULL);
}

/* --- running ----------------------------------------------------------------------------------------------------- */

hk_tensor *hk_forward(hk_module *m, hk_tensor *x) {
    if (!m || !x) return NULL;
    if (hk__check(m->object.ctx, x, m->cls->name) != HK_OK) return NULL;
    if (!m->built) {
        hk_shape input = x->shape;
        if (input.rank > 0) input.dim[0] = -1;
        if (m->parent) input = HK_UNKNOWN; /* x is the input of a part */
        if (hk__ensure_built(m, input) != HK_OK) return NULL;
    }
    return m->cls->forward(m, m->state, x);
}

static void set_training(hk_module *m, bool training) {
    m->training = training;
    for (int i = 0; i < m->n_children; i++) set_training(m->children[i], training);
}

bool hk_module_train(hk_module *m, bool training) {
    if (!m) return false;
    const bool was = m->training;
    set_training(m, training);
    return was;
}

bool hk_module_is_training(const hk_module *m) { return m && m->training; }

/* --- looking ------------------------------------------------------------------------------------------------------ */

hk_parameters hk_module_parameters_of(hk_module *m, int kind) {
    if (!m || kind < 0 || kind > 2 || hk__ensure_built(m, HK_UNKNOWN) != HK_OK)
        return (hk_parameters){0, NULL};
    const hk_module *root = hk__root(m);
    return (hk_parameters){root->count[kind], root->list[kind]};
}

hk_parameters hk_module_parameters(hk_module *m) { return hk_module_parameters_of(m, 0); }

hk_tensor *hk_module_find(hk_module *m, const char *name) {
    const hk_parameters all = hk_module_parameters(m);
    for (int i = 0; i < all.count; i++)
        if (strcmp(hk_tensor_name(all.items[i]), name) == 0) return all.items[i];
    if (m) hk_fail(m->object.ctx, HK_ERR_NAME, "module_find", "there is no parameter '%s'", name);
    return NULL;
}

const char *hk_module_name(const hk_module *m) { return m ? m->name : ""; }
const char *hk_module_kind(const hk_module *m) { return m ? m->cls->name : ""; }
int hk_module_child_count(const hk_module *m) { return m ? m->n_children : 0; }
hk_module *hk_module_child_at(const hk_module *m, int i) {
    return m && i >= 0 && i < m->n_children ? m->children[i] : NULL;
}
hk_context *hk_module_context(const hk_module *m) { return m ? m->object.ctx : NULL; }
void *hk_module_state(hk_module *m) { return m ? m->state : NULL; }

/* --- gradient check ------------------------------------------------------------------------------------------------ */

static hk_tensor *run_module(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    return hk_forward(arg, in[0]);
}

hk_status hk_gradcheck_module(hk_module *m, hk_tensor *x, const hk_gradcheck_config *config,
                              hk_gradcheck_result *result) {
    if (!m || !x) return HK_ERR_ARGUMENT;
    hk_context *ctx = m->object.ctx;
    hk_shape input = x->shape;
    if (input.rank > 0) input.dim[0] = -1;
    HK_TRY(hk__ensure_built(m, input));
    const hk_parameters all = hk_module_parameters(m);
    hk_tensor **in = malloc(sizeof *in * (size_t)(all.count + 1));
    if (!in) return no_memory(ctx);
    in[0] = x;
    for (int i = 0; i < all.count; i++) in[1 + i] = all.items[i];
    const hk_status status = hk_gradcheck(ctx, run_module, m, 1 + all.count, in, config, result);
    free(in);
    return status;
}
