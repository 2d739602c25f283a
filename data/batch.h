/* batch.h: items of a data set become the tensors of a batch.
   SPDX-License-Identifier: MIT */
#ifndef HK_BATCH_H
#define HK_BATCH_H

#include "augment.h"
#include "dataset.h"
#include "tensor.h"

HK_BEGIN_DECLS

/* What a loader asks for. */
typedef struct hk__batch_job {
    hk_dataset *ds;
    int64_t size;
    const int64_t *items;
    const hk__augment *augment; /* NULL: items as they are, else the epoch's variants of them */
    int64_t epoch;

    /* on a GPU; not for a data set of one's own */
    const int64_t *order; /* there: numbers in the root of all items of the epoch */
    int cells;            /* the first one: place of the batch in `order`; the other one: epoch */
} hk__batch_job;
enum { HK__BATCH_CELLS = 2 };

/* x (size, item...), of the context's type, and y (size) of int32_t become the items. Takes scratch
   memory for variants, and if the data set is of one's own and needs another type or scale. */
hk_status hk__batch_fill(const hk__batch_job *batch, hk_tensor *x, hk_tensor *y);

HK_END_DECLS
#endif
