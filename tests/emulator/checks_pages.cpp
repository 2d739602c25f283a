/* checks_pages.cpp: what the checked build remembers of memory: where it is in use, where something was written.
   SPDX-License-Identifier: MIT */
#include "checks_pages.h"

#include <stdlib.h>

#include <map>

page_lately lately[64];

page *new_page(uintptr_t number) {
    static std::map<uintptr_t, page> pages;
    return &pages[number];
}

cell *cells_of(page *q, bool bytes) {
    if (!q->cells) {
        q->bytes = bytes;
        q->cells = (cell *)calloc(bytes ? PAGE : PAGE / 4, sizeof(cell));
    } else if (bytes && !q->bytes) {
        cell *all = (cell *)calloc(PAGE, sizeof *all);
        for (int i = 0; i < PAGE; i++) all[i] = q->cells[i / 4];
        free(q->cells);
        q->cells = all;
        q->bytes = true;
    }
    return q->cells;
}

void checks_memory(const void *p, size_t bytes, bool live) {
    by_page(p, bytes, [=](page *q, int from, int n) {
        by_word(from, n, [=](int word, uint64_t mask) {
            if (live && q->live[word] & mask) fail("memory is handed out that is in use");
            q->live[word] = live ? q->live[word] | mask : q->live[word] & ~mask;
            q->set[word] &= ~mask;
        });
    });
}

static bool is_live(const void *p, size_t bytes) {
    bool live = true;
    by_page(p, bytes, [&](page *q, int from, int n) {
        by_word(from, n, [&](int word, uint64_t mask) { live &= (q->live[word] & mask) == mask; });
    });
    return live;
}

void checks_written(const void *p, size_t bytes) {
    if (!is_live(p, bytes)) fail("writes to memory of the device that is not in use");
    by_page(p, bytes, [](page *q, int from, int n) {
        by_word(from, n, [=](int word, uint64_t mask) { q->set[word] |= mask; });
    });
}

void checks_copied(const void *to, const void *from, size_t bytes) {
    if (!is_live(to, bytes) || !is_live(from, bytes))
        fail("copies memory of the device that is not in use");
    for (size_t i = 0; i < bytes; i++) {
        const uintptr_t a = (uintptr_t)from + i, b = (uintptr_t)to + i;
        const uint64_t set = page_of(a / PAGE)->set[a % PAGE / 64] >> a % 64 & 1;
        uint64_t *word = &page_of(b / PAGE)->set[b % PAGE / 64];
        *word = (*word & ~((uint64_t)1 << b % 64)) | set << b % 64;
    }
}

void checks_read(const void *p, size_t bytes) {
    if (!is_live(p, bytes)) fail("reads memory of the device that is not in use");
}
