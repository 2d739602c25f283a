/* idx.c: IDX files of unsigned bytes, raw or gzip, read strictly.
   SPDX-License-Identifier: MIT

   Two zero bytes, a byte for the type of the elements, a byte for the number of dimensions; each
   size as 32 bits, big-endian; then the elements, row-major. */
#include "idx.h"

#include <string.h>

#include "context.h"
#include "input.h"

static const char *type_name(uint8_t type) {
    static const char *const names[] = {"signed bytes",    NULL,     "16-bit integers",
                                        "32-bit integers", "floats", "doubles"};
    const char *name = type >= 0x09 && type <= 0x0e ? names[type - 0x09] : NULL;
    return name ? name : "of no known type";
}

/* What people have in hand when it is not IDX. */
static const char *guess(const uint8_t *head) {
    if (memcmp(head, "PK\3\4", 4) == 0) return "a zip archive: unpack it first";
    if (head[0] == '<' || head[0] == '\n') return "perhaps a web page: get the file again";
    if (memcmp(head, "\x89PNG", 4) == 0) return "a PNG picture";
    if (memcmp(head, "\x93NUM", 4) == 0) return "a NumPy array: write it as IDX first";
    return "give the path of an IDX file";
}

static hk_status check_magic(hk_context *ctx, const char *path, const uint8_t *head) {
    if (head[0] || head[1])
        return hk_fail(ctx, HK_ERR_FORMAT, "idx",
                       "%s: wrong magic number %02x %02x %02x %02x, not an IDX file (00 00 08 and "
                       "the number of dimensions): %s",
                       path, head[0], head[1], head[2], head[3], guess(head));
    if (head[2] != 0x08)
        return hk_fail(ctx, HK_ERR_FORMAT, "idx",
                       "%s: its elements are %s (type %02x), only unsigned bytes (08) can be read: "
                       "convert it",
                       path, type_name(head[2]), head[2]);
    if (head[3] < 1 || head[3] > HK_MAX_RANK)
        return hk_fail(ctx, HK_ERR_FORMAT, "idx", "%s: %d dimensions; it must be 1 to %d", path,
                       head[3], HK_MAX_RANK);
    return HK_OK;
}

static hk_status check_rank(hk_context *ctx, const char *path, int rank, int wish) {
    if (wish == 0 || rank == wish) return HK_OK;
    if ((rank == 1 && wish == 3) || (rank == 3 && wish == 1))
        return hk_fail(ctx, HK_ERR_FORMAT, "idx",
                       "%s: holds %s (magic number 00 00 08 %02x) where %s (00 00 08 %02x) are "
                       "expected: swap the two files",
                       path, rank == 1 ? "labels" : "images", rank, wish == 1 ? "labels" : "images",
                       wish);
    return hk_fail(ctx, HK_ERR_FORMAT, "idx", "%s: %d dimensions where %d are expected: %s", path,
                   rank, wish, wish == 1 ? "labels are one list" : "(images, height, width)");
}

static hk_status cut_short(hk__input *in, const char *needs, uint64_t size, uint64_t got) {
    return hk_fail(in->ctx, HK_ERR_FORMAT, "idx",
                   "%s: cut short: %s %llu bytes, it has %llu: get the file again", in->path, needs,
                   (unsigned long long)size, (unsigned long long)got);
}

static hk_status read_shape(hk__input *in, int rank, hk_shape *shape) {
    uint8_t bytes[4 * HK_MAX_RANK];
    size_t got = 0;
    const size_t size = 4 * (size_t)rank;
    HK_TRY(hk__input_read(in, bytes, size, &got));
    if (got < size) return cut_short(in, "its header needs", size + 4, got + 4);
    shape->rank = rank;
    for (int i = 0; i < rank; i++) {
        const uint8_t *b = bytes + 4 * i;
        shape->dim[i] = (int64_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    }
    char text[96];
    hk_shape_text(*shape, text, sizeof text);
    for (int i = 0; i < rank; i++)
        if (shape->dim[i] == 0)
            return hk_fail(in->ctx, HK_ERR_FORMAT, "idx", "%s: %s, sizes %s: get another file",
                           in->path, i ? "its items are empty" : "it has zero items", text);
    if (hk_shape_count(*shape) < 0)
        return hk_fail(in->ctx, HK_ERR_FORMAT, "idx",
                       "%s: sizes %s overflow a 64-bit count: the header is damaged, get the file "
                       "again",
                       in->path, text);
    return HK_OK;
}

static hk_status read_header(hk__input *in, int rank, hk_shape *shape) {
    uint8_t head[4];
    size_t got = 0;
    HK_TRY(hk__input_read(in, head, sizeof head, &got));
    if (got < sizeof head) return cut_short(in, "an IDX header needs", sizeof head, got);
    HK_TRY(check_magic(in->ctx, in->path, head));
    HK_TRY(check_rank(in->ctx, in->path, head[3], rank));
    return read_shape(in, head[3], shape);
}

static hk_status read_data(hk__input *in, hk_idx *idx) {
    const uint64_t size = (uint64_t)hk_shape_count(idx->shape);
    char text[96], needs[112];
    hk_shape_text(idx->shape, text, sizeof text);
    snprintf(needs, sizeof needs, "sizes %s need", text);

    /* A damaged header may ask for any amount: compare it with the file before memory is taken. */
    const uint64_t most = hk__input_most(in);
    const uint64_t room = most > in->total ? most - in->total : 0;
    if (size > room && in->gzip)
        return hk_fail(in->ctx, HK_ERR_FORMAT, "idx",
                       "%s: cut short: sizes %s need %llu bytes, more than the file can hold: "
                       "get the file again",
                       in->path, text, (unsigned long long)size);
    if (size > room) return cut_short(in, needs, size, room);
    idx->data = size < SIZE_MAX ? hk__alloc((size_t)size, false) : NULL;
    if (!idx->data)
        return hk_fail(in->ctx, HK_ERR_MEMORY, "idx", "%s: no memory for sizes %s, %llu bytes",
                       in->path, text, (unsigned long long)size);

    size_t got = 0;
    HK_TRY(hk__input_read(in, idx->data, (size_t)size, &got));
    if (got < size) return cut_short(in, needs, size, got);
    uint8_t behind;
    HK_TRY(hk__input_read(in, &behind, 1, &got));
    if (got)
        return hk_fail(in->ctx, HK_ERR_FORMAT, "idx",
                       "%s: trailing bytes: it goes on behind the %llu bytes of sizes %s: get the "
                       "file again",
                       in->path, (unsigned long long)size, text);
    return HK_OK;
}

hk_status hk__idx_read(hk_context *ctx, const char *path, int rank, hk_idx *idx) {
    if (idx) *idx = (hk_idx){.data = NULL};
    if (hk_error(ctx) != HK_OK) return hk_error(ctx);
    if (!path || !idx) return hk_fail(ctx, HK_ERR_ARGUMENT, "idx", "path and idx must be given");
    hk__input in;
    hk_status status = hk__input_open(ctx, "idx", path, &in);
    if (status == HK_OK) status = read_header(&in, rank, &idx->shape);
    if (status == HK_OK) status = read_data(&in, idx);
    hk__input_close(&in);
    if (status != HK_OK) hk_idx_free(idx);
    return status;
}

hk_status hk_idx_read(hk_context *ctx, const char *path, hk_idx *idx) {
    return hk__idx_read(ctx, path, 0, idx);
}

void hk_idx_free(hk_idx *idx) {
    if (!idx) return;
    hk__free(idx->data);
    *idx = (hk_idx){.data = NULL};
}
