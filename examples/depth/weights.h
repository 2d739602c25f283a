/* weights.h: ways to draw the weights of a random network.
   SPDX-License-Identifier: MIT

   A way is two variances: weights have σw²/fan_in, biases σb². */
#ifndef DEPTH_WEIGHTS_H
#define DEPTH_WEIGHTS_H

#include "study.h"

typedef struct weights {
    const char *init;      /* a name below */
    double gain, variance; /* σw, σw²: instead of the name's; 0: not given */
    double bias;           /* σb²; negative: the name's */
    double q;              /* where "critical" is wanted to be a fixed point */
} weights;

/* Adds --init, --gain, --weight-variance, --bias-variance. */
void weights_add_options(study *s, weights *w);
/* Two of them at a time cannot be: false, and it has been printed. */
bool weights_check(study *s, const weights *w);
/* The two variances for an activation. False, and it has been printed, if there are none: critical needs a
   function of one number, and σb² >= 0. */
bool weights_of(study *s, hk_context *ctx, const weights *w, const hk_activation_spec *spec,
                int64_t fan_in, double *weight_variance, double *bias_variance);
bool weights_are_uniform(const weights *w);
/* "its own gain", for titles. */
void weights_text(const weights *w, char *text, size_t size);

#endif
