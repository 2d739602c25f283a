/* units.h: what the files of the statistics of units share.
   SPDX-License-Identifier: MIT */
#ifndef HK_UNITS_PRIVATE_H
#define HK_UNITS_PRIVATE_H

#include "hk_units.h"
#include "module.h"
#include "units_kernels.h"

HK_BEGIN_DECLS

/* A tensor as units see it: (outer, units, inner). */
typedef struct hk__units_view {
    int64_t outer, units, inner;
} hk__units_view;

/* What is kept for the units of one tensor. */
typedef struct hk__unit_sums {
    int64_t units;
    int64_t values; /* of a unit in this round; 0: none yet */
    double *array[HK__UNITS_ARRAYS];
} hk__unit_sums;

/* One place of an activation module: the same module behind another layer is another place. */
typedef struct hk__units_place {
    hk_module *activation;
    hk_module *source; /* linear or convolution before it; NULL: none */
    bool normed;       /* with a norm between them */
    bool sloped;       /* f' is a function of an element */
    int call;          /* without a source: which call of a pass it is */
    hk__units_view view;
    hk__unit_sums h, z; /* z: of source's output */
    uint8_t *alive;     /* [unit][position]: a gradient can pass */
    /* what the last round said */
    bool *was_dead;
    bool judged;
    char *name;
    hk_unit *unit;
    hk_units_layer layer;
} hk__units_place;

/* A module with a hook. */
typedef struct hk__units_watch {
    struct hk_units *units;
    hk_hook *hook;
} hk__units_watch;

/* Who made which tensor in this pass. */
typedef struct hk__units_made {
    hk_module *m;
    const hk_tensor *x, *y;
} hk__units_made;

struct hk_units {
    hk__object object;
    hk_module *net;
    hk_units_config config;
    int n_modules;
    hk_module **modules; /* of the tree, once each */
    bool *was_training;
    hk__units_watch *watches; /* of each module; without a hook where there is nothing to see */
    int n_made, made_room;
    hk__units_made *made;
    int calls; /* of activations in this pass */
    int n_places;
    hk__units_place **places;
    int64_t samples;
    int rounds;
};

/* Room for `units` units. */
hk_status hk__unit_sums_init(hk_context *ctx, hk__unit_sums *sums, int64_t units);
void hk__unit_sums_free(hk__unit_sums *sums);
/* Takes h into account; z and slope may both be NULL (units_kernels.h). All contiguous, of one dtype. */
void hk__unit_sums_add(hk_context *ctx, hk__unit_sums *sums, hk__units_view view,
                       const hk_tensor *h, const hk_tensor *z, const hk_tensor *slope,
                       uint8_t *alive);

/* Whether an activation module has a slope for each element, and that slope at z, where it gave y; step-owned. */
bool hk__units_has_slope(const hk_module *activation);
hk_tensor *hk__units_slope(const hk_module *activation, hk_tensor *z, hk_tensor *y);
/* Fills THRESHOLD, LIMIT and PEAK of all units by the activation's parameters as they are now. */
hk_status hk__units_limits(const hk_module *activation, const hk_units_config *config,
                           hk__unit_sums *sums);

/* Fills unit, layer and was_dead; begins a new round. */
void hk__units_judge(hk_units *units, hk__units_place *place);

HK_END_DECLS
#endif
