/* units.c: dead, dormant, constant and saturated units: hooks that see each activation's input and output.
   SPDX-License-Identifier: MIT

   Which layer stands before an activation is not read from the tree, but seen as tensors pass by: an activation whose
   input is what a linear layer gave stands behind it, wherever both are. */
#include "units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "values.h"

/* --- making and freeing ------------------------------------------------------------------------------------- */

static void free_place(hk_context *ctx, hk__units_place *p) {
    if (!p) return;
    hk__unit_sums_free(ctx, &p->h);
    hk__unit_sums_free(ctx, &p->z);
    hk__values_free(ctx, p->steepest);
    free(p->was_dead);
    free(p->name);
    free(p->unit);
    free(p);
}

static void units_free(hk__object *object) {
    hk_units *u = (hk_units *)object;
    for (int i = 0; u->net && u->hooks && i < u->n_modules; i++) hk_hook_remove(u->hooks[i]);
    for (int i = 0; i < u->n_places; i++) free_place(u->object.ctx, u->places[i]);
    free(u->places);
    free(u->modules);
    free(u->was_training);
    free(u->hooks);
    free(u->made);
    free(u);
}

void hk_units_destroy(hk_units *units) {
    if (!units) return;
    hk__object_remove(&units->object);
    units_free(&units->object);
}

static hk_status no_memory(hk_context *ctx) {
    return hk_fail(ctx, HK_ERR_MEMORY, "units", "no memory");
}

/* Every module of the tree once: into list unless that is NULL; how many. */
static int list_modules(hk_module *m, hk_module **list, int n) {
    if (m->visited) return n;
    m->visited = true;
    if (list) list[n] = m;
    n++;
    for (int i = 0; i < m->n_children; i++) n = list_modules(m->children[i], list, n);
    return n;
}

static bool is_kind(const hk_module *m, const char *const *kinds) {
    for (; *kinds; kinds++)
        if (strcmp(m->cls->name, *kinds) == 0) return true;
    return false;
}
static bool is_source(const hk_module *m) {
    return is_kind(m, (const char *const[]){"linear", "conv2d", "conv_transpose2d", NULL});
}
static bool is_norm(const hk_module *m) {
    return is_kind(
        m, (const char *const[]){"batch_norm1d", "batch_norm2d", "layer_norm", "group_norm", NULL});
}

static hk_status settle(hk_context *ctx, const hk_units_config *given, hk_units_config *config) {
    *config = given ? *given : (hk_units_config){.slope = 0};
    if (config->saturation == 0) config->saturation = 0.05;
    if (config->saturated == 0) config->saturated = 0.95;
    if (config->tau == 0) config->tau = 0.025;
    if (config->tau < 0) config->tau = 0;
    if (config->threshold == 0) config->threshold = 0.01;
    const bool shares = config->saturation > 0 && config->saturation <= 1 &&
                        config->saturated > 0 && config->saturated < 1;
    if (!shares)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "units",
                       "saturation must be in (0, 1] and saturated in (0, 1), not %g and %g",
                       config->saturation, config->saturated);
    if (!(config->slope <= HUGE_VAL && config->tau <= HUGE_VAL && config->threshold > 0))
        return hk_fail(ctx, HK_ERR_ARGUMENT, "units",
                       "slope and tau must be numbers and threshold above 0, not %g, %g and %g",
                       config->slope, config->tau, config->threshold);
    return HK_OK;
}

static void see(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg);

/* The network is destroyed, and all hooks of it end. */
static void net_ended(void *arg) { ((hk_units *)arg)->net = NULL; }

/* Hooks of everything that is to be seen, off. */
static hk_status watch(hk_units *u) {
    int activations = 0;
    for (int i = 0; i < u->n_modules; i++) {
        hk_module *m = u->modules[i];
        const bool is_activation = m->cls == &hk__activation_class;
        activations += is_activation;
        if (!is_activation && !is_source(m) && !is_norm(m)) continue;
        u->hooks[i] = hk_hook_forward(m, see, u);
        hk_hook_enable(u->hooks[i], false);
        if (u->hooks[i]) u->hooks[i]->ended = net_ended;
    }
    HK_TRY(u->object.ctx->status);
    return activations > 0 ? HK_OK
                           : hk_fail(u->object.ctx, HK_ERR_ARGUMENT, "units",
                                     "there is no activation module: nothing to count");
}

