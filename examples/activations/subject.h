/* subject.h: an activation by name, ready to run on float32 tensors.
   SPDX-License-Identifier: MIT

   A module does it (hk_layers.h), so it is what runs in training: parameters that are learned are
   tensors with gradients, others plain numbers. */
#ifndef ACTIVATIONS_SUBJECT_H
#define ACTIVATIONS_SUBJECT_H

#include <hillock/hillock.h>

typedef struct subject {
    const char *name; /* as it was given: "swish:beta=2" */
    hk_activation_spec spec;
    hk_module *module;
} subject;

/* False, and the context's error set, if there is no such activation. name must outlive it. Inputs
   will have this shape. */
bool subject_open(hk_context *ctx, const char *name, hk_shape input, subject *s);
void subject_close(subject *s);

/* A mixture counts: each of its elements depends on one of x, though it is a module. */
bool subject_is_pointwise(const hk_activation_spec *spec);
/* step, unless a stand-in for its slope was chosen: backward is an error. */
bool subject_has_slope(const hk_activation_spec *spec);
/* Whether a parameter exists: one of a hinge beyond the number of hinges does not. */
bool subject_has_parameter(const hk_activation_spec *spec, int k);

/* y = f(x) and, unless it is NULL, slope = f'(x) for n numbers of a pointwise one, by the kernels that
   train. NaN for slopes that there are not. x: a kept tensor that requires a gradient, of n elements;
   its contents are replaced. Ends the step. */
bool subject_values(subject *s, hk_tensor *x, const float *at, float *y, float *slope);

#endif
