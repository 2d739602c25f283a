/* activation.h: what the files of this folder share.
   SPDX-License-Identifier: MIT */
#ifndef HK_ACTIVATION_PRIVATE_H
#define HK_ACTIVATION_PRIVATE_H

#include "activation_kernels.h"
#include "tape.h"

HK_BEGIN_DECLS

/* Numbers of the rows behind the pointwise ones. */
enum {
    HK__WIDE_FIRST = HK__ACT_COUNT - 1,
#define HK_ACTIVATION(name, ...)
#define HK_ACTIVATION_WIDE(name, ...) HK__WIDE_##name,
#include "activations.def"
#undef HK_ACTIVATION
#undef HK_ACTIVATION_WIDE
    HK__ROW_COUNT
};
extern const hk_activation_info hk__activation_rows[HK__ROW_COUNT];

/* The number of a library's row. */
static inline int hk__row_of(const hk_activation_info *info) {
    return (int)(info - hk__activation_rows);
}

/* A user's activation, an object of its context. */
typedef struct hk__own_activation {
    hk__object object;
    hk_activation_info info;
    hk_activation_functions functions;
    hk_op op;
    struct hk__own_activation *next;
} hk__own_activation;
/* The i-th of a context, NULL behind the last. */
const hk__own_activation *hk__own_activation_at(const hk_context *ctx, int i);
static inline const hk__own_activation *hk__own_of(const hk_activation_info *info) {
    return (const hk__own_activation *)(const void *)((const char *)info -
                                                      offsetof(hk__own_activation, info));
}

/* What the operation of an activation keeps: in[0] is x, the other inputs are those parameters that are tensors. */
typedef struct hk__activation_attr {
    hk_activation_spec spec;
    int at[HK_ACTIVATION_MAX_PARAMS]; /* which input a parameter is; 0: the number of spec */
} hk__activation_attr;
static inline const hk__activation_kernels_row *hk__kernels_of(const hk_op_call *c) {
    const hk__activation_attr *a = (const hk__activation_attr *)c->attr;
    return &hk__activation_tables[hk__stamp_of(c->ctx, c->in[0]->dtype)]
                ->row[hk__row_of(a->spec.info)];
}

/* Stretches of x with the same parameters: stretch s has those of channel s % channels. */
typedef struct hk__stretches {
    int64_t length, count, channels;
    int64_t
        stride[HK_ACTIVATION_MAX_PARAMS]; /* of a parameter from channel to channel, in elements */
} hk__stretches;
/* On a GPU: whether 32 bits count a channel's elements; y; whether all gradients can be summed at once, as long as no
   two are the same; x's gradient and these sums by one kernel that reads x and g once. */
bool hk__gpu_takes_stretches(const hk__stretches *s);
hk_status hk__value_gpu(const hk_op_call *c, const hk__stretches *s);
bool hk__gpu_learns(const hk_op_call *c, const hk__stretches *s);
hk_status hk__learn_gpu(hk_op_call *c, const hk__stretches *s);

/* Runs op with them; params as in hk_activate_with. */
hk_tensor *hk__apply_activation(const hk_op *op, hk_tensor *x, const hk_activation_spec *spec,
                                hk_tensor *const *params);
/* hk_activate_with for functions of a row; refuses networks. */
hk_tensor *hk__activate_axis(hk_tensor *x, const hk_activation_spec *spec);

/* Checks that every parameter broadcasts to x and has its type. */
hk_status hk__check_parameters(hk_op_call *c);

HK_END_DECLS
#endif
