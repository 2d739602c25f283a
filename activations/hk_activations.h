/* hk_activations.h: activation functions by name.
   SPDX-License-Identifier: MIT

   One grammar everywhere, which no shell needs quotes for:

       gelu                                    a name; `hk_activation_row` lists them
       leaky_relu:negative_slope=0.2           settings by name
       prelu:alpha=0.1:per=channel             per=channel: a parameter for each channel (axis 1)
       swish:beta=1.5:learn=no, elu:learn=yes  whether its parameters are trained
       acon_c:init=paper, maxout:k=3           a named start; a size
       mix:relu+tanh+silu                      a learned mixture of others

   An unknown name or setting, or a value out of range, is HK_ERR_NAME or HK_ERR_ARGUMENT with the list of what
   there is. Formulas and derivatives: activations.def, and docs/activations/. */
#ifndef HK_ACTIVATIONS_H
#define HK_ACTIVATIONS_H

#include "hk_ops.h"

HK_BEGIN_DECLS

enum {
    HK_ACTIVATION_MAX_PARAMS = 12,
    HK_ACTIVATION_MAX_KINKS = 4,
    HK_ACTIVATION_MAX_INITS = 4,
    HK_ACTIVATION_MAX_MIX = 96 /* characters of a mixture's list of candidates */
};

/* What a backward keeps. */
enum { HK_KEEP_NOTHING = 0, HK_KEEP_INPUT = 1, HK_KEEP_OUTPUT = 2 };

typedef enum hk_activation_kind {
    HK_ACTIVATION_POINTWISE, /* y[i] = f(x[i]) */
    HK_ACTIVATION_AXIS,      /* a function of a row along axis 1 */
    HK_ACTIVATION_NETWORK, /* a module with layers of its own: only by hk_activation (hk_layers.h) */
    HK_ACTIVATION_OWN      /* a user's: hk_activation_define */
} hk_activation_kind;

/* Whether a parameter is trained: never, with :learn=yes, or unless :learn=no. */
typedef enum hk_activation_role {
    HK_PARAM_FIXED,
    HK_PARAM_CAN_LEARN,
    HK_PARAM_LEARNS
} hk_activation_role;

typedef struct hk_activation_param {
    const char *name;
    double value;     /* default */
    double low, high; /* legal range, ends included */
    hk_activation_role role;
    const char
        *words; /* "none|identity|clip": a choice by word, its value the word's place; else NULL */
    int from;   /* exists only if the value of parameter 0 (a count) is at least this */
    bool above; /* low itself is not legal */
    bool whole; /* a whole number */
    bool kink;  /* f' jumps where x is this parameter's value */
} hk_activation_param;

/* A start by name: :init=NAME. Parameter k starts at value[k], plus a draw from N(0, normal[k]²) or from
   ±uniform[k], for each channel, where these are not 0. The first is the default. */
typedef struct hk_activation_init {
    const char *name;
    double value[HK_ACTIVATION_MAX_PARAMS], normal[HK_ACTIVATION_MAX_PARAMS],
        uniform[HK_ACTIVATION_MAX_PARAMS];
} hk_activation_init;

/* min_val < max_val, lower <= upper: of parameters 0 and 1. */
enum { HK_ORDERED = 1, HK_ORDERED_STRICTLY = 2 };

/* One row of the list of activations; lives as long as the program (a user's own: as its context). */
typedef struct hk_activation_info {
    const char *name, *formula, *derivative;
    const char *source; /* the paper, or NULL */
    const char *alias;  /* another name, or NULL */
    hk_activation_kind kind;
    int keeps; /* HK_KEEP_... */
    int n_params;
    hk_activation_param params[HK_ACTIVATION_MAX_PARAMS];
    hk_activation_init inits[HK_ACTIVATION_MAX_INITS]; /* until a NULL name; mostly none */
    double kinks[HK_ACTIVATION_MAX_KINKS]; /* where f' jumps, beside parameters' kinks */
    int n_kinks;
    int surrogate; /* > 0: f' is a stand-in that this parameter chooses; 0 chosen: no backward */
    bool random;   /* training draws its parameters 0 and 1 for each element, from between them */
    int ordered;   /* HK_ORDERED... or 0 */
    const char *gate;      /* of a gated linear unit: its h */
    const char *starts_as; /* of a network: what it is before training, if that has a name */
    /* The accuracy that tests hold float kernels to: |error| <= ulps units in the last place (0: exact) or <=
       absolute·max(1, |x|); for x < ulps_from, if that is not 0, the second alone. */
    double ulps, ulps_from, absolute;
} hk_activation_info;

