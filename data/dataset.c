/* dataset.c: data sets in memory, one's own, and parts of another.
   SPDX-License-Identifier: MIT */
#include "dataset.h"

#include <math.h>
#include <string.h>

#include "gpu.h"
#include "hk_random.h"
#include "values.h"

static void destroy(hk__object *object) {
    hk_dataset *ds = (hk_dataset *)object;
    if (ds->cls.destroy) ds->cls.destroy(ds->state);
    hk__free(ds->items);
    hk__free(ds->labels);
    hk__free(ds->index);
    if (ds->there) hk__values_free(ds->object.ctx, ds->there);
    if (ds->labels_there) hk__values_free(ds->object.ctx, ds->labels_there);
    hk__free(ds);
}

/* Checks what all kinds share. */
static hk_dataset *create(hk_context *ctx, int64_t n, hk_shape item, hk_dtype dtype, int classes) {
    if (hk_error(ctx) != HK_OK) return NULL;
    char text[128];
    if (n < 1) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "dataset", "zero items: n must be at least 1, not %lld",
                (long long)n);
        return NULL;
    }
    if (item.rank < 0 || item.rank >= HK_MAX_RANK) {
        hk_fail(ctx, HK_ERR_SHAPE, "dataset",
                "an item has rank %d; with the batch in front at most %d is possible", item.rank,
                HK_MAX_RANK - 1);
        return NULL;
    }
    const int64_t item_count = hk_shape_count(item);
    if (item_count < 1 || item_count > INT64_MAX / 8 / n) {
        hk_fail(ctx, HK_ERR_SHAPE, "dataset",
                "%lld items of shape %s: sizes must be positive, their product must not overflow",
                (long long)n, hk_shape_text(item, text, sizeof text));
        return NULL;
    }
    if (classes < 0) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "dataset", "classes must not be negative (%d)", classes);
        return NULL;
    }
    hk_dataset *ds = hk__alloc(sizeof *ds, true);
    if (!ds) {
        hk_fail(ctx, HK_ERR_MEMORY, "dataset", "no memory for a data set");
        return NULL;
    }
    hk__object_add(ctx, &ds->object, destroy);
    ds->root = ds;
    ds->count = n;
    ds->item = item;
    ds->item_count = item_count;
    ds->classes = classes;
    ds->dtype = dtype;
    ds->scale = dtype == HK_U8 ? 1.0 / 255.0 : 1.0;
    return ds;
}

hk_dataset *hk__dataset_own(hk_context *ctx, int64_t n, hk_shape item, hk_dtype dtype, void *items,
                            int32_t *labels, int classes) {
    hk_dataset *ds = create(ctx, n, item, dtype, classes);
    if (!ds) {
        hk__free(items);
        hk__free(labels);
        return NULL;
    }
    ds->items = items;
    ds->labels = labels;
    return ds;
}

int hk__count_classes(const int32_t *labels, int64_t n, int classes, int64_t *bad) {
    int32_t largest = -1;
    for (int64_t i = 0; i < n; i++) {
        const int32_t label = labels[i];
        if (label < 0 || label == INT32_MAX || (classes > 0 && label >= classes)) {
            *bad = i;
            return -1;
        }
        if (label > largest) largest = label;
    }
    return classes > 0 ? classes : (int)largest + 1;
}

/* labels checked; classes counted if they are not given. */
static hk_status check_labels(hk_context *ctx, int64_t n, const int32_t *labels, int *classes) {
    if (*classes < 0) return HK_OK; /* create() says so */
    if (!labels) {
        if (*classes == 0) return HK_OK;
        return hk_fail(ctx, HK_ERR_ARGUMENT, "dataset",
                       "%d classes but no labels: pass labels, or 0 classes", *classes);
    }
    int64_t bad = 0;
    const int counted = hk__count_classes(labels, n, *classes, &bad);
    if (counted < 0 && *classes > 0)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "dataset",
                       "label %d at index %lld is not within the %d classes (0 to %d)",
                       (int)labels[bad], (long long)bad, *classes, *classes - 1);
    if (counted < 0)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "dataset",
                       "label %d at index %lld cannot be a class: labels count from 0",
                       (int)labels[bad], (long long)bad);
    *classes = counted;
    return HK_OK;
}

hk_dataset *hk_dataset_from(hk_context *ctx, int64_t n, hk_shape item, hk_dtype dtype,
                            const void *items, const int32_t *labels, int classes) {
    if (hk_error(ctx) != HK_OK) return NULL;
    if (!items) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "dataset", "items must not be NULL");
        return NULL;
    }
    if (dtype != HK_U8 && dtype != HK_F32 && dtype != HK_F64) {
        hk_fail(ctx, HK_ERR_DTYPE, "dataset", "items must be u8, f32 or f64, not %s",
                hk_dtype_name(dtype));
        return NULL;
    }
    if (n > 0 && check_labels(ctx, n, labels, &classes) != HK_OK) return NULL;
    hk_dataset *ds = create(ctx, n, item, dtype, classes);
    if (!ds) return NULL;
    const size_t bytes = (size_t)(n * ds->item_count) * hk_dtype_size(dtype);
    ds->items = hk__alloc(bytes, false);
    if (labels) ds->labels = hk__alloc((size_t)n * sizeof *labels, false);
    if (!ds->items || (labels && !ds->labels)) {
        hk_fail(ctx, HK_ERR_MEMORY, "dataset", "no memory for %lld items, %zu bytes", (long long)n,
                bytes);
        hk_dataset_destroy(ds);
        return NULL;
    }
    memcpy(ds->items, items, bytes);
    if (labels) memcpy(ds->labels, labels, (size_t)n * sizeof *labels);
    return ds;
}

