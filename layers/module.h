/* module.h: the inside of a module.
   SPDX-License-Identifier: MIT */
#ifndef HK_MODULE_PRIVATE_H
#define HK_MODULE_PRIVATE_H

#include "context.h"
#include "hk_layers.h"
#include "hook.h"
#include "tensor.h"

HK_BEGIN_DECLS

typedef struct hk__slot {
    hk_tensor *t;
    hk_init init;
    char *stream; /* name of its random draw: "init/linear0.weight" */
} hk__slot;

struct hk_module {
    hk__object object;
    const hk_module_class *cls;
    void *state;
    hk_module *parent;
    char *name; /* path of names: "0", "block.1"; "" for the root */
    char *
        stream; /* path of classes and their ordinals, "linear0": another layer of another class does
                     not change it, nor any draw that is named for it */
    hk_module **children;
    char **child_names;
    hk_shape *
        child_outputs; /* by place, as a child may stand in several; unknown unless the parent notes them */
    int n_children;
    hk__slot *slots;
    int n_slots;
    hk_tensor **buffers; /* each with memory of its own */
    int n_buffers;
    hk_shape input, output; /* of the place where it was built */
    bool training, building, built, failed, visited;
    hk__hooks before, after; /* of a forward pass */
    hk_module *following;    /* the activation that its output goes to, if the parent knows one */

    /* of a root, once built */
    void *weights, *grads;
    hk_tensor **list[3]; /* all parameters, those of weights, those of activations */
    int count[3];
    hk_tensor **all_buffers;
    const char *init_name;
};

/* Nothing is known of the shape. */
#define HK_UNKNOWN ((hk_shape){-1, {0}})

extern const hk_module_class hk__activation_class;
/* The activation's name, of a module of that class. */
const char *hk__activation_name(const hk_module *m);
/* Forward gain of the activation that follows m, 1 if none does. */
double hk__gain_after(const hk_module *m);
/* How many times as wide m's output must be for the activation that follows (maxout, gated units). */
int hk__widening_after(const hk_module *m);
/* Draws the initial value of a slot by the initialiser's name. */
hk_status hk__initialise(hk_module *m, const hk__slot *slot, const char *name);
/* An error if there is none of that name; NULL is "auto". */
hk_status hk__init_check(hk_context *ctx, const char *name);
hk_module *hk__root(hk_module *m);
/* What messages call it. */
static inline const char *hk__place_of(const hk_module *m) {
    return m->name[0] ? m->name : "the module";
}
/* "(n, 784)" into buffer: an unknown size is n in the first place, ? elsewhere. */
const char *hk__shape_pattern(hk_shape shape, char *buffer, size_t size);
/* a, separator and b in memory of its own; NULL if there is none. */
char *hk__joined(const char *a, const char *separator, const char *b);
/* Notes all buffers of a tree in its root. */
hk_status hk__list_buffers(hk_module *root);
/* Calls the hooks of m on that list of its two; whether any would be called (hooks.c). */
void hk__run_hooks(hk_module *m, hk__hooks *list, hk_tensor *x, hk_tensor *y);
bool hk__is_hooked(const hk_module *m);
/* What a fused group must know of its members (conv_block.c, linear_block.c). Whether m is a conv2d, and if so its
   settings, weight and bias (or HK_NO_BIAS); a linear layer; an activation that is a function of an element with fixed
   parameters; a max pooling of 2 x 2 without padding. */
bool hk__is_conv2d(const hk_module *m, hk_conv2d_config *config, hk_tensor **weight,
                   hk_tensor **bias);
bool hk__is_linear(const hk_module *m, hk_tensor **weight, hk_tensor **bias);
bool hk__is_plain_activation(const hk_module *m);
const hk_activation_spec *hk__activation_spec_of(const hk_module *m);
bool hk__is_max_pool_2x2(const hk_module *m);
/* Clears the marks of a walk over the tree. */
void hk__unvisit(hk_module *m);
/* Builds the tree of m unless it is built: for that input if m is the root. */
hk_status hk__ensure_built(hk_module *m, hk_shape input);

HK_END_DECLS
#endif
