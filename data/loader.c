/* loader.c: batches of a data set, in order or shuffled anew for every epoch.
   SPDX-License-Identifier: MIT */
#include <string.h>

#include "batch.h"
#include "gpu.h"
#include "hk_random.h"
#include "values.h"

struct hk_loader {
    hk__object object; /* first, so that the context can destroy it */
    hk_dataset *ds;
    int64_t batch;
    bool shuffle;
    char *stream;
    hk__augment *augment; /* NULL: none */
    int64_t *order;       /* of the items, in the epoch `order_epoch` */
    int64_t order_epoch;  /* -1: none yet */
    int64_t epoch, next;  /* next: place in `order` of the next batch's first item */
    bool ended;           /* the end of the epoch was reported */

    /* On a GPU the epoch's order lies there, as numbers in the root, and a batch's place in it comes from a cell: so
       a step can be replayed, but not with items of one's own. */
    int cells;
    int64_t *order_there;
    int64_t *numbers; /* `order` as numbers in the root; NULL: they are the same */
    /* The order of an epoch to come, drawn while the GPU is busy with the end of the one before; NULL: of none. */
    int64_t *coming, coming_epoch;
};

static void destroy(hk__object *object) {
    hk_loader *loader = (hk_loader *)object;
    hk__augment_free(loader->augment);
    hk__free(loader->stream);
    hk__free(loader->order);
    hk__free(loader->numbers);
    hk__free(loader->coming);
    if (loader->order_there) hk__values_free(object->ctx, loader->order_there);
    if (HK_ON_GPU(object->ctx) && loader->cells > 0)
        hk__gpu_cells_give(object->ctx, loader->cells, HK__BATCH_CELLS);
    hk__free(loader);
}

static bool prepare(hk__object *object);
static void replayed(hk__object *object);

static hk_status open_on_gpu(hk_loader *loader) {
    const hk_dataset *ds = loader->ds;
    hk_context *ctx = loader->object.ctx;
    if (!HK_ON_GPU(ctx)) return HK_OK;
    const size_t bytes = (size_t)ds->count * sizeof *loader->order;
    loader->cells = hk__gpu_cells_take(ctx, HK__BATCH_CELLS);
    if (ds->root->cls.get) return ctx->status;
    loader->order_there = hk__values_alloc(ctx, bytes, false);
    if (loader->shuffle) loader->coming = hk__alloc(bytes, false);
    if (ds->index) loader->numbers = hk__alloc(bytes, false);
    if (!loader->order_there || (ds->index && !loader->numbers) ||
        (loader->shuffle && !loader->coming))
        return hk_fail(ctx, HK_ERR_MEMORY, "loader", "no memory for the order of %lld items",
                       (long long)ds->count);
    loader->object.prepare = prepare;
    loader->object.replayed = replayed;
    return ctx->status;
}

hk_loader *hk_loader_create(hk_dataset *ds, const hk_loader_config *config) {
    if (!ds || hk_error(ds->object.ctx) != HK_OK) return NULL;
    hk_context *ctx = ds->object.ctx;
    const hk_loader_config c = config ? *config : (hk_loader_config){0};
    if (c.batch < 0) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "loader", "batch must be at least 1, not %lld",
                (long long)c.batch);
        return NULL;
    }
    const char *stream = c.stream ? c.stream : "shuffle";
    const size_t stream_size = strlen(stream) + 1;
    hk_loader *loader = hk__alloc(sizeof *loader, true);
    if (loader) {
        hk__object_add(ctx, &loader->object, destroy);
        loader->stream = hk__alloc(stream_size, false);
        loader->order = hk__alloc((size_t)ds->count * sizeof *loader->order, false);
    }
    if (!loader || !loader->stream || !loader->order) {
        hk_fail(ctx, HK_ERR_MEMORY, "loader", "no memory for the order of %lld items",
                (long long)ds->count);
        hk_loader_destroy(loader);
        return NULL;
    }
    if (hk__augment_new(ctx, &c.augment, ds->item, &loader->augment) != HK_OK) {
        hk_loader_destroy(loader);
        return NULL;
    }
    memcpy(loader->stream, stream, stream_size);
    loader->ds = ds;
    loader->batch = c.batch ? c.batch : 64;
    loader->shuffle = c.shuffle;
    loader->order_epoch = loader->coming_epoch = -1;
    if (!HK_ON_GPU(ctx) || open_on_gpu(loader) == HK_OK) return loader;
    hk_loader_destroy(loader);
    return NULL;
}

void hk_loader_destroy(hk_loader *loader) {
    if (!loader) return;
    hk__object_remove(&loader->object);
    destroy(&loader->object);
}

static void upload_order(hk_loader *loader) {
    hk_context *ctx = loader->object.ctx;
    const int64_t n = loader->ds->count, *index = loader->ds->index;
    if (!loader->order_there) return;
    for (int64_t i = 0; index && i < n; i++) loader->numbers[i] = index[loader->order[i]];
    hk__values_write(ctx, loader->order_there, index ? loader->numbers : loader->order,
                     (size_t)n * sizeof *loader->order);
    if (ctx->status != HK_OK) loader->order_epoch = -1; /* tried again with the batch */
}

