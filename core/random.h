/* random.h: random bits in bulk.
   SPDX-License-Identifier: MIT */
#ifndef HK_RANDOM_PRIVATE_H
#define HK_RANDOM_PRIVATE_H

#include "hk_random.h"

HK_BEGIN_DECLS

/* bits[i] = hk_random_bits(stream, first + i) for i < n, four for the price of one. */
void hk__random_fill(hk_random stream, uint64_t first, int64_t n, uint32_t *bits);

HK_END_DECLS
#endif
