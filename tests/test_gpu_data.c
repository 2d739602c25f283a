/* test_gpu_data.c: batches on a GPU are those of the CPU; steps that take them can be replayed.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 */
#include <math.h>

#include "data_fixture.h"
#include "device.h"

enum { ITEMS = 37, BATCH = 8 };

static hk_context *make_on(hk_device device, hk_dtype dtype) {
    return open_context(
        (hk_context_config){.device = device, .dtype = dtype, .threads = 1, .seed = 3});
}

/* The same on a CPU and on a GPU. */
typedef struct pair {
    hk_context *ctx[2];
    hk_loader *loader[2];
} pair;

static void open_pair(pair *p, hk_dtype dtype) {
    *p = (pair){.ctx = {make_on(HK_CPU, dtype), make_on(HK_CUDA, dtype)}};
}

static void close_pair(pair *p) {
    hk_context_destroy(p->ctx[0]);
    hk_context_destroy(p->ctx[1]);
}

static void read_batch(const hk_batch *b, void *x, size_t x_size, int32_t *y) {
    assert_int_equal(hk_tensor_read(b->x, x, x_size), HK_OK);
    assert_int_equal(hk_tensor_read(b->y, y, (size_t)b->size * sizeof *y), HK_OK);
}

/* Largest difference of two batches' elements, in units of their largest. */
static double compare(pair *p, const hk_batch b[2]) {
    const size_t bytes = (size_t)hk_tensor_count(b[0].x) * hk_dtype_size(hk_tensor_dtype(b[0].x));
    void *x[2] = {malloc(bytes), malloc(bytes)};
    int32_t y[2][BATCH];
    double most = 0, differ = 0;
    assert_true(hk_shape_equal(hk_tensor_shape(b[0].x), hk_tensor_shape(b[1].x)));
    for (int d = 0; d < 2; d++) read_batch(&b[d], x[d], bytes, y[d]);
    assert_memory_equal(y[0], y[1], (size_t)b[0].size * sizeof **y);
    assert_memory_equal(b[0].items, b[1].items, (size_t)b[0].size * sizeof *b[0].items);
    for (int64_t i = 0; i < hk_tensor_count(b[0].x); i++) {
        const bool wide = hk_tensor_dtype(b[0].x) == HK_F64;
        const double u = wide ? ((double *)x[0])[i] : (double)((float *)x[0])[i];
        const double v = wide ? ((double *)x[1])[i] : (double)((float *)x[1])[i];
        assert_true(isfinite(u) && isfinite(v));
        most = fmax(most, fabs(u));
        differ = fmax(differ, fabs(u - v));
    }
    free(x[0]);
    free(x[1]);
    for (int d = 0; d < 2; d++) assert_int_equal(hk_step_end(p->ctx[d]), HK_OK);
    return most > 0 ? differ / most : differ;
}

/* Three epochs of both. */
static void compare_epochs(pair *p, double tolerance) {
    for (int epoch = 0; epoch < 3; epoch++) {
        hk_batch b[2];
        int batches = 0;
        for (;; batches++) {
            const bool more = hk_loader_next(p->loader[0], &b[0]);
            assert_int_equal(hk_loader_next(p->loader[1], &b[1]), more);
            assert_int_equal(hk_error(p->ctx[1]), HK_OK);
            if (!more) break;
            const double differ = compare(p, b);
            if (!(differ <= tolerance)) fail_msg("epoch %d: batches differ by %g", epoch, differ);
        }
        assert_int_equal(batches, hk_loader_batches(p->loader[0]));
    }
}

/* --- items ------------------------------------------------------------------------------------ */

static double value_at(int64_t i) { return (double)((i * 7919 + i / 5 * 31) % 251); }

/* Of any type; 0 is none of the values that scaling would leave. */
static hk_dataset *items(hk_context *ctx, hk_dtype dtype, hk_shape item) {
    const int64_t n = ITEMS * hk_shape_count(item);
    void *data = malloc((size_t)n * hk_dtype_size(dtype));
    int32_t labels[ITEMS];
    for (int64_t i = 0; i < n; i++) {
        if (dtype == HK_U8)
            ((uint8_t *)data)[i] = (uint8_t)value_at(i);
        else if (dtype == HK_F32)
            ((float *)data)[i] = (float)value_at(i) * 1e-3f;
        else
            ((double *)data)[i] = value_at(i) * 1e-3;
    }
    for (int i = 0; i < ITEMS; i++) labels[i] = i * 5 % 9;
    hk_dataset *ds = hk_dataset_from(ctx, ITEMS, item, dtype, data, labels, 9);
    free(data);
    return ds;
}

