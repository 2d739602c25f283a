/* elements.h: a tensor's elements to be changed by the host, and losses that are summed over steps.
   SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_ELEMENTS_H
#define EXAMPLES_ELEMENTS_H

#include <hillock/hillock.h>

/* A copy of all elements of a kept tensor, to be changed; NULL after an error, which is the
   context's. elements_put writes them back and frees them; NULL is allowed. */
void *elements_take(hk_tensor *t);
void elements_put(hk_tensor *t, void *values);

/* The mean loss of an epoch. Steps add to a sum that stays where it is computed, so that a GPU need
   not wait for the host in each of them. */
typedef struct losses {
    hk_tensor *sum;        /* of the steps that are not in the mean yet */
    int64_t steps, images; /* of those */
    int64_t seen;          /* images in the mean */
    double mean;
} losses;

/* False after an error, which is the context's. */
bool losses_open(losses *l, hk_context *ctx);
void losses_close(losses *l);
/* In a step; behind it, which may have been replayed. */
hk_status losses_add(losses *l, hk_tensor *loss);
void losses_count(losses *l, int64_t images);
/* Takes the steps since the last time, all of equally many images, into the mean. False if the loss
   is not finite, or after an error. */
bool losses_take(losses *l);
/* Forgets the epoch. */
void losses_begin(losses *l);

#endif
