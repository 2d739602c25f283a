/* hk_layers.h: modules: layers with named parameters, described first and built once.
   SPDX-License-Identifier: MIT

   hk_linear, hk_activation, hk_sequential and their like only describe. hk_module_build runs every
   module's shape rule, allocates all parameters of the tree in one buffer and their gradients in another,
   and draws the initial values; after it, no parameter ever moves. Whoever needs parameters first
   (hk_module_parameters, hk_forward) builds on demand.

   A module belongs to its context until a parent takes it, then to the parent. Constructors return NULL
   with a sticky error for bad arguments, and every function passes a NULL module through. */
#ifndef HK_LAYERS_H
#define HK_LAYERS_H

#include "hk_activations.h"
#include "hk_autograd.h"
#include "hk_image_ops.h"

HK_BEGIN_DECLS

typedef struct hk_module hk_module;

/* --- layers ----------------------------------------------------------------------------------------- */

/* y: (..., out) = x: (..., in) · weight: (out, in)ᵀ + bias: (out). */
HK_API hk_module *hk_linear(hk_context *ctx, int64_t in, int64_t out);
HK_API hk_module *hk_linear_no_bias(hk_context *ctx, int64_t in, int64_t out);
/* (n, ...) -> (n, everything else). */
HK_API hk_module *hk_flatten(hk_context *ctx);
/* Active in training mode alone; p in [0, 1). */
HK_API hk_module *hk_dropout(hk_context *ctx, double p);
HK_API hk_module *hk_alpha_dropout(hk_context *ctx, double p);
/* Any activation by specification (hk_activations.h), "relu" or "prelu:per=channel". Learnable parameters
   are parameters of the module: "1.alpha". */
HK_API hk_module *hk_activation(hk_context *ctx, const char *spec);
/* Runs its members in order. A NULL member is an error, not the end of the list. */
HK_API hk_module *hk_sequential_n(hk_context *ctx, int n, hk_module *const *members);
#ifndef __cplusplus
#define hk_sequential(ctx, ...)                                                                    \
    hk_sequential_n(ctx, (int)(sizeof((hk_module *[]){__VA_ARGS__}) / sizeof(hk_module *)),        \
                    (hk_module *[]){__VA_ARGS__})
#endif

/* --- layers for images: (n, c, h, w) -----------------------------------------------------------------------

   Formulas, shapes and settings: hk_image_ops.h. config may be NULL where it has defaults for everything: not for
   the two pools, which need a kernel. */

/* weight: (out, in/groups, kernel.h, kernel.w), bias: (out). */
HK_API hk_module *hk_conv2d(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                            const hk_conv2d_config *config);
HK_API hk_module *hk_conv2d_no_bias(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                                    const hk_conv2d_config *config);
/* weight: (in, out/groups, kernel.h, kernel.w), bias: (out). */
HK_API hk_module *hk_conv_transpose2d(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                                      const hk_conv2d_config *config);
HK_API hk_module *hk_conv_transpose2d_no_bias(hk_context *ctx, int64_t in, int64_t out,
                                              hk_pair kernel, const hk_conv2d_config *config);
HK_API hk_module *hk_max_pool2d(hk_context *ctx, const hk_pool2d_config *config);
HK_API hk_module *hk_avg_pool2d(hk_context *ctx, const hk_pool2d_config *config);
HK_API hk_module *hk_adaptive_avg_pool2d(hk_context *ctx, hk_pair out);
HK_API hk_module *hk_adaptive_max_pool2d(hk_context *ctx, hk_pair out);
/* (n, c, ...) -> (n, c): the mean of each channel. */
HK_API hk_module *hk_global_avg_pool(hk_context *ctx);

/* {0}: eps 1e-5, momentum 0.1. */
typedef struct hk_norm_config {
    double eps;
    double momentum; /* batch norm: running = (1 - momentum)·running + momentum·batch */
    bool plain;      /* without weight and bias */
} hk_norm_config;
/* (n, c) or (n, c, l); (n, c, h, w). The number of channels is the input's. weight starts at 1, bias at 0.
   Training normalises by the batch and moves the buffers running_mean, running_var (of the unbiased variance) and
   num_batches_tracked (i32); evaluation uses them. Training on one value for each channel is HK_ERR_ARGUMENT. */
