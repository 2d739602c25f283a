/* product_ops.c: matmul and affine.
   SPDX-License-Identifier: MIT */
#include "affine.h"
#include "gemm_kernels.h"
#include "gpu.h"
#include "product.h"

/* --- matmul: c = a · b ------------------------------------------------------------------------------- */

static hk_status matmul_forward(hk_op_call *c) {
    hk_tensor *a = c->in[0], *b = c->in[1];
    HK_TRY(hk__need_real(c, 0, 1));
    const int ra = a->shape.rank, rb = b->shape.rank;
    if (ra < 2 || rb < 2) return hk__shapes_differ(c, "both need rank 2 or more", a, b);
    if (a->shape.dim[ra - 1] != b->shape.dim[rb - 2])
        return hk__shapes_differ(c, "inner sizes differ", a, b);
    hk_shape la = a->shape, lb = b->shape, shape;
    la.rank -= 2;
    lb.rank -= 2;
    if (!hk__broadcast(la, lb, &shape))
        return hk__shapes_differ(c, "leading axes do not broadcast", a, b);
    shape.dim[shape.rank++] = a->shape.dim[ra - 2];
    shape.dim[shape.rank++] = b->shape.dim[rb - 1];
    if (!hk_op_output(c, 0, a->dtype, shape)) return c->ctx->status;
    return hk__product(c->ctx, c->out[0], a, b, NULL, false);
}

/* Adds left · right to the gradient of input i: straight into it, or summed back if it was broadcast. */
static hk_status add_product(hk_op_call *c, int i, hk_tensor *left, hk_tensor *right) {
    if (!hk_op_needs(c, i)) return HK_OK;
    if (!left || !right) return c->ctx->status;
    const hk_tensor *x = c->in[i];
    hk_shape shape = c->out[0]->shape;
    shape.dim[shape.rank - 2] = x->shape.dim[x->shape.rank - 2];
    shape.dim[shape.rank - 1] = x->shape.dim[x->shape.rank - 1];
    if (hk_shape_equal(shape, x->shape)) {
        bool accumulate;
        hk_tensor *gin = hk__grad_target(c, i, &accumulate);
        return hk__product(c->ctx, gin, left, right, NULL, accumulate);
    }
    hk_tensor *wide = hk__empty(c->ctx, x->dtype, shape);
    if (!wide) return c->ctx->status;
    HK_TRY(hk__product(c->ctx, wide, left, right, NULL, false));
    return hk_op_add_grad(c, i, wide);
}

/* c = a·b: ∂L/∂a = g·bᵀ, ∂L/∂b = aᵀ·g. */
static hk_status matmul_backward(hk_op_call *c) {
    hk_tensor *g = c->gout[0];
    if (hk_op_needs(c, 0)) HK_TRY(add_product(c, 0, g, hk__transposed(c->in[1])));
    if (hk_op_needs(c, 1)) HK_TRY(add_product(c, 1, hk__transposed(c->in[0]), g));
    return c->ctx->status;
}

/* Direction of c: ta·b + a·tb. */
static hk_status matmul_jvp(hk_op_call *c) {
    for (int i = 0; i < 2; i++) {
        if (!c->tin[i]) continue;
        bool accumulate;
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (!t) return c->ctx->status;
        HK_TRY(hk__product(c->ctx, t, i == 0 ? c->tin[0] : c->in[0], i == 0 ? c->in[1] : c->tin[1],
                           NULL, accumulate));
    }
    return c->ctx->status;
}

static const hk_op matmul_op = {"matmul", matmul_forward, matmul_backward, matmul_jvp};

hk_tensor *hk_matmul(hk_tensor *a, hk_tensor *b) { return HK_APPLY_PLAIN(&matmul_op, a, b); }

/* --- affine: y = x · wᵀ + b, the linear layer ------------------------------------------------------------ */

/* t (..., n) as a matrix (rows, n). */
static hk_tensor *as_rows(hk_tensor *t) {
    hk_tensor *flat = hk_contiguous(t);
    const int r = t->shape.rank;
    if (!flat || r == 2) return flat;
    const int64_t n = t->shape.dim[r - 1];
    int64_t rows = 1;
    for (int i = 0; i < r - 1; i++) rows *= t->shape.dim[i];
    hk_tensor *v = hk__header(t->ctx, t->dtype, HK_SHAPE(rows, n));
    if (v) v->data = flat->data;
    return v;
}

hk_status hk__affine_shape(hk_op_call *c, hk_shape *shape) {
    hk_tensor *x = c->in[0], *w = c->in[1], *b = c->n_in == 3 ? c->in[2] : NULL;
    HK_TRY(hk__need_real(c, 0, c->n_in - 1));
    if (w->shape.rank != 2 || x->shape.rank < 1)
        return hk__shapes_differ(c, "x has rank 1 or more and w rank 2", x, w);
    const int64_t out = w->shape.dim[0];
    if (x->shape.dim[x->shape.rank - 1] != w->shape.dim[1])
        return hk__shapes_differ(c, "the last size of x is not that of w", x, w);
    if (b && (b->shape.rank != 1 || b->shape.dim[0] != out))
        return hk__shapes_differ(c, "the bias needs one element for each row of w", w, b);
    *shape = x->shape;
    shape->dim[shape->rank - 1] = out;
    return HK_OK;
}

