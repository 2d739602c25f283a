/* activation_fixture.h: what tests over all activations share.
   SPDX-License-Identifier: MIT */
#ifndef ACTIVATION_FIXTURE_H
#define ACTIVATION_FIXTURE_H

#include "hk_activations.h"

#include <string.h>

/* A specification by which any row runs and all of its gradients are there: mixtures need candidates, the step a
   stand-in for its slope, and some starts have slopes of 0. */
static inline const char *activation_text(const hk_activation_info *row) {
    if (strcmp(row->name, "mix") == 0) return "mix:relu+tanh+silu";
    if (strcmp(row->name, "apl") == 0) return "apl:a1=0.9:a2=-0.7:b1=0.3";
    if (strcmp(row->name, "srelu") == 0) return "srelu:t_l=-0.1:t_r=0.02:a_r=0.5";
    return row->surrogate ? "step:ste=sigmoid" : row->name;
}

#endif
