/* rows.c: the layers of a network as people count them.
   SPDX-License-Identifier: MIT */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

/* Length of the path of what a module stands in: 6 of "3.body.0". */
static int parent_length(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? (int)(dot - path) : 0;
}

static bool is_sibling(const char *a, const char *b) {
    const int length = parent_length(a);
    return length == parent_length(b) && strncmp(a, b, (size_t)length) == 0;
}

static net_row *add(net_rows *r, hk_module *net) {
    net_row *more = realloc(r->item, ((size_t)r->count + 1) * sizeof *more);
    if (!more) {
        hk_fail(hk_module_context(net), HK_ERR_MEMORY, "rows", "no memory for %d layers", r->count);
        return NULL;
    }
    r->item = more;
    more[r->count] = (net_row){.activation_place = -1};
    return &more[r->count++];
}

/* The module's own matrix or filters: "NAME.weight", of two axes or more. */
static hk_tensor *weight_of(hk_module *net, const char *path) {
    const hk_parameters p = hk_module_parameters(net);
    const size_t length = strlen(path);
    for (int i = 0; i < p.count; i++) {
        const char *name = hk_tensor_name(p.items[i]);
        if (strncmp(name, path, length) == 0 && strcmp(name + length, ".weight") == 0 &&
            hk_tensor_rank(p.items[i]) >= 2)
            return p.items[i];
    }
    return NULL;
}

/* Behind the newest layer, if it stands in the same part and has none yet; else alone. */
static bool add_activation(net_rows *r, hk_module *net, const hk_module *m, const char *names,
                           int place) {
    const char *path = hk_module_name(m);
    net_row *at = r->count > 0 ? &r->item[r->count - 1] : NULL;
    if (!at || !at->path || at->activation || !is_sibling(at->path, path)) at = add(r, net);
    if (!at) return false;
    at->activation = path;
    at->activation_place = place;
    char name[ACTIVATION_NAME_MOST] = "activation";
    if (names) train_activation_name(names, place, name);
    snprintf(at->activation_name, sizeof at->activation_name, "%.*s", (int)strcspn(name, ":"),
             name);
    return true;
}

static bool walk(net_rows *r, hk_module *net, hk_module *m, const char *names, int *place) {
    if (strcmp(hk_module_kind(m), "activation") == 0)
        return add_activation(r, net, m, names, (*place)++);
    hk_tensor *weight = hk_module_child_count(m) == 0 ? weight_of(net, hk_module_name(m)) : NULL;
    if (weight) {
        net_row *at = add(r, net);
        if (!at) return false;
        at->path = hk_module_name(m);
        at->kind = hk_module_kind(m);
        at->weight = weight;
    }
    for (int i = 0; i < hk_module_child_count(m); i++)
        if (!walk(r, net, hk_module_child_at(m, i), names, place)) return false;
    return true;
}

bool rows_open(net_rows *r, hk_module *net, const char *names) {
    int place = 0;
    *r = (net_rows){0};
    if (!walk(r, net, net, names, &place)) return false;
    for (int i = 0; i < r->count; i++) {
        net_row *at = &r->item[i];
        if (at->path)
            snprintf(at->title, sizeof at->title, "%.32s %.20s%s%.32s", at->path, at->kind,
                     at->activation ? " + " : "", at->activation_name);
        else
            snprintf(at->title, sizeof at->title, "%.32s %.32s", at->activation,
                     at->activation_name);
    }
    return true;
}

void rows_close(net_rows *r) {
    free(r->item);
    *r = (net_rows){0};
}

hk_module *rows_module(hk_module *net, const char *path) {
    if (strcmp(hk_module_name(net), path) == 0) return net;
    for (int i = 0; i < hk_module_child_count(net); i++) {
        hk_module *found = rows_module(hk_module_child_at(net, i), path);
        if (found) return found;
    }
    return NULL;
}
