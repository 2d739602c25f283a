/* page.h: index.html, which shows the pictures of a run.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_PAGE_H
#define EXAMPLES_PAGE_H

#include "train.h"

typedef enum page_kind {
    PAGE_CURVES, /* NAME.svg, NAME.png, data/NAME.gp */
    PAGE_PIXELS  /* NAME.png */
} page_kind;

enum { PAGE_MOST = 16, PAGE_TEXT = 512 };

typedef struct page {
    int count;
    struct {
        const char *name, *title;
        page_kind kind;
        char text[PAGE_TEXT];
    } item[PAGE_MOST];
    bool no_curves, no_pixels; /* they could not be drawn on this machine */
} page;

/* format: what is seen, and how to read it. name and title must outlive the page. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 5, 6)))
#endif
void page_add(page *p, const char *name, const char *title, page_kind kind, const char *format,
              ...);
/* False if it cannot be written, for errno's reason. */
bool page_write(const page *p, const training *run);

#endif
