/* test_loader.c: orders, values, bits and threads of batches.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include <float.h>
#include <math.h>

#include "context.h"
#include "data_fixture.h"

/* Runs an epoch of `numbers`; order gets the items. Checks everything about every batch. */
static void run_epoch(hk_context *ctx, hk_loader *loader, int64_t n, int64_t size, int64_t *order) {
    hk_batch b;
    int64_t seen = 0, batches = 0;
    while (hk_loader_next(loader, &b)) {
        assert_int_equal(b.size, n - seen < size ? n - seen : size);
        assert_int_equal(b.index, batches++);
        assert_true(hk_shape_equal(hk_tensor_shape(b.x), HK_SHAPE(b.size, 1)));
        assert_true(hk_shape_equal(hk_tensor_shape(b.y), HK_SHAPE(b.size)));
        assert_int_equal(hk_tensor_dtype(b.y), HK_I32);
        const float *x = host(b.x);
        const int32_t *y = host(b.y);
        for (int64_t i = 0; i < b.size; i++) {
            assert_true(x[i] == (float)b.items[i]);
            assert_int_equal(y[i], b.items[i] % 7);
            order[seen++] = b.items[i];
        }
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_int_equal(hk_error(ctx), HK_OK);
    assert_null(b.x);
    assert_null(b.items);
    assert_int_equal(seen, n);
    assert_int_equal(batches, hk_loader_batches(loader));
}

enum { N = 1000 };
static int64_t order_a[N], order_b[N], order_c[N];

/* --- orders ----------------------------------------------------------------------------------- */

static void epochs_differ_and_repeat(void **state) {
    (void)state;
    for (int64_t size = 1; size <= 1100; size = size * 3 + 4) {
        hk_context *ctx = make(HK_F32, 1, 5);
        hk_loader *loader = load(numbers(ctx, N), size, true, NULL);
        assert_int_equal(hk_loader_batches(loader), (N + size - 1) / size);
        assert_int_equal(hk_loader_epoch(loader), 0);
        run_epoch(ctx, loader, N, size, order_a);
        assert_int_equal(hk_loader_epoch(loader), 0);
        run_epoch(ctx, loader, N, size, order_b);
        assert_int_equal(hk_loader_epoch(loader), 1);
        is_permutation(order_a, N);
        is_permutation(order_b, N);
        assert_memory_not_equal(order_a, order_b, sizeof order_a);
        hk_context_destroy(ctx);

        /* The batch size does not change the order; the seed does. */
        ctx = make(HK_F32, 2, 5);
        loader = load(numbers(ctx, N), 64, true, "shuffle");
        run_epoch(ctx, loader, N, 64, order_c);
        assert_memory_equal(order_a, order_c, sizeof order_a);
        run_epoch(ctx, loader, N, 64, order_c);
        assert_memory_equal(order_b, order_c, sizeof order_b);
        hk_context_destroy(ctx);
        ctx = make(HK_F32, 1, 6);
        run_epoch(ctx, load(numbers(ctx, N), 64, true, NULL), N, 64, order_c);
        assert_memory_not_equal(order_a, order_c, sizeof order_a);
        hk_context_destroy(ctx);
    }
}

static void in_order_without_shuffle(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_loader *loader = hk_loader_create(numbers(ctx, N), NULL); /* batches of 64 */
    for (int epoch = 0; epoch < 3; epoch++) {
        run_epoch(ctx, loader, N, 64, order_a);
        for (int64_t i = 0; i < N; i++) assert_int_equal(order_a[i], i);
        assert_int_equal(hk_loader_epoch(loader), epoch);
    }
    hk_context_destroy(ctx);
}

static void streams_are_apart(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_dataset *ds = numbers(ctx, N);
    char name[] = "mine";
    hk_loader *a = load(ds, 64, true, name), *b = load(ds, 64, true, "yours"),
              *c = load(ds, 64, true, "mine");
    name[0] = 0; /* the name was copied */
    run_epoch(ctx, a, N, 64, order_a);
    run_epoch(ctx, b, N, 64, order_b);
    run_epoch(ctx, c, N, 64, order_c);
    assert_memory_not_equal(order_a, order_b, sizeof order_a);
    assert_memory_equal(order_a, order_c, sizeof order_a);
    hk_context_destroy(ctx);
}

static void rewinds(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_loader *loader = load(numbers(ctx, N), 64, true, NULL);
    hk_loader_rewind(loader);
    run_epoch(ctx, loader, N, 64, order_a);
    hk_loader_rewind(loader); /* after the end: the same epoch again */
    run_epoch(ctx, loader, N, 64, order_b);
    assert_memory_equal(order_a, order_b, sizeof order_a);
    assert_int_equal(hk_loader_epoch(loader), 0);
    run_epoch(ctx, loader, N, 64, order_a);
    assert_int_equal(hk_loader_epoch(loader), 1);
    hk_batch b; /* in the middle of the next */
    for (int i = 0; i < 3; i++) assert_true(hk_loader_next(loader, &b));
    assert_int_equal(b.index, 2);
    assert_int_equal(hk_loader_epoch(loader), 2);
    const int64_t third = b.items[0];
    hk_loader_rewind(loader);
    run_epoch(ctx, loader, N, 64, order_b);
    assert_int_equal(hk_loader_epoch(loader), 2);
    assert_int_equal(order_b[128], third);
    assert_memory_not_equal(order_a, order_b, sizeof order_a);
    hk_context_destroy(ctx);
}

/* --- values ----------------------------------------------------------------------------------- */

static void bytes_become_numbers(void **state) {
    (void)state;
    uint8_t bytes[256];
    for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
    static const struct {
        double scale, shift;
    } settings[] = {{1.0 / 255.0, 0}, {1, 0}, {0.1, -0.7}, {1.0 / 3.0, 1e-9}, {-2.5, 1e6}};
    const int count = sizeof settings / sizeof *settings;
    for (int s = 0; s < count; s++) {
        for (hk_dtype dtype = HK_F32; dtype <= HK_F64; dtype++) {
            hk_context *ctx = make(dtype, 1, 0);
            hk_dataset *ds = hk_dataset_from(ctx, 4, HK_SHAPE(8, 8), HK_U8, bytes, NULL, 0);
            assert_int_equal(hk_dataset_classes(ds), 0);
            const double scale = settings[s].scale, shift = settings[s].shift;
            if (s) assert_int_equal(hk_dataset_scale(ds, scale, shift), HK_OK);
            hk_batch b;
            assert_true(hk_loader_next(load(ds, 4, false, NULL), &b));
            assert_true(hk_shape_equal(hk_tensor_shape(b.x), HK_SHAPE(4, 8, 8)));
            assert_int_equal(hk_tensor_dtype(b.x), dtype);
            assert_int_equal(((int32_t *)host(b.y))[3], 0);
            const void *x = host(b.x);
            for (int i = 0; i < 256; i++) {
                const volatile float f = (float)i * (s ? (float)scale : 1.0F / 255.0F);
                const volatile double d = (double)i * scale;
                const float want_f = f + (float)shift;
                const double want_d = d + shift;
                if (dtype == HK_F32)
                    assert_memory_equal((const float *)x + i, &want_f, sizeof want_f);
                else
                    assert_memory_equal((const double *)x + i, &want_d, sizeof want_d);
            }
            hk_context_destroy(ctx);
        }
    }
}

static void floats_stay_as_they_are(void **state) {
    (void)state;
    const float f[6] = {-0.0F, FLT_MIN / 4, INFINITY, 0.1F, -FLT_MAX, FLT_TRUE_MIN};
    const double d[3] = {0.1, 1e300, -0x1p-1074};
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_batch b;
    hk_dataset *ds = hk_dataset_from(ctx, 2, HK_SHAPE(3), HK_F32, f, NULL, 0);
    assert_true(hk_loader_next(load(ds, 2, false, NULL), &b));
    assert_memory_equal(host(b.x), f, sizeof f);
    assert_int_equal(hk_dataset_scale(ds, 1, 0.5), HK_OK);
    assert_true(hk_loader_next(load(ds, 2, false, NULL), &b));
    assert_true(((float *)host(b.x))[3] == 0.1F + 0.5F);
    ds = hk_dataset_from(ctx, 3, HK_SCALAR, HK_F64, d, NULL, 0);
    assert_true(hk_loader_next(load(ds, 3, false, NULL), &b));
    assert_true(hk_shape_equal(hk_tensor_shape(b.x), HK_SHAPE(3)));
    assert_true(((float *)host(b.x))[0] == 0.1F);
    hk_context_destroy(ctx);

    ctx = make(HK_F64, 1, 0);
    ds = hk_dataset_from(ctx, 3, HK_SCALAR, HK_F64, d, NULL, 0);
    assert_true(hk_loader_next(load(ds, 3, false, NULL), &b));
    assert_memory_equal(host(b.x), d, sizeof d);
    ds = hk_dataset_from(ctx, 2, HK_SHAPE(3), HK_F32, f, NULL, 0);
    assert_int_equal(hk_dataset_scale(ds, 2, 1), HK_OK);
    assert_true(hk_loader_next(load(ds, 2, false, NULL), &b));
    assert_true(((double *)host(b.x))[3] == (double)0.1F * 2 + 1);
    hk_context_destroy(ctx);
}

/* All floats of an epoch in one block of memory; *regions: how many ran on more than one thread. */
static float *gather(const char *isa, int threads, int64_t n, int64_t width, int64_t size,
                     uint64_t *regions) {
    hk_context *ctx = test_context(
        &(hk_context_config){.threads = threads, .seed = 3, .isa = isa, .no_blas = true});
    if (hk_error(ctx) != HK_OK) { /* this processor has no such instructions */
        hk_context_destroy(ctx);
        return NULL;
    }
    uint8_t *bytes = malloc((size_t)(n * width));
    float *all = malloc((size_t)(n * width) * sizeof *all);
    assert_non_null(bytes);
    assert_non_null(all);
    for (int64_t i = 0; i < n * width; i++) bytes[i] = (uint8_t)(i * 167 + i / 251);
    hk_dataset *ds = hk_dataset_from(ctx, n, HK_SHAPE(width), HK_U8, bytes, NULL, 0);
    assert_int_equal(hk_dataset_scale(ds, 0.3, -0.123), HK_OK);
    hk_loader *loader = load(ds, size, true, NULL);
    const uint64_t before = hk__pool_parallel_regions(ctx->pool);
    hk_batch b;
    for (float *to = all; hk_loader_next(loader, &b); to += b.size * width) {
        memcpy(to, host(b.x), (size_t)(b.size * width) * sizeof *to);
        for (int64_t i = 0; i < b.size; i++) { /* against the definition */
            const int64_t k = i * width + i % width;
            const volatile float product = (float)bytes[b.items[i] * width + i % width] * 0.3F;
            assert_true(to[k] == product + -0.123F);
        }
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_int_equal(hk_error(ctx), HK_OK);
    *regions = hk__pool_parallel_regions(ctx->pool) - before;
    hk_context_destroy(ctx);
    free(bytes);
    return all;
}

static void same_bits_for_any_threads_and_instructions(void **state) {
    (void)state;
    static const struct {
        int64_t n, width, size;
        bool parallel; /* the full batches are large enough for two threads */
    } cases[] = {{130, 784, 64, true},     {130, 784, 42, true},    {130, 784, 41, false},
                 {131, 77, 64, false},     {7, 100001, 3, true},    {5, 100001, 1, false},
                 {70000, 1, 32767, false}, {70000, 1, 32768, true}, {97, 1031, 97, true}};
    static const char *const isas[] = {"base", "avx2", "avx512"};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint64_t regions = 0;
        const int64_t n = cases[c].n, width = cases[c].width;
        float *first = gather("base", 1, n, width, cases[c].size, &regions);
        assert_non_null(first);
        assert_int_equal(regions, 0);
        for (int isa = 0; isa < 3; isa++) {
            for (int threads = 1; threads <= 3; threads++) {
                float *other = gather(isas[isa], threads, n, width, cases[c].size, &regions);
                if (!other) continue;
                assert_memory_equal(first, other, (size_t)(n * width) * sizeof *first);
                assert_int_equal(regions > 0, cases[c].parallel && threads > 1 && !on_gpu());
                free(other);
            }
        }
        free(first);
    }
}

static void memory_repeats_from_the_third_step(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_dataset *parts[2];
    assert_int_equal(hk_dataset_split(numbers(ctx, N), 100, &parts[0], &parts[1]), HK_OK);
    hk_loader *loader = load(parts[0], 50, true, NULL);
    hk_batch b;
    const void *x = NULL, *y = NULL;
    for (int i = 0; i < 60; i++) {
        if (!hk_loader_next(loader, &b)) continue;
        if (i == 2) x = hk_tensor_data(b.x), y = hk_tensor_data(b.y);
        if (i > 2) assert_ptr_equal(x, hk_tensor_data(b.x));
        if (i > 2) assert_ptr_equal(y, hk_tensor_data(b.y));
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_int_equal(hk_loader_epoch(loader), 3);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_differ_and_repeat),
        cmocka_unit_test(in_order_without_shuffle),
        cmocka_unit_test(streams_are_apart),
        cmocka_unit_test(rewinds),
        cmocka_unit_test(bytes_become_numbers),
        cmocka_unit_test(floats_stay_as_they_are),
        cmocka_unit_test(same_bits_for_any_threads_and_instructions),
        cmocka_unit_test(memory_repeats_from_the_third_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
