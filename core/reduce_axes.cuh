/* reduce_axes.cuh: the axes that a reduction keeps or reduces: in what order, joined, and where elements lie.
   SPDX-License-Identifier: MIT */
#ifndef HK_REDUCE_AXES_CUH
#define HK_REDUCE_AXES_CUH

#include "launch.cuh"

namespace {

/* Axes, the one with the smallest stride last, joined where strides allow. */
struct axes_list {
    int64_t count, rank;
    int64_t dim[HK_MAX_RANK], x[HK_MAX_RANK], out[HK_MAX_RANK];
    double inverse[HK_MAX_RANK]; /* 1/dim */
};

/* --- in kernels ---------------------------------------------------------------------------------------------------- */

/* *rest / dim stays there, the remainder is returned. A division of 64 bits would be a call, around which a kernel
   spills its registers: beyond 32 bits a product with 1/dim finds the quotient, or its neighbour. */
static __device__ inline int64_t axes_split(int64_t *rest, int64_t dim, double inverse) {
    const int64_t all = *rest;
    if ((all | dim) >> 32 == 0) {
        const uint32_t q = (uint32_t)all / (uint32_t)dim;
        *rest = q;
        return (uint32_t)all - q * (uint32_t)dim;
    }
    int64_t q = (int64_t)((double)all * inverse);
    if (q * dim > all) q--;
    if (all - q * dim >= dim) q++;
    *rest = q;
    return all - q * dim;
}

static __device__ inline int64_t axes_place(const axes_list &l, const int64_t *stride, int64_t i) {
    int64_t at = 0;
    for (int a = (int)l.rank - 1; a > 0; a--)
        at += axes_split(&i, l.dim[a], l.inverse[a]) * stride[a];
    return l.rank > 0 ? at + i * stride[0] : 0;
}

/* --- on the host --------------------------------------------------------------------------------------------------- */

/* How far apart, for sorting: a broadcast axis (stride 0) is never the inner one. */
static int64_t axes_distance(int64_t stride) { return stride == 0 ? INT64_MAX : stride; }

static void axes_push(axes_list *l, int64_t dim, int64_t x, int64_t out) {
    int at = (int)l->rank++;
    l->count *= dim;
    for (; at > 0 && axes_distance(l->x[at - 1]) < axes_distance(x); at--) {
        l->dim[at] = l->dim[at - 1];
        l->x[at] = l->x[at - 1];
        l->out[at] = l->out[at - 1];
    }
    l->dim[at] = dim;
    l->x[at] = x;
    l->out[at] = out;
}

static void axes_collapse(axes_list *l) {
    int n = 0;
    for (int i = 0; i < l->rank; i++) {
        const bool joins =
            n > 0 && l->x[n - 1] == l->x[i] * l->dim[i] && l->out[n - 1] == l->out[i] * l->dim[i];
        l->dim[n - joins] = joins ? l->dim[n - 1] * l->dim[i] : l->dim[i];
        l->x[n - joins] = l->x[i];
        l->out[n - joins] = l->out[i];
        n += !joins;
    }
    l->rank = n;
    for (int i = 0; i < n; i++) l->inverse[i] = 1.0 / (double)l->dim[i];
}

} /* namespace */

#endif
