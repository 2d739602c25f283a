/* test_idx.c: IDX files, good and bad, raw and gzip.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 */
#include "idx_fixture.h"

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
    for (size_t i = 0; i < n; i++) assert_int_equal(idx.data[i], content(i));
    hk_idx_free(&idx);
    assert_null(idx.data);
}

static void reads_every_rank_raw_and_gzip(void **state) {
    (void)state;
    const uint32_t dim[6] = {2, 3, 1, 4, 2, 5};
    for (int rank = 1; rank <= 6; rank++) {
        bytes b = header(8, rank, dim);
        size_t n = 1;
        for (int i = 0; i < rank; i++) n *= dim[i];
        for (size_t i = 0; i < n; i++) append(&b, (const uint8_t[]){content(i)}, 1);
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
    expect_error(ctx, HK_ERR_IO, "absent-images", "No such file", NULL);
    folder("a-folder");
    fail_read("a-folder");
    expect_error(ctx, HK_ERR_IO, "a-folder", NULL);
    hk_idx idx;
    assert_int_equal(hk_idx_read(ctx, NULL, &idx), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "path", NULL);
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
    expect_error(ctx, HK_ERR_FORMAT, "page.gz", "magic number 3c 21 44 4f", "web page", NULL);
    fail_bytes("zip.gz", "PK\3\4 and more", 13);
    expect_error(ctx, HK_ERR_FORMAT, "zip.gz", "magic", "zip archive", NULL);
    bytes b = images(2, 2, 2);
    b.data[1] = 1;
    fail_bytes("second", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "second", "magic number 00 01 08 03", NULL);
    const bytes z = zipped(&b);
    fail_bytes("second.gz", z.data, z.n);
    expect_error(ctx, HK_ERR_FORMAT, "second.gz", "magic number 00 01 08 03", NULL);
}

static void wrong_type_and_rank(void **state) {
    (void)state;
    bytes b = images(2, 2, 2);
    b.data[2] = 0x0d;
    fail_bytes("floats", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "floats", "elements are floats", "type 0d", NULL);
    for (int type = 0; type < 256; type++) {
        if (type == 8) continue;
        b.data[2] = (uint8_t)type;
        fail_bytes("other-type", b.data, b.n);
        expect_error(ctx, HK_ERR_FORMAT, "other-type", "only unsigned bytes", NULL);
    }
    b.data[2] = 8;
    for (int rank = 7; rank <= 256; rank++) {
        b.data[3] = (uint8_t)rank; /* 256 is 0 */
        fail_bytes("other-rank", b.data, b.n);
        expect_error(ctx, HK_ERR_FORMAT, "other-rank", "dimensions", NULL);
    }
}

static void bad_sizes(void **state) {
    (void)state;
    const uint32_t none[] = {0, 28, 28}, flat[] = {3, 28, 0};
    bytes b = header(8, 3, none);
    fail_bytes("none", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "none", "zero items", "(0, 28, 28)", NULL);
    const bytes z = zipped(&b);
    fail_bytes("none.gz", z.data, z.n);
    expect_error(ctx, HK_ERR_FORMAT, "none.gz", "zero items", NULL);
    b = header(8, 3, flat);
    fail_bytes("flat", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "flat", "empty", "(3, 28, 0)", NULL);

    const uint32_t most = UINT32_MAX;
    b = header(8, 3, (const uint32_t[]){most, most, most});
    fail_bytes("overflow", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "overflow", "overflow", NULL);
    /* 2^32 * 2^32 is 0 in 64 bits: a product that is taken blindly looks small. */
    b = header(8, 4, (const uint32_t[]){0x80000000U, 0x80000000U, 4, 1});
    fail_bytes("wraps", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "wraps", "overflow", NULL);
    /* A size that fits 64 bits but not this file must not cost memory. */
    b = header(8, 2, (const uint32_t[]){most, 1U << 20});
    fail_bytes("huge", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "huge", "cut short", "(4294967295, 1048576)", "it has 0",
                 NULL);
    const bytes hz = zipped(&b);
    fail_bytes("huge.gz", hz.data, hz.n);
    expect_error(ctx, HK_ERR_FORMAT, "huge.gz", "cut short", "more than the file can hold", NULL);
}

static void truncated_at_every_length(void **state) {
    (void)state;
    const bytes b = images(3, 4, 5), z = zipped(&b);
    for (size_t n = 0; n < b.n; n++) {
        fail_bytes("cut-raw", b.data, n);
        expect_error(ctx, HK_ERR_FORMAT, "cut-raw", "cut short", NULL);
    }
    for (size_t n = 0; n < z.n; n++) { /* also inside the checksum at the end */
        fail_bytes("cut.gz", z.data, n);
        expect_error(ctx, HK_ERR_FORMAT, "cut.gz", "cut short", NULL);
    }
    fail_bytes("cut-raw", b.data, b.n - 1);
    expect_error(ctx, HK_ERR_FORMAT, "(3, 4, 5)", "60 bytes", "it has 59", NULL);
    /* Sound gzip data that holds too little. */
    for (size_t n = 0; n < b.n; n++) {
        bytes part = {.n = 0};
        append(&part, b.data, n);
        const bytes zp = zipped(&part);
        fail_bytes("little.gz", zp.data, zp.n);
        expect_error(ctx, HK_ERR_FORMAT, "little.gz", "cut short", NULL);
    }
}

static void trailing_bytes(void **state) {
    (void)state;
    const bytes good = images(3, 4, 5), good_z = zipped(&good);
    bytes b = good;
    append(&b, "", 1);
    fail_bytes("longer", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "longer", "trailing bytes", NULL);
    const bytes z = zipped(&b);
    fail_bytes("longer.gz", z.data, z.n);
    expect_error(ctx, HK_ERR_FORMAT, "longer.gz", "trailing bytes", NULL);

    b = good_z;
    append(&b, "x", 1);
    fail_bytes("behind.gz", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "behind.gz", "follow the gzip data", NULL);
    b = good_z;
    append(&b, "\0\0\0\0", 4);
    fail_bytes("zeros.gz", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "zeros.gz", "follow the gzip data", NULL);
    b = good_z;
    append(&b, good_z.data, good_z.n);
    fail_bytes("twice.gz", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "twice.gz", "trailing bytes", NULL);
    b = good_z;
    append(&b, good_z.data, 1);
    fail_bytes("half.gz", b.data, b.n);
    expect_error(ctx, HK_ERR_FORMAT, "half.gz", NULL);
}

static void damaged_gzip(void **state) {
    (void)state;
    const bytes b = images(3, 4, 5), good = zipped(&b);
    bytes z = good;
    z.data[z.n - 8] ^= 1;
    fail_bytes("crc.gz", z.data, z.n);
    expect_error(ctx, HK_ERR_FORMAT, "crc.gz", "damaged", "data check", NULL);
    z = good;
    z.data[z.n - 1] ^= 1;
    fail_bytes("length.gz", z.data, z.n);
    expect_error(ctx, HK_ERR_FORMAT, "length.gz", "damaged", "length check", NULL);
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
                expect_error(ctx, HK_ERR_FORMAT, "bit.gz", NULL);
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
    expect_error(ctx, HK_ERR_IO, "absent-1", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
