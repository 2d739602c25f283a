/* hk_units.h: dead, dormant, constant and saturated units of a network.
   SPDX-License-Identifier: MIT

       hk_units *units = hk_units_create(net, NULL);
       while (hk_loader_next(probe, &batch))             the same images every time, of the training set: 1,000 or more
           if (hk_units_add(units, batch.x) || hk_step_end(ctx)) break;
       if (hk_units_end(units) == HK_OK) ... hk_units_layer_at(units, i)->dead ...

   A unit is an output of a linear layer, or a channel of a convolution over all its positions, looked at behind its
   activation: h = f(z). Nothing but sums, extremes and counts is kept for a unit, whatever the number of images.
   One batch is too little: a unit that is active for 1 % of the images looks dead in a batch of 128 with
   probability 28 %.

   Every category is a property of a unit over all images added, and a count of units; the layer's `units` is what
   it is a share of. The numbers are the same to the bit however the images fall into batches. What the categories
   are good for, and what each overlooks: docs/dead-neurons.md. */
#ifndef HK_UNITS_H
#define HK_UNITS_H

#include "hk_layers.h"

HK_BEGIN_DECLS

/* {0}: the defaults. */
typedef struct hk_units_config {
    /* Dead: |f'| never above this. Default: 0 where f' is exactly 0 on a stretch, else 1e-6. Negative: 0 for all. */
    double slope;
    /* 0.05: a value is saturated if |f'(z)| is below this share of the largest |f'| there is. */
    double saturation;
    /* 0.95: a unit is saturated if more than this share of its values are. */
    double saturated;
    /* 0.025: dormant, if its score is at most this (Sokar et al. 2023). Negative: 0, exactly. */
    double tau;
    /* 0.01: of `quiet`. */
    double threshold;
} hk_units_config;

/* One unit. */
typedef struct hk_unit {
    bool dead, zero, constant, saturated, saturated_left, saturated_right, dormant,
        dormant_mean_free;
    double mean, std, min, max; /* of h; std over all values */
    double max_slope;           /* the largest |f'(z)|; NaN if f is not a function of an element */
    /* E|h| over the layer's mean of it, so that scores average 1; in a layer of zeros alone 0 for all. The same
       with std in place of E|h|: a large constant does not hide a dormant unit. */
    double score, score_mean_free;
} hk_unit;

/* One activation module, or one of its places: a module that stands behind several layers is counted for each of
   them. */
typedef struct hk_units_layer {
    const char *name;       /* of the module, "1"; of its second place "1#2" */
    const char *activation; /* "relu" */
    int64_t units;
    int64_t positions; /* of a channel in an image, else 1 */
    int64_t samples;   /* images added */
    /* Counts of units. -1 where f' is not a function of an element (softmax, maxout, gated units, networks): dead
       and the three of saturation, and what hangs on them. */
    int64_t dead;     /* no gradient can pass: |f'(z)| <= slope for every value */
    int64_t zero;     /* h is exactly 0 everywhere */
    int64_t constant; /* Var h <= 1e-8 times the layer's mean variance */
    /* On either side, or now here, now there; all on the left, where z is below the place at which |f'| is largest;
       all on the right. */
    int64_t saturated, saturated_left, saturated_right;
    int64_t dormant;           /* score <= tau */
    int64_t dormant_mean_free; /* score_mean_free <= tau */
    /* Dead, and the bias is below -3 standard deviations of w·x: what killed it is the bias. -1 without a bias, or
       with a norm behind it. */
    int64_t dead_by_bias;
    /* Single positions that are dead, those of dead channels too, of units·positions: a weaker thing, as borders of
       images mostly are. 0 if positions is 1. */
    int64_t dead_positions;
    double zero_share; /* of exact zeros among all values of h: sparsity */
    /* Since the round before (hk_units_end): alive → dead, dead → alive. -1 in the first round. */
    int64_t died, revived;
    /* As first written by many: the units of the linear layer or convolution before whose output z has |z| <
       threshold for all values. Kept for comparison, as it finds no dead relu: what is dead there has z far below 0.
       -1 if no such layer stands before; a norm may stand between. */
    int64_t quiet;
} hk_units_layer;

typedef struct hk_units hk_units;

/* net: the root of a built tree with at least one activation module. Belongs to the context, until hk_units_destroy. Once
   net is destroyed, what was counted can still be read. */
HK_API hk_units *hk_units_create(hk_module *net, const hk_units_config *config);
/* Runs net on x, in evaluation mode, without recording and with all buffers left alone, and takes it into account.
   What net's modes were before they are again. After an error what the round had so far is forgotten. */
HK_API HK_WARN_UNUSED hk_status hk_units_add(hk_units *units, hk_tensor *x);
/* Ends a round: judges all units; the next hk_units_add begins anew. HK_ERR_STATE if nothing was added. */
HK_API HK_WARN_UNUSED hk_status hk_units_end(hk_units *units);
/* Of the last round: how many layers, in the order in which they ran; layer i; unit k of layer i. 0 and NULL before
   the first round, NULL outside. They stay until the next hk_units_end. */
HK_API int hk_units_count(const hk_units *units);
HK_API const hk_units_layer *hk_units_layer_at(const hk_units *units, int i);
HK_API const hk_unit *hk_units_at(const hk_units *units, int i, int64_t k);
HK_API void hk_units_destroy(hk_units *units);

HK_END_DECLS
#endif
