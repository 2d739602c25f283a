/* activation_kernels.h: kernels stamped from activations.def.
   SPDX-License-Identifier: MIT */
#ifndef HK_ACTIVATION_KERNELS_H
#define HK_ACTIVATION_KERNELS_H

#include "hk_activations.h"
#include "map.h"

HK_BEGIN_DECLS

/* How many elements a `learn` kernel takes at once. */
enum { HK__ACTIVATION_TILE = 512, HK__ACTIVATION_LANES = 64 };

/* Kernels of one activation. `plain` ones take parameters as numbers (hk__map's param), the others as operands
   behind those named here. On a GPU such an operand may be missing (data NULL): it is the number param[1 + k].
     plain_value, value: y; x
     plain_slope, slope: out = g·f'; g, x, y
     param_slope:        out = g·∂f/∂p[k]; g, x, y; k is param[0]
     learn:              out = g·f', and g·∂f/∂p[k] is added to the lanes of k, an array of HK__ACTIVATION_LANES
                         elements whose sum the caller wants; n <= HK__ACTIVATION_TILE; g, x, y. On a GPU it is an
                         hk__learn_launch */
typedef struct hk__activation_kernels_row {
    hk__map_fn *plain_value, *plain_slope, *value, *slope, *param_slope;
    void (*learn)(int64_t n, void *const *p, const double *param, void *lanes);
} hk__activation_kernels_row;

/* Numbers of the pointwise rows. */
enum {
#define HK_ACTIVATION(name, n, keeps_, ...) HK__ACT_##name,
#include "activations.def"
#undef HK_ACTIVATION
    HK__ACT_COUNT
};

typedef struct hk__activation_kernels {
    hk__activation_kernels_row row[HK__ACT_COUNT];
} hk__activation_kernels;

HK_MAP_TABLES(hk__activation_kernels, hk__activation);

/* On a GPU: backward of x: (outer, channels, length), contiguous, with parameters that are numbers (param NULL) or
   tensors of one element (stride 0) or one for each channel (stride 1). gx, if not NULL, becomes (or is added) g·f',
   and each grad, if not NULL, the sum of g·∂f/∂p[k]. Or forward, if g is NULL: gx becomes f, and that is all. All
   pointers are of the type that the table is for.
   channels 1, or outer·length below 2^31. */
typedef struct hk__learn_job {
    int64_t outer, channels, length;
    const void *g, *x, *y;
    void *gx;
    bool accumulate;
    double number[HK_ACTIVATION_MAX_PARAMS];
    const void *param[HK_ACTIVATION_MAX_PARAMS];
    int64_t stride[HK_ACTIVATION_MAX_PARAMS];
    void *grad[HK_ACTIVATION_MAX_PARAMS];
    bool accumulate_grad[HK_ACTIVATION_MAX_PARAMS];
} hk__learn_job;
typedef void hk__learn_launch(hk_context *ctx, const hk__learn_job *job);

HK_END_DECLS

#endif
