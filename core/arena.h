/* arena.h: memory that is handed out by moving a pointer and taken back all at once.
   SPDX-License-Identifier: MIT

   Chunks never move while in use. An arena that merges replaces its chunks at reset by one of the size
   that was needed, so from the second round on nothing is allocated and addresses repeat. Under
   AddressSanitizer memory that was taken back is poisoned. */
#ifndef HK_ARENA_H
#define HK_ARENA_H

#include "hk_base.h"

HK_BEGIN_DECLS

typedef struct hk__chunk hk__chunk;

/* Where chunks come from, if not from the host's memory. alloc: NULL when it is exhausted. */
typedef struct hk__chunk_source {
    void *(*alloc)(void *owner, size_t bytes);
    void (*free)(void *owner, void *p);
    void *owner;
} hk__chunk_source;

typedef struct hk__arena {
    hk__chunk_source source; /* {0}: the host's memory */
    hk__chunk *first, *current;
    size_t used; /* bytes handed out since the last reset, padding included */
    size_t most; /* the largest `used` ever */
    bool merges;
} hk__arena;

enum { HK_ALIGN = 64 };

/* 64-byte aligned, not initialised; NULL when memory is exhausted. */
void *hk__arena_alloc(hk__arena *arena, size_t bytes);
void hk__arena_reset(hk__arena *arena);
/* Makes room for `bytes` in all without a further allocation. */
bool hk__arena_reserve(hk__arena *arena, size_t bytes);
void hk__arena_free(hk__arena *arena);

/* A place to go back to: what was allocated since is gone. */
typedef struct hk__mark {
    hk__chunk *chunk;
    size_t chunk_used, used;
} hk__mark;
hk__mark hk__arena_mark(const hk__arena *arena);
void hk__arena_rewind(hk__arena *arena, hk__mark mark);

/* Memory of its own, 64-byte aligned; zeroed if asked. NULL when exhausted. */
void *hk__alloc(size_t bytes, bool zero);
void hk__free(void *p);

HK_END_DECLS
#endif
