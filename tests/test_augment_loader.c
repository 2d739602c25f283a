/* test_augment_loader.c: variants of images: what a loader gives, and what it depends on.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include <math.h>

#include "context.h"
#include "data_fixture.h"
#include "dataset.h"
#include "hk_random.h"

enum { H = 9, W = 7, N = 60, PIXELS = H * W };

static const hk_augment strong = {
    .shift = 2, .rotation = 30, .scale = 0.3, .elastic_alpha = 20, .elastic_sigma = 2};

/* --- images and epochs of them -------------------------------------------------------------- */

/* n images of bytes from `stream`, many of them 0 or 255, as in a picture. */
static void draw_bytes(const char *stream, int64_t n, uint8_t *bytes) {
    for (int64_t i = 0; i < n; i++) {
        const int64_t v =
            (int64_t)hk_random_below(hk_random_stream(1, stream, 0), (uint64_t)i, 700) - 200;
        bytes[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* N images (1, H, W) with labels. */
static hk_dataset *images(hk_context *ctx) {
    static uint8_t bytes[N * PIXELS];
    int32_t labels[N];
    draw_bytes("images", sizeof bytes, bytes);
    for (int i = 0; i < N; i++) labels[i] = i % 10;
    hk_dataset *ds = hk_dataset_from(ctx, N, HK_SHAPE(1, H, W), HK_U8, bytes, labels, 10);
    assert_non_null(ds);
    return ds;
}

static hk_loader *augmented(hk_dataset *ds, int64_t batch, bool shuffle, const hk_augment *set) {
    hk_loader *loader = hk_loader_create(
        ds, &(hk_loader_config){.batch = batch, .shuffle = shuffle, .augment = *set});
    assert_non_null(loader);
    return loader;
}

/* An epoch, each image at its own number in ds; checks the labels of images(). */
static void epoch_of(hk_context *ctx, hk_loader *loader, float *all) {
    hk_batch b;
    int64_t seen = 0;
    while (hk_loader_next(loader, &b)) {
        const float *x = host(b.x);
        const int32_t *y = host(b.y);
        for (int64_t i = 0; i < b.size; i++, seen++) {
            memcpy(all + b.items[i] * PIXELS, x + i * PIXELS, PIXELS * sizeof *x);
            assert_int_equal(y[i], b.items[i] % 10);
        }
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_int_equal(hk_error(ctx), HK_OK);
    assert_int_equal(seen, N);
}

static float first[N * PIXELS], second[N * PIXELS];

/* --- what a variant depends on ---------------------------------------------------------------- */

static void off_is_off(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 2, 3);
    hk_dataset *ds = images(ctx);
    epoch_of(ctx, load(ds, 8, true, NULL), first);
    epoch_of(ctx, augmented(ds, 8, true, &(hk_augment){0}), second);
    assert_memory_equal(first, second, sizeof first);
    epoch_of(ctx, augmented(ds, 8, true, &(hk_augment){.elastic_sigma = 3}), second);
    assert_memory_equal(first, second, sizeof first);
    epoch_of(ctx, augmented(ds, 8, true, &(hk_augment){.shift = 1e-3}), second);
    assert_memory_not_equal(first, second, sizeof first);
    hk_context_destroy(ctx);
    /* Items that are no images need no augmentation. */
    ctx = make(HK_F32, 1, 0);
    assert_non_null(augmented(numbers(ctx, 5), 2, false, &(hk_augment){0}));
    hk_context_destroy(ctx);
}

static hk_status get_image(void *own, int64_t i, float *item, int32_t *label) {
    const uint8_t *bytes = own;
    for (int64_t k = 0; k < PIXELS; k++) item[k] = (float)bytes[i * PIXELS + k];
    *label = (int32_t)(i % 10);
    return HK_OK;
}

static void only_seed_epoch_and_number_matter(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 1, 3);
    epoch_of(ctx, augmented(images(ctx), 1, false, &strong), first);
    hk_context_destroy(ctx);
    for (int threads = 1; threads <= 3; threads++)
        for (int64_t batch = 2; batch <= N; batch += 29) {
            ctx = make(HK_F32, threads, 3);
            epoch_of(ctx, augmented(images(ctx), batch, true, &strong), second);
            assert_memory_equal(first, second, sizeof first);
            if (threads > 1) assert_true(on_gpu() || hk__pool_parallel_regions(ctx->pool) > 0);
            hk_context_destroy(ctx);
        }

    /* Other images change nothing, nor does the kind of the data set. */
    static uint8_t bytes[N * PIXELS];
    ctx = make(HK_F32, 2, 3);
    draw_bytes("images", sizeof bytes, bytes);
    const hk_dataset_class cls = {.get = get_image};
    hk_dataset *own = hk_dataset_create(ctx, &cls, bytes, N, HK_SHAPE(1, H, W), 10);
    assert_int_equal(hk_dataset_scale(own, 1.0 / 255, 0), HK_OK);
    epoch_of(ctx, augmented(own, 13, true, &strong), second);
    assert_memory_equal(first, second, sizeof first);
    hk_dataset *ds = images(ctx); /* and where its numbers need no other scale */
    assert_int_equal(hk_dataset_scale(ds, 1, 0), HK_OK);
    assert_int_equal(hk_dataset_scale(own, 1, 0), HK_OK);
    epoch_of(ctx, augmented(ds, 13, true, &strong), first);
    epoch_of(ctx, augmented(own, 13, true, &strong), second);
    assert_memory_equal(first, second, sizeof first);
    memset(bytes, 7, 20 * PIXELS);
    epoch_of(ctx, augmented(own, 13, true, &strong), second);
    assert_memory_equal(first + 20 * PIXELS, second + 20 * PIXELS,
                        sizeof first - 20 * PIXELS * sizeof *first);
    assert_memory_not_equal(first, second, PIXELS * sizeof *first);
    hk_context_destroy(ctx);
}

/* Images large enough, and so many of them, that every thread has its share. */
static void threads_do_not_meet(void **state) {
    (void)state;
    enum { SIDE = 40, IMAGES = 128, BYTES = IMAGES * SIDE * SIDE };
    uint8_t *bytes = malloc(BYTES);
    float *alone = malloc(BYTES * sizeof *alone);
    assert_non_null(bytes);
    assert_non_null(alone);
    draw_bytes("large", BYTES, bytes);
    for (int threads = 1; threads <= 3; threads++) {
        hk_context *ctx = make(HK_F32, threads, 3);
        hk_dataset *ds =
            hk_dataset_from(ctx, IMAGES, HK_SHAPE(1, SIDE, SIDE), HK_U8, bytes, NULL, 0);
        hk_loader *loader = augmented(ds, IMAGES, false, &strong);
        for (int repeat = 0; repeat < 10; repeat++) {
            hk_batch b;
            assert_true(hk_loader_next(loader, &b));
            if (threads == 1) memcpy(alone, host(b.x), BYTES * sizeof *alone);
            assert_memory_equal(alone, host(b.x), BYTES * sizeof *alone);
            assert_int_equal(hk_step_end(ctx), HK_OK);
            hk_loader_rewind(loader);
        }
        hk_context_destroy(ctx);
    }
    free(bytes);
    free(alone);
}

static void parts_keep_their_numbers(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 2, 3);
    hk_dataset *ds = images(ctx), *parts[2];
    epoch_of(ctx, augmented(ds, 8, true, &strong), first);
    assert_int_equal(hk_dataset_split(ds, 20, &parts[0], &parts[1]), HK_OK);
    for (int p = 0; p < 2; p++) {
        hk_loader *loader = augmented(parts[p], 7, true, &strong);
        hk_batch b;
        while (hk_loader_next(loader, &b)) {
            const float *x = host(b.x);
            for (int64_t i = 0; i < b.size; i++)
                assert_memory_equal(x + i * PIXELS, first + parts[p]->index[b.items[i]] * PIXELS,
                                    PIXELS * sizeof *x);
        }
        assert_int_equal(hk_error(ctx), HK_OK);
    }
    hk_context_destroy(ctx);
}

/* Images of which `a` and `b` are the same. */
static int equal_images(const float *a, const float *b) {
    int equal = 0;
    for (int i = 0; i < N; i++)
        equal += memcmp(a + i * PIXELS, b + i * PIXELS, PIXELS * sizeof *a) == 0;
    return equal;
}

static void epochs_and_seeds_differ(void **state) {
    (void)state;
    static const hk_augment alone[] = {
        {.shift = 2}, {.rotation = 20}, {.scale = 0.3}, {.elastic_alpha = 20}};
    static float third[N * PIXELS];
    for (int k = 0; k < 4; k++) {
        hk_context *ctx = make(HK_F32, 1, 3);
        hk_loader *loader = augmented(images(ctx), 16, true, &alone[k]);
        epoch_of(ctx, loader, first);
        hk_loader_rewind(loader);
        epoch_of(ctx, loader, second); /* the same epoch */
        assert_int_equal(equal_images(first, second), N);
        epoch_of(ctx, loader, second); /* the next */
        assert_int_equal(equal_images(first, second), 0);
        hk_context_destroy(ctx);
        ctx = make(HK_F32, 1, 4);
        epoch_of(ctx, augmented(images(ctx), 16, true, &alone[k]), third);
        assert_int_equal(equal_images(first, third), 0);
        assert_int_equal(equal_images(second, third), 0);
        hk_context_destroy(ctx);
    }
    /* Equal images get variants of their own. */
    hk_context *ctx = make(HK_F32, 1, 3);
    uint8_t bytes[2 * PIXELS];
    draw_bytes("twins", PIXELS, bytes);
    memcpy(bytes + PIXELS, bytes, PIXELS);
    hk_dataset *ds = hk_dataset_from(ctx, 2, HK_SHAPE(1, H, W), HK_U8, bytes, NULL, 0);
    hk_batch b;
    assert_true(hk_loader_next(augmented(ds, 2, false, &strong), &b));
    const float *x = host(b.x);
    assert_memory_not_equal(x, x + PIXELS, PIXELS * sizeof *x);
    hk_context_destroy(ctx);
}

static void values_stay_in_range(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 2, 3);
    hk_dataset *ds = images(ctx);
    assert_int_equal(hk_dataset_scale(ds, 1, 0), HK_OK);
    hk_loader *loader = augmented(ds, 16, true, &strong);
    double changed = 0;
    for (int epoch = 0; epoch < 40; epoch++) {
        epoch_of(ctx, loader, first);
        for (int i = 0; i < N * PIXELS; i++) {
            assert_true(first[i] >= 0 && first[i] <= 255);
            changed += first[i] > 0 && first[i] < 255;
        }
    }
    assert_true(changed > 40.0 * N * PIXELS / 4);
    hk_context_destroy(ctx);
}