static void draw_order(const hk_loader *loader, int64_t epoch, int64_t *order) {
    const uint64_t seed = loader->object.ctx->config.seed;
    const hk_random stream = hk_random_stream(seed, loader->stream, (uint64_t)epoch);
    hk_random_permutation(stream, loader->ds->count, order);
}

static void draw_ahead(hk_loader *loader) {
    if (!loader->coming || loader->coming_epoch == loader->epoch + 1) return;
    loader->coming_epoch = loader->epoch + 1;
    draw_order(loader, loader->coming_epoch, loader->coming);
}

/* Brings `order` to the current epoch. */
static void set_order(hk_loader *loader) {
    const int64_t n = loader->ds->count, before = loader->order_epoch;
    if (loader->shuffle && loader->order_epoch != loader->epoch) {
        if (loader->coming && loader->coming_epoch == loader->epoch) {
            int64_t *const order = loader->coming;
            loader->coming = loader->order;
            loader->order = order;
        } else {
            draw_order(loader, loader->epoch, loader->order);
        }
    } else if (loader->order_epoch < 0) {
        for (int64_t i = 0; i < n; i++) loader->order[i] = i;
    }
    loader->order_epoch = loader->epoch;
    if (before != loader->epoch && (loader->shuffle || before < 0)) upload_order(loader);
}

/* Begins the next epoch if the end of this one was reported. */
static void turn(hk_loader *loader) {
    if (!loader->ended) return;
    loader->ended = false;
    loader->next = 0;
    loader->epoch++;
}

static int64_t next_size(const hk_loader *loader) {
    const int64_t left = loader->ds->count - loader->next;
    return left < loader->batch ? left : loader->batch;
}

/* Of all batches but an epoch's last. */
static int64_t usual_size(const hk_loader *loader) {
    return loader->ds->count < loader->batch ? loader->ds->count : loader->batch;
}

/* What kernels read of the coming batch. */
static void set_cells(hk_loader *loader) {
    hk_context *ctx = loader->object.ctx;
    if (!HK_ON_GPU(ctx)) return;
    hk__gpu_cell_set(ctx, loader->cells, (double)loader->next);
    hk__gpu_cell_set(ctx, loader->cells + 1, (double)loader->epoch);
}

static bool prepare(hk__object *object) {
    hk_loader *loader = (hk_loader *)object;
    turn(loader);
    if (next_size(loader) != usual_size(loader)) return false;
    set_order(loader);
    set_cells(loader);
    return true;
}

static void replayed(hk__object *object) {
    hk_loader *loader = (hk_loader *)object;
    loader->next += usual_size(loader);
    if (next_size(loader) != usual_size(loader)) draw_ahead(loader);
}

bool hk_loader_next(hk_loader *loader, hk_batch *batch) {
    if (batch) *batch = (hk_batch){.x = NULL};
    if (!loader) return false;
    hk_context *ctx = loader->object.ctx;
    if (hk_error(ctx) != HK_OK) return false;
    if (!batch) {
        hk_fail(ctx, HK_ERR_ARGUMENT, "loader", "batch must be given");
        return false;
    }
    turn(loader);
    const hk_dataset *ds = loader->ds;
    const int64_t size = next_size(loader);
    if (size == 0) {
        loader->ended = true;
        return false;
    }
    if (hk__dataset_upload(loader->ds) != HK_OK) return false;
    set_order(loader);
    set_cells(loader);

    const int64_t *items = loader->order + loader->next;
    hk_shape shape = {.rank = ds->item.rank + 1, .dim = {size}};
    memcpy(shape.dim + 1, ds->item.dim, (size_t)ds->item.rank * sizeof *shape.dim);
    hk_tensor *x = hk__empty(ctx, ctx->config.dtype, shape);
    hk_tensor *y = hk__empty(ctx, HK_I32, (hk_shape){1, {size}});
    if (!x || !y) return false;
    x->name = "x";
    y->name = "y";
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    const hk_status status = hk__batch_fill(&(hk__batch_job){.ds = loader->ds,
                                                             .size = size,
                                                             .items = items,
                                                             .augment = loader->augment,
                                                             .epoch = loader->epoch,
                                                             .order = loader->order_there,
                                                             .cells = loader->cells},
                                            x, y);
    hk__arena_rewind(&ctx->scratch, mark);
    if (status != HK_OK) return false;

    *batch = (hk_batch){
        .x = x, .y = y, .size = size, .index = loader->next / loader->batch, .items = items};
    loader->next += size;
    loader->object.step = ctx->step;
    return true;
}

void hk_loader_rewind(hk_loader *loader) {
    if (!loader) return;
    loader->next = 0;
    loader->ended = false;
}

int64_t hk_loader_batches(const hk_loader *loader) {
    if (!loader) return 0;
    const int64_t n = loader->ds->count;
    return n / loader->batch + (n % loader->batch != 0);
}

int64_t hk_loader_epoch(const hk_loader *loader) { return loader ? loader->epoch : 0; }
