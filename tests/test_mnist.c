/* test_mnist.c: folders of images and labels, good and bad; the real MNIST.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 devices=cpu,cuda */
#include <sys/resource.h>

#include "idx_fixture.h"

/* Sanitizers need memory of their own, and not every system counts in KiB. */
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MEASURE_MEMORY 1
#endif
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef MEASURE_MEMORY
#endif
#endif

static hk_context *ctx;

static int set_up(void **state) {
    (void)state;
    ctx = make(HK_F32, 1, 0);
    return make_root();
}

static int tear_down(void **state) {
    (void)state;
    hk_context_destroy(ctx);
    return remove_root();
}

static void save_pair(const char *images_name, const char *labels_name, uint32_t n,
                      uint8_t classes) {
    const bytes x = images(n, 3, 5), y = labels(n, classes);
    const bytes zx = zipped(&x), zy = zipped(&y);
    save(images_name, strstr(images_name, ".gz") ? &zx : &x);
    save(labels_name, strstr(labels_name, ".gz") ? &zy : &y);
}

static void check_set(const char *path, const char *prefix, int classes, int64_t n, int found) {
    hk_dataset *ds = hk_mnist(ctx, path, prefix, classes);
    if (!ds) print_error("%s\n", hk_error_message(ctx));
    assert_non_null(ds);
    assert_int_equal(hk_dataset_count(ds), n);
    assert_int_equal(hk_dataset_classes(ds), found);
    assert_true(hk_shape_equal(hk_dataset_item_shape(ds), HK_SHAPE(1, 3, 5)));
    hk_loader *loader = hk_loader_create(ds, NULL);
    hk_batch batch;
    assert_true(hk_loader_next(loader, &batch));
    assert_int_equal(batch.size, n);
    const float *x = host(batch.x);
    for (int64_t i = 0; i < 15 * n; i++) {
        const float pixel = (float)content((size_t)i) * (1.0F / 255.0F);
        assert_memory_equal(&x[i], &pixel, sizeof pixel);
    }
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_loader_destroy(loader);
    hk_dataset_destroy(ds);
}

static void finds_raw_and_gzip(void **state) {
    (void)state;
    const char *f = folder("names");
    save_pair("names/train-images-idx3-ubyte", "names/train-labels-idx1-ubyte", 9, 4);
    save_pair("names/t10k-images-idx3-ubyte.gz", "names/t10k-labels-idx1-ubyte.gz", 7, 3);
    save_pair("names/mixed-images-idx3-ubyte.gz", "names/mixed-labels-idx1-ubyte", 5, 2);
    save_pair("names/dots-images.idx3-ubyte", "names/dots-labels.idx1-ubyte.gz", 6, 2);
    check_set(f, "train", 0, 9, 4);
    check_set(f, "train", 4, 9, 4);
    check_set(f, "train", 26, 9, 26);
    check_set(f, "t10k", 0, 7, 3);
    check_set(f, "mixed", 0, 5, 2);
    check_set(f, "dots", 0, 6, 2);
    /* A raw file goes before its .gz, and a whole name before one that only ends so. */
    save_pair("names/t10k-images-idx3-ubyte", "names/t10k-labels-idx1-ubyte", 8, 5);
    save_pair("names/other-t10k-images-idx3-ubyte", "names/other-t10k-labels-idx1-ubyte", 3, 1);
    save_pair("names/test-images-idx3-ubyte", "names/test-labels-idx1-ubyte", 2, 1);
    save_pair("names/xtrain-images-idx3-ubyte", "names/xtrain-labels-idx1-ubyte", 2, 1);
    check_set(f, "t10k", 0, 8, 5);
    check_set(f, "train", 0, 9, 4);
}

