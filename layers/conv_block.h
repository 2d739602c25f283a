/* conv_block.h: convolution, activation and 2 x 2 max pooling as one operation.
   SPDX-License-Identifier: MIT */
#ifndef HK_CONV_BLOCK_H
#define HK_CONV_BLOCK_H

#include "module.h"

HK_BEGIN_DECLS

/* How many of the members from `first` on, three or none, can run as one operation: a conv2d, a pointwise activation
   with fixed parameters, and a max pooling of 2 x 2 without padding. None while somebody looks in: a hook, the NaN
   guard. */
int hk__conv_block_length(hk_module *const *members, int count);
/* Runs them: the same bits as one after the other. */
hk_tensor *hk__conv_block_forward(hk_module *const *members, hk_tensor *x);

HK_END_DECLS
#endif
