/* hk_autograd.h: gradients. The tape, reverse and forward mode, one's own operations, gradient check.
   SPDX-License-Identifier: MIT

   Every operation on a tensor that requires a gradient is appended to the tape of its context.
   hk_backward walks the tape from its end to its start, hk_jvp from its start to its end. The tape is
   cleared by hk_step_end. There are no higher-order gradients. */
#ifndef HK_AUTOGRAD_H
#define HK_AUTOGRAD_H

#include "hk_hook.h"
#include "hk_ops.h"

HK_BEGIN_DECLS

/* Marks a kept f32 or f64 tensor as one to differentiate for; it gets a kept gradient, zero at first.
   Parameters of modules have it already. Returns t. */
HK_API hk_tensor *hk_require_grad(hk_tensor *t);

/* The gradient of a kept tensor that requires one, or of an intermediate after hk_backward (step-owned);
   NULL if there is none. */
HK_API hk_tensor *hk_grad(hk_tensor *t);
HK_API void hk_zero_grad(hk_tensor *t);

/* Recording on or off; returns what it was. Evaluation runs with it off. */
HK_API bool hk_grad_enable(hk_context *ctx, bool on);

/* Adds d loss / d p to the gradient of every kept tensor that requires one. loss has one element.
   Gradients of intermediates start anew with each call; those of kept tensors accumulate until zeroed, so
   two calls on one loss give exactly twice the parameter gradients. HK_ERR_GRADIENT if loss depends on no
   such tensor, or if the tape is older than the last optimizer step. Returns the sticky status. */
HK_API HK_WARN_UNUSED hk_status hk_backward(hk_context *ctx, hk_tensor *loss);
/* The same from any y with d loss / d y = gy (y's shape): the vector-Jacobian product. */
HK_API HK_WARN_UNUSED hk_status hk_backward_from(hk_context *ctx, hk_tensor *y, hk_tensor *gy);

/* The Jacobian-vector product of what is on the tape: ty = Σ_i dy/dx[i] · v[i], for x[i] that require
   gradients (kept tensors) and directions v[i] of their shapes. Step-owned result, NULL on error. */
HK_API hk_tensor *hk_jvp(hk_context *ctx, hk_tensor *y, int n, hk_tensor *const *x,
                         hk_tensor *const *v);

/* Switched on, every forward and backward result is checked, and the first value that is not finite is
   the error HK_ERR_NONFINITE, naming the operation, the tensor and the index. Costs a pass over each. */
HK_API void hk_nan_guard(hk_context *ctx, bool on);

/* --- hooks: looking at gradients (handles: hk_hook.h) ------------------------------------------------------

   Called in a backward pass that reaches t, when t's gradient is complete: of an intermediate, before it goes on to
   what t was made from; of a kept tensor, at the end of the pass, and then as accumulated so far. `grad` is to read. The
   hook of an intermediate ends with the step. NULL and a sticky error if t cannot have a gradient (HK_ERR_GRADIENT), fn
   is NULL, or memory is out. */
typedef void hk_grad_hook(hk_tensor *t, hk_tensor *grad, void *arg);
HK_API hk_hook *hk_hook_grad(hk_tensor *t, hk_grad_hook *fn, void *arg);
/* Called at the end of each backward pass without error, after the hooks of tensors. The step still has all its
   tensors: hk_grad gives the gradient of any of them. Belongs to the context. */
typedef void hk_backward_hook(hk_context *ctx, void *arg);
HK_API hk_hook *hk_hook_backward(hk_context *ctx, hk_backward_hook *fn, void *arg);

/* --- one's own operation -------------------------------------------------------------------------- */

enum { HK_OP_MAX_OUT = 3 };

typedef struct hk_op hk_op;

/* One call of an operation, as its functions see it. */
typedef struct hk_op_call {
    hk_context *ctx;
    const hk_op *op;
    const void *attr; /* a copy of what hk_apply was given */
    int n_in, n_out;
    hk_tensor *const *in;
    hk_tensor **out;         /* forward fills it; backward and jvp may read it */
    hk_tensor *const *gout;  /* backward: gradient of each output, NULL where none flowed */
    hk_tensor *const *tin;   /* jvp: direction of each input, NULL where zero */
    hk_tensor **gin, **tout; /* the engine's; use hk_op_needs, hk_op_add_grad, hk_op_add_tangent */
} hk_op_call;

