/* hk_units.h: dead, dormant, constant and saturated units of a network.
   SPDX-License-Identifier: MIT

       hk_units *units = hk_units_create(net, NULL);
       while (hk_loader_next(probe, &batch)) {           the same images every time, of the training set: 1,000 or more
           hk_units_add(units, batch.x);
           if (hk_step_end(ctx)) break;
       }
       if (hk_units_end(units) == HK_OK) ... hk_units_layer(units, i) ...

   A unit is an output of a linear layer, or a channel of a convolution over all its positions, looked at behind its
   activation: h = f(z). Nothing but sums, extremes and counts is kept for a unit, whatever the number of images. One batch
   is too little: a unit that is active for 1 % of the images looks dead in a batch of 128 with probability 28 %.

   Every category is a property of a unit over all images added, and a count of units; the layer's `units` is what it is a
   share of. */
#ifndef HK_UNITS_H
#define HK_UNITS_H

#include "hk_layers.h"

HK_BEGIN_DECLS

/* {0}: the defaults. */
typedef struct hk_units_config {
    double
        slope; /* dead: |f'| never above this. Default: 0 where f' is exactly 0 somewhere, else 1e-6 */
    double
        saturation; /* 0.05: a value is saturated if |f'(z)| is below this share of the largest |f'| there is */
    double saturated; /* 0.95: a unit is, if more than this share of its values are */
    double
        tau; /* 0.025: dormant, if its score is at most this (Sokar et al. 2023); negative: 0, exactly */
    double threshold; /* 0.01: of `quiet` */
} hk_units_config;

/* One unit. */
typedef struct hk_unit {
    bool dead, zero, constant, saturated, saturated_left, saturated_right, dormant,
        dormant_mean_free;
    double mean, std, min, max; /* of h; std over all values */
    double max_slope;           /* the largest |f'(z)|; NaN if f is not a function of an element */
    double score; /* E|h| over the layer's mean of it; a layer of zeros alone: 0 for all */
    double
        score_mean_free; /* the same with std in place of E|h|: a large constant does not hide a dormant unit */
} hk_unit;

/* One activation module. */
typedef struct hk_units_layer {
    const char *name;       /* of the module: "1" */
    const char *activation; /* "relu" */
    int64_t units, positions,
        samples; /* positions: of an image of a channel, else 1; samples: images added */
    /* Counts of units. */
    int64_t
        dead; /* no gradient can pass: |f'(z)| <= slope for every value. -1: f' is not defined so */
    int64_t zero;      /* h is exactly 0 everywhere */
    int64_t constant;  /* Var h <= 1e-8 times the layer's mean variance */
    int64_t saturated; /* on either side or on both. -1 as `dead` */
    int64_t saturated_left,
        saturated_right; /* on one side alone; left: z is below where |f'| is largest. -1 as `dead` */
    int64_t dormant;     /* score <= tau */
    int64_t dormant_mean_free; /* score_mean_free <= tau */
    /* A dead unit whose bias is below -3 standard deviations of w·x: what killed it is the bias. -1 without one. */
    int64_t dead_by_bias;
    /* Single positions of channels that are dead: a weaker thing, as borders of images mostly are. 0 if positions is 1. */
    int64_t dead_positions;
    double zero_share; /* of exact zeros among all values of h: sparsity */
    /* Since the round before (hk_units_end): alive → dead, dead → alive. -1 in the first round. */
    int64_t died, revived;
    /* As first written by many: the units of the linear layer or convolution before whose output z has |z| < threshold
       for all values. Kept for comparison, as it finds no dead relu: what is dead there has z far below 0. -1 if no such
       layer stands before. */
    int64_t quiet;
} hk_units_layer;

typedef struct hk_units hk_units;

/* net: the root of a built tree with at least one activation module. Belongs to the context, until hk_units_destroy. */
HK_API hk_units *hk_units_create(hk_module *net, const hk_units_config *config);
/* Runs net on x, in evaluation mode, without recording and with all buffers left alone, and takes it into account. What
   net's modes were before they are again. */
HK_API HK_WARN_UNUSED hk_status hk_units_add(hk_units *units, hk_tensor *x);
/* Ends a round: judges all units; the next hk_units_add begins anew. HK_ERR_STATE if nothing was added. */
HK_API HK_WARN_UNUSED hk_status hk_units_end(hk_units *units);
/* Of the last round: how many activation modules; module i; unit k of module i. NULL outside, or before the first round. */
HK_API int hk_units_count(const hk_units *units);
HK_API const hk_units_layer *hk_units_layer_at(const hk_units *units, int i);
HK_API const hk_unit *hk_units_at(const hk_units *units, int i, int64_t k);
HK_API void hk_units_destroy(hk_units *units);

HK_END_DECLS
#endif
