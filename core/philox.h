/* philox.h: the generator of random bits, Philox 4x32-10, for CPU and GPU.
   SPDX-License-Identifier: MIT */
#ifndef HK_PHILOX_H
#define HK_PHILOX_H

#include <stdint.h>

#include "stamp.h"

/* One block of four words is a function of a 128-bit counter and a 64-bit key: ten rounds of two
   32x32 -> 64 bit multiplies whose halves are crossed and mixed with the round key. */
HK_HOST_DEVICE static inline void hk__philox(uint64_t key, uint64_t low, uint64_t high,
                                             uint32_t *out) {
    uint32_t c0 = (uint32_t)low, c1 = (uint32_t)(low >> 32);
    uint32_t c2 = (uint32_t)high, c3 = (uint32_t)(high >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

#endif