hk_status hk__affine_into(hk_op_call *c, hk_tensor *y, hk__gpu_product *later) {
    hk_tensor *rows = as_rows(c->in[0]), *y_rows = as_rows(y), *wt = hk__transposed(c->in[1]);
    hk_tensor *b = c->n_in == 3 ? hk_contiguous(c->in[2]) : NULL;
    if (!rows || !y_rows || !wt || c->ctx->status != HK_OK) return c->ctx->status;
    if (HK_ON_GPU(c->ctx) && later && hk__own_product_gpu(c->ctx, y_rows, rows, wt, false, later)) {
        if (b) later->bias = b->data;
        return c->ctx->status;
    }
    if (later) later->m = 0;
    return hk__product(c->ctx, y_rows, rows, wt, b, false);
}

static hk_status affine_forward(hk_op_call *c) {
    hk_shape shape;
    HK_TRY(hk__affine_shape(c, &shape));
    hk_tensor *y = hk_op_output(c, 0, c->in[0]->dtype, shape);
    return y ? hk__affine_into(c, y, NULL) : c->ctx->status;
}

int hk__affine_back_gpu(hk_op_call *c, hk_tensor *g, hk__gpu_product p[2]) {
    hk_tensor *const *const gin = c->gin;
    if (!HK_ON_GPU(c->ctx)) return 0;
    if (!gin[1] || gin[0] == gin[1]) return 0;
    hk_tensor *gb = c->n_in == 3 ? gin[2] : NULL;
    if (gb && gb == gin[0]) return 0;
    hk_tensor *rows = as_rows(g), *gt = rows ? hk__transposed(rows) : NULL, *x = as_rows(c->in[0]);
    if (!gt || !x || !hk__own_product_gpu(c->ctx, gin[1], gt, x, !gin[1]->clean, &p[0])) return 0;
    if (gb) p[0].sums = gb->data;
    p[0].accumulate_sums = gb && !gb->clean;
    if (gin[0]) {
        hk_tensor *gx = as_rows(gin[0]);
        if (!gx || !hk__own_product_gpu(c->ctx, gx, rows, c->in[1], !gin[0]->clean, &p[1]))
            return 0;
    }
    for (int i = 0; i < c->n_in; i++)
        if (gin[i]) gin[i]->clean = false;
    return gin[0] ? 2 : 1;
}

/* y = x·wᵀ + b with g (rows, out): ∂L/∂x = g·w, ∂L/∂w = gᵀ·x, ∂L/∂b = Σ_rows g. */
hk_status hk__affine_back(hk_op_call *c, hk_tensor *g) {
    hk__gpu_product p[2];
    const int n = HK_ON_GPU(c->ctx) ? hk__affine_back_gpu(c, g, p) : 0;
    if (HK_ON_GPU(c->ctx) && n > 0) {
        hk__gemm_gpu_tables[g->dtype]->run(c->ctx, n, p);
        return c->ctx->status;
    }
    g = as_rows(g);
    if (!g) return c->ctx->status;
    bool accumulate;
    if (hk_op_needs(c, 0)) {
        hk_tensor *gx = as_rows(hk__grad_target(c, 0, &accumulate));
        if (!gx) return c->ctx->status;
        HK_TRY(hk__product(c->ctx, gx, g, c->in[1], NULL, accumulate));
    }
    if (hk_op_needs(c, 1)) {
        hk_tensor *gw = hk__grad_target(c, 1, &accumulate);
        hk_tensor *x = as_rows(c->in[0]), *gt = hk__transposed(g);
        if (!x || !gt) return c->ctx->status;
        HK_TRY(hk__product(c->ctx, gw, gt, x, NULL, accumulate));
    }
    if (c->n_in == 3 && hk_op_needs(c, 2)) HK_TRY(hk_op_add_grad(c, 2, g));
    return c->ctx->status;
}

static hk_status affine_backward(hk_op_call *c) { return hk__affine_back(c, c->gout[0]); }

/* Of y: tx·wᵀ + x·twᵀ + tb. */
hk_status hk__affine_along(hk_op_call *c, int i, hk_tensor *t, bool accumulate) {
    if (i == 2) {
        hk__copy(c->ctx, t, c->tin[2], accumulate);
        return c->ctx->status;
    }
    hk_tensor *x = i == 0 ? c->tin[0] : c->in[0], *w = i == 0 ? c->in[1] : c->tin[1];
    hk_tensor *rows = as_rows(x), *t_rows = as_rows(t), *wt = hk__transposed(w);
    if (!rows || !t_rows || !wt) return c->ctx->status;
    return hk__product(c->ctx, t_rows, rows, wt, NULL, accumulate);
}

static hk_status affine_jvp(hk_op_call *c) {
    for (int i = 0; i < c->n_in; i++) {
        if (!c->tin[i]) continue;
        bool accumulate;
        hk_tensor *t = hk__tangent_target(c, 0, &accumulate);
        if (!t) return c->ctx->status;
        HK_TRY(hk__affine_along(c, i, t, accumulate));
    }
    return c->ctx->status;
}

static const hk_op affine_op = {"affine", affine_forward, affine_backward, affine_jvp};

hk_tensor *hk_affine(hk_tensor *x, hk_tensor *w, hk_tensor *b) {
    if (b == HK_NO_BIAS) return HK_APPLY_PLAIN(&affine_op, x, w);
    return HK_APPLY_PLAIN(&affine_op, x, w, b);
}
