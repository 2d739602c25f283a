/* module.c: the tree of modules: describing it, building it, running it.
   SPDX-License-Identifier: MIT */
#include "module.h"
#include "values.h"

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
    for (int i = 0; i < m->n_buffers; i++) hk__kept_free(m->buffers[i]);
    for (int i = 0; i < m->n_children; i++) {
        hk_module *child = m->children[i];
        /* A module that stands in several places is freed with the first. */
        bool again = false;
        for (int k = 0; k < i; k++) again |= m->children[k] == child;
        if (!again) module_free(&child->object);
        free(m->child_names[i]);
    }
    for (int k = 0; k < 3; k++) free(m->list[k]);
    hk__values_free(m->object.ctx, m->weights);
    hk__values_free(m->object.ctx, m->grads);
    free(m->children);
    free(m->child_names);
    free(m->child_outputs);
    free(m->slots);
    free(m->buffers);
    free(m->all_buffers);
    free(m->name);
    free(m->stream);
    free(m->state);
    hk__hooks_free(&m->before);
    hk__hooks_free(&m->after);
    free(m);
}

void hk_module_destroy(hk_module *m) {
    if (!m || m->parent) return;
    hk__object_remove(&m->object);
    module_free(&m->object);
}

static hk_status no_memory(hk_context *ctx) {
    return hk_fail(ctx, HK_ERR_MEMORY, "module", "no memory");
}

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
    m->input = m->output = HK_UNKNOWN;
    hk__object_add(ctx, &m->object, module_free);
    return m;
}

/* --- the tree ---------------------------------------------------------------------------------------------- */

static void set_training(hk_module *m, bool training) {
    if (m->training != training) hk__setting_flip(m->object.ctx, m, 1);
    m->training = training;
    for (int i = 0; i < m->n_children; i++) set_training(m->children[i], training);
}

/* Why m cannot take the child; NULL if it can. */
static const char *objection(const hk_module *m, const hk_module *child) {
    if (child->object.ctx != m->object.ctx) return "is of another context";
    if (child->built) return "is built already: describe first, build last";
    if (child->parent && child->parent != m) return "belongs to another module already";
    for (const hk_module *above = m; above; above = above->parent)
        if (above == child) return "would contain itself";
    return NULL;
}

hk_module *hk_module_adopt(hk_module *m, const char *name, hk_module *child) {
    if (!m || !child) return NULL;
    hk_context *ctx = m->object.ctx;
    const char *why = objection(m, child);
    if (why)
        hk_fail(ctx, HK_ERR_STATE, m->cls->name, "member '%s' %s", name, why);
    else if (m->built)
        hk_fail(ctx, HK_ERR_STATE, m->cls->name, "%s is built already: it can take no member '%s'",
                hk__place_of(m), name);
    if (why || m->built) return NULL;
    hk_module **children = realloc(m->children, sizeof *children * (size_t)(m->n_children + 1));
    if (children) m->children = children;
    char **names = realloc(m->child_names, sizeof *names * (size_t)(m->n_children + 1));
    if (names) m->child_names = names;
    hk_shape *outputs = realloc(m->child_outputs, sizeof *outputs * (size_t)(m->n_children + 1));
    if (outputs) m->child_outputs = outputs;
    char *copy = strdup(name);
    if (!children || !names || !outputs || !copy) {
        free(copy);
        no_memory(ctx);
        return NULL;
    }
    m->children[m->n_children] = child;
    m->child_outputs[m->n_children] = HK_UNKNOWN;
    m->child_names[m->n_children++] = copy;
    if (!child->parent) hk__object_remove(&child->object);
    child->parent = m;
    if (!m->training) set_training(child, false);
    return child;
}

hk_module *hk__root(hk_module *m) {
    while (m->parent) m = m->parent;
    return m;
}

