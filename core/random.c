/* random.c: Philox 4x32-10, and what is made of its bits.
   SPDX-License-Identifier: MIT */
#include "random.h"

#include <math.h>

#include "philox.h"

__extension__ typedef unsigned __int128 wide;

/* Finaliser of SplitMix64: spreads every bit of the input over all of the output. */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

hk_random hk_random_stream(uint64_t seed, const char *name, uint64_t moment) {
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a */
    for (const char *c = name ? name : ""; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001B3u;
    return (hk_random){.key = mix(seed + 0x9E3779B97F4A7C15u) ^ mix(hash), .moment = moment};
}

uint32_t hk_random_bits(hk_random stream, uint64_t index) {
    uint32_t word[4];
    hk__philox(stream.key, index / 4, stream.moment, word);
    return word[index % 4];
}

void hk__random_fill(hk_random stream, uint64_t first, int64_t n, uint32_t *bits) {
    int64_t i = 0;
    for (; i < n && (first + (uint64_t)i) % 4 != 0; i++)
        bits[i] = hk_random_bits(stream, first + (uint64_t)i);
    for (; i + 4 <= n; i += 4)
        hk__philox(stream.key, (first + (uint64_t)i) / 4, stream.moment, bits + i);
    for (; i < n; i++) bits[i] = hk_random_bits(stream, first + (uint64_t)i);
}

double hk_random_uniform(hk_random stream, uint64_t index) {
    return (double)(hk_random_bits(stream, index) >> 8) * 0x1p-24;
}

/* Draws 2i and 2i+1 share a block. */
static uint64_t below(const uint32_t *word, uint64_t index, uint64_t bound) {
    const uint64_t half = index % 2 * 2;
    const uint64_t bits = (uint64_t)word[half] << 32 | word[half + 1];
    return (uint64_t)(((wide)bits * bound) >> 64);
}

uint64_t hk_random_below(hk_random stream, uint64_t index, uint64_t bound) {
    uint32_t word[4];
    hk__philox(stream.key, index / 2, stream.moment, word);
    return below(word, index, bound);
}

double hk_random_normal(hk_random stream, uint64_t index) {
    /* Draws 2i and 2i+1 share a block: the cosine and the sine of one Box-Muller pair. */
    uint32_t word[4];
    hk__philox(stream.key, index / 2, stream.moment, word);
    const double u = ((double)word[0] + ((double)(word[1] >> 11) + 0.5) * 0x1p-21) * 0x1p-32;
    const double angle = 6.283185307179586476925 * ((double)word[2] * 0x1p-32);
    return sqrt(-2.0 * log(u)) * (index % 2 ? sin(angle) : cos(angle));
}

void hk_random_permutation(hk_random stream, int64_t n, int64_t *order) {
    uint32_t word[4] = {0};
    for (int64_t i = 0; i < n; i++) order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) { /* Fisher-Yates */
        if (i % 2 == 1 || i == n - 1) hk__philox(stream.key, (uint64_t)i / 2, stream.moment, word);
        const int64_t j = (int64_t)below(word, (uint64_t)i, (uint64_t)i + 1);
        const int64_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}