static void finds_emnist_names(void **state) {
    (void)state;
    const char *f = folder("emnist");
    save_pair("emnist/emnist-digits-train-images-idx3-ubyte.gz",
              "emnist/emnist-digits-train-labels-idx1-ubyte.gz", 9, 4);
    save_pair("emnist/emnist-digits-test-images-idx3-ubyte.gz",
              "emnist/emnist-digits-test-labels-idx1-ubyte.gz", 7, 3);
    check_set(f, "train", 0, 9, 4);
    check_set(f, "t10k", 0, 7, 3);
    check_set(f, "test", 0, 7, 3);
    check_set(f, "emnist-digits-train", 0, 9, 4);
    /* The same name raw is no second set. */
    save_pair("emnist/emnist-digits-train-images-idx3-ubyte",
              "emnist/emnist-digits-train-labels-idx1-ubyte", 8, 2);
    check_set(f, "train", 0, 8, 2);

    save_pair("emnist/emnist-letters-train-images-idx3-ubyte.gz",
              "emnist/emnist-letters-train-labels-idx1-ubyte.gz", 5, 2);
    assert_null(hk_mnist(ctx, f, "train", 0));
    expect_error(ctx, HK_ERR_IO, f, "emnist-digits-train-images-idx3-ubyte",
                 "emnist-letters-train-images-idx3-ubyte", "prefix", NULL);
    check_set(f, "emnist-letters-train", 0, 5, 2);
    save_pair("emnist/train-images-idx3-ubyte.gz", "emnist/train-labels-idx1-ubyte.gz", 4, 1);
    check_set(f, "train", 0, 4, 1);
}

static void missing_folder_or_file(void **state) {
    (void)state;
    assert_null(hk_mnist(ctx, path_of("nowhere"), "train", 0));
    expect_error(ctx, HK_ERR_IO, "no folder", path_of("nowhere"), "train-images-idx3-ubyte[.gz]",
                 "train-labels-idx1-ubyte[.gz]", NULL);
    const bytes b = images(1, 1, 1);
    save("a-file", &b);
    assert_null(hk_mnist(ctx, path_of("a-file"), "t10k", 0));
    expect_error(ctx, HK_ERR_IO, "not a folder", path_of("a-file"), "t10k-images-idx3-ubyte[.gz]",
                 NULL);

    const char *f = folder("empty");
    assert_null(hk_mnist(ctx, f, "t10k", 0));
    expect_error(ctx, HK_ERR_IO, f, "t10k-images-idx3-ubyte,", "t10k-images-idx3-ubyte.gz",
                 "put the", NULL);
    save("empty/t10k-images-idx3-ubyte", &b);
    assert_null(hk_mnist(ctx, f, "t10k", 0));
    expect_error(ctx, HK_ERR_IO, f, "t10k-labels-idx1-ubyte ", "t10k-labels-idx1-ubyte.gz", NULL);

    save("empty/xtrain-images-idx3-ubyte", &b); /* another word that ends so */
    assert_null(hk_mnist(ctx, f, "train", 0));
    expect_error(ctx, HK_ERR_IO, f, "no images", NULL);

    assert_null(hk_mnist(ctx, NULL, "train", 0));
    expect_error(ctx, HK_ERR_ARGUMENT, "folder", NULL);
    assert_null(hk_mnist(ctx, f, "../train", 0));
    expect_error(ctx, HK_ERR_ARGUMENT, "prefix", NULL);
    assert_null(hk_mnist(ctx, f, "t10k", -1));
    expect_error(ctx, HK_ERR_ARGUMENT, "classes", NULL);
    char winding[3000]; /* a folder that is there, by a long way */
    snprintf(winding, sizeof winding, "%s", f);
    for (size_t n = strlen(winding); n + 3 < sizeof winding; n += 2) memcpy(winding + n, "/.", 3);
    assert_null(hk_mnist(ctx, winding, "t10k", 0));
    expect_error(ctx, HK_ERR_ARGUMENT, "t10k-images-idx3-ubyte", "too long", NULL);
}

