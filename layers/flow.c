/* flow.c: gradient flow: when a step is recorded, and who hears of it.
   SPDX-License-Identifier: MIT

   Forward hooks on every module without children note its input and output of the step; a hook behind backward reads
   them, and all gradients. It also switches the forward hooks on for steps that are recorded, and off for others, so
   that there what can run fused runs fused. Hooks of the parameters' gradients tell a pass through this network from
   one through another. The record of a step waits for the update of its weights. On a GPU
   steps between records are replayed (core/step.c), and only counted here. */
#include "flow.h"

#include <stdlib.h>
#include <string.h>

#include "tape.h"
#include "values.h"

/* --- what hooks do ------------------------------------------------------------------------------------------------- */

static void note_layer(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    hk__flow_place *place = arg;
    hk_flow *flow = place->flow;
    const struct hk__tape *tape = m->object.ctx->tape;
    if (tape->off || tape->inside > 0 || !m->training) return; /* a pass that only looks */
    if (!place->ran) flow->order[flow->n_ran++] = place;
    place->ran = true;
    place->step = m->object.ctx->step;
    place->x = x;
    place->y = y;
}

static void note_reached(hk_tensor *t, hk_tensor *grad, void *arg) {
    (void)t, (void)grad;
    ((hk_flow *)arg)->reached = true;
}

/* The network is destroyed, and all hooks of it end. */
static void net_ended(void *arg) { ((hk__flow_place *)arg)->flow->net = NULL; }

static void switch_hooks(hk_flow *flow, bool on) {
    if (!flow->net || flow->on == on) return;
    const hk_context *ctx = flow->object.ctx;
    /* In the middle of a step they have missed something. */
    if (on) flow->from = ctx->tape->count > 0 ? ctx->step + 1 : ctx->step;
    flow->on = on;
    for (int i = 0; i < flow->n_places; i++) hk_hook_enable(flow->places[i].hook, on);
}

/* --- records --------------------------------------------------------------------------------------------------------- */

static void report(hk_flow *flow, hk__flow_room *room) {
    flow->waits = false;
    flow->last = &room->record;
    if (flow->config.report) flow->config.report(flow->last, flow->config.arg);
}

/* One more step is over. */
static void move_on(hk_flow *flow) {
    flow->due |= flow->config.every == 0 || flow->step % flow->config.every == 0;
    switch_hooks(flow, flow->due);
}

/* A step that is recorded, or completes a record, is not replayed. */
static bool flow_prepare(hk__object *object) {
    const hk_flow *flow = (const hk_flow *)object;
    return !flow->waits && !flow->on;
}

static void flow_replayed(hk__object *object) {
    hk_flow *flow = (hk_flow *)object;
    flow->step++;
    move_on(flow);
}

static void flow_free(hk__object *object);

static void leave(hk_flow *flow) {
    flow->busy = false;
    if (flow->destroyed) flow_free(&flow->object);
}

static void after_backward(hk_context *ctx, void *arg) {
    hk_flow *flow = arg;
    if (!flow->net || !flow->reached || flow->busy) return;
    flow->reached = false;
    if (!flow->net->training) return;
    flow->step++;
    flow->object.step = ctx->step;
    flow->busy = true;
    const bool recorded = flow->on && flow->due && ctx->step >= flow->from;
    if (flow->waits) {
        hk__flow_room *room = &flow->room[flow->filled];
        const bool updated = hk__flow_write(flow, room);
        /* Passes that only add to the gradients come before the update. */
        if (updated || recorded) report(flow, room);
    }
    if (recorded && !flow->destroyed) {
        flow->filled = 1 - flow->filled;
        hk__flow_look(flow, &flow->room[flow->filled]);
        flow->version = ctx->version;
        flow->waits = true;
        flow->due = false;
    }
    move_on(flow);
    leave(flow);
}

void hk_flow_now(hk_flow *flow) {
    if (!flow || !flow->net) return;
    flow->due = true;
    switch_hooks(flow, true);
}

void hk_flow_finish(hk_flow *flow) {
    if (!flow || !flow->waits || flow->busy) return;
    hk__flow_room *room = &flow->room[flow->filled];
    flow->busy = true;
    (void)hk__flow_write(flow, room);
    report(flow, room);
    leave(flow);
}

const hk_flow_record *hk_flow_last(const hk_flow *flow) { return flow ? flow->last : NULL; }

/* --- making and freeing ------------------------------------------------------------------------------------------------ */

