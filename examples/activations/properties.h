/* properties.h: what can be said of a pointwise activation, all computed or measured.
   SPDX-License-Identifier: MIT

   Two sources. The kernels that train (float32) say what a network will see: ranges, slopes,
   zeros, limits, from all floats or from every 257th. The functions in double say what holds
   for real numbers: kinks, smoothness, moments, and whether an extreme is reached or only
   approached. */
#ifndef ACTIVATIONS_PROPERTIES_H
#define ACTIVATIONS_PROPERTIES_H

#include <hillock/hillock.h>

/* --- one run of the kernels over many floats (properties_kernel.c) -------------------------- */

typedef struct evaluator {
    hk_context *ctx;
    hk_activation_spec spec;
    bool has_slope; /* false: backward is refused, as for a step without a stand-in */
    int64_t n;
    float *x; /* fill all n before evaluate */
    const float *y, *slope;
    hk_tensor *tensor, *ones;
} evaluator;

/* On one thread. False if the context cannot be had or the text is wrong: the context then says
   why. */
bool evaluator_open(evaluator *e, const char *text, const char *isa, int64_t n);
void evaluator_close(evaluator *e);
/* y = f(x) and slope = f'(x) as the backward pass has it (NULL without one), valid until the
   next call. False on an error of the context. */
bool evaluate(evaluator *e);

/* --- facts from float32 (properties_scan.c) ------------------------------------------------- */

/* A least or greatest value, and between which x it is reached, on each side of 0: near and far
   from 0. NaN where that side does not reach it. */
typedef struct scan_extreme {
    double value;
    double left_far, left_near, right_near, right_far;
} scan_extreme;

typedef struct kernel_scan {
    int64_t stride, floats; /* every stride-th float; how many that were */
    int64_t nans;           /* NaN for a number or a number for NaN: 0 unless there is a bug */
    double seconds;
    scan_extreme low, high;       /* of f, finite x */
    scan_extreme least, steepest; /* of f' */
    /* How far f, as x ascends, gets below the greatest value it has had, and above the least, in
       units in the last place; not followed much beyond 2^20. */
    double fall, rise;
    double zeros, flats;            /* share of f = 0 and f' = 0 for x ~ N(0, 1) */
    double left, right;             /* f(-inf), f(inf) */
    double left_slope, right_slope; /* f'(-inf), f'(inf) */
    double left_from, right_from;   /* beyond these x, f is f(-inf), f(inf) to the bit */
    double odd_error;               /* greatest |f(-x) + f(x)| */
} kernel_scan;

/* Both return false on an error, printed. threads >= 1. */
bool scan_kernels(const char *text, const char *isa, int stride, int threads, kernel_scan *scan);
/* The same from the cache if it is there and still true, with the stride or with 1; else scans,
   and keeps the result. folder NULL: the user's cache folder. *cached says which. */
bool scan_cached(const char *text, const char *isa, int stride, int threads, const char *folder,
                 bool fresh, kernel_scan *scan, bool *cached);
/* Every setting of a specification written out: one text for one function. */
void canonical_text(const hk_activation_spec *spec, char *text, size_t size);

/* --- facts from double (properties_real.c) -------------------------------------------------- */

/* Where f (order 0), f' (1) or f'' (2) jumps. */
typedef struct singular_point {
    double x;
    int order;
    double jump;  /* of f, f' or f'', from left to right */
    bool visible; /* larger than half a unit in the last place of float32 */
} singular_point;

enum { SINGULAR_MOST = 16 };

typedef struct real_facts {
    int singular_count; /* ascending */
    singular_point singular[SINGULAR_MOST];
    int smooth;        /* -1 discontinuous, 0: C0, 1: C1, 2: nothing found; visible jumps only */
    double fall, rise; /* as above, but as numbers */
    double curvature, curvature_at; /* sup |f''| where it exists */
    bool linear;
} real_facts;

void find_real_facts(const hk_activation_spec *spec, real_facts *facts);
/* Whether f' (slope) or f is the same number on the whole of the piece around x, and between
   which singular points that piece lies (infinite at the ends). */
bool is_flat_piece(const hk_activation_spec *spec, const real_facts *facts, double x, bool slope,
                   double *from, double *to);
/* E f, E f² or E f'² for x ~ N(0, 1), integrated from one singular point to the next. */
double find_moment(const hk_activation_spec *spec, const real_facts *facts,
                   hk_activation_moment moment);
/* Where f' or f, times sign, is greatest within [a, b]. */
double find_greatest(const hk_activation_spec *spec, bool slope, double sign, double a, double b);

/* --- all of it (properties.c) --------------------------------------------------------------- */

/* Where an extreme is. */
typedef enum place_kind {
    PLACE_POINT, /* at x */
    PLACE_LEFT,  /* at x, from the left alone */
    PLACE_RIGHT, /* at x, from the right alone */
    PLACE_PIECE, /* everywhere between x and to */
    PLACE_TAIL   /* approached as x, which is infinite, is */
} place_kind;

typedef struct place {
    place_kind kind;
    double x, to;
} place;

typedef struct extreme {
    double value;
    int places; /* 1 or 2, ascending */
    place at[2];
} extreme;

typedef struct cost {
    int exponentials, exponentials_back;
    double ns,
        ns_back; /* an element, in cache, on one thread; NaN if not measured, or without backward */
} cost;

typedef struct properties {
    char name[160]; /* as asked for */
    hk_activation_spec spec;
    kernel_scan scan;
    bool cached;
    real_facts real;
    extreme low, high;                      /* of f; infinite where f is unbounded */
    extreme least, steepest;                /* of f' */
    double lipschitz;                       /* infinite if f jumps */
    double mean, second, slope_second, chi; /* E f, E f², E f'², E f'²/E f² for x ~ N(0, 1) */
    bool odd;
    int learnable;
    cost cost;
} properties;

typedef struct properties_options {
    const char *isa, *cache;
    int stride, threads;
    bool fresh, timed;
} properties_options;

/* Whether it is a pointwise activation; if not, an error is printed. */
bool check_name(const char *text);
/* False on an error, printed. */
bool find_properties(const char *text, const properties_options *options, properties *p);
/* Nanoseconds: the least of a few short runs. */
bool measure_cost(const char *text, const char *isa, cost *c);
/* Bounded on that side: the end belongs to the range. */
bool is_reached(const extreme *e);
/* "increasing", "non-decreasing", "decreasing", "non-increasing", "constant", "no". */
const char *monotone_word(const properties *p);

#endif
