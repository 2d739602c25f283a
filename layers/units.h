/* units.h: what the files of the statistics of units share.
   SPDX-License-Identifier: MIT */
#ifndef HK_UNITS_PRIVATE_H
#define HK_UNITS_PRIVATE_H

#include "activation_kernels.h"
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
    int64_t room;   /* of an array; these lie one behind the other */
    double *array[HK__UNITS_ARRAYS];
    double *
        there; /* the same on a GPU; the arrays above are a copy then, old until hk__unit_sums_fetch */
} hk__unit_sums;

/* One place of an activation module: the same module behind another layer is another place. */
typedef struct hk__units_place {
    hk_module *activation;
    hk_module *source;   /* linear or convolution before it; NULL: none */
    bool normed;         /* with a norm between them */
    bool sloped;         /* f' is a function of an element */
    bool settled;        /* its limits are known for good */
    int call;            /* without a source: which call of a pass it is */
    hk__units_view view; /* outer: of the first batch alone */
    hk__unit_sums h, z;  /* z: of source's output */
    /* [unit][position], of the element's type, in memory of the context: the largest |f'|; NULL: of one position */
    void *steepest;
    size_t size; /* of an element */
    /* what the last round said */
    bool *was_dead;
    bool judged;
    char *name;
    hk_unit *unit;
    hk_units_layer layer;
} hk__units_place;

/* Who made which tensor in this pass. */
typedef struct hk__units_made {
    hk_module *m;
    hk_tensor *x, *y;
} hk__units_made;

struct hk_units {
    hk__object object;
    hk_module *net;
    hk_units_config config;
    int n_modules;
    hk_module **modules; /* of the tree, once each */
    bool *was_training;
    hk_hook **hooks; /* of each module; NULL where there is nothing to see */
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
void hk__unit_sums_free(hk_context *ctx, hk__unit_sums *sums);
/* Brings the sums of a round to where the host looks at them. */
void hk__unit_sums_fetch(hk_context *ctx, hk__unit_sums *sums);

/* f' of an activation module at each element of a tensor. */
enum { HK__UNITS_TILE = 512 }; /* elements at once */
typedef struct hk__units_slope {
    const hk_module *activation;
    const hk__activation_kernels_row *f;
    size_t size; /* of an element */
    void *one;   /* a tile of ones */
    bool per_channel;
    char *operands; /* parameters by unit, where these lie side by side; NULL: they are numbers */
    int64_t across; /* from one parameter to the next */
    const char *given; /* or it is here already */
} hk__units_slope;
/* Whether there is such a thing. */
bool hk__units_has_slope(const hk_module *activation);
/* Whether a parameter has a number for each channel. */
bool hk__units_per_channel(const hk_module *activation);
/* z, and h = f(z): contiguous. What it takes is the step's. */
hk_status hk__units_slope_begin(const hk_module *activation, hk__units_view view, hk_tensor *z,
                                hk_tensor *h, hk__units_slope *s);
/* The slopes of n <= HK__UNITS_TILE elements from byte `at` of z and y = f(z) on: of a row of units from `unit` on, or
   of that unit alone. room: a tile. */
const void *hk__units_slope_tile(const hk__units_slope *s, int64_t unit, bool row, int64_t n,
                                 size_t at, const char *z, const char *y, void *room);

/* Takes h into account; slope may be NULL: then z is not looked at. of_z: sums of z, of the same view, or NULL. All
   contiguous, of one dtype. */
void hk__unit_sums_add(hk_context *ctx, hk__units_view view, hk__unit_sums *of_h,
                       hk__unit_sums *of_z, const hk_tensor *h, const hk_tensor *z,
                       const hk__units_slope *slope, void *steepest);

/* Fills THRESHOLD, LIMIT and PEAK of all units by the activation's parameters as they are now; *settled: none of them is
   learned, so it stays so. */
hk_status hk__units_limits(const hk_module *activation, const hk_units_config *config,
                           hk__unit_sums *sums, bool *settled);

/* Fills unit, layer and was_dead; begins a new round. */
void hk__units_judge(hk_units *units, hk__units_place *place);

HK_END_DECLS
#endif
