/* flow_record.c: gradient flow: what a record says.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "conv_ops.h"
#include "flow.h"
#include "values.h"

/* --- signs ------------------------------------------------------------------------------------------------------- */

static double share(hk__tally t) { return t.all ? (double)t.one / (double)t.all : NAN; }

static bool is_linear(const hk_module *m) {
    return strcmp(m->cls->name, "linear") == 0 && m->n_slots > 0 && m->slots[0].t->shape.rank == 2;
}

static bool is_transposed(const hk_module *m) {
    return strcmp(m->cls->name, "conv_transpose2d") == 0;
}

bool hk__flow_has_weight(const hk_module *m) {
    return is_linear(m) || ((strcmp(m->cls->name, "conv2d") == 0 || is_transposed(m)) &&
                            m->n_slots > 0 && m->slots[0].t->shape.rank == 4);
}

/* What comes into each output unit, in m's weight. */
static hk__sign_rows units_of(const hk_module *m) {
    const hk_shape w = m->slots[0].t->shape;
    if (!is_transposed(m)) {
        const int64_t row = hk_shape_count(w) / (w.dim[0] ? w.dim[0] : 1);
        return (hk__sign_rows){.rows = w.dim[0], .group = 1, .parts = 1, .n = row, .to_group = row};
    }
    /* (in, out/groups, kernel): an output sees the inputs of its group. */
    const int64_t width = w.dim[1], groups = m->output.dim[1] / width, area = w.dim[2] * w.dim[3];
    const int64_t inputs = w.dim[0] / groups;
    return (hk__sign_rows){.rows = m->output.dim[1],
                           .group = width,
                           .parts = inputs,
                           .n = area,
                           .to_group = inputs * width * area,
                           .to_row = area,
                           .to_part = width * area};
}

/* The gradient of unit u by sample s is g[s][u] · x[s]: one sign if and only if x[s] has. */
static void look_at_samples(hk_context *ctx, hk_tensor *x, hk_tensor *g, hk__tally *to) {
    const int64_t in = x->shape.dim[x->shape.rank - 1], out = g->shape.dim[g->shape.rank - 1];
    const hk__sign_rows samples = {.rows = hk_shape_count(g->shape) / (out ? out : 1),
                                   .group = 1,
                                   .parts = 1,
                                   .n = in,
                                   .to_group = in};
    x = hk_contiguous(x);
    g = hk_contiguous(g);
    if (x && g) hk__tally_signs(ctx, x->dtype, x->data, &samples, g->data, out, to);
}

/* The gradient of each of the first samples alone, by the convolution's own backward. */
static void look_at_images(hk_module *m, hk_tensor *x, hk_tensor *g, hk__tally *to) {
    hk_context *ctx = m->object.ctx;
    hk_conv2d_config config;
    hk_tensor *weight, *bias, *xs = hk_contiguous(x), *gs = hk_contiguous(g);
    if (!hk__is_conv2d(m, &config, &weight, &bias) || !xs || !gs) return;
    hk_tensor *one = hk__view(xs), *gw = hk__empty(ctx, weight->dtype, weight->shape);
    if (!one || !gw) return;
    one->shape.dim[0] = 1;
    const hk_op_call call = {.ctx = ctx, .n_in = 2, .in = (hk_tensor *[]){one, weight}};
    const hk__conv sizes = hk__conv2d_sizes(&call, &config);
    const hk__sign_rows units = units_of(m);
    const size_t size = hk_dtype_size(xs->dtype);
    const size_t x_bytes = (size_t)hk_shape_count(one->shape) * size;
    const int64_t n = xs->shape.dim[0];
    const size_t g_bytes = n ? (size_t)(hk_shape_count(gs->shape) / n) * size : 0;
    for (int64_t s = 0; s < n && s < HK_FLOW_IMAGES; s++) {
        const hk__conv_gradients into = {.x = (char *)xs->data + (size_t)s * x_bytes,
                                         .w = weight->data,
                                         .g = (char *)gs->data + (size_t)s * g_bytes,
                                         .gw = gw->data};
        if (hk__conv_backward(ctx, weight->dtype, &sizes, &into) != HK_OK) return;
        hk__tally_signs(ctx, gw->dtype, gw->data, &units, NULL, 0, to);
    }
}

/* --- looking: nothing waits for a GPU ----------------------------------------------------------------------------- */

/* The layer with t as its weight. */
static const hk_module *layer_of(const hk_flow *flow, const hk_tensor *t) {
    for (int i = 0; i < flow->n_places; i++) {
        const hk_module *m = flow->places[i].module;
        if (flow->places[i].weighted && m->slots[0].t == t) return m;
    }
    return NULL;
}

static size_t bytes_of(const hk_tensor *t) {
    return (size_t)hk_shape_count(t->shape) * hk_dtype_size(t->dtype);
}

