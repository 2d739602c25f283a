/* test_dataset.c: data sets in memory, parts, and one's own; errors of data sets and loaders.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include <math.h>

#include "data_fixture.h"

enum { N = 1000 };
static int64_t order_a[N], order_b[N], order_c[N];

/* The first element of every item, in order. */
static void contents(hk_context *ctx, hk_dataset *ds, int64_t *items) {
    hk_loader *loader = load(ds, 1 << 20, false, NULL);
    hk_batch b;
    assert_true(hk_loader_next(loader, &b));
    const float *x = host(b.x);
    const int32_t *y = host(b.y);
    assert_int_equal(b.size, hk_dataset_count(ds));
    for (int64_t i = 0; i < b.size; i++) {
        items[i] = (int64_t)x[i];
        assert_int_equal(y[i], items[i] % 7);
        assert_int_equal(b.items[i], i);
        if (i) assert_true(items[i] > items[i - 1]); /* in the order of the whole */
    }
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_loader_destroy(loader);
}

static void split_is_disjoint_complete_and_stable(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        hk_context *ctx = make(HK_F32, 1, seed);
        hk_dataset *ds = numbers(ctx, N), *train, *val, *other_train, *other_val;
        assert_int_equal(hk_dataset_split(ds, 300, &train, &val), HK_OK);
        assert_int_equal(hk_dataset_count(train), 700);
        assert_int_equal(hk_dataset_count(val), 300);
        assert_int_equal(hk_dataset_classes(val), 7);
        assert_true(hk_shape_equal(hk_dataset_item_shape(val), HK_SHAPE(1)));
        contents(ctx, train, order_a);
        contents(ctx, val, order_a + 700);
        is_permutation(order_a, N);
        /* A shuffle, not the end: about 90 of the last 300 items. */
        int64_t late = 0;
        for (int64_t i = 700; i < N; i++) late += order_a[i] >= 700;
        assert_in_range(late, 60, 120);

        assert_int_equal(hk_dataset_split(ds, 300, &other_train, &other_val), HK_OK);
        contents(ctx, other_train, order_b);
        contents(ctx, other_val, order_b + 700);
        assert_memory_equal(order_a, order_b, sizeof order_a);
        if (seed == 2) assert_memory_not_equal(order_a, order_c, sizeof order_a);
        memcpy(order_c, order_a, sizeof order_c);

        /* A part of a part. */
        hk_dataset *front, *back;
        assert_int_equal(hk_dataset_split(train, 1, &front, &back), HK_OK);
        contents(ctx, front, order_b);
        contents(ctx, back, order_b + 699);
        memcpy(order_b + 700, order_a + 700, 300 * sizeof *order_b);
        is_permutation(order_b, N);
        hk_context_destroy(ctx);
    }
}

static void parts_share_the_scale(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_dataset *ds = numbers(ctx, 10), *a, *b;
    assert_int_equal(hk_dataset_split(ds, 5, &a, &b), HK_OK);
    assert_int_equal(hk_dataset_scale(a, 0, 42), HK_OK);
    hk_dataset *const all[] = {ds, a, b};
    for (int i = 0; i < 3; i++) {
        hk_batch batch;
        assert_true(hk_loader_next(load(all[i], 10, false, NULL), &batch));
        assert_true(((float *)host(batch.x))[0] == 42.0F);
    }
    hk_context_destroy(ctx);
}

/* --- one's own -------------------------------------------------------------------------------- */

typedef struct own {
    hk_context *ctx;
    int64_t bad_item; /* fails there, in the way `how` says */
    enum { RETURN, SAY, SAY_ONLY, LABEL, LABEL_BELOW } how;
    int64_t last;
    int gets, destroyed;
} own;

