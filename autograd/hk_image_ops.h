/* hk_image_ops.h: operations on images: convolution, pooling, normalisation.
   SPDX-License-Identifier: MIT

   Images are (n, c, h, w), contiguous or not. All results are step-owned. On failure the first error is kept in
   the context and NULL is returned; NULL inputs give NULL. Sizes that do not fit give HK_ERR_SHAPE with the
   shapes and the rule; settings out of range give HK_ERR_ARGUMENT. */
#ifndef HK_IMAGE_OPS_H
#define HK_IMAGE_OPS_H

#include "hk_ops.h"

HK_BEGIN_DECLS

/* A size or a step along height and width. */
typedef struct hk_pair {
    int64_t h, w;
} hk_pair;
#define HK_SQUARE(n) ((hk_pair){(n), (n)}) /* C only */

/* --- convolution --------------------------------------------------------------------------------------- */

/* {0} is stride 1, no padding, dilation 1, one group. A stride or dilation of 0 means 1, as does groups = 0. */
typedef struct hk_conv2d_config {
    hk_pair stride, padding, dilation;
    int64_t groups;         /* input and output channels are cut into so many parts; divides both */
    hk_pair output_padding; /* of a transposed convolution alone; below stride or dilation */
} hk_conv2d_config;

/* x: (n, ic, h, w), w: (oc, ic/groups, kh, kw), b: (oc) or HK_NO_BIAS -> (n, oc, oh, ow):
   y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, c of o's group, i·stride.h - padding.h + u·dilation.h, ...],
   zero outside; oh = floor((h + 2·padding.h - dilation.h·(kh - 1) - 1) / stride.h) + 1. config may be NULL. */
HK_API hk_tensor *hk_conv2d_op(hk_tensor *x, hk_tensor *w, hk_tensor *b,
                               const hk_conv2d_config *config);

/* The gradient of hk_conv2d_op by its input, as an operation: x: (n, ic, h, w), w: (ic, oc/groups, kh, kw),
   b: (oc) or HK_NO_BIAS -> (n, oc, oh, ow),
   oh = (h - 1)·stride.h - 2·padding.h + dilation.h·(kh - 1) + output_padding.h + 1. */
HK_API hk_tensor *hk_conv_transpose2d_op(hk_tensor *x, hk_tensor *w, hk_tensor *b,
                                         const hk_conv2d_config *config);

/* --- pooling -------------------------------------------------------------------------------------------- */

typedef struct hk_pool2d_config {
    hk_pair kernel;   /* 1 or more each */
    hk_pair stride;   /* 0: the kernel's size */
    hk_pair padding;  /* at most half of the kernel */
    hk_pair dilation; /* of max pooling alone; 0: 1 */
    bool
        ceil_mode; /* also windows that begin inside of the image or its left padding but end beyond */
    bool exclude_padding; /* average pooling divides by the number of real elements */
} hk_pool2d_config;

/* (n, c, h, w) -> (n, c, oh, ow); oh = floor or ceil of (h + 2·padding.h - dilation.h·(kernel.h - 1) - 1) /
   stride.h, plus 1. Max: padding never wins, the first of equals gets the whole gradient, a NaN wins. Average:
   divides by kernel.h·kernel.w, with ceil_mode by the part of it inside of the padded image. */
HK_API hk_tensor *hk_max_pool2d_op(hk_tensor *x, const hk_pool2d_config *config);
HK_API hk_tensor *hk_avg_pool2d_op(hk_tensor *x, const hk_pool2d_config *config);
/* (n, c, h, w) -> (n, c, out.h, out.w): window i is rows floor(i·h/out.h) to ceil((i+1)·h/out.h). */
HK_API hk_tensor *hk_adaptive_avg_pool2d_op(hk_tensor *x, hk_pair out);
HK_API hk_tensor *hk_adaptive_max_pool2d_op(hk_tensor *x, hk_pair out);

/* --- normalisation ---------------------------------------------------------------------------------------

   y = (x - mean) / sqrt(var + eps) · weight + bias; var is the biased one (over count). weight and bias have one
   element for each channel (layer norm: for each element of the last axes), or both are HK_NO_BIAS. */

/* Over everything but axis 1 of x: (n, c) or (n, c, ...), of each channel (Ioffe and Szegedy 2015).
   HK_ERR_ARGUMENT with one value for each channel: its variance says nothing. mean and var, if not NULL, get the
   statistics, (c) each, without gradient. */
HK_API hk_tensor *hk_batch_norm_op(hk_tensor *x, hk_tensor *weight, hk_tensor *bias, double eps,
                                   hk_tensor **mean, hk_tensor **var);
/* The same with given statistics, (c) each: what evaluation does. They get no gradient. */
HK_API hk_tensor *hk_batch_norm_eval_op(hk_tensor *x, hk_tensor *mean, hk_tensor *var,
                                        hk_tensor *weight, hk_tensor *bias, double eps);
/* Over the last `axes` axes, each sample for itself (Ba, Kiros and Hinton 2016). */
HK_API hk_tensor *hk_layer_norm_op(hk_tensor *x, int axes, hk_tensor *weight, hk_tensor *bias,
                                   double eps);
/* Over groups of channels (axis 1) of each sample (Wu and He 2018). groups divides the channels. */
HK_API hk_tensor *hk_group_norm_op(hk_tensor *x, int64_t groups, hk_tensor *weight, hk_tensor *bias,
                                   double eps);

/* --- others ------------------------------------------------------------------------------------------------ */

/* Drops whole channels, (n, c) of them, as hk_dropout_op drops elements (Tompson et al. 2015). */
HK_API hk_tensor *hk_dropout2d_op(hk_tensor *x, double p, const char *stream);

HK_END_DECLS
#endif