static hk_status get_item(void *state, int64_t i, float *item, int32_t *label) {
    const int64_t n = *(const int64_t *)state;
    for (int64_t k = 0; k < n; k++) item[k] = (float)value_at(i * n + k);
    *label = (int32_t)(i % 4);
    return HK_OK;
}

static hk_loader *shuffled(hk_dataset *ds, const hk_augment *augment) {
    hk_loader_config config = {.batch = BATCH, .shuffle = true};
    if (augment) config.augment = *augment;
    hk_loader *loader = hk_loader_create(ds, &config);
    assert_non_null(loader);
    return loader;
}

static void the_same_batches(void **state) {
    (void)state;
    const hk_shape shapes[] = {HK_SHAPE(1, 6, 6), HK_SHAPE(7), HK_SCALAR, HK_SHAPE(2, 3, 5)};
    const hk_dtype types[] = {HK_U8, HK_F32, HK_F64};
    for (int k = 0; k < 24; k++) {
        pair p;
        open_pair(&p, k < 12 ? HK_F32 : HK_F64);
        for (int d = 0; d < 2; d++) {
            hk_dataset *ds = items(p.ctx[d], types[k % 3], shapes[k / 3 % 4]), *part;
            if (k % 5 == 0) assert_int_equal(hk_dataset_scale(ds, 0.3, -0.1), HK_OK);
            if (k % 2) assert_int_equal(hk_dataset_split(ds, 11, &ds, &part), HK_OK);
            p.loader[d] = shuffled(ds, NULL);
        }
        compare_epochs(&p, 0);
        close_pair(&p);
    }
}

static void items_of_ones_own(void **state) {
    (void)state;
    int64_t n = 12;
    const hk_augment augment = {.shift = 1, .rotation = 20, .elastic_alpha = 3};
    for (int k = 0; k < 4; k++) {
        pair p;
        open_pair(&p, HK_F32);
        for (int d = 0; d < 2; d++) {
            const hk_dataset_class cls = {.get = get_item};
            hk_dataset *ds = hk_dataset_create(p.ctx[d], &cls, &n, ITEMS, HK_SHAPE(1, 3, 4), 4),
                       *part;
            if (k % 2) assert_int_equal(hk_dataset_split(ds, 20, &part, &ds), HK_OK);
            p.loader[d] = shuffled(ds, k < 2 ? NULL : &augment);
        }
        compare_epochs(&p, k < 2 ? 0 : 1e-6);
        close_pair(&p);
    }
}

static void the_same_variants(void **state) {
    (void)state;
    const hk_augment sets[] = {
        {.shift = 2},
        {.rotation = 25, .scale = 0.2},
        {.elastic_alpha = 34},
        {.shift = 1, .rotation = 10, .scale = 0.1, .elastic_alpha = 20, .elastic_sigma = 2.5}};
    const hk_shape shapes[] = {HK_SHAPE(1, 12, 12), HK_SHAPE(2, 9, 14), HK_SHAPE(1, 60, 60)};
    for (int k = 0; k < 12; k++) {
        pair p;
        const bool wide = k % 4 == 1;
        open_pair(&p, wide ? HK_F64 : HK_F32);
        for (int d = 0; d < 2; d++) {
            hk_dataset *ds = items(p.ctx[d], k % 2 ? HK_U8 : HK_F32, shapes[k / 4]), *part;
            if (k % 3) assert_int_equal(hk_dataset_split(ds, 13, &ds, &part), HK_OK);
            p.loader[d] = shuffled(ds, &sets[k % 4]);
        }
        compare_epochs(&p, wide ? 1e-12 : 1e-6);
        close_pair(&p);
    }
}

/* --- replayed steps --------------------------------------------------------------------------- */

typedef struct taking {
    hk_dataset *ds;
    hk_loader *loader;
    hk_tensor *x, *y; /* kept: the newest batch */
    int64_t size;
    int calls;
} taking;

static hk_status take(hk_context *ctx, void *arg) {
    taking *t = arg;
    hk_batch b;
    t->calls++;
    if (!hk_loader_next(t->loader, &b)) return hk_error(ctx);
    t->size = b.size;
    if (b.size < BATCH) return HK_OK;
    if (hk_tensor_copy(t->x, b.x) || hk_tensor_copy(t->y, b.y)) return hk_error(ctx);
    return HK_OK;
}