/* Row i >= 0: the library's, then the context's own ones (ctx may be NULL: none); NULL behind the last. */
HK_API const hk_activation_info *hk_activation_row(const hk_context *ctx, int i);

/* A parsed specification: which row, and the value of each of its parameters. Plain data: copy it. */
typedef struct hk_activation_spec {
    const hk_activation_info *info;
    bool per_channel;                       /* :per=channel */
    bool learns[HK_ACTIVATION_MAX_PARAMS];  /* which parameters are trained */
    int init;                               /* which of info->inits */
    double value[HK_ACTIVATION_MAX_PARAMS]; /* also of choices and counts */
    char candidates[HK_ACTIVATION_MAX_MIX]; /* of a mixture: "relu+tanh+silu" */
} hk_activation_spec;
HK_API HK_WARN_UNUSED hk_status hk_activation_parse(hk_context *ctx, const char *text,
                                                    hk_activation_spec *spec);
/* Candidate i of a mixture; HK_ERR_NAME behind the last one (not sticky). */
HK_API HK_WARN_UNUSED hk_status hk_activation_candidate(hk_context *ctx,
                                                        const hk_activation_spec *mix, int i,
                                                        hk_activation_spec *spec);

/* y = f(x) by specification, with its parameters fixed. Step-owned; of x's shape, but for maxout and the gated
   units, which narrow axis 1. HK_ERR_ARGUMENT for networks: they need a module. */
HK_API hk_tensor *hk_activate(hk_tensor *x, const char *text);
/* The same with parameters as tensors: params NULL, or one for each parameter, NULL where it is the plain
   number of the specification, else of a shape that broadcasts to x. Gradients flow to those that require
   one. */
HK_API hk_tensor *hk_activate_with(hk_tensor *x, const hk_activation_spec *spec,
                                   hk_tensor *const *params);

/* In double, with libm, for pointwise activations and one's own: f(x), f'(x), and d f / d parameter k. The
   oracle of tests and figures. NaN for others. */
HK_API double hk_activation_value(const hk_activation_spec *spec, double x);
HK_API double hk_activation_slope(const hk_activation_spec *spec, double x);
HK_API double hk_activation_param_slope(const hk_activation_spec *spec, int k, double x);

/* How many exponentials (exp, expm1, tanh, normal tail) f, or f' from what is kept, evaluates: counted. */
HK_API int hk_activation_exponentials(const hk_activation_spec *spec, bool slope);

/* E f(z), E f(z)² or E f'(z)² for z ~ N(0, 1), by quadrature in double: pointwise activations and one's own;
   NaN for others. */
typedef enum hk_activation_moment {
    HK_MEAN,
    HK_SECOND_MOMENT,
    HK_SLOPE_MOMENT
} hk_activation_moment;
HK_API double hk_activation_expectation(const hk_activation_spec *spec,
                                        hk_activation_moment moment);

/* 1/sqrt(E y²) for inputs ~ N(0, 1): weights drawn with deviation gain/sqrt(fan_in) then keep the second moment
   of the signal from layer to layer. Every kind; 1 where there is no such thing (softmax). */
HK_API double hk_activation_gain(hk_context *ctx, const hk_activation_spec *spec);

/* How many times as wide a layer before it must be for an output of the width asked for: maxout's k, 2 for
   gated units, else 1. */
HK_API int hk_activation_widens(const hk_activation_spec *spec);

/* --- one's own activation ---------------------------------------------------------------------------------

   Functions in double, called element by element on one thread: slower than a row of activations.def, but the
   name then works everywhere in this context. value and slope see the parameters p. They run on the CPU: on a GPU x
   is copied to the host and the result back, each time, and hk_step_run cannot replay such a step. */
typedef struct hk_activation_functions {
    double (*value)(double x, const double *p);
    double (*slope)(double x, const double *p);
    void (*param_slopes)(double x, const double *p,
                         double *d); /* d[k] = ∂f/∂p[k]; NULL without parameters */
} hk_activation_functions;
/* info: name, formula, derivative, parameters, kinks, by designated initialisers; the rest is filled in. Copied,
   names too. Refused if a name is taken or malformed (HK_ERR_NAME), a count or a default is out of its range
   (HK_ERR_ARGUMENT), or if slope or param_slopes differ from central differences
   anywhere on [-5, 5] away from the kinks (HK_ERR_CHECK: where, and both numbers). */
HK_API HK_WARN_UNUSED hk_status hk_activation_define(hk_context *ctx,
                                                     const hk_activation_info *info,
                                                     const hk_activation_functions *functions);

HK_END_DECLS
#endif
