/* hk_activations.h: activation functions by name.
   SPDX-License-Identifier: MIT

   One grammar everywhere: NAME or NAME:parameter=value:parameter=value, such as "relu" or
   "leaky_relu:negative_slope=0.2". An unknown name or parameter, or a value out of range, is
   HK_ERR_NAME or HK_ERR_ARGUMENT with the list of what there is. */
#ifndef HK_ACTIVATIONS_H
#define HK_ACTIVATIONS_H

#include "hk_ops.h"

HK_BEGIN_DECLS

enum { HK_ACTIVATION_MAX_PARAMS = 4, HK_ACTIVATION_MAX_KINKS = 4 };

/* What a backward keeps. */
enum { HK_KEEP_NOTHING = 0, HK_KEEP_INPUT = 1, HK_KEEP_OUTPUT = 2 };

typedef struct hk_activation_param {
    const char *name;
    double value;     /* default */
    double low, high; /* legal range, ends included */
    bool learns;      /* trained unless :learn=no */
} hk_activation_param;

/* One row of the list of activations; static. */
typedef struct hk_activation_info {
    const char *name, *formula, *derivative;
    const char *source; /* the paper, or NULL */
    int n_params;
    int keeps; /* HK_KEEP_... */
    hk_activation_param params[HK_ACTIVATION_MAX_PARAMS];
    double kinks[HK_ACTIVATION_MAX_KINKS]; /* where f' jumps */
    int n_kinks;
} hk_activation_info;

/* The rows, 0 <= i < count; NULL outside. */
HK_API int hk_activation_count(void);
HK_API const hk_activation_info *hk_activation_row(int i);

/* A parsed specification: which row, and the value of each of its parameters. */
typedef struct hk_activation_spec {
    int row;
    bool per_channel; /* :per=channel, one set of parameters for each channel (axis 1) */
    bool learn;       /* false after :learn=no */
    double value[HK_ACTIVATION_MAX_PARAMS];
} hk_activation_spec;
HK_API HK_WARN_UNUSED hk_status hk_activation_parse(hk_context *ctx, const char *text,
                                                    hk_activation_spec *spec);

/* y = f(x) by specification, with its parameters fixed. Step-owned, shape of x. */
HK_API hk_tensor *hk_activate(hk_tensor *x, const char *text);
/* The same with parameters as tensors (one for each, each of a shape that broadcasts to x); gradients
   flow to those that require one. */
HK_API hk_tensor *hk_activate_with(hk_tensor *x, const hk_activation_spec *spec,
                                   hk_tensor *const *params);

/* In double, with libm: f(x), f'(x), and d f / d parameter k. The oracle of tests and figures. */
HK_API double hk_activation_value(const hk_activation_spec *spec, double x);
HK_API double hk_activation_slope(const hk_activation_spec *spec, double x);
HK_API double hk_activation_param_slope(const hk_activation_spec *spec, int k, double x);

/* 1/sqrt(E f(z)²) for z ~ N(0, 1), by quadrature: weights drawn with deviation gain/sqrt(fan_in) then keep
   the second moment of the signal from layer to layer. */
HK_API double hk_activation_gain(const hk_activation_spec *spec);

HK_END_DECLS
#endif
