/* gzip.c: unpacks gzip data as it is read, by zlib; a build without zlib refuses it.
   SPDX-License-Identifier: MIT

   zlib's gzread would do but for one thing: it takes no notice of what follows the gzip data, and a
   data file with something behind its end is to be refused. */
#include "input.h"

#include <stdlib.h>

#include "context.h"

#if HK_WITH_ZLIB
#include <zlib.h>

struct hk__gzip {
    z_stream zip;
    bool ended; /* the end mark was seen and checked */
};

static hk_status no_memory(hk__input *in) {
    return hk_fail(in->ctx, HK_ERR_MEMORY, in->where, "no memory to unpack '%s'", in->path);
}

hk_status hk__gzip_open(hk__input *in) {
    struct hk__gzip *gzip = calloc(1, sizeof *gzip);
    if (!gzip ||
        inflateInit2(&gzip->zip, 16 + MAX_WBITS) != Z_OK) { /* 16: gzip's header and checksum */
        free(gzip);
        return no_memory(in);
    }
    in->gzip = gzip;
    return HK_OK;
}

void hk__gzip_close(hk__input *in) {
    inflateEnd(&in->gzip->zip);
    free(in->gzip);
    in->gzip = NULL;
}

static hk_status damaged(hk__input *in, int result) {
    const char *why = in->gzip->zip.msg;
    if (result == Z_MEM_ERROR) return no_memory(in);
    return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                   "%s: damaged gzip data (%s): get the file again", in->path,
                   why ? why : "unexpected content");
}

/* Behind the end mark: the end of the file, or another gzip member that continues it. */
static hk_status next_member(hk__input *in) {
    HK_TRY(hk__input_refill(in));
    if (in->left == 0) return HK_OK;
    if (in->next[0] != 0x1f)
        return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                       "%s: other bytes follow the gzip data: get the file again", in->path);
    in->gzip->ended = false;
    const int result = inflateReset(&in->gzip->zip);
    return result == Z_OK ? HK_OK : damaged(in, result);
}

/* One call of inflate, so that a long output fits zlib's 32-bit counter. */
static hk_status unzip_some(hk__input *in, uint8_t *out, size_t size, size_t *got) {
    HK_TRY(hk__input_refill(in));
    if (in->left == 0)
        return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                       "%s: cut short: its gzip data ends early, after %llu bytes unpacked: "
                       "get the file again",
                       in->path, (unsigned long long)in->total + *got);
    z_stream *zip = &in->gzip->zip;
    const uInt wish = size > ((size_t)1 << 30) ? (uInt)1 << 30 : (uInt)size;
    zip->next_in = (Bytef *)(uintptr_t)in->next; /* zlib's type lacks a const */
    zip->avail_in = (uInt)in->left;
    zip->next_out = out;
    zip->avail_out = wish;
    const int result = inflate(zip, Z_NO_FLUSH);
    *got += wish - zip->avail_out;
    in->next = zip->next_in;
    in->left = zip->avail_in;
    in->gzip->ended = result == Z_STREAM_END;
    return result == Z_OK || result == Z_STREAM_END ? HK_OK : damaged(in, result);
}

hk_status hk__gzip_read(hk__input *in, uint8_t *out, size_t size, size_t *got) {
    while (*got < size) {
        if (in->gzip->ended) HK_TRY(next_member(in));
        if (in->gzip->ended) break;
        HK_TRY(unzip_some(in, out + *got, size - *got, got));
    }
    return HK_OK;
}

#else

hk_status hk__gzip_open(hk__input *in) {
    return hk_fail(in->ctx, HK_ERR_FORMAT, in->where,
                   "'%s' is packed by gzip, and this build has no zlib: unpack it with gunzip, or "
                   "install zlib's headers and build again",
                   in->path);
}
void hk__gzip_close(hk__input *in) { (void)in; }
hk_status hk__gzip_read(hk__input *in, uint8_t *out, size_t size, size_t *got) {
    (void)in, (void)out, (void)size, (void)got;
    return HK_OK;
}

#endif
