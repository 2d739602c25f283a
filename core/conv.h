/* conv.h: two-dimensional convolutions of batches. docs/convolution.md says how, and why so.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONV_H
#define HK_CONV_H

#include "context.h"
#include "conv_kernels.h"

HK_BEGIN_DECLS

/* y (n, oc·groups, oh, ow) = x (n, ic·groups, h, w) * w (oc·groups, ic, kh, kw) + bias (oc·groups) if not NULL; all
   contiguous, of one dtype. If y is NULL, each image's result goes to `take` instead, in scratch memory that it may
   write to, on whatever thread made it: (oc·groups, oh, ow) and HK_MAP_STEP elements of room behind. */
typedef void hk__conv_take(void *arg, int64_t image, void *z, int worker);
hk_status hk__conv_forward(hk_context *ctx, hk_dtype dtype, const hk__conv *c, const void *x,
                           const void *w, const void *bias, void *y, hk__conv_take *take,
                           void *arg);

/* The gradients, each NULL if it is not needed, else written in full or added to. g: (n, oc·groups, oh, ow), or NULL
   and `make` writes that of one image. On a GPU there is no `make`: with `winner`, g is the gradient of what a max
   pooling of 2 x 2 makes of y, and the winners are its. */
typedef void hk__conv_make(void *arg, int64_t image, void *g, int worker);
typedef struct hk__conv_gradients {
    const void *x, *w, *g;
    hk__conv_make *make;
    void *arg;
    const uint8_t *winner;
    void *gx, *gw, *gb;
    bool add_x, add_w, add_b;
} hk__conv_gradients;
hk_status hk__conv_backward(hk_context *ctx, hk_dtype dtype, const hk__conv *c,
                            const hk__conv_gradients *to);

/* How many plans had chunks of so many runs and vectors, since the process began. */
uint64_t hk__conv_chosen(int runs, int vecs);

HK_END_DECLS
#endif
