/* augment.h: variants of images for a loader: what is drawn for each, and how it is applied.
   SPDX-License-Identifier: MIT */
#ifndef HK_AUGMENT_H
#define HK_AUGMENT_H

#include "augment_kernels.h"
#include "augment_point.h"
#include "dataset.h"

HK_BEGIN_DECLS

/* A loader's augmentation, ready for images of one shape. */
typedef struct hk__augment {
    hk_augment set;
    int64_t channels, h, w;
    int64_t radius; /* of the Gaussian, as far as it can meet a pixel */
    double *taps;   /* [2·radius + 1]; NULL without elastic displacements */
    hk_context *ctx;
    void *taps_there; /* the same on a GPU, of the context's type */
} hk__augment;

/* *augment for items of this shape; NULL if the strengths are all 0. Checks the settings. Ends with
   hk__augment_free. */
hk_status hk__augment_new(hk_context *ctx, const hk_augment *set, hk_shape item,
                          hk__augment **augment);
void hk__augment_free(hk__augment *augment);

hk__augment_draw hk__augment_affine(const hk_augment *set, uint64_t seed, uint64_t epoch,
                                    int64_t image);

/* Augmentation of one batch; lives in the scratch memory of the context. */
typedef struct hk__augment_run {
    const hk__augment *augment;
    uint64_t seed, epoch;
    hk__warp_fn *warp;
    double scale, shift;
    char *room;    /* of all workers */
    size_t stride; /* bytes of one worker's */
    size_t noise;  /* where its noise begins */
} hk__augment_run;
hk_status hk__augment_begin(hk_context *ctx, const hk__augment *augment, const hk_dataset *root,
                            int64_t epoch, hk__augment_run *run);

/* On a GPU: puts in what the augmentation is. */
void hk__augment_job_of(const hk__augment *augment, hk__augment_job *job);

/* `to` becomes the variant of item number `image` of the root, whose elements are at `from`. */
void hk__augment_item(const hk__augment_run *run, int worker, int64_t image, const void *from,
                      void *to);
/* The same with given draws; noise: h·w words, or NULL. */
void hk__augment_apply(const hk__augment_run *run, int worker, const hk__augment_draw *draw,
                       const uint32_t *noise, const void *from, void *to);

HK_END_DECLS
#endif
