/* linear_block.c: a linear layer and its activation as one operation, on a GPU.
   SPDX-License-Identifier: MIT

   Small products are bound by their launches. So forward has one, of z = x·wᵀ + b and y = f(z), and backward one, of all
   gradients, where g·f'(z) is formed as g is read. Large products go one by one. Kept are y, and z if f' wants it. The bits
   are those of the two operations. */
#include "linear_block.h"

#include "activation.h"
#include "affine.h"
#include "linear_block_kernels.h"

enum { KEPT = 1 }; /* the output that z is */

static const hk__activation_kernels_row *kernels(const hk_op_call *c) {
    const hk_activation_spec *spec = c->attr;
    return &hk__activation_tables[hk__stamp_of(c->ctx, c->in[0]->dtype)]
                ->row[hk__row_of(spec->info)];
}

static hk__linear_block_activation activation_of(const hk_op_call *c) {
    const hk_activation_spec *spec = c->attr;
    return (hk__linear_block_activation){.row = hk__row_of(spec->info),
                                         .param = spec->value,
                                         .z = c->n_out > KEPT ? c->out[KEPT]->data : NULL,
                                         .y = c->out[0]->data};
}

static hk_status block_forward(hk_op_call *c) {
    const hk_activation_spec *spec = c->attr;
    const hk_dtype dtype = c->in[0]->dtype;
    hk_shape shape;
    HK_TRY(hk__affine_shape(c, &shape));
    hk_tensor *y = hk_op_output(c, 0, dtype, shape), *z = y;
    if (c->n_out > KEPT) z = hk_op_output(c, KEPT, dtype, shape);
    if (!y || !z) return hk_error(c->ctx);
    hk__gpu_product p;
    HK_TRY(hk__affine_into(c, z, &p));
    if (p.m == 0) {
        hk__map(c->ctx, kernels(c)->plain_value, spec->value, y, 1, &z, false);
        return hk_error(c->ctx);
    }
    const hk__linear_block_activation f = activation_of(c);
    p.c = y->data;
    hk__linear_block_gpu_tables[dtype]->forward(c->ctx, &p, &f);
    return hk_error(c->ctx);
}

/* out (+)= along · f', all of y's shape. */
static void along_slope(const hk_op_call *c, hk_tensor *out, hk_tensor *along, bool accumulate) {
    const hk_activation_spec *spec = c->attr;
    const int keeps = spec->info->keeps;
    hk_tensor *operands[] = {along, keeps & HK_KEEP_INPUT ? c->out[KEPT] : along,
                             keeps & HK_KEEP_OUTPUT ? c->out[0] : along};
    hk__map(c->ctx, kernels(c)->plain_slope, spec->value, out, 3, operands, accumulate);
}

/* y = f(z): ∂L/∂z = g·f'(z), and from there as affine. */
static hk_status block_backward(hk_op_call *c) {
    const hk_activation_spec *spec = c->attr;
    hk_tensor *g = hk_contiguous(c->gout[0]);
    if (!g) return hk_error(c->ctx);
    hk__gpu_product p[2];
    const int n = hk__affine_back_gpu(c, g, p);
    if (n == 0) {
        hk_tensor *gz = hk__empty(c->ctx, g->dtype, g->shape);
        if (!gz) return hk_error(c->ctx);
        along_slope(c, gz, g, false);
        return hk__affine_back(c, gz);
    }
    hk__linear_block_activation f = activation_of(c);
    if (!(spec->info->keeps & HK_KEEP_OUTPUT)) f.y = NULL;
    hk__linear_block_gpu_tables[g->dtype]->backward(c->ctx, n, p, &f);
    return hk_error(c->ctx);
}

/* Direction of y: that of z, times f'. */
static hk_status block_jvp(hk_op_call *c) {
    for (int i = 0; i < c->n_in; i++) {
        if (!c->tin[i]) continue;
        hk_tensor *z = hk__empty(c->ctx, c->in[0]->dtype, c->out[0]->shape);
        if (!z) return hk_error(c->ctx);
        HK_TRY(hk__affine_along(c, i, z, false));
        bool accumulate;
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (!t) return hk_error(c->ctx);
        along_slope(c, t, z, accumulate);
    }
    return hk_error(c->ctx);
}

/* Errors speak of the linear layer: an activation refuses nothing that it lets through. */
static const hk_op block_op = {"affine", block_forward, block_backward, block_jvp};

/* --- where it stands in for two modules ----------------------------------------------------------------------------- */

int hk__linear_block_length(hk_module *const *members, int count) {
    hk_tensor *weight, *bias;
    const hk_context *ctx = members[0]->object.ctx;
    const bool fits = HK_ON_GPU(ctx) && count >= 2 && hk__is_linear(members[0], &weight, &bias) &&
                      hk__is_plain_activation(members[1]) && !hk__is_hooked(members[0]) &&
                      !hk__is_hooked(members[1]);
    return fits && !hk__nan_guarded(ctx) ? 2 : 0;
}

hk_tensor *hk__linear_block_forward(hk_module *const *members, hk_tensor *x) {
    const hk_activation_spec *spec = hk__activation_spec_of(members[1]);
    hk_tensor *in[3] = {x};
    if (!hk__is_linear(members[0], &in[1], &in[2])) return NULL;
    return hk_apply(&block_op, spec, sizeof *spec, in[2] == HK_NO_BIAS ? 2 : 3, in,
                    spec->info->keeps & HK_KEEP_INPUT ? 2 : 1, NULL);
}
