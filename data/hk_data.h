/* hk_data.h: data sets and loaders.
   SPDX-License-Identifier: MIT

   Images stay bytes in memory and become numbers batch by batch. Data sets and loaders belong to
   their context; destroying them earlier is optional. Nothing here may be destroyed while something
   made from it is still used: a data set must outlive its loaders and its parts.

   On a GPU a data set in memory is copied there when a loader first needs it, and batches are made
   there. Items of one's own come through the host, batch by batch.

   Functions that make something return NULL, and the others false or a status, with the sticky
   error set; the message names the file. NULL for a data set or a loader is passed through as NULL,
   0, false or HK_ERR_ARGUMENT. */
#ifndef HK_DATA_H
#define HK_DATA_H

#include "hk_tensor.h"

HK_BEGIN_DECLS

/* --- IDX files (the format of MNIST) ---------------------------------------------------------- */

/* An IDX file of unsigned bytes, raw or gzip: its sizes and its bytes, owned by the caller
   (hk_idx_free). Strict: HK_ERR_FORMAT if the magic number, the type of the elements or the number
   of sizes is wrong, a size is 0, their product overflows, the file is cut short or goes on behind
   its end, the gzip data is damaged (its checksum is compared) or followed by other bytes;
   HK_ERR_IO if it cannot be read. *idx is empty after an error. */
typedef struct hk_idx {
    hk_shape shape;
    uint8_t *data;
} hk_idx;
HK_API HK_WARN_UNUSED hk_status hk_idx_read(hk_context *ctx, const char *path, hk_idx *idx);
HK_API void hk_idx_free(hk_idx *idx);

/* --- data sets -------------------------------------------------------------------------------- */

typedef struct hk_dataset hk_dataset;

/* Reads PREFIX-images-idx3-ubyte[.gz] and PREFIX-labels-idx1-ubyte[.gz] from a folder. PREFIX is
   "train" or "t10k" for MNIST, Fashion-MNIST and KMNIST. If there is no such file, the one whose
   name ends in "-PREFIX-images-idx3-ubyte[.gz]" is taken, with its labels: so "train" and "t10k"
   (which EMNIST calls "test") find emnist-digits-train-... and emnist-digits-test-..., unless the
   folder holds several sets: then say "emnist-digits-train". A raw file goes before its .gz.

   Items are (1, height, width), sizes from the file, scaled by 1/255. EMNIST stores its images
   transposed, rows as columns; they are left so. classes: labels must be below it; 0 makes it 1 +
   the largest label. HK_ERR_IO if there is no such folder or file (the message has the names that
   were looked for); HK_ERR_FORMAT if a file is bad, images and labels are swapped or of different
   number, or a label is beyond the classes. */
HK_API hk_dataset *hk_mnist(hk_context *ctx, const char *folder, const char *prefix, int classes);

/* From arrays: n items of shape `item` (rank at most 5) and type dtype (HK_U8, HK_F32 or HK_F64),
   row-major, and n labels. Both are copied. classes as for hk_mnist. labels may be NULL, with 0
   classes: then every label is 0. */
HK_API hk_dataset *hk_dataset_from(hk_context *ctx, int64_t n, hk_shape item, hk_dtype dtype,
                                   const void *items, const int32_t *labels, int classes);

/* One's own: get writes item i of 0 to n-1 (hk_shape_count(item) floats) and its label; it is
   called by the thread that calls hk_loader_next, in the order of the batch. Any status but HK_OK
   makes hk_loader_next fail with it and with i; get may say more by hk_fail. Labels must be below
   classes, unless that is 0. cls is copied. The data set owns state: destroy is called once, at its
   end, or at once if it cannot be made. */
typedef struct hk_dataset_class {
    hk_status (*get)(void *state, int64_t i, float *item, int32_t *label);
    void (*destroy)(void *state); /* may be NULL */
} hk_dataset_class;
HK_API hk_dataset *hk_dataset_create(hk_context *ctx, const hk_dataset_class *cls, void *state,
                                     int64_t n, hk_shape item, int classes);

/* Two parts of ds, such as training and validation: the last n_second items of a seeded shuffle
   (stream "split"), and the others; each keeps the order of ds. They depend on the context's seed
   and on the numbers alone, and look into ds, which must outlive them. Both need an item: n_second
   is from 1 to count - 1. */
