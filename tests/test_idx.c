/* test_idx.c: IDX files and MNIST folders, good and bad, raw and gzip; the real MNIST.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "hk_data.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

static char root[256];
static hk_context *ctx;

/* --- files ------------------------------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *place) {
    (void)s, (void)type, (void)place;
    return remove(path);
}

static int set_up(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/hillock-idx-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    ctx = hk_context_create(&(hk_context_config){.threads = 1, .no_blas = true});
    return mkdtemp(root) && ctx && hk_error(ctx) == HK_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    hk_context_destroy(ctx);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* root/name; the four last results stay valid. */
static const char *path_of(const char *name) {
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

/* Made empty; the result stays valid. */
static const char *folder(const char *name) {
    static char paths[8][512];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0700), 0);
    return path;
}

typedef struct bytes {
    size_t n;
    uint8_t data[4096];
} bytes;

static void save(const char *name, const bytes *b) {
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b->data, 1, b->n, file), b->n);
    assert_int_equal(fclose(file), 0);
}

static bytes zipped(const bytes *b) {
    bytes z = {.n = 0};
    z_stream s = {.next_in = (Bytef *)(uintptr_t)b->data,
                  .avail_in = (uInt)b->n,
                  .next_out = z.data,
                  .avail_out = sizeof z.data};
    assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
    z.n = s.total_out;
    assert_int_equal(deflateEnd(&s), Z_OK);
    return z;
}

