/* idx_fixture.h: files that the tests of IDX and MNIST write, in a folder of their own.
   SPDX-License-Identifier: MIT */
#ifndef IDX_FIXTURE_H
#define IDX_FIXTURE_H

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "data_fixture.h"

static inline int remove_one(const char *path, const struct stat *s, int type, struct FTW *place) {
    (void)s, (void)type, (void)place;
    return remove(path);
}

/* A fresh folder for the files of a test program, in `root`. */
static char root[256];

static inline int make_root(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/hillock-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void) { return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

/* root/name; the four last results stay valid. */
static inline const char *path_of(const char *name) {
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

/* Made empty; the result stays valid. */
static inline const char *folder(const char *name) {
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

static inline void save(const char *name, const bytes *b) {
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b->data, 1, b->n, file), b->n);
    assert_int_equal(fclose(file), 0);
}

static inline bytes zipped(const bytes *b) {
    bytes from = *b, z = {.n = 0};
    z_stream s = {.next_in = from.data,
                  .avail_in = (uInt)from.n,
                  .next_out = z.data,
                  .avail_out = sizeof z.data};
    assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
    z.n = s.total_out;
    assert_int_equal(deflateEnd(&s), Z_OK);
    return z;
}

static inline void append(bytes *b, const void *data, size_t n) {
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline bytes header(uint8_t type, int rank, const uint32_t *dim) {
    bytes b = {.n = 0};
    append(&b, (const uint8_t[]){0, 0, type, (uint8_t)rank}, 4);
    for (int i = 0; i < rank; i++) {
        const uint32_t d = dim[i];
        append(&b, (const uint8_t[]){d >> 24, d >> 16 & 255, d >> 8 & 255, d & 255}, 4);
    }
    return b;
}

static inline uint8_t content(size_t i) { return (uint8_t)(i * 89 + i / 7); }

static inline bytes images(uint32_t n, uint32_t height, uint32_t width) {
    bytes b = header(8, 3, (const uint32_t[]){n, height, width});
    for (size_t i = 0; i < (size_t)n * height * width; i++)
        append(&b, (const uint8_t[]){content(i)}, 1);
    return b;
}

/* 0, 1 ... classes-1, 0, 1 ... */
static inline bytes labels(uint32_t n, uint8_t classes) {
    bytes b = header(8, 1, &n);
    for (uint32_t i = 0; i < n; i++) append(&b, (const uint8_t[]){(uint8_t)(i % classes)}, 1);
    return b;
}

#endif
