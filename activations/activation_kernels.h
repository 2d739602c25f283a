/* activation_kernels.h: kernels and facts stamped from activations.def.
   SPDX-License-Identifier: MIT */
#ifndef HK_ACTIVATION_KERNELS_H
#define HK_ACTIVATION_KERNELS_H

#include "hk_activations.h"
#include "map.h"

/* Operands of the map kernels: value (y; x, params...), slope (out; g, x, y, params...), param_slope[k]
   likewise, each times g. `plain` kernels take parameters as numbers (hk__map's param), the others as
   operands. */
typedef struct hk__activation_kernels_row {
    hk__map_fn *plain_value, *plain_slope, *value, *slope, *param_slope[HK_ACTIVATION_MAX_PARAMS];
} hk__activation_kernels_row;

enum {
#define HK_ACTIVATION(name, n, keeps_, ...) HK__ACT_##name,
#include "activations.def"
#undef HK_ACTIVATION
    HK__ACT_COUNT
};

typedef struct hk__activation_kernels {
    hk__activation_kernels_row row[HK__ACT_COUNT];
} hk__activation_kernels;

HK_STAMP_TABLES(hk__activation_kernels, hk__activation);

#endif
