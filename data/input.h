/* input.h: a file read once from front to back, raw or gzip (told by its first two bytes).
   SPDX-License-Identifier: MIT */
#ifndef HK_INPUT_H
#define HK_INPUT_H

#include "hk_context.h"

#include <stdio.h>

HK_BEGIN_DECLS

enum { HK_INPUT_BUFFER = 1 << 15 };

typedef struct hk__input {
    hk_context *ctx;
    const char *path, *where; /* for messages; the caller's */
    FILE *file;
    struct hk__gzip *gzip; /* NULL: raw */
    uint64_t total;        /* bytes handed out so far */
    const uint8_t *next;   /* what is left of the buffer */
    size_t left;
    uint8_t buffer[HK_INPUT_BUFFER];
} hk__input;

/* HK_ERR_IO with the path and the system's reason; HK_ERR_FORMAT for gzip in a build without zlib.
   hk__input_close in either case. */
hk_status hk__input_open(hk_context *ctx, const char *where, const char *path, hk__input *in);
void hk__input_close(hk__input *in);

/* The next bytes, up to `size` of them, straight to `out`. *got is less only where the file ends.
   HK_ERR_IO if the system fails; HK_ERR_FORMAT if the gzip data is damaged, cut short or followed
   by other bytes. The checksum is compared when the end is reached: read past it to be sure. */
hk_status hk__input_read(hk__input *in, void *out, size_t size, size_t *got);

/* Fills the buffer when it is used up; left stays 0 at the end of the file. */
hk_status hk__input_refill(hk__input *in);

/* gzip.c: what of this is about gzip. A read moves *got on as bytes come out. */
hk_status hk__gzip_open(hk__input *in);
void hk__gzip_close(hk__input *in);
hk_status hk__gzip_read(hk__input *in, uint8_t *out, size_t size, size_t *got);

/* No more than this many bytes can come out in all; UINT64_MAX if the system does not tell. */
uint64_t hk__input_most(const hk__input *in);

HK_END_DECLS
#endif