static void bad_pairs(void **state) {
    (void)state;
    const char *f = folder("pairs");
    const char *const x_name = "pairs/p-images-idx3-ubyte", *const y_name =
                                                                "pairs/p-labels-idx1-ubyte";
    const bytes x = images(9, 3, 5), y = labels(9, 4);
    save(x_name, &y);
    save(y_name, &x);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect_error(ctx, HK_ERR_FORMAT, path_of(y_name), "holds images", "swap", NULL);
    save(y_name, &y);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect_error(ctx, HK_ERR_FORMAT, path_of(x_name), "holds labels", "swap", NULL);

    bytes b = header(8, 2, (const uint32_t[]){9, 1});
    append(&b, y.data + 8, 9);
    save(x_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect_error(ctx, HK_ERR_FORMAT, path_of(x_name), "2 dimensions where 3", NULL);

    const bytes eight = images(8, 3, 5), ten = images(10, 3, 5);
    for (int i = 0; i < 2; i++) {
        save(x_name, i ? &ten : &eight);
        assert_null(hk_mnist(ctx, f, "p", 0));
        expect_error(ctx, HK_ERR_FORMAT, path_of(x_name), path_of(y_name),
                     i ? "10 images" : "8 images", "9 labels", NULL);
    }

    save(x_name, &x);
    check_set(f, "p", 4, 9, 4);
    assert_null(hk_mnist(ctx, f, "p", 3)); /* the first 3 is at index 3 */
    expect_error(ctx, HK_ERR_FORMAT, path_of(y_name), "label 3 at index 3", "the 3 classes", NULL);
    b = y;
    b.data[8 + 7] = 255;
    save(y_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 4));
    expect_error(ctx, HK_ERR_FORMAT, path_of(y_name), "label 255 at index 7", "the 4 classes",
                 NULL);
    check_set(f, "p", 0, 9, 256);

    b = y;
    b.n--;
    save(y_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect_error(ctx, HK_ERR_FORMAT, path_of(y_name), "cut short", NULL);
    save(y_name, &y);
    b = x;
    b.n--;
    save(x_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect_error(ctx, HK_ERR_FORMAT, path_of(x_name), "cut short", NULL);
}

/* --- the real one ----------------------------------------------------------------------------- */

#ifdef MEASURE_MEMORY
static long peak_kb(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss;
}
#endif

/* Sums and counts by an independent reading of the files. */
static void real_mnist(void **state) {
    (void)state;
    static const struct {
        const char *prefix;
        int64_t n;
        uint64_t sum;
        int32_t first[10];
        int64_t histogram[10];
    } sets[2] = {
        {"train",
         60000,
         1567298545,
         {5, 0, 4, 1, 9, 2, 1, 3, 1, 4},
         {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}},
        {"t10k",
         10000,
         264923200,
         {7, 2, 1, 0, 4, 1, 4, 9, 5, 9},
         {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}},
    };
    for (int s = 0; s < 2; s++) {
#ifdef MEASURE_MEMORY
        const long before = peak_kb();
#endif
        hk_dataset *ds = hk_mnist(ctx, HK_SOURCE_DIR "/data/mnist", sets[s].prefix, 0);
        if (!ds) print_error("%s\n", hk_error_message(ctx));
        assert_non_null(ds);
#ifdef MEASURE_MEMORY
        /* The bytes, and next to nothing beside them: they are unpacked in place. */
        const long bytes_kb = (long)(sets[s].n * 784 / 1024);
        assert_in_range(peak_kb() - before, 0, bytes_kb + 4096);
#endif
        assert_int_equal(hk_dataset_count(ds), sets[s].n);
        assert_int_equal(hk_dataset_classes(ds), 10);
        assert_true(hk_shape_equal(hk_dataset_item_shape(ds), HK_SHAPE(1, 28, 28)));

        hk_loader *loader = hk_loader_create(ds, &(hk_loader_config){.batch = 1000});
        hk_batch batch;
        uint64_t sum = 0;
        int64_t histogram[10] = {0};
        assert_int_equal(hk_dataset_scale(ds, 1, 0), HK_OK);
        while (hk_loader_next(loader, &batch)) {
            const float *x = host(batch.x);
            const int32_t *y = host(batch.y);
            for (int64_t i = 0; i < 784 * batch.size; i++) sum += (uint64_t)x[i];
            for (int64_t i = 0; i < batch.size; i++) histogram[y[i]]++;
            if (batch.index == 0) assert_memory_equal(y, sets[s].first, sizeof sets[s].first);
            assert_int_equal(hk_step_end(ctx), HK_OK);
        }
        assert_int_equal(hk_error(ctx), HK_OK);
        assert_int_equal(sum, sets[s].sum);
        assert_memory_equal(histogram, sets[s].histogram, sizeof histogram);
        hk_loader_destroy(loader);
        hk_dataset_destroy(ds);
    }
    assert_null(hk_mnist(ctx, HK_SOURCE_DIR "/data/mnist", "train", 9));
    expect_error(ctx, HK_ERR_FORMAT, "train-labels-idx1-ubyte.gz", "label 9 at index 4 ", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_mnist), /* first: it looks at the peak of memory */
        cmocka_unit_test(finds_raw_and_gzip),
        cmocka_unit_test(finds_emnist_names),
        cmocka_unit_test(missing_folder_or_file),
        cmocka_unit_test(bad_pairs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