HK_API hk_module *hk_batch_norm1d(hk_context *ctx, const hk_norm_config *config);
HK_API hk_module *hk_batch_norm2d(hk_context *ctx, const hk_norm_config *config);
/* Over the last `axes` axes, whose sizes must be known. */
HK_API hk_module *hk_layer_norm(hk_context *ctx, int axes, const hk_norm_config *config);
HK_API hk_module *hk_group_norm(hk_context *ctx, int64_t groups, const hk_norm_config *config);

/* Whole channels, in training mode alone; p in [0, 1). */
HK_API hk_module *hk_dropout2d(hk_context *ctx, double p);
/* Zeros around (n, c, h, w). */
HK_API hk_module *hk_zero_pad2d(hk_context *ctx, int64_t top, int64_t bottom, int64_t left,
                                int64_t right);
/* y = body(x) + shortcut(x); without a shortcut (NULL) y = body(x) + x. */
HK_API hk_module *hk_residual(hk_context *ctx, hk_module *body, hk_module *shortcut);

/* --- using a module ----------------------------------------------------------------------------------- */

/* m: the root of its tree. input: the shape of a batch; sizes that are not known yet are -1, as the batch
   itself. `init` names an initialiser (below); NULL is "auto". HK_ERR_STATE if m is built already or is a
   part of another module, HK_ERR_SHAPE if a layer does not fit, HK_ERR_NAME for an unknown initialiser. A
   build that failed is final: make the modules anew. */
HK_API HK_WARN_UNUSED hk_status hk_module_build(hk_module *m, hk_shape input, const char *init);

/* y = m(x), step-owned; NULL on error. A module may stand in several places: its parameters are shared and
   their gradients added up; a shared dropout draws one mask for all its places in a step. */
HK_API hk_tensor *hk_forward(hk_module *m, hk_tensor *x);

/* Training mode (the start) or evaluation mode, for the whole tree; returns what it was. */
HK_API bool hk_module_train(hk_module *m, bool training);
HK_API bool hk_module_is_training(const hk_module *m);

/* An array of tensors, owned by whoever made it. */
typedef struct hk_parameters {
    int count;
    hk_tensor *const *items;
} hk_parameters;
/* Every parameter of m and what is below it, once, in order, named by path from the root: "0.weight",
   "0.bias", "1.alpha". Owned by m. {0, NULL} and a sticky error if the tree cannot be built. */
HK_API hk_parameters hk_module_parameters(hk_module *m);
/* The same, of activations' own parameters alone (kind = HK_OF_ACTIVATIONS), or of all others. */
enum { HK_OF_WEIGHTS = 1, HK_OF_ACTIVATIONS = 2 };
HK_API hk_parameters hk_module_parameters_of(hk_module *m, int kind);
HK_API hk_tensor *hk_module_find(hk_module *m,
                                 const char *name); /* NULL and an error if there is none */

/* Every buffer: a named tensor that is no parameter, such as "1.running_mean". In no optimizer, without gradient.
   hk_module_find finds them too. */
HK_API hk_parameters hk_module_buffers(hk_module *m);
/* Off: forward passes leave all buffers as they are, also in training mode (gradient checks, passes that only look).
   Returns what it was. */
HK_API bool hk_buffers_enable(hk_context *ctx, bool on);

/* A table: layer, output shape, parameters, bytes, with totals; at most 80 columns. Writes at most size
   bytes with the final 0 and returns the length that the whole text has. Builds m for `input`. */
HK_API size_t hk_module_summary(hk_module *m, hk_shape input, char *text, size_t size);

HK_API const char *hk_module_name(const hk_module *m); /* path in the tree, "" for the root */
HK_API const char *hk_module_kind(const hk_module *m); /* class name, "linear" */
HK_API int hk_module_child_count(const hk_module *m);
HK_API hk_module *hk_module_child_at(const hk_module *m, int i);
HK_API hk_context *hk_module_context(const hk_module *m);

/* Destroys a module that no parent has taken, its children, parameters and gradients. */
HK_API void hk_module_destroy(hk_module *m);

/* --- hooks: looking in (handles: hk_hook.h) --------------------------------------------------------------

   fn is called before, or after, each forward pass of m, in training and evaluation, with m's input and, after, its
   output (before: NULL): step tensors, to look at and to read, not to change. What a hook computes is recorded on the
   tape like everything else. Where hillock runs several modules as one operation, it runs them one by one while a hook
   of one of them is on; the results are the same to the bit. NULL and a sticky error if fn is NULL or memory is out. */
