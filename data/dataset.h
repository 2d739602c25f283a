/* dataset.h: the inside of a data set.
   SPDX-License-Identifier: MIT */
#ifndef HK_DATASET_H
#define HK_DATASET_H

#include "context.h"
#include "hk_data.h"

HK_BEGIN_DECLS

/* Three kinds: items in memory (items), one's own (cls.get), and a part of another (root, index).
   */
struct hk_dataset {
    hk__object object; /* first, so that the context can destroy it */
    hk_dataset *root;  /* where the items are: itself, or the whole that this is a part of */
    int64_t *index;    /* a part: the places of its items in root; NULL: all of them, in order */
    int64_t count;
    hk_shape item;
    int64_t item_count; /* elements of an item */
    int classes;

    /* of the root */
    hk_dtype dtype; /* of the items; one's own are HK_F32 */
    void *items;
    int32_t *labels; /* NULL: all 0 */
    hk_dataset_class cls;
    void *state;
    double scale, shift;
    void *there; /* copies of items and labels on the GPU, once a loader needs them */
    int32_t *labels_there;
};

/* Brings items and labels of ds's root to the GPU, if that was not done. */
hk_status hk__dataset_upload(hk_dataset *ds);

/* A data set in memory that takes over items and labels (from hk__alloc), also when it fails.
   labels must be below `classes`. */
hk_dataset *hk__dataset_own(hk_context *ctx, int64_t n, hk_shape item, hk_dtype dtype, void *items,
                            int32_t *labels, int classes);

/* classes, or 1 + the largest label if it is 0; -1 and the place of the first label that is
   negative or not below classes. */
int hk__count_classes(const int32_t *labels, int64_t n, int classes, int64_t *bad);

HK_END_DECLS
#endif
