/* tape.h: the tape, and what the ops of this folder use beyond the public hk_op interface.
   SPDX-License-Identifier: MIT

   The tape is an array of nodes in the order of execution. Backward is a loop over it from the end,
   forward mode a loop from the start: execution order is a topological order, so nothing is sorted. */
#ifndef HK_TAPE_H
#define HK_TAPE_H

#include "hk_autograd.h"
#include "map.h"
#include "reduce.h"
#include "tensor.h"

HK_BEGIN_DECLS

typedef struct hk__node {
    const hk_op *op;
    const void *attr;
    int n_in, n_out;
    hk_tensor **in, **out;
    hk_tensor **gin, **gout; /* room for backward and forward mode to collect in */
    uint64_t version;        /* of the parameters it was computed from */
    int64_t index;
} hk__node;

struct hk__tape {
    hk__node **nodes;
    int64_t count, capacity;
    bool off;   /* the user switched recording off */
    int inside; /* > 0 while an op runs: its own operations are not recorded */
    bool nan_guard;
    hk__grad_hooks *reached, **reached_end; /* kept tensors with hooks, in a backward pass */
    hk__hooks after;                        /* a backward pass */
};

/* hk_apply for ops of the library: one output. */
#define HK_APPLY(op, attr, ...)                                                                    \
    hk_apply(op, attr, sizeof *(attr),                                                             \
             (int)(sizeof((hk_tensor *[]){__VA_ARGS__}) / sizeof(void *)),                         \
             (hk_tensor *[]){__VA_ARGS__}, 1, NULL)
#define HK_APPLY_PLAIN(op, ...)                                                                    \
    hk_apply(op, NULL, 0, (int)(sizeof((hk_tensor *[]){__VA_ARGS__}) / sizeof(void *)),            \
             (hk_tensor *[]){__VA_ARGS__}, 1, NULL)

/* The context's tape, made on first use, so that core need not know of it. NULL on error. */
struct hk__tape *hk__tape_of(hk_context *ctx);
/* The node that made y, if derivatives can be asked for there; NULL and the sticky error, under the name `where`, if not. */
hk__node *hk__start_of(hk_context *ctx, hk_tensor *y, const char *where);
/* Reports a failure of an op's function that did not say why itself. */
hk_status hk__blame(hk_context *ctx, const hk_op *op, hk_status status);
/* HK_ERR_NONFINITE if t is not finite: "[op] what t is not finite at element 3". */
hk_status hk__guard(hk_context *ctx, const hk_op *op, const char *what, hk_tensor *t);
/* Whether its dtype is one that has derivatives. */
bool hk__carries_gradients(const hk_tensor *t);

/* The gradient of input i, to be written by a kernel in full: added to if *accumulate, else overwritten.
   NULL if it is not needed. */
hk_tensor *hk__grad_target(hk_op_call *c, int i, bool *accumulate);
/* As hk_op_add_grad, but where nothing else leads to the input, g is its gradient from now on, without a copy. */
hk_status hk__hand_grad(hk_op_call *c, int i, hk_tensor *g);
/* The same for the direction of output k, created on first use. NULL on error. */
hk_tensor *hk__tangent_target(hk_op_call *c, int k, bool *accumulate);

/* Checks inside forward: dtype is f32 or f64, and the same for all inputs from first to last. */
hk_status hk__need_real(hk_op_call *c, int first, int last);
/* "[op] what: a (2, 3) and b (4)" as HK_ERR_SHAPE. */
hk_status hk__shapes_differ(hk_op_call *c, const char *rule, const hk_tensor *a,
                            const hk_tensor *b);
/* Whether hk_nan_guard is on. */
bool hk__nan_guarded(const hk_context *ctx);
/* Zeroes a gradient whose memory was not yet written. */
void hk__grad_settle(hk_tensor *grad);

HK_END_DECLS
#endif
