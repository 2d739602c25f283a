/* arena.c: bump allocation in chunks.
   SPDX-License-Identifier: MIT */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HK_ASAN 1
#endif
#endif
#ifdef HK_ASAN
#include <sanitizer/asan_interface.h>
#define HK_POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define HK_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define HK_POISON(p, n) ((void)(p), (void)(n))
#define HK_UNPOISON(p, n) ((void)(p), (void)(n))
#endif

/* The emulated GPU's checked build does the same for the device's memory, and wants gaps, in which nothing may lie. */
#ifdef HK_EMULATED_CHECKS
void emulated_memory(const void *p, size_t bytes, int live);
enum { HK_GAP = HK_ALIGN };
#else
#define emulated_memory(p, n, live) ((void)(p), (void)(n))
enum { HK_GAP = 0 };
#endif

/* Large enough that a small network's step fits into the first one. Chunks double what there is, until that would take
   memory which others need before the first step ends. */
enum { HK_FIRST_CHUNK = 1 << 18, HK_MOST_GROWTH = 1 << 30 };

struct hk__chunk {
    hk__chunk *next;
    size_t size, used;
    char *bytes;
    hk__chunk_source source;
};

void *hk__alloc(size_t bytes, bool zero) {
    if (bytes > SIZE_MAX - 2 * HK_ALIGN) return NULL;
    const size_t size = bytes == 0 ? HK_ALIGN : (bytes + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    void *p = aligned_alloc(HK_ALIGN, size);
    if (p && zero) memset(p, 0, size);
    return p;
}

void hk__free(void *p) { free(p); }

static bool on_host(const hk__chunk *chunk) { return !chunk->source.alloc; }

static void poison(const hk__chunk *chunk, size_t from) {
    if (on_host(chunk))
        HK_POISON(chunk->bytes + from, chunk->size - from);
    else
        emulated_memory(chunk->bytes + from, chunk->size - from, false);
}

static hk__chunk *chunk_new(const hk__chunk_source *source, size_t size) {
    hk__chunk *chunk = malloc(sizeof *chunk);
    char *bytes = !chunk          ? NULL
                  : source->alloc ? source->alloc(source->owner, size)
                                  : hk__alloc(size, false);
    if (!bytes) {
        free(chunk);
        return NULL;
    }
    *chunk = (hk__chunk){.size = size, .bytes = bytes, .source = *source};
    poison(chunk, 0);
    return chunk;
}

static void chunk_free(hk__chunk *chunk) {
    if (on_host(chunk)) {
        HK_UNPOISON(chunk->bytes, chunk->size);
        hk__free(chunk->bytes);
    } else {
        chunk->source.free(chunk->source.owner, chunk->bytes);
    }
    free(chunk);
}

/* Appends behind the last chunk; a chunk in use never moves. */
static hk__chunk *append(hk__arena *arena, size_t size) {
    hk__chunk *chunk = chunk_new(&arena->source, size);
    if (!chunk) return NULL;
    hk__chunk **end = &arena->first;
    while (*end) end = &(*end)->next;
    *end = chunk;
    return chunk;
}

void *hk__arena_alloc(hk__arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    const size_t size =
        (bytes == 0 ? HK_ALIGN : (bytes + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN) + HK_GAP;
    hk__chunk *chunk = arena->current;
    if (!chunk) chunk = arena->first;
    while (chunk && chunk->size - chunk->used < size) chunk = chunk->next;
    if (!chunk) {
        size_t grow = arena->used > HK_FIRST_CHUNK ? arena->used : HK_FIRST_CHUNK;
        if (grow > HK_MOST_GROWTH) grow = HK_MOST_GROWTH;
        if (grow < size) grow = size;
        chunk = append(arena, grow);
        if (!chunk && grow > size) chunk = append(arena, size);
        if (!chunk) return NULL;
    }
    void *p = chunk->bytes + chunk->used;
    chunk->used += size;
    arena->current = chunk;
    arena->used += size;
    if (arena->used > arena->most) arena->most = arena->used;
    if (on_host(chunk))
        HK_UNPOISON(p, size);
    else
        emulated_memory(p, bytes, true);
    return p;
}

void hk__arena_reset(hk__arena *arena) {
    for (hk__chunk *c = arena->first; c; c = c->next) {
        c->used = 0;
        poison(c, 0);
    }
    arena->current = arena->first;
    arena->used = 0;
    if (!arena->merges || !arena->first || !arena->first->next) return;
    /* One chunk of the size that was needed. The others go first: a GPU may not have room for both. If it cannot be had,
       the next allocation asks for what it needs. */
    hk__arena_free(arena);
    arena->first = arena->current = chunk_new(&arena->source, arena->most);
}

bool hk__arena_reserve(hk__arena *arena, size_t bytes) {
    size_t size = 0;
    for (const hk__chunk *c = arena->first; c; c = c->next) size += c->size;
    if (size >= bytes) return true;
    const size_t missing = (bytes - size + HK_ALIGN - 1) / HK_ALIGN * HK_ALIGN;
    return append(arena, missing) != NULL;
}

void hk__arena_free(hk__arena *arena) {
    for (hk__chunk *c = arena->first, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    arena->first = arena->current = NULL;
    arena->used = 0;
}

hk__mark hk__arena_mark(const hk__arena *arena) {
    return (hk__mark){.chunk = arena->current,
                      .chunk_used = arena->current ? arena->current->used : 0,
                      .used = arena->used};
}

void hk__arena_rewind(hk__arena *arena, hk__mark mark) {
    hk__chunk *c = mark.chunk ? mark.chunk : arena->first;
    arena->current = c;
    arena->used = mark.used;
    for (size_t keep = mark.chunk_used; c; c = c->next, keep = 0) {
        if (c->used <= keep) continue;
        poison(c, keep);
        c->used = keep;
    }
}
