/* norm.h: what the files of batch, layer and group norm share.
   SPDX-License-Identifier: MIT

   x̂ = (x - mean)/σ is never stored: it comes from x and the statistics, which are double. Each formula is brought into
   the form of a kernel first, with coefficients in double. Two drivers know how x is cut and in which order
   parts are added: over channels (batch norm), over rows (layer and group norm). */
#ifndef HK_NORM_H
#define HK_NORM_H

#include "norm_kernels.h"
#include "tape.h"

HK_BEGIN_DECLS

/* x is (n, c, plane), contiguous; weight and bias have c elements. Statistics are of a channel, or of a row: one of
   `groups` parts of a sample. */
typedef struct hk__norm {
    hk_context *ctx;
    hk_dtype dtype;
    bool given; /* the statistics do not depend on x */
    int64_t n, c, plane, groups;
    double eps;
    double *stats; /* pairs: mean and biased variance */
} hk__norm;

typedef struct hk__norm_driver {
    /* out = x̂·w + b, with w and b or without both; measure: finds the statistics first. */
    bool (*value)(const hk__norm *s, bool measure, hk_tensor *x, hk_tensor *w, hk_tensor *b,
                  hk_tensor *out);
    /* gx (+)= the gradient of x for g, of the value with w; sums: Σ g·x̂ of each channel, then Σ g of each. w, gx and
       sums may be NULL. Without w the Jacobian is symmetric: gx for a direction g is that of x̂. */
    bool (*pull)(const hk__norm *s, hk_tensor *x, hk_tensor *g, hk_tensor *w, hk_tensor *gx,
                 bool accumulate, double *sums);
} hk__norm_driver;

extern const hk__norm_driver hk__norm_by_channel, hk__norm_by_row;

/* x̂ = (x - centre)·rate + rest, with a centre that is exact in x's type. */
typedef struct hk__scale {
    double centre, rate, rest;
} hk__scale;
hk__scale hk__scale_of(const hk__norm *s, int64_t i);

/* Element i of a contiguous tensor; 1 or 0 where there is none. */
double hk__norm_number(const hk_tensor *t, int64_t i, double none);

/* Adds a part (mean and Σ (x - mean)², of `more` elements) to one of `count` elements. */
static inline void hk__moments_join(double *pair, double count, const double *part, double more) {
    const double away = part[0] - pair[0], share = more / (count + more);
    pair[0] += away * share;
    pair[1] += part[1] + away * away * count * share;
}

enum {
    HK__NORM_TASK = 16384, /* elements that a thread takes at once */
    HK__NORM_ALONE = 32768 /* below this one thread is faster than two */
};
/* Runs all tasks, on the caller alone if there are few elements. */
void hk__norm_run(const hk__norm *s, int64_t tasks, hk__task *task, void *arg);

HK_END_DECLS
#endif