hk_dataset *hk_dataset_create(hk_context *ctx, const hk_dataset_class *cls, void *state, int64_t n,
                              hk_shape item, int classes) {
    hk_dataset *ds = NULL;
    if (hk_error(ctx) == HK_OK && (!cls || !cls->get))
        hk_fail(ctx, HK_ERR_ARGUMENT, "dataset", "a data set of one's own needs a class with get");
    else
        ds = create(ctx, n, item, HK_F32, classes);
    if (!ds) {
        if (cls && cls->destroy) cls->destroy(state);
        return NULL;
    }
    ds->cls = *cls;
    ds->state = state;
    return ds;
}

/* --- parts ------------------------------------------------------------------------------------ */

/* A part of ds: the `count` items for which chosen[i] == which, in their order. */
static hk_dataset *part(hk_dataset *ds, int64_t count, const bool *chosen, bool which) {
    hk_context *ctx = ds->object.ctx;
    hk_dataset *p = create(ctx, count, ds->item, ds->dtype, ds->classes);
    if (!p) return NULL;
    p->root = ds->root;
    p->index = hk__alloc((size_t)count * sizeof *p->index, false);
    if (!p->index) {
        hk_fail(ctx, HK_ERR_MEMORY, "split", "no memory for %lld indices", (long long)count);
        hk_dataset_destroy(p);
        return NULL;
    }
    for (int64_t i = 0, k = 0; i < ds->count; i++)
        if (chosen[i] == which) p->index[k++] = ds->index ? ds->index[i] : i;
    return p;
}

hk_status hk_dataset_split(hk_dataset *ds, int64_t n_second, hk_dataset **first,
                           hk_dataset **second) {
    if (first) *first = NULL;
    if (second) *second = NULL;
    if (!ds) return HK_ERR_ARGUMENT;
    hk_context *ctx = ds->object.ctx;
    if (hk_error(ctx) != HK_OK) return hk_error(ctx);
    if (!first || !second)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "split", "first and second must be given");
    const int64_t n = ds->count;
    if (n_second < 1 || n_second >= n)
        return hk_fail(ctx, HK_ERR_ARGUMENT, "split",
                       "%lld of %lld items: both parts need at least one, so 1 to %lld",
                       (long long)n_second, (long long)n, (long long)(n - 1));

    int64_t *order = hk__alloc((size_t)n * sizeof *order, false);
    bool *chosen = hk__alloc((size_t)n * sizeof *chosen, true);
    if (order && chosen) {
        hk_random_permutation(hk_random_stream(ctx->config.seed, "split", 0), n, order);
        for (int64_t i = n - n_second; i < n; i++) chosen[order[i]] = true;
        *first = part(ds, n - n_second, chosen, false);
        *second = *first ? part(ds, n_second, chosen, true) : NULL;
    } else {
        hk_fail(ctx, HK_ERR_MEMORY, "split", "no memory for %lld indices", (long long)n);
    }
    hk__free(order);
    hk__free(chosen);
    if (*second) return HK_OK;
    hk_dataset_destroy(*first);
    *first = NULL;
    return hk_error(ctx);
}

/* --- on a GPU --------------------------------------------------------------------------------- */

static hk_status upload(hk_context *ctx, hk_dataset *root) {
    if (!HK_ON_GPU(ctx)) return HK_OK;
    const size_t bytes = (size_t)(root->count * root->item_count) * hk_dtype_size(root->dtype);
    const size_t label_bytes = root->labels ? (size_t)root->count * sizeof *root->labels : 0;
    void *items = hk__values_alloc(ctx, bytes, false);
    int32_t *labels = label_bytes ? hk__values_alloc(ctx, label_bytes, false) : NULL;
    if (!items || (label_bytes && !labels)) {
        char text[96];
        hk_fail(ctx, HK_ERR_MEMORY, "dataset",
                "no memory for %lld items, %zu bytes, on the GPU: %s", (long long)root->count,
                bytes + label_bytes, hk__gpu_memory_text(ctx, text, sizeof text));
        hk__values_free(ctx, items);
        hk__values_free(ctx, labels);
        return ctx->status;
    }
    root->there = items;
    root->labels_there = labels;
    hk__values_write(ctx, items, root->items, bytes);
    if (labels) hk__values_write(ctx, labels, root->labels, label_bytes);
    return ctx->status;
}

hk_status hk__dataset_upload(hk_dataset *ds) {
    hk_context *ctx = ds->object.ctx;
    hk_dataset *root = ds->root;
    if (HK_ON_GPU(ctx) && !root->there && !root->cls.get) return upload(ctx, root);
    return ctx->status;
}

/* --- facts ------------------------------------------------------------------------------------ */

hk_status hk_dataset_scale(hk_dataset *ds, double scale, double shift) {
    if (!ds) return HK_ERR_ARGUMENT;
    hk_context *ctx = ds->object.ctx;
    if (hk_error(ctx) != HK_OK) return hk_error(ctx);
    if (!isfinite((float)scale) || !isfinite((float)shift))
        return hk_fail(ctx, HK_ERR_ARGUMENT, "dataset",
                       "scale %g and shift %g must be finite floats", scale, shift);
    ds->root->scale = scale;
    ds->root->shift = shift;
    hk__steps_forget(ctx); /* captured ones scale as before */
    return HK_OK;
}

int64_t hk_dataset_count(const hk_dataset *ds) { return ds ? ds->count : 0; }
hk_shape hk_dataset_item_shape(const hk_dataset *ds) { return ds ? ds->item : HK_SCALAR; }
int hk_dataset_classes(const hk_dataset *ds) { return ds ? ds->classes : 0; }

void hk_dataset_destroy(hk_dataset *ds) {
    if (!ds) return;
    hk__object_remove(&ds->object);
    destroy(&ds->object);
}
