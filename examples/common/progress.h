/* progress.h: shows how training goes, while it goes.
   SPDX-License-Identifier: MIT

   On a terminal, one line that is redrawn at most ten times a second:

       epoch 2/5 [#########..............]  41 %  loss 0.1530  214000 images/s  0:01 left

   Elsewhere (a file, a pipe), plain lines: one for each quarter of an epoch, and at most one a
   second. Nothing at all if quiet. Everything goes to stdout. */
#ifndef EXAMPLES_PROGRESS_H
#define EXAMPLES_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Seconds on a clock that only goes forward. */
double clock_seconds(void);

typedef struct progress {
    bool quiet, terminal;
    int64_t epoch, epochs; /* epoch counts from 1 */
    int64_t images;        /* in an epoch */
    double started, shown; /* when the epoch began; when something was last written */
    int quarters;          /* of this epoch, reported in plain lines */
} progress;

void progress_open(progress *bar, bool quiet);
void progress_epoch(progress *bar, int64_t epoch, int64_t epochs, int64_t images);
/* Whether it is time to show how far it is, with so many images of this epoch done. Cheap: ask it
   after each step. */
bool progress_due(const progress *bar, int64_t images);
void progress_show(progress *bar, int64_t images, double loss);
/* Takes the line off the terminal: call it before anything else is printed. */
void progress_clear(progress *bar);

#endif
