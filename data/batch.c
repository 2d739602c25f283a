/* batch.c: items of a data set become the tensors of a batch.
   SPDX-License-Identifier: MIT

   Items are dealt to threads in blocks. Every element is computed by itself, so the bits are the
   same for any deal. */
#include "batch.h"

#include <string.h>

#include "batch_kernels.h"
#include "gpu.h"

/* Elements in a block, at least: a second thread does not pay for fewer. */
enum { BLOCK = 16384, LINE = 64 };

typedef struct job {
    const char *from;            /* items of the data set, in memory */
    const int64_t *items;        /* which of them */
    const int64_t *index;        /* their numbers in the root; NULL: themselves */
    bool gathered;               /* `from` holds them in this order, else all of the root */
    size_t from_bytes, to_bytes; /* of an item */
    int64_t item_count, size, blocks;
    hk__scale_fn *scale; /* NULL: copy */
    double factor, shift;
    const hk__augment_run *augment; /* NULL: images stay as they are */
    char *to;
} job;

static int64_t root_number(const job *j, int64_t i) {
    return j->index ? j->index[j->items[i]] : j->items[i];
}

static const char *place(const job *j, int64_t i) {
    return j->from + (size_t)(j->gathered ? i : root_number(j, i)) * j->from_bytes;
}

/* A shuffled item is far from the one before: without this, its bytes come a third slower. */
static void prefetch(const char *p, size_t bytes) {
#ifdef __GNUC__
    for (size_t i = 0; i < bytes; i += LINE) __builtin_prefetch(p + i);
#else
    (void)p, (void)bytes;
#endif
}

static void fill(void *arg, int64_t block, int worker) {
    const job *j = arg;
    const int64_t begin = block * j->size / j->blocks, end = (block + 1) * j->size / j->blocks;
    const size_t ahead = j->from_bytes < 4096 ? j->from_bytes : 4096;
    for (int64_t i = begin; i < end; i++) {
        if (i + 1 < end) prefetch(place(j, i + 1), ahead);
        char *to = j->to + (size_t)i * j->to_bytes;
        if (j->augment)
            hk__augment_item(j->augment, worker, root_number(j, i), place(j, i), to);
        else if (j->scale)
            j->scale(j->item_count, place(j, i), j->factor, j->shift, to);
        else
            memcpy(to, place(j, i), j->to_bytes);
    }
}

static hk__scale_fn *scale_of(const hk_context *ctx, const hk_dataset *root) {
    const hk_dtype to = ctx->config.dtype;
    if (root->dtype == to && root->scale == 1.0 && root->shift == 0.0) return NULL;
    const hk__batch_kernels *k = hk__batch_tables[hk__stamp_of(ctx, to)];
    return root->dtype == HK_U8 ? k->u8 : root->dtype == HK_F32 ? k->f32 : k->f64;
}

/* The items of one's own, one by one, into `out` and y. */
static hk_status get_items(const hk_dataset *ds, int64_t size, const int64_t *items, float *out,
                           int32_t *y) {
    hk_context *ctx = ds->object.ctx;
    const hk_dataset *root = ds->root;
    for (int64_t i = 0; i < size; i++) {
        const int64_t at = ds->index ? ds->index[items[i]] : items[i];
        int32_t label = 0;
        const hk_status status = root->cls.get(root->state, at, out + i * root->item_count, &label);
        if (ctx->status != HK_OK) { /* get's own words, with the item */
            char text[sizeof ctx->message];
            memcpy(text, ctx->message, sizeof text);
            const hk_status first = ctx->status;
            hk_error_clear(ctx);
            return hk_fail(ctx, first, "loader", "item %lld: %s", (long long)at, text);
        }
        if (status != HK_OK)
            return hk_fail(ctx, status, "loader", "item %lld: the data set's get returned %s (%s)",
                           (long long)at, hk_status_name(status), hk_status_meaning(status));
        if (root->classes > 0 && (label < 0 || label >= root->classes))
            return hk_fail(ctx, HK_ERR_ARGUMENT, "loader",
                           "item %lld: its label %d is not within the %d classes (0 to %d)",
                           (long long)at, (int)label, root->classes, root->classes - 1);
        y[i] = label;
    }
    return HK_OK;
}

static void copy_labels(const hk_dataset *ds, int64_t size, const int64_t *items, int32_t *y) {
    const int32_t *labels = ds->root->labels;
    for (int64_t i = 0; i < size; i++)
        y[i] = labels ? labels[ds->index ? ds->index[items[i]] : items[i]] : 0;
}

/* --- on a GPU --------------------------------------------------------------------------------- */

