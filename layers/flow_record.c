/* flow_record.c: gradient flow: what a record says.
   SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "conv_ops.h"
#include "flow.h"
#include "stats.h"

/* --- signs ------------------------------------------------------------------------------------------------------- */

typedef struct tally {
    int64_t one, all;
} tally;

static double share(tally t) { return t.all ? (double)t.one / (double)t.all : NAN; }

static bool is_linear(const hk_module *m) {
    return strcmp(m->cls->name, "linear") == 0 && m->n_slots > 0 && m->slots[0].t->shape.rank == 2;
}

static bool is_convolution(const hk_module *m) {
    return (strcmp(m->cls->name, "conv2d") == 0 || strcmp(m->cls->name, "conv_transpose2d") == 0) &&
           m->n_slots > 0 && m->slots[0].t->shape.rank == 4;
}

static bool has_weight(const hk_module *m) { return is_linear(m) || is_convolution(m); }

/* Signs of what comes into output unit u, of the gradient g of m's weight. */
static int signs_of_unit(const hk__stats_kernels *k, const hk_module *m, const hk_tensor *g,
                         int64_t u) {
    const char *data = g->data;
    const int64_t size = (int64_t)hk_dtype_size(g->dtype), count = hk_shape_count(g->shape);
    if (strcmp(m->cls->name, "conv_transpose2d") != 0) {
        const int64_t row = count / g->shape.dim[0];
        return k->signs(row, data + u * row * size);
    }
    /* (in, out/groups, kernel): an output sees the inputs of its group. */
    const int64_t width = g->shape.dim[1], groups = m->output.dim[1] / width;
    const int64_t inputs = g->shape.dim[0] / groups, area = g->shape.dim[2] * g->shape.dim[3];
    int signs = 0;
    for (int64_t i = u / width * inputs; i < (u / width + 1) * inputs; i++)
        signs |= k->signs(area, data + (i * width + u % width) * area * size);
    return signs;
}

static double one_sign(const hk_module *m, const hk_tensor *g) {
    const hk__stats_kernels *k = hk__stats_tables[hk__stamp_of(m->object.ctx, g->dtype)];
    const bool transposed = strcmp(m->cls->name, "conv_transpose2d") == 0;
    const int64_t units = transposed ? m->output.dim[1] : g->shape.dim[0];
    tally t = {0};
    for (int64_t u = 0; u < units; u++) {
        const int signs = signs_of_unit(k, m, g, u);
        t.all += signs != 0;
        t.one += signs == HK_SIGN_PLUS || signs == HK_SIGN_MINUS;
    }
    return share(t);
}

/* The gradient of unit u by sample s is g[s][u] · x[s]: one sign if and only if x[s] has. */
static double one_sign_sample(hk_context *ctx, const hk_tensor *x, const hk_tensor *g) {
    const int64_t in = x->shape.dim[x->shape.rank - 1], out = g->shape.dim[g->shape.rank - 1];
    const int64_t samples = hk_shape_count(g->shape) / (out ? out : 1);
    const hk__stats_kernels *k = hk__stats_tables[hk__stamp_of(ctx, x->dtype)];
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    const size_t size = hk_dtype_size(x->dtype);
    void *room = hk__scratch(ctx, (size_t)(in + out) * size);
    tally t = {0};
    for (int64_t s = 0; room && s < samples; s++) {
        const int signs = k->signs(in, hk__elements(x, s * in, in, room));
        const int64_t units = k->nonzero(out, hk__elements(g, s * out, out, room));
        t.all += signs != 0 ? units : 0;
        t.one += signs == HK_SIGN_PLUS || signs == HK_SIGN_MINUS ? units : 0;
    }
    hk__arena_rewind(&ctx->scratch, mark);
    return share(t);
}

/* The gradient of each of the first samples alone, by the convolution's own backward. */
static double one_sign_image(hk_module *m, hk_tensor *x, hk_tensor *g) {
    hk_context *ctx = m->object.ctx;
    hk_conv2d_config config;
    hk_tensor *weight, *bias, *xs = hk_contiguous(x), *gs = hk_contiguous(g);
    if (!hk__is_conv2d(m, &config, &weight, &bias) || !xs || !gs) return NAN;
    hk_tensor *one = hk__view(xs), *gw = hk__empty(ctx, weight->dtype, weight->shape);
    if (!one || !gw) return NAN;
    one->shape.dim[0] = 1;
    const hk_op_call call = {.ctx = ctx, .n_in = 2, .in = (hk_tensor *[]){one, weight}};
    const hk__conv sizes = hk__conv2d_sizes(&call, &config);
    const size_t size = hk_dtype_size(xs->dtype);
    const size_t x_bytes = (size_t)hk_shape_count(one->shape) * size;
    const int64_t n = xs->shape.dim[0];
    const size_t g_bytes = n ? (size_t)(hk_shape_count(gs->shape) / n) * size : 0;
    const hk__stats_kernels *k = hk__stats_tables[hk__stamp_of(ctx, weight->dtype)];
    tally t = {0};
    for (int64_t s = 0; s < n && s < HK_FLOW_IMAGES; s++) {
        const hk__conv_gradients to = {.x = (char *)xs->data + (size_t)s * x_bytes,
                                       .w = weight->data,
                                       .g = (char *)gs->data + (size_t)s * g_bytes,
                                       .gw = gw->data};
        if (hk__conv_backward(ctx, weight->dtype, &sizes, &to) != HK_OK) return NAN;
        for (int64_t u = 0; u < weight->shape.dim[0]; u++) {
            const int signs = signs_of_unit(k, m, gw, u);
            t.all += signs != 0;
            t.one += signs == HK_SIGN_PLUS || signs == HK_SIGN_MINUS;
        }
    }
    return share(t);
}

