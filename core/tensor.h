/* tensor.h: the inside of a tensor.
   SPDX-License-Identifier: MIT */
#ifndef HK_TENSOR_PRIVATE_H
#define HK_TENSOR_PRIVATE_H

#include "hook.h"

HK_BEGIN_DECLS

struct hk_tensor {
    hk_context *ctx;
    void *data;
    hk_dtype dtype;
    hk_shape shape;
    int64_t stride[HK_MAX_RANK]; /* in elements; 0 where broadcast */
    uint64_t step;               /* the step that owns it; 0: kept */
    const char *name;

    /* autograd's part */
    bool requires; /* gradients flow to it */
    bool clean;    /* it is a gradient that is zero, but its memory was not yet written */
    hk_tensor *grad;
    hk_tensor *tangent;
    void *node;                   /* what made it, opaque to core */
    struct hk__grad_hooks *hooks; /* called with its gradient; NULL: never had any */

    /* kept tensors only */
    void *storage; /* freed with the tensor; NULL: data belongs to someone else */
    char *own_name;
    hk_tensor *next, *previous;
};

/* The hooks of a tensor's gradient. */
typedef struct hk__grad_hooks {
    hk__hooks list;
    hk_tensor *tensor;
    struct hk__grad_hooks
        *next; /* of a kept tensor: in the list of those that a backward has reached */
    bool reached;
} hk__grad_hooks;

/* A step tensor without memory (data NULL), contiguous strides. */
hk_tensor *hk__header(hk_context *ctx, hk_dtype dtype, hk_shape shape);
/* A step tensor with memory, not initialised. */
hk_tensor *hk__empty(hk_context *ctx, hk_dtype dtype, hk_shape shape);
/* A step tensor that looks at t's memory, as t does; change its shape, strides and data then. */
hk_tensor *hk__view(hk_tensor *t);
/* A kept tensor on memory that someone else owns (storage NULL), not on the context's list. */
hk_tensor *hk__kept_header(hk_context *ctx, hk_dtype dtype, hk_shape shape, const char *name);
void hk__kept_free(hk_tensor *t);

/* Checks that t can be used now in ctx (same context, not stale, no sticky error); sets the error. */
hk_status hk__check(hk_context *ctx, const hk_tensor *t, const char *where);

void hk__contiguous_strides(hk_shape shape, int64_t *stride);
bool hk__is_contiguous(const hk_tensor *t);
/* "name (64, 784)" for messages. */
const char *hk__tensor_text(const hk_tensor *t, char *buffer, size_t size);
/* The elements of a contiguous tensor where the host can look at them: in place, or on a GPU a copy in scratch memory.
   To change them all: hk__host_room (not initialised on a GPU), write, hk__host_done. NULL with the sticky error. */
const void *hk__host_view(hk_tensor *t);
void *hk__host_room(hk_tensor *t);
void hk__host_done(hk_tensor *t, const void *room);
/* t with its elements as hk__host_view gives them, for hk__number_at; data NULL with the sticky error. */
hk_tensor hk__near(hk_tensor *t);

/* Element i of a contiguous tensor, wherever it lies; waits for a GPU. NaN with the sticky error. */
double hk__element(const hk_tensor *t, int64_t i);
/* The same of f32 or f64, in memory of the host. */
static inline double hk__number_at(const hk_tensor *t, int64_t i) {
    return t->dtype == HK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static inline void hk__number_put(hk_tensor *t, int64_t i, double value) {
    if (t->dtype == HK_F64)
        ((double *)t->data)[i] = value;
    else
        ((float *)t->data)[i] = (float)value;
}

/* The shape that both broadcast to; false if they do not fit. */
bool hk__broadcast(hk_shape a, hk_shape b, hk_shape *out);
/* Strides of t seen as `shape`, which t broadcasts to. */
void hk__broadcast_strides(const hk_tensor *t, hk_shape shape, int64_t *stride);
/* axis counted from the front, or -1 with an error. */
int hk__axis(hk_context *ctx, const char *where, int axis, int rank);

HK_END_DECLS
#endif