static void memory_repeats_from_the_third_step(void **state) {
    (void)state;
    hk_context *ctx = make(HK_F32, 2, 0);
    hk_loader *loader = augmented(images(ctx), 15, true, &strong);
    hk_batch b;
    const void *x = NULL, *scratch = NULL;
    for (int i = 0; i < 30; i++) {
        if (!hk_loader_next(loader, &b)) continue;
        if (i == 2) x = hk_tensor_data(b.x), scratch = ctx->scratch.first;
        if (i > 2) assert_ptr_equal(x, hk_tensor_data(b.x));
        if (i > 2) assert_ptr_equal(scratch, ctx->scratch.first);
        assert_ptr_equal(ctx->scratch.first, ctx->scratch.current);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    assert_non_null(scratch);
    hk_context_destroy(ctx);
}

/* On a ramp a pixel tells by how much it was displaced. Variance of the smoothed draws: 1/3 times
   the sum of the squared taps, along each axis. */
static void displacements_are_as_large_as_they_say(void **state) {
    (void)state;
    enum { SIDE = 28, IMAGES = 400, MIDDLE = 14 * SIDE + 14 };
    hk_context *ctx = make(HK_F32, 2, 8);
    float *ramps = malloc(sizeof *ramps * IMAGES * 2 * SIDE * SIDE);
    assert_non_null(ramps);
    for (int64_t i = 0; i < IMAGES * 2 * SIDE * SIDE; i++)
        ramps[i] = (float)(i / (SIDE * SIDE) % 2 ? i % SIDE : i / SIDE % SIDE);
    hk_dataset *ds = hk_dataset_from(ctx, IMAGES, HK_SHAPE(2, SIDE, SIDE), HK_F32, ramps, NULL, 0);
    free(ramps);
    hk_loader *loader = augmented(ds, IMAGES, false, &(hk_augment){.elastic_alpha = 34});
    double sum = 0, squares = 0, both = 0, taps = 0, total = 0;
    int64_t n = 0;
    hk_batch b;
    for (int epoch = 0; epoch < 5; epoch++) {
        assert_true(hk_loader_next(loader, &b));
        const float *x = host(b.x);
        for (int64_t i = 0; i < IMAGES; i++, n += 2) {
            const double down = x[i * 2 * SIDE * SIDE + MIDDLE] - 14.0F,
                         right = x[(i * 2 + 1) * SIDE * SIDE + MIDDLE] - 14.0F;
            sum += down + right;
            squares += down * down + right * right;
            both += down * right;
        }
        assert_int_equal(hk_step_end(ctx), HK_OK);
        assert_false(hk_loader_next(loader, &b));
    }
    for (int k = -12; k <= 12; k++) { /* sigma is 4 if it is not given */
        taps += exp(-k * k / 16.0);
        total += exp(-k * k / 32.0);
    }
    const double deviation = 34 * sqrt(1.0 / 3) * taps / (total * total);
    assert_true(fabs(deviation - 1.39) <= 0.02);
    assert_true(fabs(sqrt(squares / (double)n) / deviation - 1) <= 0.05);
    assert_true(fabs(sum / (double)n) <= 4 * deviation / sqrt((double)n));
    assert_true(fabs(both / (double)n) <= 4 * deviation * deviation / sqrt((double)n));
    hk_context_destroy(ctx);
}

/* --- what is refused -------------------------------------------------------------------------- */

static void bad_settings_are_refused(void **state) {
    (void)state;
    static const struct {
        hk_augment set;
        const char *words[2];
    } bad[] = {
        {{.shift = -1}, {"augment.shift must be from 0", "not -1"}},
        {{.shift = 9.5}, {"augment.shift must be from 0 to 9", "not 9.5"}},
        {{.shift = NAN}, {"augment.shift", "nan"}},
        {{.shift = INFINITY}, {"augment.shift", "inf"}},
        {{.rotation = -5}, {"augment.rotation must be from 0 to 180", "not -5"}},
        {{.rotation = 181}, {"augment.rotation", "not 181"}},
        {{.rotation = NAN}, {"augment.rotation", "nan"}},
        {{.scale = -0.1}, {"augment.scale", "not -0.1"}},
        {{.scale = 1}, {"augment.scale must be from 0 to below 1", "not 1"}},
        {{.scale = NAN}, {"augment.scale", "nan"}},
        {{.elastic_alpha = -34}, {"augment.elastic_alpha", "not -34"}},
        {{.elastic_alpha = INFINITY}, {"augment.elastic_alpha", "inf"}},
        {{.elastic_alpha = 34, .elastic_sigma = -4}, {"augment.elastic_sigma", "not -4"}},
        {{.elastic_alpha = 34, .elastic_sigma = 1e9}, {"augment.elastic_sigma", "to 1000"}},
        {{.elastic_sigma = NAN}, {"augment.elastic_sigma", "nan"}},
    };
    hk_context *ctx = make(HK_F32, 1, 0);
    hk_dataset *ds = images(ctx);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(hk_loader_create(ds, &(hk_loader_config){.augment = bad[i].set}));
        expect_error(ctx, HK_ERR_ARGUMENT, "[loader]", bad[i].words[0], bad[i].words[1], NULL);
    }
    const hk_loader_config shift = {.augment = {.shift = 1}};
    assert_null(hk_loader_create(numbers(ctx, 5), &shift));
    expect_error(ctx, HK_ERR_ARGUMENT, "(channels, height, width), not (1)", NULL);
    const float wide[16385] = {0};
    ds = hk_dataset_from(ctx, 1, HK_SHAPE(1, 1, 16385), HK_F32, wide, NULL, 0);
    assert_null(hk_loader_create(ds, &shift));
    expect_error(ctx, HK_ERR_ARGUMENT, "at most 16384 x 16384 pixels, not (1, 1, 16385)", NULL);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(only_seed_epoch_and_number_matter),
        cmocka_unit_test(threads_do_not_meet),
        cmocka_unit_test(parts_keep_their_numbers),
        cmocka_unit_test(epochs_and_seeds_differ),
        cmocka_unit_test(values_stay_in_range),
        cmocka_unit_test(memory_repeats_from_the_third_step),
        cmocka_unit_test(displacements_are_as_large_as_they_say),
        cmocka_unit_test(bad_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