/* An operation. forward checks shapes, creates the outputs (hk_op_output, or any operation: recording
   is off inside) and computes. backward adds to each input that needs it; jvp to each output. Either may
   be NULL: then asking for it is HK_ERR_GRADIENT naming the operation. They may use every operation of
   hk_ops.h. A non-zero return without hk_fail is reported under the operation's name. */
struct hk_op {
    const char *name;
    hk_status (*forward)(hk_op_call *c);
    hk_status (*backward)(hk_op_call *c);
    hk_status (*jvp)(hk_op_call *c);
};

/* Runs op on n inputs and records it. attr (attr_size bytes, may be NULL) is copied. Returns the first
   output, or all of them in outs if that is not NULL (room for n_out). op must outlive the context. */
HK_API hk_tensor *hk_apply(const hk_op *op, const void *attr, size_t attr_size, int n,
                           hk_tensor *const *in, int n_out, hk_tensor **outs);
/* A fresh step tensor as output k, not initialised. */
HK_API hk_tensor *hk_op_output(hk_op_call *c, int k, hk_dtype dtype, hk_shape shape);
/* Whether input i needs a gradient; adding one: g of input i's shape, or of a shape that it was broadcast
   to (then g is summed back). A NULL g is an error. */
HK_API bool hk_op_needs(const hk_op_call *c, int i);
HK_API hk_status hk_op_add_grad(hk_op_call *c, int i, hk_tensor *g);
HK_API hk_status hk_op_add_tangent(hk_op_call *c, int k, hk_tensor *t);

/* --- gradient check ---------------------------------------------------------------------------------- */

/* A function of n tensors; must be pure (same inputs, same result). arg is the caller's. */
typedef hk_tensor *hk_function(hk_context *ctx, int n, hk_tensor *const *in, void *arg);

/* One element: which input, which element of it, both derivatives. */
typedef struct hk_gradcheck_element {
    int input;
    int64_t index;
    double analytic, numeric, error, tolerance;
    bool ok;
} hk_gradcheck_element;

/* {0} means the defaults. */
typedef struct hk_gradcheck_config {
    double h;         /* 6e-6: step of the central difference, times max(1, |x|) */
    double rtol;      /* 1e-7: |a - n| <= rtol·max(|a|, |n|) + atol·max|n| for every element */
    double atol;      /* 1e-8 */
    double vacuous;   /* 1e-3: a check whose largest |n| is below this fails: it proves nothing */
    const bool *skip; /* n flags: inputs not to differentiate for (labels); NULL: none */
    bool skip_jvp;    /* true: reverse mode alone */
    void (*report)(void *arg, const hk_gradcheck_element *element); /* each element, for tables */
    void *report_arg;
} hk_gradcheck_config;

typedef struct hk_gradcheck_result {
    bool ok;
    int64_t elements, failed;
    double largest;             /* max |numeric| */
    hk_gradcheck_element worst; /* by error over tolerance */
    double
        jvp_error; /* largest |jvp - directional difference|, relative to the largest derivative */
    double adjoint_error; /* |<u, J v> - <Jᵀ u, v>| relative */
    char message[256];    /* one line: what failed and where, or "ok" */
} hk_gradcheck_result;

/* Checks fn's reverse mode against central differences of <v, fn(in)> with a fixed random v, in f64, then
   its forward mode by a directional difference and by <u, J v> = <Jᵀ u, v>. in: kept f64 tensors; they are
   moved during the check and restored to the bit; their gradients are zeroed. HK_ERR_CHECK (not sticky) if
   it fails; other errors are sticky. result may be NULL. Must be called with nothing on the tape. */
HK_API HK_WARN_UNUSED hk_status hk_gradcheck(hk_context *ctx, hk_function *fn, void *arg, int n,
                                             hk_tensor *const *in,
                                             const hk_gradcheck_config *config,
                                             hk_gradcheck_result *result);

HK_END_DECLS
#endif
