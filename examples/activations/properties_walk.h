/* properties_walk.h: walking over float32 numbers, and what is noted on the way.
   SPDX-License-Identifier: MIT

   Magnitudes ascend from 0 to the greatest float, on both sides of 0 at once. Left of 0 we look
   at g(m) = -f(-m), right of it at g(m) = f(m): both rise where f does, so one piece of code
   serves both. Floats are compared as integers of the same order ("keys"), in which neighbours
   differ by 1. A block of floats is summed up by loops that become vector code; what only few
   blocks show (a wiggle, the end of a run of zeros) is then looked at float by float. Where an
   extreme is reached is noted by block, and found out at the end. */
#ifndef ACTIVATIONS_PROPERTIES_WALK_H
#define ACTIVATIONS_PROPERTIES_WALK_H

#include "properties.h"

#include <pthread.h>
#include <string.h>

enum { BLOCK = 1024, BLOCKS = 16, CHUNK = BLOCK * BLOCKS };
enum { MAGNITUDES = 0x7F800000 }; /* of finite floats */

/* --- keys: there is no -0 among the floats that have one ------------------------------------ */

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t key_of(float v) {
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

static inline float value_of(int32_t key) {
    const int32_t bits = key ^ ((key >> 31) & 0x7FFFFFFF);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* The key of -v from that of v; there is no -0. */
static inline int32_t mirrored(int32_t key) { return key ? ~key : 0; }

/* --- what is noted -------------------------------------------------------------------------- */

/* Which extreme: least ones are greatest ones of the inverted key. */
enum { HIGH, LOW, STEEPEST, LEAST, EXTREMES };
static inline bool is_slope(int which) { return which >= STEEPEST; }
static inline bool is_least(int which) { return which == LOW || which == LEAST; }

/* A greatest key, and the first and last block that had it; at last, the first and last float. */
typedef struct best {
    int32_t key;
    uint32_t first, last; /* index of the block's first float; at last, the float's bits */
} best;

/* Greatest distance of g below what it has been. */
typedef struct fall {
    int32_t top;
    int64_t ulps;
} fall;

/* A run of exact zeros that is going on. */
typedef struct run {
    bool on;
    double share; /* of N(0, 1), of the runs so far */
    double start;
} run;

typedef struct side {
    double sign;
    best best[EXTREMES]; /* of f and f', not of g */
    fall down, up;
    run zeros, flats;
    bool zero_before, flat_before;
    int32_t limit;      /* key of g at infinity */
    uint32_t not_limit; /* the last block that had something else */
} side;

typedef struct worker {
    evaluator e, small;          /* small: for stretches between scanned floats */
    uint32_t stride, begin, end; /* indices of floats: float i has the bits i·stride */
    side side[2];                /* left, right of 0 */
    int64_t nans;
    float odd_error;
    bool ok;
    pthread_t thread;
} worker;

/* Walks floats begin..end; arg is the worker. */
void *walk(void *arg);
/* Goes on with key, of a float farther from 0. */
void add_fall(fall *f, int32_t key);

#endif
