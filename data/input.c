/* input.c: a file read once from front to back, raw or gzip.
   SPDX-License-Identifier: MIT */
#include "input.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "context.h"

static hk_status io_error(hk__input *in, const char *what) {
    return hk_fail(in->ctx, HK_ERR_IO, in->where, "cannot %s '%s': %s", what, in->path,
                   errno ? strerror(errno) : "unknown reason");
}

hk_status hk__input_refill(hk__input *in) {
    if (in->left) return HK_OK;
    errno = 0;
    const size_t n = fread(in->buffer, 1, sizeof in->buffer, in->file);
    if (n == 0 && ferror(in->file)) return io_error(in, "read");
    in->next = in->buffer;
    in->left = n;
    return HK_OK;
}

hk_status hk__input_open(hk_context *ctx, const char *where, const char *path, hk__input *in) {
    memset(in, 0, sizeof *in);
    in->ctx = ctx;
    in->where = where;
    in->path = path;
    errno = 0;
    in->file = fopen(path, "rb");
    if (!in->file) return io_error(in, "open");
    setvbuf(in->file, NULL, _IONBF, 0); /* it is read in large pieces, into a buffer of its own */
    HK_TRY(hk__input_refill(in));
    const bool gzip = in->left >= 2 && in->buffer[0] == 0x1f && in->buffer[1] == 0x8b;
    return gzip ? hk__gzip_open(in) : HK_OK;
}

void hk__input_close(hk__input *in) {
    if (in->gzip) hk__gzip_close(in);
    if (in->file) fclose(in->file);
    in->file = NULL;
}

static hk_status read_raw(hk__input *in, uint8_t *out, size_t size, size_t *got) {
    size_t n = in->left < size ? in->left : size;
    memcpy(out, in->next, n);
    in->next += n;
    in->left -= n;
    errno = 0;
    n += fread(out + n, 1, size - n, in->file);
    if (n < size && ferror(in->file)) return io_error(in, "read");
    *got = n;
    return HK_OK;
}

hk_status hk__input_read(hk__input *in, void *out, size_t size, size_t *got) {
    *got = 0;
    HK_TRY(in->gzip ? hk__gzip_read(in, out, size, got) : read_raw(in, out, size, got));
    in->total += *got;
    return HK_OK;
}

uint64_t hk__input_most(const hk__input *in) {
    struct stat facts;
    if (fstat(fileno(in->file), &facts) != 0 || !S_ISREG(facts.st_mode)) return UINT64_MAX;
    /* Deflate packs at most 1032 bytes into one. */
    return (uint64_t)facts.st_size * (in->gzip ? 1032 : 1);
}