hk_units *hk_units_create(hk_module *net, const hk_units_config *config) {
    if (!net || net->object.ctx->status != HK_OK) return NULL;
    hk_context *ctx = net->object.ctx;
    hk_units_config settled;
    if (settle(ctx, config, &settled) != HK_OK) return NULL;
    if (net->parent || !net->built) {
        hk_fail(ctx, HK_ERR_STATE, "units", "%s",
                net->parent ? "give the root of the tree" : "build the module first");
        return NULL;
    }
    hk_units *u = calloc(1, sizeof *u);
    if (!u) {
        no_memory(ctx);
        return NULL;
    }
    u->net = net;
    u->config = settled;
    u->n_modules = list_modules(net, NULL, 0);
    hk__unvisit(net);
    u->modules = calloc((size_t)u->n_modules, sizeof *u->modules);
    u->was_training = calloc((size_t)u->n_modules, sizeof *u->was_training);
    u->hooks = calloc((size_t)u->n_modules, sizeof *u->hooks);
    hk__object_add(ctx, &u->object, units_free);
    if (u->modules && u->was_training && u->hooks) {
        list_modules(net, u->modules, 0);
        hk__unvisit(net);
        if (watch(u) == HK_OK) return u;
    } else
        no_memory(ctx);
    hk_units_destroy(u);
    return NULL;
}

/* --- places ------------------------------------------------------------------------------------------------------ */

/* Units are the last axis behind a linear layer, else axis 1, where parameters for each channel are. */
static hk__units_view view_of(const hk_tensor *t, const hk_module *source,
                              const hk_module *activation) {
    const hk_shape shape = t->shape;
    const bool linear = source && strcmp(source->cls->name, "linear") == 0;
    const bool last = shape.rank < 2 || (linear && !hk__units_per_channel(activation));
    const int axis = last ? shape.rank - 1 : 1;
    hk__units_view v = {1, axis < 0 ? 1 : shape.dim[axis], 1};
    for (int i = 0; i < shape.rank; i++) {
        if (i < axis) v.outer *= shape.dim[i];
        if (i > axis) v.inner *= shape.dim[i];
    }
    return v;
}

/* "1"; the second place of that module is "1#2". */
static char *place_name(const hk_units *u, const hk_module *activation) {
    int before = 0;
    for (int i = 0; i < u->n_places; i++) before += u->places[i]->activation == activation;
    char text[16] = "";
    if (before > 0) snprintf(text, sizeof text, "#%d", before + 1);
    return hk__joined(activation->name, text, "");
}

static hk__units_place *new_place(hk_units *u, const hk__units_place *what, int64_t z_units) {
    hk_context *ctx = u->object.ctx;
    hk__units_place **places = realloc(u->places, sizeof *places * (size_t)(u->n_places + 1));
    if (places) u->places = places;
    hk__units_place *p = places ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        no_memory(ctx);
        return NULL;
    }
    *p = *what;
    const size_t n = (size_t)p->view.units;
    p->name = place_name(u, p->activation);
    p->unit = calloc(n + 1, sizeof *p->unit);
    p->was_dead = calloc(n + 1, sizeof *p->was_dead);
    const bool positions = p->sloped && p->view.inner > 1;
    if (positions) p->steepest = hk__values_alloc(ctx, n * (size_t)p->view.inner * p->size, true);
    if (!p->name || !p->unit || !p->was_dead || (positions && !p->steepest)) no_memory(ctx);
    if (ctx->status == HK_OK) hk__unit_sums_init(ctx, &p->h, p->view.units);
    if (ctx->status == HK_OK && p->source) hk__unit_sums_init(ctx, &p->z, z_units);
    if (ctx->status != HK_OK) {
        free_place(ctx, p);
        return NULL;
    }
    return u->places[u->n_places++] = p;
}

static hk__units_place *place_of(hk_units *u, const hk__units_place *what, int64_t z_units) {
    for (int i = 0; i < u->n_places; i++) {
        hk__units_place *p = u->places[i];
        if (p->activation == what->activation && p->source == what->source &&
            p->call == what->call && p->normed == what->normed &&
            p->view.units == what->view.units && p->view.inner == what->view.inner)
            return p;
    }
    return new_place(u, what, z_units);
}

/* --- looking ------------------------------------------------------------------------------------------------------- */

static const hk__units_made *maker_of(const hk_units *u, const hk_tensor *t) {
    for (int i = u->n_made - 1; i >= 0; i--)
        if (u->made[i].y == t) return &u->made[i];
    return NULL;
}

static void note(hk_units *u, hk_module *m, hk_tensor *x, hk_tensor *y) {
    if (u->n_made == u->made_room) {
        const int room = 2 * u->made_room + 8;
        hk__units_made *made = realloc(u->made, sizeof *made * (size_t)room);
        if (!made) {
            no_memory(u->object.ctx);
            return;
        }
        u->made = made;
        u->made_room = room;
    }
    u->made[u->n_made++] = (hk__units_made){m, x, y};
}

