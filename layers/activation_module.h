/* activation_module.h: activations as modules, for activation_layer.c and activation_networks.c.
   SPDX-License-Identifier: MIT */
#ifndef HK_ACTIVATION_MODULE_H
#define HK_ACTIVATION_MODULE_H

#include "module.h"

HK_BEGIN_DECLS

typedef struct hk__activation_state {
    hk_activation_spec spec;
    hk_tensor *params[HK_ACTIVATION_MAX_PARAMS]; /* NULL: the number of spec */
    char stream[160];                            /* of random draws */
    /* of networks */
    hk_module *fc1, *fc2, *conv;
    hk_module *bn1, *bn2; /* behind fc1 or conv, behind fc2; NULL: none */
    hk_tensor *logits;
    int n_candidates;
    hk_activation_spec *candidates; /* of a mixture, with the mean and deviation of each */
    double *mean, *deviation;
} hk__activation_state;

/* Parameter `name` of the module, of shape (1), or (C, 1, ...) for each channel of `in`; NULL with an error if C
   is not known. */
hk_tensor *hk__activation_parameter(hk_module *m, const char *name, bool per_channel, hk_shape in,
                                    hk_init init);

/* Build and forward of the networks, by row. */
hk_status hk__network_build(hk_module *m, hk__activation_state *a, hk_shape in);
hk_tensor *hk__network_forward(const hk_module *m, hk__activation_state *a, hk_tensor *x);

HK_END_DECLS
#endif