static void replayed_steps_move_on(void **state) {
    (void)state;
    const hk_augment augment = {.shift = 2, .elastic_alpha = 9};
    for (int k = 0; k < 2; k++) {
        pair p;
        open_pair(&p, HK_F32);
        taking t[2];
        for (int d = 0; d < 2; d++) {
            hk_context *ctx = p.ctx[d];
            const hk_shape item = HK_SHAPE(1, 6, 6);
            hk_dataset *ds = items(ctx, HK_U8, item);
            t[d] = (taking){.ds = ds,
                            .loader = shuffled(ds, k ? &augment : NULL),
                            .x = hk_tensor_new(ctx, HK_F32, HK_SHAPE(BATCH, 1, 6, 6)),
                            .y = hk_tensor_new(ctx, HK_I32, HK_SHAPE(BATCH))};
        }
        for (int step = 0; step < 40; step++) { /* 4 whole batches, a short one, the end */
            float x[2][BATCH * 36];
            int32_t y[2][BATCH];
            for (int d = 0; d < 2; d++) {
                if (step == 20) assert_int_equal(hk_dataset_scale(t[d].ds, 0.01, 0.5), HK_OK);
                assert_int_equal(hk_step_run(p.ctx[d], take, &t[d]), HK_OK);
                assert_int_equal(hk_tensor_read(t[d].x, x[d], sizeof x[d]), HK_OK);
                assert_int_equal(hk_tensor_read(t[d].y, y[d], sizeof y[d]), HK_OK);
                assert_int_equal(hk_loader_epoch(t[d].loader), step / 6);
            }
            assert_memory_equal(y[0], y[1], sizeof y[0]);
            for (int i = 0; i < BATCH * 36; i++)
                if (!(fabsf(x[0][i] - x[1][i]) <= 1e-6f)) fail_msg("step %d differs", step);
        }
        assert_true(hk_context_describe(p.ctx[1]).replayed >= 16);
        assert_int_equal(t[0].calls, 40);
        assert_true(t[1].calls <= 24);
        close_pair(&p);
    }
}

/* Two batches in one step: their places in the order do not fit into one setting of the cells. */
static hk_status take_two(hk_context *ctx, void *arg) {
    taking *t = arg;
    for (int i = 0; i < 2; i++) {
        hk_batch b;
        while (!hk_loader_next(t->loader, &b)) HK_TRY(hk_error(ctx));
        if (b.size < BATCH) return HK_OK;
        HK_TRY(hk_tensor_copy(i ? t->y : t->x, b.y));
    }
    return HK_OK;
}

static void two_batches_in_a_step(void **state) {
    (void)state;
    pair p;
    open_pair(&p, HK_F32);
    taking t[2];
    for (int d = 0; d < 2; d++)
        t[d] = (taking){.loader = shuffled(items(p.ctx[d], HK_U8, HK_SHAPE(4)), NULL),
                        .x = hk_tensor_new(p.ctx[d], HK_I32, HK_SHAPE(BATCH)),
                        .y = hk_tensor_new(p.ctx[d], HK_I32, HK_SHAPE(BATCH))};
    for (int step = 0; step < 30; step++) {
        int32_t y[2][2 * BATCH];
        for (int d = 0; d < 2; d++) {
            assert_int_equal(hk_step_run(p.ctx[d], take_two, &t[d]), HK_OK);
            assert_int_equal(hk_tensor_read(t[d].x, y[d], sizeof y[d] / 2), HK_OK);
            assert_int_equal(hk_tensor_read(t[d].y, y[d] + BATCH, sizeof y[d] / 2), HK_OK);
        }
        assert_memory_equal(y[0], y[1], sizeof y[0]);
    }
    assert_int_equal(hk_context_describe(p.ctx[1]).replayed, 0);
    close_pair(&p);
}

static void cells_are_given_back(void **state) {
    (void)state;
    hk_context *ctx = make_on(HK_CUDA, HK_F32);
    hk_dataset *ds = items(ctx, HK_U8, HK_SHAPE(4));
    for (int i = 0; i < 100; i++) hk_loader_destroy(shuffled(ds, NULL));
    assert_int_equal(hk_error(ctx), HK_OK);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_batches),      cmocka_unit_test(items_of_ones_own),
        cmocka_unit_test(the_same_variants),     cmocka_unit_test(replayed_steps_move_on),
        cmocka_unit_test(two_batches_in_a_step), cmocka_unit_test(cells_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
