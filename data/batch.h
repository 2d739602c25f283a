/* batch.h: items of a data set become the tensors of a batch.
   SPDX-License-Identifier: MIT */
#ifndef HK_BATCH_H
#define HK_BATCH_H

#include "augment.h"
#include "dataset.h"
#include "tensor.h"

HK_BEGIN_DECLS

/* x (size, item...), of the context's type, and y (size) of int32_t become the items at `items`, or,
   unless augment is NULL, the epoch's variants of them. Takes scratch memory for variants, and if
   the data set is of one's own and needs another type or scale. */
hk_status hk__batch_fill(const hk_dataset *ds, int64_t size, const int64_t *items,
                         const hk__augment *augment, int64_t epoch, hk_tensor *x, hk_tensor *y);

HK_END_DECLS
#endif