/* Takes one activation's input z and output h into account; s: the output of the layer before, or NULL. */
static hk_status look(hk_units *u, hk__units_place *p, hk__units_view view, hk_tensor *z,
                      hk_tensor *h, hk_tensor *s) {
    hk_context *ctx = u->object.ctx;
    const bool is_z = s == z && p->z.units == view.units;
    h = hk_contiguous(h);
    if (p->sloped || is_z) z = hk_contiguous(z);
    if (s && !is_z) s = hk_contiguous(s);
    HK_TRY(ctx->status);
    if (p->h.values == 0) {
        if (p->sloped && !p->settled)
            HK_TRY(hk__units_limits(p->activation, &u->config, &p->h, &p->settled));
        if (p->steepest)
            hk__values_zero(ctx, p->steepest, (size_t)(view.units * view.inner) * p->size);
    }
    hk__units_slope slope;
    if (p->sloped) HK_TRY(hk__units_slope_begin(p->activation, view, z, h, &slope));
    hk__unit_sums_add(ctx, view, &p->h, is_z ? &p->z : NULL, h, z, p->sloped ? &slope : NULL,
                      p->steepest);
    if (s && !is_z)
        hk__unit_sums_add(ctx, view_of(s, p->source, p->activation), &p->z, NULL, s, NULL, NULL,
                          NULL);
    return HK_OK;
}

static void see_activation(hk_units *u, hk_module *m, hk_tensor *z, hk_tensor *h) {
    const hk__units_made *norm = maker_of(u, z), *from = norm;
    if (norm && !is_norm(norm->m)) norm = NULL;
    if (norm) from = maker_of(u, norm->x);
    if (from && !is_source(from->m)) from = NULL;
    hk__units_place what = {.activation = m,
                            .source = from ? from->m : NULL,
                            .normed = norm != NULL,
                            .sloped = hk__units_has_slope(m),
                            .size = hk_dtype_size(h->dtype),
                            .call = from ? 0 : ++u->calls};
    what.view = view_of(h, what.source, m);
    hk_tensor *s = from ? from->y : NULL;
    if (hk_shape_count(h->shape) == 0) return;
    hk__units_place *p = place_of(u, &what, s ? view_of(s, what.source, m).units : 0);
    if (p) (void)look(u, p, what.view, z, h, s);
}

static void see(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    hk_units *u = arg;
    if (u->object.ctx->status != HK_OK) return;
    if (m->cls == &hk__activation_class)
        see_activation(u, m, x, y);
    else
        note(u, m, x, y);
}

static void enable_hooks(hk_units *u, bool on) {
    for (int i = 0; i < u->n_modules; i++) hk_hook_enable(u->hooks[i], on);
}

static hk_status check_net(const hk_units *u) {
    HK_TRY(u->object.ctx->status);
    return u->net ? HK_OK
                  : hk_fail(u->object.ctx, HK_ERR_STATE, "units", "the network was destroyed");
}

/* What was added so far is of no use without the rest. */
static void forget_round(hk_units *u) {
    u->samples = 0;
    for (int i = 0; i < u->n_places; i++) u->places[i]->h.values = u->places[i]->z.values = 0;
}

hk_status hk_units_add(hk_units *units, hk_tensor *x) {
    if (!units) return HK_ERR_ARGUMENT;
    hk_context *ctx = units->object.ctx;
    HK_TRY(check_net(units));
    if (!x || x->shape.rank < 1)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "units", "a batch of images must be given");
    for (int i = 0; i < units->n_modules; i++) {
        units->was_training[i] = units->modules[i]->training;
        units->modules[i]->training = false;
    }
    const bool grad = hk_grad_enable(ctx, false), buffers = hk_buffers_enable(ctx, false);
    enable_hooks(units, true);
    units->n_made = units->calls = 0;
    (void)hk_forward(units->net, x);
    enable_hooks(units, false);
    (void)hk_buffers_enable(ctx, buffers);
    (void)hk_grad_enable(ctx, grad);
    for (int i = 0; i < units->n_modules; i++) units->modules[i]->training = units->was_training[i];
    if (ctx->status == HK_OK)
        units->samples += x->shape.dim[0];
    else
        forget_round(units);
    return ctx->status;
}

/* --- the end of a round --------------------------------------------------------------------------------------------- */

hk_status hk_units_end(hk_units *units) {
    if (!units) return HK_ERR_ARGUMENT;
    hk_context *ctx = units->object.ctx;
    HK_TRY(check_net(units));
    if (units->samples == 0)
        return hk_fail(ctx, HK_ERR_STATE, "units", "nothing was added: hk_units_add comes first");
    for (int i = 0; i < units->n_places; i++) hk__units_judge(units, units->places[i]);
    units->samples = 0;
    units->rounds++;
    return ctx->status;
}

static const hk__units_place *judged_place(const hk_units *units, int i) {
    const bool inside = units && i >= 0 && i < units->n_places;
    return inside && units->places[i]->judged ? units->places[i] : NULL;
}

int hk_units_count(const hk_units *units) { return units && units->rounds ? units->n_places : 0; }

const hk_units_layer *hk_units_layer_at(const hk_units *units, int i) {
    const hk__units_place *p = judged_place(units, i);
    return p ? &p->layer : NULL;
}

const hk_unit *hk_units_at(const hk_units *units, int i, int64_t k) {
    const hk__units_place *p = judged_place(units, i);
    return p && k >= 0 && k < p->layer.units ? &p->unit[k] : NULL;
}
