/* checks_pages.h: what the checked build remembers of memory, page by page.
   SPDX-License-Identifier: MIT */
#ifndef HK_EMULATOR_CHECKS_PAGES_H
#define HK_EMULATOR_CHECKS_PAGES_H

#include "checks.h"

enum { SPACE = PAGE / 64 };

/* Who, in the order of things: barriers that the thread came past, of its block, warp and cluster. */
struct access {
    uint32_t run;
    uint16_t thread, barrier, warp, cluster; /* of cluster, the highest bit: volatile */
    int32_t place;                           /* in the code, from here */
};
struct cell {
    access write, read[2];
};
struct page {
    cell *cells; /* of 4 bytes or of 1 */
    bool bytes;
    uint32_t run; /* of shared memory: whose block's it is */
    uint64_t live[SPACE], set[SPACE];
};

page *new_page(uintptr_t number); /* or the one that is there */
struct page_lately {
    uintptr_t number;
    page *found;
};
extern page_lately lately[64]; /* a shortcut to them */

inline page *page_of(uintptr_t number) {
    page_lately &l = lately[number % 64];
    if (l.number != number) l = {number, new_page(number)};
    return l.found;
}

inline uint64_t bits(int from, int n) {
    return (n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1) << from;
}

/* Calls of(page, from, n) for each part of a page. */
template <class F> void by_page(const void *p, size_t n, F of) {
    for (uintptr_t at = (uintptr_t)p; n > 0;) {
        const size_t room = PAGE - at % PAGE, part = n < room ? n : room;
        of(page_of(at / PAGE), (int)(at % PAGE), (int)part);
        at += part, n -= part;
    }
}
/* Calls of(word, mask) for the words of bits of n bytes. */
template <class F> void by_word(int from, int n, F of) {
    while (n > 0) {
        const int room = 64 - from % 64, part = n < room ? n : room;
        of(from / 64, bits(from % 64, part));
        from += part, n -= part;
    }
}

/* The cells of a page, of single bytes if need be. */
cell *cells_of(page *q, bool bytes);

#endif
