/* hk_random.h: random numbers as a pure function of (seed, name, moment, index).
   SPDX-License-Identifier: MIT

   Nothing is drawn in call order. A stream is named for its purpose ("init/linear0.weight", "shuffle",
   "dropout/dropout0"), so adding a layer or a draw somewhere changes no other draw. Generator: Philox
   4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). */
#ifndef HK_RANDOM_H
#define HK_RANDOM_H

#include "hk_base.h"

HK_BEGIN_DECLS

typedef struct hk_random {
    uint64_t key;    /* seed and name */
    uint64_t moment; /* epoch or step */
} hk_random;

HK_API hk_random hk_random_stream(uint64_t seed, const char *name, uint64_t moment);

/* The index-th draw: 32 random bits; uniform in [0, 1) with 24 bits, exact in float; an integer in
   [0, bound) without bias worth naming (64-bit multiply); normal with mean 0 and deviation 1
   (Box-Muller in double, so that it is the same with every compiler). */
HK_API uint32_t hk_random_bits(hk_random stream, uint64_t index);
HK_API double hk_random_uniform(hk_random stream, uint64_t index);
HK_API uint64_t hk_random_below(hk_random stream, uint64_t index, uint64_t bound);
HK_API double hk_random_normal(hk_random stream, uint64_t index);

/* order[0..n) becomes a permutation of 0..n-1. */
HK_API void hk_random_permutation(hk_random stream, int64_t n, int64_t *order);

HK_END_DECLS
#endif