static hk_status own_get(void *state, int64_t i, float *item, int32_t *label) {
    own *o = state;
    o->gets++;
    o->last = i;
    for (int k = 0; k < 3; k++) item[k] = (float)(10 * i + k);
    *label = (int32_t)(i % 4);
    if (i != o->bad_item) return HK_OK;
    if (o->how == LABEL) *label = 4;
    if (o->how == LABEL_BELOW) *label = -1;
    if (o->how == RETURN) return HK_ERR_IO;
    if (o->how == SAY) return hk_fail(o->ctx, HK_ERR_FORMAT, "own", "no picture in cat.png");
    if (o->how == SAY_ONLY) (void)hk_fail(o->ctx, HK_ERR_FORMAT, "own", "no picture in dog.png");
    return HK_OK;
}

static void own_destroy(void *state) { ((own *)state)->destroyed++; }

static const hk_dataset_class own_class = {.get = own_get, .destroy = own_destroy};

static void ones_own(void **state) {
    (void)state;
    for (hk_dtype dtype = HK_F32; dtype <= HK_F64; dtype++) {
        for (int scaled = 0; scaled < 2; scaled++) {
            hk_context *ctx = make(dtype, 2, 0);
            own o = {.ctx = ctx, .bad_item = -1};
            hk_dataset_class cls = own_class;
            hk_dataset *ds = hk_dataset_create(ctx, &cls, &o, 50, HK_SHAPE(3), 4);
            cls.get = NULL; /* the class was copied */
            assert_int_equal(hk_dataset_classes(ds), 4);
            if (scaled) assert_int_equal(hk_dataset_scale(ds, 0.5, -1), HK_OK);
            hk_loader *loader = load(ds, 8, true, NULL);
            hk_batch b;
            int64_t seen = 0;
            while (hk_loader_next(loader, &b)) {
                assert_int_equal(o.last, b.items[b.size - 1]);
                const void *got = host(b.x);
                for (int64_t i = 0; i < 3 * b.size; i++) {
                    const int64_t item = b.items[i / 3];
                    const double raw = (double)(10 * item + i % 3);
                    const double x = dtype == HK_F32 ? (double)((const float *)got)[i]
                                                     : ((const double *)got)[i];
                    assert_true(x == (scaled ? raw * 0.5 - 1 : raw));
                }
                for (int64_t i = 0; i < b.size; i++, seen++)
                    assert_int_equal(((int32_t *)host(b.y))[i], b.items[i] % 4);
                assert_int_equal(hk_step_end(ctx), HK_OK);
            }
            assert_int_equal(hk_error(ctx), HK_OK);
            assert_int_equal(seen, 50);
            assert_int_equal(o.gets, 50);
            assert_int_equal(o.destroyed, 0);
            hk_context_destroy(ctx);
            assert_int_equal(o.destroyed, 1);
        }
    }
}

static void errors_of_ones_own(void **state) {
    (void)state;
    for (int how = RETURN; how <= LABEL_BELOW; how++) {
        hk_context *ctx = make(HK_F32, 1, 0);
        own o = {.ctx = ctx, .bad_item = 13};
        hk_loader *loader =
            load(hk_dataset_create(ctx, &own_class, &o, 20, HK_SHAPE(3), 4), 5, false, NULL);
        o.how = how;
        hk_batch b;
        assert_true(hk_loader_next(loader, &b));
        assert_true(hk_loader_next(loader, &b));
        for (int again = 0; again < 2; again++) { /* the same batch is tried again */
            assert_false(hk_loader_next(loader, &b));
            assert_null(b.x);
            assert_int_not_equal(hk_step_end(ctx), HK_OK);
            const int gets = o.gets;
            assert_false(hk_loader_next(loader, &b)); /* nothing goes on in error */
            assert_int_equal(o.gets, gets);
            switch (how) {
            case RETURN: expect_error(ctx, HK_ERR_IO, "item 13", "HK_ERR_IO", NULL); break;
            case SAY:
                expect_error(ctx, HK_ERR_FORMAT, "item 13", "no picture in cat.png", NULL);
                break;
            case SAY_ONLY: expect_error(ctx, HK_ERR_FORMAT, "item 13", "dog.png", NULL); break;
            case LABEL:
                expect_error(ctx, HK_ERR_ARGUMENT, "item 13", "label 4", "4 classes", NULL);
                break;
            default: expect_error(ctx, HK_ERR_ARGUMENT, "item 13", "label -1", NULL); break;
            }
        }
        o.bad_item = -1;
        assert_true(hk_loader_next(loader, &b));
        assert_int_equal(b.index, 2);
        assert_int_equal(b.items[0], 10);
        assert_true(hk_loader_next(loader, &b));
        assert_false(hk_loader_next(loader, &b)); /* the end is no error */
        assert_int_equal(hk_error(ctx), HK_OK);
        hk_context_destroy(ctx);
    }
}