static hk_status bring_numbers(const hk__batch_job *batch, const int64_t **numbers) {
    const int64_t *index = batch->ds->index;
    hk_context *ctx = batch->ds->object.ctx;
    if (!HK_ON_GPU(ctx)) return HK_OK;
    const size_t bytes = (size_t)batch->size * sizeof **numbers;
    int64_t *here = hk__scratch(ctx, bytes), *there = hk__gpu_scratch(ctx, bytes);
    if (ctx->status != HK_OK) return ctx->status;
    for (int64_t i = 0; i < batch->size; i++)
        here[i] = index ? index[batch->items[i]] : batch->items[i];
    hk__gpu_write(ctx, there, here, bytes);
    *numbers = there;
    return ctx->status;
}

/* Items and labels of one's own come through the host, and for variants their numbers. */
static hk_status bring(const hk__batch_job *batch, hk__gather *g, const int64_t **numbers) {
    const hk_dataset *ds = batch->ds;
    hk_context *ctx = ds->object.ctx;
    if (!HK_ON_GPU(ctx)) return HK_OK;
    const size_t bytes = (size_t)(batch->size * ds->item_count) * sizeof(float);
    const size_t label_bytes = (size_t)batch->size * sizeof(int32_t);
    float *got = hk__scratch(ctx, bytes);
    int32_t *labels = hk__scratch(ctx, label_bytes);
    void *items = hk__gpu_scratch(ctx, bytes), *labels_there = hk__gpu_scratch(ctx, label_bytes);
    if (ctx->status != HK_OK) return ctx->status;
    HK_TRY(get_items(ds, batch->size, batch->items, got, labels));
    hk__gpu_write(ctx, items, got, bytes);
    hk__gpu_write(ctx, labels_there, labels, label_bytes);
    g->items = items;
    g->labels = labels_there;
    return batch->augment ? bring_numbers(batch, numbers) : ctx->status;
}

static hk_status fill_on_gpu(const hk__batch_job *batch, hk_tensor *x, hk_tensor *y) {
    const hk_dataset *ds = batch->ds, *root = ds->root;
    hk_context *ctx = ds->object.ctx;
    hk__gather g = {.from = root->dtype,
                    .items = root->there,
                    .labels = root->labels_there,
                    .order = batch->order,
                    .cell = batch->cells,
                    .size = batch->size,
                    .count = ds->item_count,
                    .scaled = root->dtype != x->dtype || root->scale != 1.0 || root->shift != 0.0,
                    .scale = root->scale,
                    .shift = root->shift,
                    .x = x->data,
                    .y = y->data};
    const hk__mark mark = hk__arena_mark(&ctx->gpu_scratch);
    hk__augment_job varied = {.cell = batch->cells + 1};
    if (root->cls.get && bring(batch, &g, &varied.numbers) != HK_OK) {
        hk__arena_rewind(&ctx->gpu_scratch, mark);
        return ctx->status;
    }
    if (batch->augment) {
        varied.batch = g;
        hk__augment_job_of(batch->augment, &varied);
        hk__augment_gpu_tables[x->dtype]->gather(ctx, &varied);
    } else {
        hk__batch_gpu_tables[x->dtype]->gather(ctx, &g);
    }
    hk__arena_rewind(&ctx->gpu_scratch, mark);
    return ctx->status;
}

/* ---------------------------------------------------------------------------------------------- */

hk_status hk__batch_fill(const hk__batch_job *batch, hk_tensor *x, hk_tensor *y) {
    const hk_dataset *ds = batch->ds, *root = ds->root;
    hk_context *ctx = ds->object.ctx;
    if (HK_ON_GPU(ctx)) return fill_on_gpu(batch, x, y);
    const int64_t size = batch->size, *items = batch->items;
    const hk__augment *augment = batch->augment;
    const size_t count = (size_t)ds->item_count;
    job j = {.from = root->items,
             .items = items,
             .index = ds->index,
             .from_bytes = count * hk_dtype_size(root->dtype),
             .to_bytes = count * hk_dtype_size(ctx->config.dtype),
             .item_count = ds->item_count,
             .size = size,
             .blocks = 1,
             .scale = scale_of(ctx, root),
             .factor = root->scale,
             .shift = root->shift,
             .to = x->data};
    hk__augment_run run;
    if (augment) {
        HK_TRY(hk__augment_begin(ctx, augment, root, batch->epoch, &run));
        j.augment = &run;
    }
    if (root->cls.get) {
        if (!j.scale && !augment) return get_items(ds, size, items, x->data, y->data);
        float *got = hk__scratch(ctx, (size_t)size * j.from_bytes);
        if (!got) return hk_error(ctx);
        HK_TRY(get_items(ds, size, items, got, y->data));
        j.from = (const char *)got;
        j.gathered = true;
    } else {
        copy_labels(ds, size, items, y->data);
    }
    /* A power of two of equal blocks, so that the usual numbers of threads get equal shares. */
    while (2 * j.blocks <= size && 2 * j.blocks * BLOCK <= size * ds->item_count) j.blocks *= 2;
    if (augment) j.blocks = size; /* each image is work enough */
    hk__run(ctx, j.blocks, fill, &j);
    return HK_OK;
}
