/* hk_mean_field.h: what becomes of signals and gradients in wide random networks.
   SPDX-License-Identifier: MIT

   For weights of variance σw²/fan_in and biases of variance σb², in the limit of width (Poole et al. 2016; Schoenholz et al.
   2017; z ~ N(0, 1)):

       q' = σw² E f(√q z)² + σb²       length of the signal: q is E of a pre-activation squared
       χ₁ = σw² E f'(√q z)²            factor on squared gradient norms, from layer to layer backward

   χ₁ < 1: gradients vanish, > 1: they explode, with the depth scale -1/ln χ₁. By quadrature in double, for pointwise
   activations and one's own; NaN for others. */
#ifndef HK_MEAN_FIELD_H
#define HK_MEAN_FIELD_H

#include "hk_activations.h"

HK_BEGIN_DECLS

/* E f(√q z)², E f'(√q z)²; q >= 0. */
HK_API double hk_mean_field_signal(const hk_activation_spec *spec, double q);
HK_API double hk_mean_field_slope(const hk_activation_spec *spec, double q);

typedef struct hk_mean_field {
    double
        q; /* a fixed point of q -> q', reached from q = 1: 0 if signals die, infinity if they grow for ever */
    double chi; /* χ₁ there (q = 0: σw² f'(0)²; infinity: the limit, if there is one, else NaN) */
    double stability; /* dq'/dq there: below 1, signals come back to q */
    double
        depth_scale; /* -1/ln χ₁ layers: positive where gradients vanish, negative where they explode, ±inf at 1 */
    int layers; /* until q was within 1e-9 of it, relatively (0: below 1e-9, infinity: above 1e9);
                   -1: not within 10,000, though it leads there */
} hk_mean_field;
HK_API hk_mean_field hk_mean_field_of(const hk_activation_spec *spec, double weight_variance,
                                      double bias_variance);

HK_END_DECLS
#endif
