/* input.c: a file read once from front to back, raw or gzip.
   SPDX-License-Identifier: MIT

   zlib's gzread would do but for one thing: it takes no notice of what follows the gzip data, and a
   data file with something behind its end is to be refused. */
#include "input.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "context.h"

static hk_status io_error(hk__input *in, const char *what) {
    return hk_fail(in->ctx, HK_ERR_IO, in->where, "cannot %s '%s': %s", what, in->path,
                   errno ? strerror(errno) : "unknown reason");
}

/* Fills the buffer when zlib has used it up; avail_in stays 0 at the end of the file. */
static hk_status refill(hk__input *in) {
    if (in->zip.avail_in) return HK_OK;
    errno = 0;
    const size_t n = fread(in->buffer, 1, sizeof in->buffer, in->file);
    if (n == 0 && ferror(in->file)) return io_error(in, "read");
    in->zip.next_in = in->buffer;
    in->zip.avail_in = (uInt)n;
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
    HK_TRY(refill(in));
    if (in->zip.avail_in < 2 || in->buffer[0] != 0x1f || in->buffer[1] != 0x8b) return HK_OK;
    if (inflateInit2(&in->zip, 16 + MAX_WBITS) != Z_OK) /* 16: gzip's header and checksum */
        return hk_fail(ctx, HK_ERR_MEMORY, where, "no memory to unpack '%s'", path);
    in->gzip = true;
    return HK_OK;
}

void hk__input_close(hk__input *in) {
    if (in->gzip) inflateEnd(&in->zip);
    if (in->file) fclose(in->file);
    in->gzip = false;
    in->file = NULL;
}

static hk_status read_raw(hk__input *in, uint8_t *out, size_t size, size_t *got) {
    size_t n = in->zip.avail_in < size ? in->zip.avail_in : size;
    memcpy(out, in->zip.next_in, n);
    in->zip.next_in += n;
    in->zip.avail_in -= (uInt)n;
    errno = 0;
    n += fread(out + n, 1, size - n, in->file);
    if (n < size && ferror(in->file)) return io_error(in, "read");
    *got = n;
    return HK_OK;
}

static hk_status damaged(hk__input *in, int result) {
    if (result == Z_MEM_ERROR)
        return hk_fail(in->ctx, HK_ERR_MEMORY, in->where, "no memory to unpack '%s'", in->path);
    return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                   "%s: damaged gzip data (%s): get the file again", in->path,
                   in->zip.msg ? in->zip.msg : "unexpected content");
}

/* Behind the end mark: the end of the file, or another gzip member that continues it. */
static hk_status next_member(hk__input *in) {
    HK_TRY(refill(in));
    if (in->zip.avail_in == 0) return HK_OK;
    if (in->zip.next_in[0] != 0x1f)
        return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                       "%s: other bytes follow the gzip data: get the file again", in->path);
    in->ended = false;
    const int result = inflateReset(&in->zip);
    return result == Z_OK ? HK_OK : damaged(in, result);
}

/* One call of inflate, so that a long output fits zlib's 32-bit counter. */
static hk_status unzip_some(hk__input *in, uint8_t *out, size_t size, size_t *got) {
    HK_TRY(refill(in));
    if (in->zip.avail_in == 0)
        return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                       "%s: cut short: its gzip data ends early, after %llu bytes unpacked: "
                       "get the file again",
                       in->path, (unsigned long long)in->total + *got);
    const uInt wish = size > ((size_t)1 << 30) ? (uInt)1 << 30 : (uInt)size;
    in->zip.next_out = out;
    in->zip.avail_out = wish;
    const int result = inflate(&in->zip, Z_NO_FLUSH);
    *got += wish - in->zip.avail_out;
    in->ended = result == Z_STREAM_END;
    return result == Z_OK || result == Z_STREAM_END ? HK_OK : damaged(in, result);
}

hk_status hk__input_read(hk__input *in, void *out, size_t size, size_t *got) {
    *got = 0;
    if (!in->gzip) {
        HK_TRY(read_raw(in, out, size, got));
    } else {
        while (*got < size) {
            if (in->ended) HK_TRY(next_member(in));
            if (in->ended) break;
            HK_TRY(unzip_some(in, (uint8_t *)out + *got, size - *got, got));
        }
    }
    in->total += *got;
    return HK_OK;
}

uint64_t hk__input_most(const hk__input *in) {
    struct stat facts;
    if (fstat(fileno(in->file), &facts) != 0 || !S_ISREG(facts.st_mode)) return UINT64_MAX;
    /* Deflate packs at most 1032 bytes into one. */
    return (uint64_t)facts.st_size * (in->gzip ? 1032 : 1);
}