static void append(bytes *b, const void *data, size_t n) {
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static bytes header(uint8_t type, int rank, const uint32_t *dim) {
    bytes b = {.n = 0};
    append(&b, (const uint8_t[]){0, 0, type, (uint8_t)rank}, 4);
    for (int i = 0; i < rank; i++) {
        const uint32_t d = dim[i];
        append(&b, (const uint8_t[]){d >> 24, d >> 16 & 255, d >> 8 & 255, d & 255}, 4);
    }
    return b;
}

static uint8_t content(size_t i) {
    return (uint8_t)(i * 89 + i / 7);
}

static bytes images(uint32_t n, uint32_t height, uint32_t width) {
    bytes b = header(8, 3, (const uint32_t[]){n, height, width});
    for (size_t i = 0; i < (size_t)n * height * width; i++)
        append(&b, (const uint8_t[]){content(i)}, 1);
    return b;
}

/* 0, 1 ... classes-1, 0, 1 ... */
static bytes labels(uint32_t n, uint8_t classes) {
    bytes b = header(8, 1, &n);
    for (uint32_t i = 0; i < n; i++)
        append(&b, (const uint8_t[]){(uint8_t)(i % classes)}, 1);
    return b;
}

static void save_pair(const char *images_name, const char *labels_name, uint32_t n,
                      uint8_t classes) {
    const bytes x = images(n, 3, 5), y = labels(n, classes);
    const bytes zx = zipped(&x), zy = zipped(&y);
    save(images_name, strstr(images_name, ".gz") ? &zx : &x);
    save(labels_name, strstr(labels_name, ".gz") ? &zy : &y);
}

/* The sticky error has this status, is one line and holds all the words (up to NULL); clears it. */
static void expect(hk_status status, ...) {
    const char *text = hk_error_message(ctx);
    if (hk_error(ctx) != status) print_error("%s: %s\n", hk_status_name(hk_error(ctx)), text);
    assert_int_equal(hk_error(ctx), status);
    assert_null(strchr(text, '\n'));
    va_list words;
    va_start(words, status);
    for (const char *word; (word = va_arg(words, const char *));) {
        if (!strstr(text, word)) print_error("no '%s' in: %s\n", word, text);
        assert_non_null(strstr(text, word));
    }
    va_end(words);
    hk_error_clear(ctx);
}

/* --- IDX ---------------------------------------------------------------------------------------- */

static void check_read(const char *name, int rank, const uint32_t *dim) {
    hk_idx idx;
    if (hk_idx_read(ctx, path_of(name), &idx) != HK_OK) print_error("%s\n", hk_error_message(ctx));
    assert_int_equal(hk_error(ctx), HK_OK);
    assert_int_equal(idx.shape.rank, rank);
    size_t n = 1;
    for (int i = 0; i < rank; i++) {
        assert_int_equal(idx.shape.dim[i], dim[i]);
        n *= dim[i];
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(idx.data[i], content(i));
    hk_idx_free(&idx);
    assert_null(idx.data);
}

static void reads_every_rank_raw_and_gzip(void **state) {
    (void)state;
    const uint32_t dim[6] = {2, 3, 1, 4, 2, 5};
    for (int rank = 1; rank <= 6; rank++) {
        bytes b = header(8, rank, dim);
        size_t n = 1;
        for (int i = 0; i < rank; i++)
            n *= dim[i];
        for (size_t i = 0; i < n; i++)
            append(&b, (const uint8_t[]){content(i)}, 1);
        save("rank", &b);
        check_read("rank", rank, dim);
        const bytes z = zipped(&b);
        save("rank.gz", &z);
        check_read("rank.gz", rank, dim);
        save("no-ending", &z); /* the content tells, not the name */
        check_read("no-ending", rank, dim);
    }
}

static void reads_gzip_in_several_members(void **state) {
    (void)state;
    const bytes whole = images(4, 5, 6);
    for (size_t cut = 1; cut < whole.n; cut += 13) {
        bytes first = {.n = 0}, second = {.n = 0};
        append(&first, whole.data, cut);
        append(&second, whole.data + cut, whole.n - cut);
        bytes z = zipped(&first);
        const bytes more = zipped(&second);
        append(&z, more.data, more.n);
        save("members.gz", &z);
        check_read("members.gz", 3, (const uint32_t[]){4, 5, 6});
    }
}

/* Reads root/name, which must fail and leave idx empty. */
static void fail_read(const char *name) {
    hk_idx idx = {.shape = {3, {1, 2, 3}}, .data = (uint8_t *)root};
    const hk_status status = hk_idx_read(ctx, path_of(name), &idx);
    if (status == HK_OK) print_error("%s was read\n", name);
    assert_int_not_equal(status, HK_OK);
    assert_int_equal(status, hk_error(ctx));
    assert_null(idx.data);
    assert_int_equal(idx.shape.rank, 0);
}

static void unreadable_files(void **state) {
    (void)state;
    fail_read("absent-images");
    expect(HK_ERR_IO, "absent-images", "No such file", NULL);
    folder("a-folder");
    fail_read("a-folder");
    expect(HK_ERR_IO, "a-folder", NULL);
    hk_idx idx;
    assert_int_equal(hk_idx_read(ctx, NULL, &idx), HK_ERR_ARGUMENT);
    expect(HK_ERR_ARGUMENT, "path", NULL);
    assert_int_equal(hk_idx_read(NULL, "x", &idx), HK_ERR_MEMORY);
    hk_idx_free(NULL);
}

static void fail_bytes(const char *name, const void *data, size_t n) {
    bytes b = {.n = 0};
    append(&b, data, n);
    save(name, &b);
    fail_read(name);
}

static void wrong_magic(void **state) {
    (void)state;
    const char page[] = "<!DOCTYPE html>\n<html>404</html>";
    fail_bytes("page.gz", page, sizeof page);
    expect(HK_ERR_FORMAT, "page.gz", "magic number 3c 21 44 4f", "web page", NULL);
    fail_bytes("zip.gz", "PK\3\4 and more", 13);
    expect(HK_ERR_FORMAT, "zip.gz", "magic", "zip archive", NULL);
    bytes b = images(2, 2, 2);
    b.data[1] = 1;
    fail_bytes("second", b.data, b.n);
    expect(HK_ERR_FORMAT, "second", "magic number 00 01 08 03", NULL);
    const bytes z = zipped(&b);
    fail_bytes("second.gz", z.data, z.n);
    expect(HK_ERR_FORMAT, "second.gz", "magic number 00 01 08 03", NULL);
}

static void wrong_type_and_rank(void **state) {
    (void)state;
    bytes b = images(2, 2, 2);
    b.data[2] = 0x0d;
    fail_bytes("floats", b.data, b.n);
    expect(HK_ERR_FORMAT, "floats", "elements are floats", "type 0d", NULL);
    for (int type = 0; type < 256; type++) {
        if (type == 8) continue;
        b.data[2] = (uint8_t)type;
        fail_bytes("other-type", b.data, b.n);
        expect(HK_ERR_FORMAT, "other-type", "only unsigned bytes", NULL);
    }
    b.data[2] = 8;
    for (int rank = 7; rank <= 256; rank++) {
        b.data[3] = (uint8_t)rank; /* 256 is 0 */
        fail_bytes("other-rank", b.data, b.n);
        expect(HK_ERR_FORMAT, "other-rank", "dimensions", NULL);
    }
}

static void bad_sizes(void **state) {
    (void)state;
    const uint32_t none[] = {0, 28, 28}, flat[] = {3, 28, 0};
    bytes b = header(8, 3, none);
    fail_bytes("none", b.data, b.n);
    expect(HK_ERR_FORMAT, "none", "zero items", "(0, 28, 28)", NULL);
    const bytes z = zipped(&b);
    fail_bytes("none.gz", z.data, z.n);
    expect(HK_ERR_FORMAT, "none.gz", "zero items", NULL);
    b = header(8, 3, flat);
    fail_bytes("flat", b.data, b.n);
    expect(HK_ERR_FORMAT, "flat", "empty", "(3, 28, 0)", NULL);

    const uint32_t most = UINT32_MAX;
    b = header(8, 3, (const uint32_t[]){most, most, most});
    fail_bytes("overflow", b.data, b.n);
    expect(HK_ERR_FORMAT, "overflow", "overflow", NULL);
    /* 2^32 * 2^32 is 0 in 64 bits: a product that is taken blindly looks small. */
    b = header(8, 4, (const uint32_t[]){0x80000000U, 0x80000000U, 4, 1});
    fail_bytes("wraps", b.data, b.n);
    expect(HK_ERR_FORMAT, "wraps", "overflow", NULL);
    /* A size that fits 64 bits but not this file must not cost memory. */
    b = header(8, 2, (const uint32_t[]){most, 1U << 20});
    fail_bytes("huge", b.data, b.n);
    expect(HK_ERR_FORMAT, "huge", "cut short", "(4294967295, 1048576)", "it has 0", NULL);
    const bytes hz = zipped(&b);
    fail_bytes("huge.gz", hz.data, hz.n);
    expect(HK_ERR_FORMAT, "huge.gz", "cut short", "more than the file can hold", NULL);
}

static void truncated_at_every_length(void **state) {
    (void)state;
    const bytes b = images(3, 4, 5), z = zipped(&b);
    for (size_t n = 0; n < b.n; n++) {
        fail_bytes("cut-raw", b.data, n);
        expect(HK_ERR_FORMAT, "cut-raw", "cut short", NULL);
    }
    for (size_t n = 0; n < z.n; n++) { /* also inside the checksum at the end */
        fail_bytes("cut.gz", z.data, n);
        expect(HK_ERR_FORMAT, "cut.gz", "cut short", NULL);
    }
    fail_bytes("cut-raw", b.data, b.n - 1);
    expect(HK_ERR_FORMAT, "(3, 4, 5)", "60 bytes", "it has 59", NULL);
    /* Sound gzip data that holds too little. */
    for (size_t n = 0; n < b.n; n++) {
        bytes part = {.n = 0};
        append(&part, b.data, n);
        const bytes zp = zipped(&part);
        fail_bytes("little.gz", zp.data, zp.n);
        expect(HK_ERR_FORMAT, "little.gz", "cut short", NULL);
    }
}

static void trailing_bytes(void **state) {
    (void)state;
    const bytes good = images(3, 4, 5), good_z = zipped(&good);
    bytes b = good;
    append(&b, "", 1);
    fail_bytes("longer", b.data, b.n);
    expect(HK_ERR_FORMAT, "longer", "trailing bytes", NULL);
    const bytes z = zipped(&b);
    fail_bytes("longer.gz", z.data, z.n);
    expect(HK_ERR_FORMAT, "longer.gz", "trailing bytes", NULL);

    b = good_z;
    append(&b, "x", 1);
    fail_bytes("behind.gz", b.data, b.n);
    expect(HK_ERR_FORMAT, "behind.gz", "follow the gzip data", NULL);
    b = good_z;
    append(&b, "\0\0\0\0", 4);
    fail_bytes("zeros.gz", b.data, b.n);
    expect(HK_ERR_FORMAT, "zeros.gz", "follow the gzip data", NULL);
    b = good_z;
    append(&b, good_z.data, good_z.n);
    fail_bytes("twice.gz", b.data, b.n);
    expect(HK_ERR_FORMAT, "twice.gz", "trailing bytes", NULL);
    b = good_z;
    append(&b, good_z.data, 1);
    fail_bytes("half.gz", b.data, b.n);
    expect(HK_ERR_FORMAT, "half.gz", NULL);
}

static void damaged_gzip(void **state) {
    (void)state;
    const bytes b = images(3, 4, 5), good = zipped(&b);
    bytes z = good;
    z.data[z.n - 8] ^= 1;
    fail_bytes("crc.gz", z.data, z.n);
    expect(HK_ERR_FORMAT, "crc.gz", "damaged", "data check", NULL);
    z = good;
    z.data[z.n - 1] ^= 1;
    fail_bytes("length.gz", z.data, z.n);
    expect(HK_ERR_FORMAT, "length.gz", "damaged", "length check", NULL);
    int unseen = 0;
    for (size_t i = 10; i < good.n; i++) { /* any bit behind the header */
        for (int bit = 0; bit < 8; bit++) {
            z = good;
            z.data[i] ^= (uint8_t)(1 << bit);
            save("bit.gz", &z);
            hk_idx idx;
            if (hk_idx_read(ctx, path_of("bit.gz"), &idx) == HK_OK) {
                hk_idx_free(&idx);
                check_read("bit.gz", 3, (const uint32_t[]){3, 4, 5});
                unseen++;
            } else {
                expect(HK_ERR_FORMAT, "bit.gz", NULL);
            }
        }
    }
    assert_in_range(unseen, 0, 7); /* those that fill the last byte of the data mean nothing */
}

static void first_error_stays(void **state) {
    (void)state;
    fail_read("absent-1");
    const bytes b = images(1, 1, 1);
    save("sound", &b);
    hk_idx idx;
    assert_int_equal(hk_idx_read(ctx, path_of("sound"), &idx), HK_ERR_IO);
    assert_null(idx.data);
    assert_null(hk_mnist(ctx, HK_SOURCE_DIR "/data/mnist", "t10k", 0));
    expect(HK_ERR_IO, "absent-1", NULL);
}

/* --- folders ------------------------------------------------------------------------------------ */

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
    const float *x = hk_tensor_data(batch.x);
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
    expect(HK_ERR_IO, f, "emnist-digits-train-images-idx3-ubyte",
           "emnist-letters-train-images-idx3-ubyte", "prefix", NULL);
    check_set(f, "emnist-letters-train", 0, 5, 2);
    save_pair("emnist/train-images-idx3-ubyte.gz", "emnist/train-labels-idx1-ubyte.gz", 4, 1);
    check_set(f, "train", 0, 4, 1);
}

static void missing_folder_or_file(void **state) {
    (void)state;
    assert_null(hk_mnist(ctx, path_of("nowhere"), "train", 0));
    expect(HK_ERR_IO, "no folder", path_of("nowhere"), "train-images-idx3-ubyte[.gz]",
           "train-labels-idx1-ubyte[.gz]", NULL);
    const bytes b = images(1, 1, 1);
    save("a-file", &b);
    assert_null(hk_mnist(ctx, path_of("a-file"), "t10k", 0));
    expect(HK_ERR_IO, "not a folder", path_of("a-file"), "t10k-images-idx3-ubyte[.gz]", NULL);

    const char *f = folder("empty");
    assert_null(hk_mnist(ctx, f, "t10k", 0));
    expect(HK_ERR_IO, f, "t10k-images-idx3-ubyte,", "t10k-images-idx3-ubyte.gz", "put the", NULL);
    save("empty/t10k-images-idx3-ubyte", &b);
    assert_null(hk_mnist(ctx, f, "t10k", 0));
    expect(HK_ERR_IO, f, "t10k-labels-idx1-ubyte ", "t10k-labels-idx1-ubyte.gz", NULL);

    save("empty/xtrain-images-idx3-ubyte", &b); /* another word that ends so */
    assert_null(hk_mnist(ctx, f, "train", 0));
    expect(HK_ERR_IO, f, "no images", NULL);

    assert_null(hk_mnist(ctx, NULL, "train", 0));
    expect(HK_ERR_ARGUMENT, "folder", NULL);
    assert_null(hk_mnist(ctx, f, "../train", 0));
    expect(HK_ERR_ARGUMENT, "prefix", NULL);
    assert_null(hk_mnist(ctx, f, "t10k", -1));
    expect(HK_ERR_ARGUMENT, "classes", NULL);
    char winding[3000]; /* a folder that is there, by a long way */
    snprintf(winding, sizeof winding, "%s", f);
    for (size_t n = strlen(winding); n + 3 < sizeof winding; n += 2)
        memcpy(winding + n, "/.", 3);
    assert_null(hk_mnist(ctx, winding, "t10k", 0));
    expect(HK_ERR_ARGUMENT, "t10k-images-idx3-ubyte", "too long", NULL);
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
    expect(HK_ERR_FORMAT, path_of(y_name), "holds images", "swap", NULL);
    save(y_name, &y);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect(HK_ERR_FORMAT, path_of(x_name), "holds labels", "swap", NULL);

    bytes b = header(8, 2, (const uint32_t[]){9, 1});
    append(&b, y.data + 8, 9);
    save(x_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect(HK_ERR_FORMAT, path_of(x_name), "2 dimensions where 3", NULL);

    const bytes eight = images(8, 3, 5), ten = images(10, 3, 5);
    for (int i = 0; i < 2; i++) {
        save(x_name, i ? &ten : &eight);
        assert_null(hk_mnist(ctx, f, "p", 0));
        expect(HK_ERR_FORMAT, path_of(x_name), path_of(y_name), i ? "10 images" : "8 images",
               "9 labels", NULL);
    }

    save(x_name, &x);
    check_set(f, "p", 4, 9, 4);
    assert_null(hk_mnist(ctx, f, "p", 3)); /* the first 3 is at index 3 */
    expect(HK_ERR_FORMAT, path_of(y_name), "label 3 at index 3", "the 3 classes", NULL);
    b = y;
    b.data[8 + 7] = 255;
    save(y_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 4));
    expect(HK_ERR_FORMAT, path_of(y_name), "label 255 at index 7", "the 4 classes", NULL);
    check_set(f, "p", 0, 9, 256);

    b = y;
    b.n--;
    save(y_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect(HK_ERR_FORMAT, path_of(y_name), "cut short", NULL);
    save(y_name, &y);
    b = x;
    b.n--;
    save(x_name, &b);
    assert_null(hk_mnist(ctx, f, "p", 0));
    expect(HK_ERR_FORMAT, path_of(x_name), "cut short", NULL);
}

/* --- the real one -------------------------------------------------------------------------------- */

#ifndef SANITIZED
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
#ifndef SANITIZED
        const long before = peak_kb();
#endif
        hk_dataset *ds = hk_mnist(ctx, HK_SOURCE_DIR "/data/mnist", sets[s].prefix, 0);
        if (!ds) print_error("%s\n", hk_error_message(ctx));
        assert_non_null(ds);
#ifndef SANITIZED
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
            const float *x = hk_tensor_data(batch.x);
            const int32_t *y = hk_tensor_data(batch.y);
            for (int64_t i = 0; i < 784 * batch.size; i++)
                sum += (uint64_t)x[i];
            for (int64_t i = 0; i < batch.size; i++)
                histogram[y[i]]++;
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
    expect(HK_ERR_FORMAT, "train-labels-idx1-ubyte.gz", "label 9 at index 4 ", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_mnist), /* first: it looks at the peak of memory */
        cmocka_unit_test(reads_every_rank_raw_and_gzip),
        cmocka_unit_test(reads_gzip_in_several_members),
        cmocka_unit_test(unreadable_files),
        cmocka_unit_test(wrong_magic),
        cmocka_unit_test(wrong_type_and_rank),
        cmocka_unit_test(bad_sizes),
        cmocka_unit_test(truncated_at_every_length),
        cmocka_unit_test(trailing_bytes),
        cmocka_unit_test(damaged_gzip),
        cmocka_unit_test(first_error_stays),
        cmocka_unit_test(finds_raw_and_gzip),
        cmocka_unit_test(finds_emnist_names),
        cmocka_unit_test(missing_folder_or_file),
        cmocka_unit_test(bad_pairs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
