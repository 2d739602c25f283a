/* conv_ops.h: what operations made of a convolution share.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONV_OPS_H
#define HK_CONV_OPS_H

#include "conv.h"
#include "hk_image_ops.h"
#include "tape.h"

HK_BEGIN_DECLS

/* config, or {0} if it is NULL, with its defaults filled in. */
hk_conv2d_config hk__conv2d_settings(const hk_conv2d_config *config);
/* Sizes of the output along one axis, -1 if `size` is: of a convolution, 0 if the kernel does not fit; of a
   transposed one, below 1 if nothing is left. */
int64_t hk__conv_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                      int64_t dilation);
int64_t hk__conv_transpose_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding,
                                int64_t dilation, int64_t output_padding);
/* HK_ERR_ARGUMENT, under the operation's name, if one of them is out of range. */
hk_status hk__conv2d_check_settings(hk_context *ctx, const char *name,
                                    const hk_conv2d_config *settings, bool transposed);
/* Checks inputs 0 to 2 of a call, x, w and perhaps the bias, as of a conv2d with these settings, and works out its
   sizes. */
hk_status hk__conv2d_check(hk_op_call *c, const hk_conv2d_config *settings, hk__conv *sizes);
/* The sizes alone, of inputs that were checked. */
hk__conv hk__conv2d_sizes(const hk_op_call *c, const hk_conv2d_config *settings);
/* y = x * w + b (NULL: none) into a tensor of its own, of a call's sizes; x, w and b contiguous or not. */
hk_status hk__conv2d_into(hk_op_call *c, const hk__conv *sizes, hk_tensor *x, hk_tensor *w,
                          hk_tensor *b, hk_tensor *y);

HK_END_DECLS
#endif