HK_API HK_WARN_UNUSED hk_status hk_dataset_split(hk_dataset *ds, int64_t n_second,
                                                 hk_dataset **first, hk_dataset **second);

/* What a loader does to every element x: it becomes x*scale + shift, all three in the context's
   type and rounded after each operation: (float)x * (float)scale + (float)shift. By default HK_U8
   has 1/255 and 0, so a byte becomes (float)byte * (1.0f/255.0f); floats are unchanged. A data set
   and all its parts share one setting. Both must be finite. */
HK_API HK_WARN_UNUSED hk_status hk_dataset_scale(hk_dataset *ds, double scale, double shift);

HK_API int64_t hk_dataset_count(const hk_dataset *ds);
HK_API hk_shape hk_dataset_item_shape(const hk_dataset *ds);
HK_API int hk_dataset_classes(const hk_dataset *ds); /* 0: not known (one's own, or no labels) */
HK_API void hk_dataset_destroy(hk_dataset *ds);

/* --- loaders ---------------------------------------------------------------------------------- */

typedef struct hk_loader hk_loader;

/* Augmentation: in every epoch the loader gives another variant of each image, moved, turned, scaled
   and bent by draws that are uniform up to these strengths. 0 is none of it; {0} is off, and gives
   the same bits as a loader without. For items of (channels, height, width), of any kind of data
   set; all channels of an image are treated alike.

   The four are composed into one map from the variant back into the image, which is sampled once:
   between pixels bilinear, 0 (of the data set, before its scale and shift) outside. So no value
   leaves the range of the image's own and 0. Images must be finite.

   What an image gets depends on the context's seed, the epoch and the image's number alone: in a
   part of a data set, its number in the whole. Batch size, order, threads and other images change
   nothing. The bits are the same with every instruction set, as no sums are fused. Across machines
   they are promised no further than those of sin, cos and exp, and this goes for a GPU too; a
   context of HK_F64 makes the same draws and computes in double. */
typedef struct hk_augment {
    double shift;         /* pixels, along both axes: on ±shift; up to the image's longer side */
    double rotation;      /* degrees, around the middle: on ±rotation; up to 180 */
    double scale;         /* a factor on 1 ± scale, the same along both axes; below 1 */
    double elastic_alpha; /* every pixel is displaced along both axes by alpha times a field of
                             draws on ±1 that was smoothed by a Gaussian of sum 1, cut off at 3
                             deviations; 0 outside of the image (Simard, Steinkraus and Platt
                             2003: 34) */
    double elastic_sigma; /* the Gaussian's deviation in pixels; 0: 4, as theirs */
} hk_augment;

typedef struct hk_loader_config {
    int64_t batch;      /* 64 */
    bool shuffle;       /* false: in order */
    const char *stream; /* name of the random stream: "shuffle". Copied. */
    hk_augment augment; /* {0}: off */
} hk_loader_config;

/* config may be NULL; a field of 0 or NULL is its default. The order of an epoch depends on the
   context's seed, the stream, the epoch and the number of items alone. HK_ERR_ARGUMENT if a strength
   of the augmentation is out of range or the items are no images. */
HK_API hk_loader *hk_loader_create(hk_dataset *ds, const hk_loader_config *config);
HK_API void hk_loader_destroy(hk_loader *loader);

typedef struct hk_batch {
    hk_tensor *x;         /* (size, item...), of the context's dtype, step-owned */
    hk_tensor *y;         /* i32 (size), step-owned */
    int64_t size;         /* the last batch of an epoch may be shorter */
    int64_t index;        /* number of the batch in the epoch, from 0 */
    const int64_t *items; /* indices of its items in the data set; valid until the next call */
} hk_batch;

/* The next batch of the epoch; false at its end, and the call after that begins the next epoch in a
   new order. Also false on an error: hk_error(ctx) tells the two apart, and after hk_error_clear
   the same batch is tried again. *batch is all 0 when the result is false. The bits do not depend
   on the number of threads. */
HK_API bool hk_loader_next(hk_loader *loader, hk_batch *batch);
HK_API void hk_loader_rewind(hk_loader *loader); /* to the start of this epoch, in the same order */
HK_API int64_t hk_loader_batches(const hk_loader *loader); /* in an epoch */
HK_API int64_t hk_loader_epoch(const hk_loader *loader);   /* of the last batch, from 0 */

HK_END_DECLS
#endif