/* --- parameters ---------------------------------------------------------------------------------------------------- */

/* The layer whose weight t is; NULL if there is none. */
static const hk_module *layer_of(const hk_flow *flow, const hk_tensor *t) {
    for (int i = 0; i < flow->n_places; i++) {
        const hk_module *m = flow->places[i].module;
        if (has_weight(m) && m->slots[0].t == t) return m;
    }
    return NULL;
}

static size_t bytes_of(const hk_tensor *t) {
    return (size_t)hk_shape_count(t->shape) * hk_dtype_size(t->dtype);
}

static double norm(hk_tensor *t) {
    return hk__is_contiguous(t)
               ? hk__distance(t->ctx, t->dtype, t->data, NULL, hk_shape_count(t->shape))
               : hk_tensor_stats(t).l2;
}

static void write_parameters(hk_flow *flow, hk__flow_room *room) {
    char *before = flow->before;
    for (int i = 0; i < flow->parameters.count; i++) {
        hk_tensor *t = flow->parameters.items[i], *g = hk_grad(t);
        const hk_module *layer = layer_of(flow, t);
        room->parameters[i] =
            (hk_flow_parameter){.name = flow->names[i],
                                .grad = hk_tensor_stats(g),
                                .weight_l2 = norm(t),
                                .update_ratio = NAN,
                                .one_sign = layer && g ? one_sign(layer, g) : NAN};
        memcpy(before, t->data, bytes_of(t));
        before += bytes_of(t);
    }
}

bool hk__flow_write_update(hk_flow *flow, hk__flow_room *room) {
    if (!flow->net) return false;
    hk_context *ctx = flow->object.ctx;
    const char *before = flow->before;
    bool updated = flow->version != ctx->version;
    for (int i = 0; i < flow->parameters.count; i++) {
        const hk_tensor *t = flow->parameters.items[i];
        const double moved = hk__distance(ctx, t->dtype, t->data, before, hk_shape_count(t->shape));
        updated |= moved != 0;
        room->parameters[i].update_ratio = moved;
        before += bytes_of(t);
    }
    for (int i = 0; i < flow->parameters.count; i++) {
        hk_flow_parameter *p = &room->parameters[i];
        p->update_ratio = updated && p->weight_l2 > 0 ? p->update_ratio / p->weight_l2 : NAN;
    }
    return updated;
}

/* --- layers ---------------------------------------------------------------------------------------------------------- */

static bool is_real(const hk_tensor *t) { return t->dtype == HK_F32 || t->dtype == HK_F64; }

static void write_layer(const hk__flow_place *place, hk_flow_layer *out) {
    hk_context *ctx = place->module->object.ctx;
    *out = (hk_flow_layer){.name = place->name,
                           .kind = place->kind,
                           .grad_l2 = NAN,
                           .ratio = NAN,
                           .one_sign_sample = NAN};
    if (place->step != ctx->step) return; /* it did not run this time */
    if (is_real(place->y)) out->out = hk_tensor_stats(place->y);
    hk_tensor *g = hk_grad(place->y);
    if (!g) return;
    out->grad_l2 = norm(g);
    if (is_linear(place->module) && is_real(place->x))
        out->one_sign_sample = one_sign_sample(ctx, place->x, g);
    if (strcmp(place->kind, "conv2d") == 0)
        out->one_sign_sample = one_sign_image(place->module, place->x, g);
}

static void write_layers(hk_flow *flow, hk__flow_room *room) {
    hk_flow_layer *before = NULL; /* the layer with a weight that came last */
    for (int i = 0; i < flow->n_ran; i++) {
        hk_flow_layer *layer = &room->layers[i];
        write_layer(flow->order[i], layer);
        if (!has_weight(flow->order[i]->module)) continue;
        if (before)
            before->ratio = before->grad_l2 * before->grad_l2 / (layer->grad_l2 * layer->grad_l2);
        before = layer;
    }
}

void hk__flow_write(hk_flow *flow, hk__flow_room *room) {
    write_parameters(flow, room);
    write_layers(flow, room);
    room->record = (hk_flow_record){.step = flow->step,
                                    .n_parameters = flow->parameters.count,
                                    .n_layers = flow->n_ran,
                                    .parameters = room->parameters,
                                    .layers = room->layers};
}
