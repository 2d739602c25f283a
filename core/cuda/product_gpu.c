/* product_gpu.c: from tensors to products on a GPU, by hillock's own kernel or by cuBLAS.
   SPDX-License-Identifier: MIT */
#include "product_gpu.h"

#include <string.h>

#include "gemm_kernels.h"
#include "map.h"

/* Multiply-adds up to which hillock's own kernel is taken. Below it a product is bound by its launches, of which cuBLAS
   needs two or three (the bias, parts of a long sum), or by its few blocks. Counted, not measured: 2^26 of them
   take a tenth of what a GPU of 20 TFLOPS does in the time of ten launches. */
static const double own_work = 0x1p26;
enum {
    MOST_OWN_COUNT = 65535,
    MOST_OWN_DEPTH = 4096
}; /* a long sum over k runs within one block */

static bool is_own(const hk__gpu_product *p) {
    const double work = (double)p->m * (double)p->n * (double)p->k * (double)p->count;
    return p->k == 0 || (work <= own_work && p->k <= MOST_OWN_DEPTH && p->count <= MOST_OWN_COUNT);
}

/* Leading axes, joined where all three tensors walk through both as through one. */
typedef struct batch {
    int rank;
    int64_t dim[HK_MAX_RANK], a[HK_MAX_RANK], b[HK_MAX_RANK], c[HK_MAX_RANK];
} batch;

static int64_t stride_of(const hk_tensor *t, const hk_tensor *out, int axis) {
    const int own = axis - (out->shape.rank - t->shape.rank);
    return own < 0 || t->shape.dim[own] == 1 ? 0 : t->stride[own];
}

static void collect(batch *l, const hk_tensor *out, const hk_tensor *a, const hk_tensor *b) {
    for (int axis = 0; axis < out->shape.rank - 2; axis++) {
        const int64_t dim = out->shape.dim[axis], sa = stride_of(a, out, axis),
                      sb = stride_of(b, out, axis), sc = out->stride[axis];
        if (dim == 1) continue;
        int at = l->rank - 1;
        const bool joins =
            at >= 0 && l->a[at] == sa * dim && l->b[at] == sb * dim && l->c[at] == sc * dim;
        if (!joins) l->dim[++at] = 1;
        l->dim[at] *= dim;
        l->a[at] = sa;
        l->b[at] = sb;
        l->c[at] = sc;
        l->rank = at + 1;
    }
}

/* Matrices that lie below each other and meet the same right side are one tall matrix. */
static void stack(batch *l, hk__gpu_product *p) {
    const int at = l->rank - 1;
    if (at < 0 || l->b[at] != 0 || p->trans_a || l->a[at] != p->m * p->lda ||
        l->c[at] != p->m * p->ldc)
        return;
    p->m *= l->dim[at];
    l->rank--;
}

/* The longest axis becomes the count of one call, and is taken off the list. */
static void take_count(batch *l, hk__gpu_product *p) {
    int longest = 0;
    for (int i = 1; i < l->rank; i++)
        if (l->dim[i] > l->dim[longest]) longest = i;
    if (l->rank == 0) return;
    p->count = l->dim[longest];
    p->step_a = l->a[longest];
    p->step_b = l->b[longest];
    p->step_c = l->c[longest];
    const int last = --l->rank;
    l->dim[longest] = l->dim[last];
    l->a[longest] = l->a[last];
    l->b[longest] = l->b[last];
    l->c[longest] = l->c[last];
}

/* One call for each place in the axes that are left, of which there are seldom any. */
static void run_all(hk_context *ctx, const batch *l, const hk__gpu_product *first, bool own) {
    const int64_t size = (int64_t)hk_dtype_size((hk_dtype)first->dtype);
    int64_t calls = 1;
    for (int i = 0; i < l->rank; i++) calls *= l->dim[i];
    for (int64_t call = 0; call < calls && ctx->status == HK_OK; call++) {
        hk__gpu_product p = *first;
        int64_t rest = call;
        for (int i = l->rank - 1; i >= 0; i--) {
            const int64_t index = rest % l->dim[i];
            rest /= l->dim[i];
            p.a = (const char *)p.a + index * l->a[i] * size;
            p.b = (const char *)p.b + index * l->b[i] * size;
            p.c = (char *)p.c + index * l->c[i] * size;
        }
        if (own)
            hk__gemm_gpu_tables[p.dtype]->run(ctx, 1, &p);
        else
            hk__cublas_product(ctx, &p);
    }
}

static hk__gpu_product product_of(const hk_tensor *out, const hk__matrix *a, const hk__matrix *b,
                                  bool accumulate) {
    const int r = out->shape.rank;
    hk__gpu_product p;
    memset(&p, 0, sizeof p);
    p.dtype = out->dtype;
    p.m = out->shape.dim[r - 2];
    p.n = out->shape.dim[r - 1];
    p.k = a->t->shape.dim[a->t->shape.rank - 1];
    p.count = 1;
    p.a = a->t->data;
    p.lda = a->ld;
    p.trans_a = a->transposed;
    p.b = b->t->data;
    p.ldb = b->ld;
    p.trans_b = b->transposed;
    p.c = out->data;
    p.ldc = p.n;
    p.accumulate = accumulate;
    return p;
}

hk_status hk__product_gpu(hk_context *ctx, hk_tensor *out, const hk__matrix *a, const hk__matrix *b,
                          hk_tensor *bias, bool accumulate) {
    hk__gpu_product p = product_of(out, a, b, accumulate);
    batch leading = {.rank = 0};
    collect(&leading, out, a->t, b->t);
    stack(&leading, &p);
    take_count(&leading, &p);
    const bool own = is_own(&p), empty = p.k == 0;
    if (empty && !bias && !accumulate) hk__fill(ctx, out, 0);
    if (own && bias) p.bias = bias->data;
    if (bias && (!own || empty)) {
        hk__copy(ctx, out, bias, accumulate);
        p.accumulate = true;
    }
    if (!empty) run_all(ctx, &leading, &p, own);
    return ctx->status;
}

bool hk__own_product_gpu(hk_context *ctx, hk_tensor *out, hk_tensor *a, hk_tensor *b,
                         bool accumulate, hk__gpu_product *p) {
    hk__matrix left, right;
    if (!hk__as_matrix(ctx, a, &left) || !hk__as_matrix(ctx, b, &right)) return false;
    *p = product_of(out, &left, &right, accumulate);
    return p->m * p->n * p->k > 0 && is_own(p);
}