static void flow_free(hk__object *object) {
    hk_flow *flow = (hk_flow *)object;
    hk_hook_remove(flow->after);
    for (int i = 0; flow->places && i < flow->n_places; i++) {
        if (flow->net) hk_hook_remove(flow->places[i].hook);
        free(flow->places[i].name);
    }
    for (int i = 0; i < flow->parameters.count; i++) {
        if (flow->net && flow->reaching) hk_hook_remove(flow->reaching[i]);
        if (flow->names) free(flow->names[i]);
    }
    for (int k = 0; k < 2; k++) {
        free(flow->room[k].parameters);
        free(flow->room[k].layers);
    }
    free(flow->names);
    free(flow->reaching);
    free(flow->places);
    free(flow->order);
    free(flow->read);
    hk__values_free(flow->object.ctx, flow->before);
    hk__values_free(flow->object.ctx, flow->seen);
    free(flow);
}

void hk_flow_destroy(hk_flow *flow) {
    if (!flow || flow->destroyed) return;
    hk__object_remove(&flow->object);
    flow->destroyed = true;
    if (!flow->busy) flow_free(&flow->object);
}

/* Counts the modules without children, or notes them if there is room. */
static int leaves(hk_module *m, hk__flow_place *room, int n) {
    if (m->visited) return n;
    m->visited = true;
    if (m->n_children == 0) {
        if (room) room[n].module = m;
        return n + 1;
    }
    for (int i = 0; i < m->n_children; i++) n = leaves(m->children[i], room, n);
    return n;
}

static bool take_memory(hk_flow *flow) {
    const size_t places = (size_t)flow->n_places, parameters = (size_t)flow->parameters.count;
    size_t bytes = 0;
    for (int i = 0; i < flow->parameters.count; i++)
        bytes += hk__flow_bytes(flow->parameters.items[i]);
    flow->places = calloc(places, sizeof *flow->places);
    flow->order = calloc(places, sizeof *flow->order);
    flow->names = calloc(parameters + 1, sizeof *flow->names);
    flow->reaching = calloc(parameters + 1, sizeof *flow->reaching);
    flow->before = hk__values_alloc(flow->object.ctx, bytes, false);
    flow->seen =
        hk__values_alloc(flow->object.ctx, (places + parameters) * sizeof *flow->seen, true);
    flow->read = calloc(places + parameters, sizeof *flow->read);
    bool ok = flow->places && flow->order && flow->names && flow->reaching && flow->before &&
              flow->seen && flow->read;
    for (int k = 0; k < 2; k++) {
        hk__flow_room *room = &flow->room[k];
        room->parameters = calloc(parameters + 1, sizeof *room->parameters);
        room->layers = calloc(places, sizeof *room->layers);
        ok = ok && room->parameters && room->layers;
    }
    return ok;
}

/* Copies names and adds hooks; false if memory is out. */
static bool attach(hk_flow *flow) {
    leaves(flow->net, flow->places, 0);
    hk__unvisit(flow->net);
    for (int i = 0; i < flow->n_places; i++) {
        hk__flow_place *place = &flow->places[i];
        place->flow = flow;
        place->kind = place->module->cls->name;
        place->weighted = hk__flow_has_weight(place->module);
        place->name = strdup(place->module->name);
        place->hook = hk_hook_forward(place->module, note_layer, place);
        if (!place->hook || !place->name) return false;
        place->hook->ended = net_ended;
    }
    for (int i = 0; i < flow->parameters.count; i++) {
        hk_tensor *t = flow->parameters.items[i];
        flow->names[i] = strdup(hk_tensor_name(t));
        flow->reaching[i] = hk_hook_grad(t, note_reached, flow);
        if (!flow->names[i] || !flow->reaching[i]) return false;
        flow->reaching[i]->replays = true;
    }
    flow->after = hk_hook_backward(flow->object.ctx, after_backward, flow);
    if (flow->after) flow->after->replays = true;
    return flow->after;
}

hk_flow *hk_flow_create(hk_module *net, const hk_flow_config *config) {
    if (!net || hk_error(net->object.ctx) != HK_OK) return NULL;
    hk_context *ctx = net->object.ctx;
    if (net->parent || !net->built || (config && config->every < 0)) {
        if (config && config->every < 0)
            hk_fail(ctx, HK_ERR_ARGUMENT, "flow", "every must be 0 or more, not %lld",
                    (long long)config->every);
        else
            hk_fail(ctx, HK_ERR_STATE, "flow", "%s",
                    net->parent ? "a flow looks at the root of a tree"
                                : "build the network first (hk_module_build)");
        return NULL;
    }
    hk_flow *flow = calloc(1, sizeof *flow);
    if (flow) {
        hk__object_add(ctx, &flow->object, flow_free);
        flow->object.prepare = flow_prepare;
        flow->object.replayed = flow_replayed;
        if (config) flow->config = *config;
        flow->net = net;
        flow->parameters = hk_module_parameters(net);
        flow->n_places = leaves(net, NULL, 0);
        hk__unvisit(net);
        flow->due = true;
        if (take_memory(flow) && attach(flow)) {
            switch_hooks(flow, true);
            return flow;
        }
    }
    hk_flow_destroy(flow);
    hk_fail(ctx, HK_ERR_MEMORY, "flow", "no memory");
    return NULL;
}