size_t hk__flow_bytes(const hk_tensor *t) {
    return (bytes_of(t) + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
}

static void look_at_length(hk_tensor *t, double *to) {
    t = hk_contiguous(t);
    if (t) hk__squares_apart(t->ctx, t->dtype, t->data, NULL, hk_shape_count(t->shape), to);
}

static void look_at_parameters(hk_flow *flow, hk__flow_room *room) {
    hk_context *ctx = flow->object.ctx;
    char *before = flow->before;
    for (int i = 0; i < flow->parameters.count; i++) {
        hk_tensor *t = flow->parameters.items[i], *g = hk_grad(t);
        const hk_module *layer = layer_of(flow, t);
        room->parameters[i] = (hk_flow_parameter){.name = flow->names[i]};
        look_at_length(t, &flow->seen[i].length2);
        hk__values_copy(ctx, before, t->data, bytes_of(t));
        before += hk__flow_bytes(t);
        if (!g) continue;
        hk__moments_of(g, &flow->seen[i].moments);
        if (!layer) continue;
        const hk__sign_rows units = units_of(layer);
        hk__tally_signs(ctx, g->dtype, g->data, &units, NULL, 0, &flow->seen[i].signs);
    }
}

static bool is_real(const hk_tensor *t) { return t->dtype == HK_F32 || t->dtype == HK_F64; }

static void look_at_layer(const hk__flow_place *place, hk__flow_seen *to, hk_flow_layer *out) {
    hk_context *ctx = place->module->object.ctx;
    *out = (hk_flow_layer){.name = place->name, .kind = place->kind, .grad_l2 = NAN, .ratio = NAN};
    if (place->step != ctx->step) return; /* it did not run this time */
    if (is_real(place->y)) hk__moments_of(place->y, &to->moments);
    hk_tensor *g = hk_grad(place->y);
    if (!g) return;
    out->grad_l2 = 0; /* there is one */
    look_at_length(g, &to->length2);
    if (is_linear(place->module) && is_real(place->x))
        look_at_samples(ctx, place->x, g, &to->signs);
    if (strcmp(place->kind, "conv2d") == 0) look_at_images(place->module, place->x, g, &to->signs);
}

static size_t seen_bytes(const hk_flow *flow) {
    return (size_t)(flow->parameters.count + flow->n_places) * sizeof *flow->seen;
}

void hk__flow_look(hk_flow *flow, hk__flow_room *room) {
    const int n = flow->parameters.count;
    hk__values_zero(flow->object.ctx, flow->seen, seen_bytes(flow));
    look_at_parameters(flow, room);
    for (int i = 0; i < flow->n_ran; i++)
        look_at_layer(flow->order[i], &flow->seen[n + i], &room->layers[i]);
    room->record = (hk_flow_record){.step = flow->step,
                                    .n_parameters = n,
                                    .n_layers = flow->n_ran,
                                    .parameters = room->parameters,
                                    .layers = room->layers};
}

static void look_at_update(hk_flow *flow) {
    const char *before = flow->before;
    for (int i = 0; i < flow->parameters.count; i++) {
        const hk_tensor *t = flow->parameters.items[i];
        hk__squares_apart(flow->object.ctx, t->dtype, t->data, before, hk_shape_count(t->shape),
                          &flow->seen[i].moved2);
        before += hk__flow_bytes(t);
    }
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_parameter(const hk__flow_seen *seen, bool updated, hk_flow_parameter *p) {
    p->grad = hk__stats_of(&seen->moments);
    p->weight_l2 = sqrt(seen->length2);
    p->update_ratio = updated && p->weight_l2 > 0 ? sqrt(seen->moved2) / p->weight_l2 : NAN;
    p->one_sign = share(seen->signs);
}

static void write_layers(const hk_flow *flow, const hk__flow_seen *seen, hk__flow_room *room) {
    hk_flow_layer *before = NULL; /* the layer with a weight that came last */
    for (int i = 0; i < room->record.n_layers; i++) {
        hk_flow_layer *layer = &room->layers[i];
        layer->out = hk__stats_of(&seen[i].moments);
        if (!isnan(layer->grad_l2)) layer->grad_l2 = sqrt(seen[i].length2);
        layer->one_sign_sample = share(seen[i].signs);
        if (!flow->order[i]->weighted) continue;
        if (before)
            before->ratio = before->grad_l2 * before->grad_l2 / (layer->grad_l2 * layer->grad_l2);
        before = layer;
    }
}

bool hk__flow_write(hk_flow *flow, hk__flow_room *room) {
    hk_context *ctx = flow->object.ctx;
    const int n = flow->parameters.count;
    bool updated = flow->net && flow->version != ctx->version;
    if (flow->net) look_at_update(flow);
    hk__values_read(ctx, flow->read, flow->seen, seen_bytes(flow));
    for (int i = 0; flow->net && i < n; i++) updated |= flow->read[i].moved2 != 0;
    for (int i = 0; i < n; i++) write_parameter(&flow->read[i], updated, &room->parameters[i]);
    write_layers(flow, flow->read + n, room);
    return updated;
}