char *hk__joined(const char *a, const char *separator, const char *b) {
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
    char *path = hk__joined(parent->name, parent->name[0] ? "." : "", name);
    char *stream = hk__joined(parent->stream, parent->stream[0] ? "." : "", own);
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

/* In a second place: the parameters are shared, so build, which declares them, must not run again. */
static hk_status shape_again(hk_module *m, hk_shape in, hk_shape *out) {
    const bool same = hk_shape_equal(in, m->input);
    *out = same ? m->output : HK_UNKNOWN;
    return same || !m->cls->shape ? HK_OK : m->cls->shape(m, m->state, in, out);
}

hk_status hk_module_shape(hk_module *child, hk_shape in, hk_shape *out) {
    if (!child) return HK_ERR_ARGUMENT;
    if (child->built) return shape_again(child, in, out);
    if (child->parent) HK_TRY(name_child(child));
    child->building = true;
    *out = in;
    const hk_module_class *cls = child->cls;
    const hk_status status = (cls->build ? cls->build : cls->shape)(child, child->state, in, out);
    child->building = false;
    if (status != HK_OK)
        return hk_fail(child->object.ctx, status, child->cls->name, "%s: %s", hk__place_of(child),
                       hk_status_meaning(status));
    HK_TRY(child->object.ctx->status);
    child->built = true;
    child->input = in;
    child->output = *out;
    return HK_OK;
}

hk_tensor *hk_module_parameter(hk_module *m, const char *name, hk_shape shape, hk_init init) {
    hk_context *ctx = m->object.ctx;
    if (!m->building) {
        hk_fail(ctx, HK_ERR_STATE, m->cls->name, "parameter '%s' is declared outside of build",
                name);
        return NULL;
    }
    hk__slot *slots = realloc(m->slots, sizeof *slots * (size_t)(m->n_slots + 1));
    if (slots) m->slots = slots;
    char *path = hk__joined(m->name, m->name[0] ? "." : "", name);
    char *own = hk__joined(m->stream, ".", name),
         *stream = own ? hk__joined("init/", "", own) : NULL;
    hk_tensor *t =
        slots && path && stream ? hk__kept_header(ctx, ctx->config.dtype, shape, path) : NULL;
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

static int kind_of(const hk_module *m) {
    return m->cls == &hk__activation_class ? HK_OF_ACTIVATIONS : HK_OF_WEIGHTS;
}

static hk_status place(hk_module *m, hk__slot *slot, void *arg) {
    layout *l = arg;
    slot->t->data = (char *)l->root->weights + l->bytes;
    slot->t->grad->data = (char *)l->root->grads + l->bytes;
    slot->t->grad->clean = true;
    const int kind = kind_of(m);
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
    root->weights = hk__values_alloc(root->object.ctx, l.bytes, true);
    root->grads = hk__values_alloc(root->object.ctx, l.bytes, true);
    bool ok = root->weights && root->grads;
    for (int k = 0; k < 3; k++) {
        root->list[k] = calloc((size_t)l.count + 1, sizeof **root->list);
        ok = ok && root->list[k];
    }
    if (!ok) return no_memory(root->object.ctx);
    HK_TRY(hk__list_buffers(root));
    l.bytes = 0;
    HK_TRY(for_each_slot(root, place, &l));
    return for_each_slot(root, initialise, &l);
}

/* Half of a tree is of no use: its parameters have no memory. */
static void give_up(hk_module *m) {
    m->built = false;
    m->failed = true;
    for (int i = 0; i < m->n_children; i++) give_up(m->children[i]);
}

hk_status hk_module_build(hk_module *m, hk_shape input, const char *init) {
    if (!m) return HK_ERR_ARGUMENT;
    hk_context *ctx = m->object.ctx;
    HK_TRY(ctx->status);
    if (m->parent || m->built || m->failed)
        return hk_fail(ctx, HK_ERR_STATE, "module_build", "%s",
                       m->parent  ? "build the root of the tree"
                       : m->built ? "the module is built already"
                                  : "an earlier build failed; describe the module anew");
    HK_TRY(hk__init_check(ctx, init));
    m->init_name = init ? init : "auto";
    const hk_status status = build_tree(m, input);
    if (status != HK_OK) give_up(m);
    return status;
}

hk_status hk__ensure_built(hk_module *m, hk_shape input) {
    hk_module *root = hk__root(m);
    if (root->built) return root->object.ctx->status;
    return hk_module_build(root, m == root ? input : HK_UNKNOWN, NULL);
}

/* --- running ----------------------------------------------------------------------------------------------------- */

hk_tensor *hk_forward(hk_module *m, hk_tensor *x) {
    if (!m || !x) return NULL;
    if (hk__check(m->object.ctx, x, m->cls->name) != HK_OK) return NULL;
    if (!m->built) {
        hk_shape input = x->shape;
        if (input.rank > 0) input.dim[0] = -1;
        if (hk__ensure_built(m, input) != HK_OK) return NULL;
    }
    hk__run_hooks(m, &m->before, x, NULL);
    hk_tensor *y = m->cls->forward(m, m->state, x);
    if (y) hk__run_hooks(m, &m->after, x, y);
    return y;
}

bool hk_module_train(hk_module *m, bool training) {
    if (!m) return false;
    const bool was = m->training;
    set_training(m, training);
    return was;
}

bool hk_module_is_training(const hk_module *m) { return m && m->training; }

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* Parameters of one kind in a part of the tree. They stand side by side in the root's list, as a module can
   be shared only within one parent. */
typedef struct part {
    int kind, count;
    const hk_tensor *first;
} part;

static hk_status tally(hk_module *m, hk__slot *slot, void *arg) {
    part *p = arg;
    if (p->kind != 0 && p->kind != kind_of(m)) return HK_OK;
    if (!p->first) p->first = slot->t;
    p->count++;
    return HK_OK;
}

hk_parameters hk_module_parameters_of(hk_module *m, int kind) {
    if (!m || kind < 0 || kind > 2 || hk__ensure_built(m, HK_UNKNOWN) != HK_OK)
        return (hk_parameters){0, NULL};
    part p = {.kind = kind};
    (void)for_each_slot(m, tally, &p);
    hk_tensor *const *items = hk__root(m)->list[kind];
    while (p.first && *items != p.first) items++;
    return (hk_parameters){p.count, items};
}

hk_parameters hk_module_parameters(hk_module *m) { return hk_module_parameters_of(m, 0); }

const char *hk_module_name(const hk_module *m) { return m ? m->name : ""; }
const char *hk_module_kind(const hk_module *m) { return m ? m->cls->name : ""; }
int hk_module_child_count(const hk_module *m) { return m ? m->n_children : 0; }
hk_module *hk_module_child_at(const hk_module *m, int i) {
    return m && i >= 0 && i < m->n_children ? m->children[i] : NULL;
}
hk_context *hk_module_context(const hk_module *m) { return m ? m->object.ctx : NULL; }
void *hk_module_state(hk_module *m) { return m ? m->state : NULL; }