static void labels_of_ones_own_without_classes(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    own o = {.ctx = ctx, .bad_item = 1, .how = LABEL_BELOW};
    hk_dataset *ds = hk_dataset_create(ctx, &own_class, &o, 2, HK_SHAPE(3), 0);
    hk_batch b;
    assert_true(hk_loader_next(load(ds, 2, false, NULL), &b));
    assert_int_equal(((int32_t *)host(b.y))[1], -1);
    hk_context_destroy(ctx);
}

static void parts_of_ones_own(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    own o = {.ctx = ctx, .bad_item = -1};
    hk_dataset *ds = hk_dataset_create(ctx, &own_class, &o, 20, HK_SHAPE(3), 4), *a, *b;
    assert_int_equal(hk_dataset_split(ds, 7, &a, &b), HK_OK);
    bool seen[20] = {false};
    hk_dataset *const both[] = {a, b};
    for (int p = 0; p < 2; p++) {
        hk_batch batch;
        assert_true(hk_loader_next(load(both[p], 20, false, NULL), &batch));
        assert_int_equal(batch.size, p ? 7 : 13);
        for (int64_t i = 0; i < batch.size; i++) {
            const int item = (int)((float *)host(batch.x))[3 * i] / 10;
            assert_false(seen[item]);
            seen[item] = true;
        }
    }
    o.bad_item = o.last; /* known by its number in the whole */
    hk_batch batch;
    char text[32];
    snprintf(text, sizeof text, "item %d:", (int)o.last);
    assert_false(hk_loader_next(load(b, 20, false, NULL), &batch));
    expect_error(ctx, HK_ERR_IO, text, NULL);
    hk_context_destroy(ctx);
    assert_int_equal(o.destroyed, 1);
}

/* --- errors ----------------------------------------------------------------------------------- */

