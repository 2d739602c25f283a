/* bandwidth.h: how fast this machine copies floats: what activations are held against.
   SPDX-License-Identifier: MIT

   Copy is y = x, 8 bytes an element, as forward; triad is a = b + s·c, 12 bytes, as backward. Each is
   measured with plain stores, which may stay in the cache, and with stores that stream past it, where
   the processor has them. The threads are started once and wait for each other before every run, so
   that a run holds nothing but the copying. */
#ifndef ACTIVATIONS_BANDWIDTH_H
#define ACTIVATIONS_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

typedef enum bandwidth_kind {
    COPY_PLAIN,
    COPY_STREAMED,
    TRIAD_PLAIN,
    TRIAD_STREAMED,
    BANDWIDTH_KINDS
} bandwidth_kind;

typedef struct bandwidth bandwidth;

/* Arrays of n floats, aligned to 64 bytes; out is written. NULL if a thread cannot be had. */
bandwidth *bandwidth_open(int threads, int64_t n, float *out, const float *b, const float *c);
void bandwidth_close(bandwidth *w);

/* False for streams on a processor that has none. */
bool bandwidth_has(bandwidth_kind kind);
/* The seconds of each of `runs` runs. Between calls the threads sleep. */
void bandwidth_measure(bandwidth *w, bandwidth_kind kind, int runs, double *seconds);

#endif
