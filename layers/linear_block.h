/* linear_block.h: a linear layer and its activation as one operation, on a GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_LINEAR_BLOCK_H
#define HK_LINEAR_BLOCK_H

#include "module.h"

HK_BEGIN_DECLS

/* How many of the members, two or none, can run as one operation: a linear layer and a pointwise activation with fixed
   parameters, on a GPU. None while somebody looks in: a hook, the NaN guard. */
int hk__linear_block_length(hk_module *const *members, int count);
/* Runs them: the same bits as one after the other. */
hk_tensor *hk__linear_block_forward(hk_module *const *members, hk_tensor *x);

HK_END_DECLS
#endif