static void bad_arrays(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    const float items[6] = {0};
    const int32_t labels[3] = {0, 2, 1}, negative[3] = {0, 1, -2};
    const hk_shape two = HK_SHAPE(2);
    hk_dataset *ds = hk_dataset_from(ctx, 3, two, HK_F32, items, labels, 0);
    assert_int_equal(hk_dataset_classes(ds), 3);
    assert_int_equal(hk_dataset_count(ds), 3);
    assert_int_equal(hk_dataset_classes(hk_dataset_from(ctx, 3, two, HK_F32, items, labels, 10)),
                     10);

    assert_null(hk_dataset_from(ctx, 3, two, HK_F32, items, labels, 2));
    expect_error(ctx, HK_ERR_ARGUMENT, "label 2 at index 1", "2 classes", NULL);
    assert_null(hk_dataset_from(ctx, 3, two, HK_F32, items, negative, 0));
    expect_error(ctx, HK_ERR_ARGUMENT, "label -2 at index 2", NULL);
    assert_null(hk_dataset_from(ctx, 3, two, HK_F32, items, negative, 5));
    expect_error(ctx, HK_ERR_ARGUMENT, "label -2 at index 2", NULL);
    assert_null(hk_dataset_from(ctx, 3, two, HK_F32, items, labels, -1));
    expect_error(ctx, HK_ERR_ARGUMENT, "classes", "-1", NULL);
    assert_null(hk_dataset_from(ctx, 3, two, HK_F32, items, NULL, 3));
    expect_error(ctx, HK_ERR_ARGUMENT, "no labels", NULL);
    assert_null(hk_dataset_from(ctx, 0, two, HK_F32, items, labels, 3));
    expect_error(ctx, HK_ERR_ARGUMENT, "zero items", NULL);
    assert_null(hk_dataset_from(ctx, -1, two, HK_F32, items, labels, 3));
    expect_error(ctx, HK_ERR_ARGUMENT, "-1", NULL);
    assert_null(hk_dataset_from(ctx, 3, two, HK_I32, items, labels, 3));
    expect_error(ctx, HK_ERR_DTYPE, "i32", NULL);
    assert_null(hk_dataset_from(ctx, 3, two, HK_F32, NULL, labels, 3));
    expect_error(ctx, HK_ERR_ARGUMENT, "items", NULL);
    assert_null(hk_dataset_from(ctx, 3, HK_SHAPE(2, 0), HK_F32, items, labels, 3));
    expect_error(ctx, HK_ERR_SHAPE, "(2, 0)", NULL);
    assert_null(hk_dataset_from(ctx, 3, HK_SHAPE(-2), HK_F32, items, labels, 3));
    expect_error(ctx, HK_ERR_SHAPE, "(-2)", NULL);
    assert_null(hk_dataset_from(ctx, 3, HK_SHAPE(INT64_MAX / 20), HK_F32, items, labels, 3));
    expect_error(ctx, HK_ERR_SHAPE, "overflow", NULL);
    assert_null(hk_dataset_from(ctx, 3, HK_SHAPE(1, 1, 1, 1, 1, 1), HK_F32, items, labels, 3));
    expect_error(ctx, HK_ERR_SHAPE, "rank 6", NULL);
    assert_null(hk_dataset_from(NULL, 3, two, HK_F32, items, labels, 3));
    hk_context_destroy(ctx);
}

static void bad_settings(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_dataset *ds = numbers(ctx, 10), *a, *b;
    const int64_t wrong[] = {0, -1, 10, 11, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 6; i++) {
        a = b = ds;
        assert_int_equal(hk_dataset_split(ds, wrong[i], &a, &b), HK_ERR_ARGUMENT);
        assert_null(a);
        assert_null(b);
        expect_error(ctx, HK_ERR_ARGUMENT, "of 10 items", "1 to 9", NULL);
    }
    assert_int_equal(hk_dataset_split(ds, 5, NULL, &b), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "first", NULL);
    const double bad[] = {(double)NAN, (double)INFINITY, 1e39};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hk_dataset_scale(ds, bad[i], 0), HK_ERR_ARGUMENT);
        expect_error(ctx, HK_ERR_ARGUMENT, "scale", NULL);
        assert_int_equal(hk_dataset_scale(ds, 1, bad[i]), HK_ERR_ARGUMENT);
        expect_error(ctx, HK_ERR_ARGUMENT, "shift", NULL);
    }
    assert_null(hk_loader_create(ds, &(hk_loader_config){.batch = -1}));
    expect_error(ctx, HK_ERR_ARGUMENT, "batch", "-1", NULL);
    hk_loader *loader = load(ds, INT64_MAX, false, NULL);
    assert_int_equal(hk_loader_batches(loader), 1);
    hk_batch batch;
    assert_true(hk_loader_next(loader, &batch));
    assert_int_equal(batch.size, 10);
    assert_false(hk_loader_next(loader, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "batch", NULL);

    /* In error a loader stands still. */
    assert_false(hk_loader_next(loader, &batch));
    (void)hk_fail(ctx, HK_ERR_IO, "test", "stop");
    assert_false(hk_loader_next(loader, &batch));
    expect_error(ctx, HK_ERR_IO, "stop", NULL);
    assert_int_equal(hk_loader_epoch(loader), 0);
    assert_true(hk_loader_next(loader, &batch));
    assert_int_equal(hk_loader_epoch(loader), 1);

    /* In error nothing is made, and one's own state is not leaked. */
    own o = {.ctx = ctx};
    (void)hk_fail(ctx, HK_ERR_IO, "test", "first");
    assert_null(hk_dataset_create(ctx, &own_class, &o, 5, HK_SHAPE(3), 4));
    assert_int_equal(o.destroyed, 1);
    assert_null(hk_dataset_from(ctx, 1, HK_SHAPE(1), HK_F32, &(float){0}, NULL, 0));
    assert_null(hk_loader_create(ds, NULL));
    assert_int_equal(hk_dataset_scale(ds, 1, 0), HK_ERR_IO);
    assert_int_equal(hk_dataset_split(ds, 5, &a, &b), HK_ERR_IO);
    expect_error(ctx, HK_ERR_IO, "first", NULL);

    assert_null(hk_dataset_create(ctx, &own_class, &o, 0, HK_SHAPE(3), 4));
    expect_error(ctx, HK_ERR_ARGUMENT, "zero items", NULL);
    assert_int_equal(o.destroyed, 2);
    assert_null(
        hk_dataset_create(ctx, &(hk_dataset_class){.destroy = own_destroy}, &o, 5, HK_SHAPE(3), 4));
    expect_error(ctx, HK_ERR_ARGUMENT, "get", NULL);
    assert_int_equal(o.destroyed, 3);
    assert_null(hk_dataset_create(ctx, NULL, &o, 5, HK_SHAPE(3), 4));
    expect_error(ctx, HK_ERR_ARGUMENT, "get", NULL);
    hk_context_destroy(ctx);
    assert_int_equal(o.destroyed, 3);
}