typedef void hk_forward_hook(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg);
HK_API hk_hook *hk_hook_before(hk_module *m, hk_forward_hook *fn, void *arg);
HK_API hk_hook *hk_hook_forward(hk_module *m, hk_forward_hook *fn, void *arg);

/* --- initialisers --------------------------------------------------------------------------------------

   "auto"     normal, deviation gain/sqrt(fan_in), with the forward gain of the activation that follows
              (hk_activation_gain), 1 after the last; biases 0. The default.
   "torch"    PyTorch's default: weight and bias uniform on ±1/sqrt(fan_in).
   "kaiming"  normal, deviation sqrt(2/fan_in); biases 0 (He et al. 2015).
   "xavier"   uniform on ±sqrt(6/(fan_in + fan_out)); biases 0 (Glorot and Bengio 2010).
   "lecun"    normal, deviation 1/sqrt(fan_in); biases 0 (LeCun et al. 1998).
   "orthogonal" rows or columns orthonormal, times the gain of "auto"; biases 0 (Saxe et al. 2013). */
HK_API int hk_init_count(void);
HK_API const char *hk_init_name(int i); /* NULL outside */

/* --- one's own module ------------------------------------------------------------------------------------ */

typedef struct hk_module_class {
    const char *name;  /* "linear": for summaries and names of random streams */
    size_t state_size; /* bytes of state, one copy for each module */
    /* Once, in the first place where the module stands: declares parameters, adopts children (for these, call
       hk_module_shape), and sets *out from `in`; unknown sizes are -1. May be NULL if `shape` is not. */
    hk_status (*build)(hk_module *m, void *state, hk_shape in, hk_shape *out);
    /* Sets *out alone, for any input and as often as there are places. NULL: what comes out of a second place with
       another input is unknown. */
    hk_status (*shape)(hk_module *m, void *state, hk_shape in, hk_shape *out);
    hk_tensor *(*forward)(hk_module *m, void *state, hk_tensor *x);
    void (*destroy)(hk_module *m, void *state); /* what build took; may be NULL */
    /* The order of channels stays: the activation behind it decides the start and the width of the layer before. */
    bool passes_on;
} hk_module_class;

/* state (state_size bytes, or NULL for zeros) is copied. cls must outlive the context. */
HK_API hk_module *hk_module_create(hk_context *ctx, const hk_module_class *cls, const void *state);
/* The module's copy of its state. */
HK_API void *hk_module_state(hk_module *m);

/* How a parameter starts. */
typedef enum hk_init_kind {
    HK_INIT_WEIGHT, /* by the initialiser's name, from the two fans */
    HK_INIT_BIAS,   /* likewise */
    HK_INIT_CONSTANT, /* value, plus a draw from N(0, normal²) or from ±uniform if these are not 0 */
    HK_INIT_ZERO
} hk_init_kind;
typedef struct hk_init {
    hk_init_kind kind;
    int64_t fan_in, fan_out;
    double value, normal, uniform;
} hk_init;
/* In build: declares a parameter of the context's dtype. The tensor has no memory until the tree is built. */
HK_API hk_tensor *hk_module_parameter(hk_module *m, const char *name, hk_shape shape, hk_init init);
/* In build: declares a buffer, every element = value. It has its memory at once. In forward, change it only while
   hk_buffers_enabled. */
HK_API hk_tensor *hk_module_buffer(hk_module *m, const char *name, hk_dtype dtype, hk_shape shape,
                                   double value);
HK_API bool hk_buffers_enabled(const hk_context *ctx);
/* In a constructor or build: takes a child under a name. Returns the child, NULL on error. */
HK_API hk_module *hk_module_adopt(hk_module *m, const char *name, hk_module *child);
/* In build: runs the child's shape rule. */
HK_API hk_status hk_module_shape(hk_module *child, hk_shape in, hk_shape *out);

/* Gradient check of a module, in a context of dtype HK_F64: by x (kept, f64) and every parameter. */
HK_API HK_WARN_UNUSED hk_status hk_gradcheck_module(hk_module *m, hk_tensor *x,
                                                    const hk_gradcheck_config *config,
                                                    hk_gradcheck_result *result);

HK_END_DECLS
#endif
