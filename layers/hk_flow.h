/* hk_flow.h: how gradients flow through a network while it trains.
   SPDX-License-Identifier: MIT

       hk_flow *flow = hk_flow_create(net, &(hk_flow_config){.every = 47, .report = print, .arg = file});
       ... the training loop, unchanged: forward, hk_backward, hk_optimizer_step, hk_step_end ...
       hk_flow_finish(flow);

   A flow hooks the network. Of every recorded step it tells, for each parameter, statistics of its gradient and how far
   the update moved it; for each layer, statistics of its output and of the gradient there. Between recorded steps its
   hooks are off: such steps run as if there were none. What is learned is the same to the bit with a flow and without.

   A step is a backward pass that reaches a parameter of the network in training mode. So passes without recording, in
   evaluation mode or through another network may come between, also between forward and backward. Where several passes
   add up their gradients before an update, each is a step, and the record waits until the update. A layer that ran several
   times in a step, as one that stands in several places, is shown as it ran last. */
#ifndef HK_FLOW_H
#define HK_FLOW_H

#include "hk_layers.h"
#include "hk_stats.h"

HK_BEGIN_DECLS

enum { HK_FLOW_IMAGES = 8 };

typedef struct hk_flow_parameter {
    const char *name; /* "0.weight" */
    hk_stats grad;    /* as accumulated when backward ends: before clipping */
    double weight_l2; /* |w| before the update */
    double
        update_ratio; /* |w after - w before| / |w before|, L2 norms: healthy is about 1e-3. NaN if |w before| is 0,
                            or no update was seen */
    /* Share of output units (rows of a linear weight, filters of a convolution) whose incoming weights' gradients, those
       that are not 0, all have one sign: all weights of such a unit can only grow together or shrink together in this
       step. Of the whole batch's gradient; units whose gradient is all 0 do not count. NaN if the parameter is not the
       weight of such a layer, or no unit counts. */
    double one_sign;
} hk_flow_parameter;

/* A layer is a module without children, in the order in which they ran first. If it did not run in this step, out is all 0
   and the rest NaN. */
typedef struct hk_flow_layer {
    const char *name, *kind; /* "0", "linear" */
    hk_stats out;            /* its output y over the batch */
    double grad_l2;          /* |∂L/∂y|, of the whole batch; NaN if no gradient came there */
    /* Of a linear layer or convolution (else NaN): |∂L/∂y|² over that of the next such layer in order. At the start, with
       weights of variance σw²/fan_in, it estimates χ₁ (hk_mean_field.h): below 1 gradients vanish, above they explode. */
    double ratio;
    /* Of a linear layer or a conv2d (else NaN): as one_sign, of the gradient of each sample alone. In a linear layer
       ∂L/∂w[j] = ∂L/∂y[j]·x, so all gradients of a unit have one sign if and only if all inputs do. Share of pairs
       (sample, unit) whose gradient is not all 0; of a conv2d the first HK_FLOW_IMAGES samples alone. */
    double one_sign_sample;
} hk_flow_layer;

typedef struct hk_flow_record {
    int64_t step; /* from 1, since the flow was created */
    int n_parameters, n_layers;
    const hk_flow_parameter *parameters;
    const hk_flow_layer *layers;
} hk_flow_record; /* its memory is the flow's, until the next record */

/* Called once for each recorded step, when its update is known: in the next step's backward pass, or by hk_flow_finish.
   It may destroy the flow. */
typedef void hk_flow_report(const hk_flow_record *record, void *arg);

typedef struct hk_flow_config {
    int64_t every; /* record step 1 and each step k with (k - 1) % every == 0; 0: all steps */
    hk_flow_report *report; /* may be NULL: then ask hk_flow_last */
    void *arg;
} hk_flow_config;

typedef struct hk_flow hk_flow;

/* net: the root of a built tree. Belongs to the context, until hk_flow_destroy; the network may be destroyed before it. A
   config of NULL is {0}. NULL and a sticky error if net is not built or is a part of a tree, every is negative, or memory
   is out. */
HK_API hk_flow *hk_flow_create(hk_module *net, const hk_flow_config *config);
/* The next step is recorded whatever its number: the last one, say. In the middle of a step: the one after it. */
HK_API void hk_flow_now(hk_flow *flow);
/* Completes the record of the last step, if it waits for its update: call it after hk_optimizer_step. */
HK_API void hk_flow_finish(hk_flow *flow);
/* The newest complete record; NULL if there is none. */
HK_API const hk_flow_record *hk_flow_last(const hk_flow *flow);
HK_API void hk_flow_destroy(hk_flow *flow);

HK_END_DECLS
#endif