static void null_passes_through(void **state) {
    (void)state;
    hk_dataset *a, *b;
    hk_batch batch;
    assert_null(hk_loader_create(NULL, NULL));
    assert_int_equal(hk_dataset_split(NULL, 1, &a, &b), HK_ERR_ARGUMENT);
    assert_null(a);
    assert_int_equal(hk_dataset_scale(NULL, 1, 0), HK_ERR_ARGUMENT);
    assert_int_equal(hk_dataset_count(NULL), 0);
    assert_int_equal(hk_dataset_classes(NULL), 0);
    assert_int_equal(hk_dataset_item_shape(NULL).rank, 0);
    assert_false(hk_loader_next(NULL, &batch));
    assert_null(batch.x);
    assert_int_equal(hk_loader_batches(NULL), 0);
    assert_int_equal(hk_loader_epoch(NULL), 0);
    hk_loader_rewind(NULL);
    hk_loader_destroy(NULL);
    hk_dataset_destroy(NULL);
}

static void destroyed_one_by_one(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_dataset *ds = numbers(ctx, 10), *a, *b;
    assert_int_equal(hk_dataset_split(ds, 5, &a, &b), HK_OK);
    hk_loader *loader = load(a, 3, true, NULL);
    hk_loader_destroy(loader);
    hk_dataset_destroy(a);
    hk_dataset_destroy(b);
    contents(ctx, ds, order_a);
    is_permutation(order_a, 10);
    own o = {.ctx = ctx, .bad_item = -1};
    hk_dataset_destroy(hk_dataset_create(ctx, &own_class, &o, 5, HK_SHAPE(3), 4));
    assert_int_equal(o.destroyed, 1);
    hk_context_destroy(ctx);
    assert_int_equal(o.destroyed, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_is_disjoint_complete_and_stable),
        cmocka_unit_test(parts_share_the_scale),
        cmocka_unit_test(ones_own),
        cmocka_unit_test(errors_of_ones_own),
        cmocka_unit_test(labels_of_ones_own_without_classes),
        cmocka_unit_test(parts_of_ones_own),
        cmocka_unit_test(bad_arrays),
        cmocka_unit_test(bad_settings),
        cmocka_unit_test(null_passes_through),
        cmocka_unit_test(destroyed_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
