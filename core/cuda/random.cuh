/* random.cuh: random draws inside of kernels, the same as hk_random.h's.
   SPDX-License-Identifier: MIT

   A kernel is handed a stream's key. The moment of a training step's draws lies in a cell, so that a step that is
   replayed draws anew. */
#ifndef HK_RANDOM_CUH
#define HK_RANDOM_CUH

#include "gpu.h"
#include "philox.h"

/* cells: hk__gpu_cells. */
static __device__ inline uint64_t hk__random_moment(const double *cells) {
    return (uint64_t)cells[HK__CELL_TRAIN_STEP];
}

/* Draws 4·quad to 4·quad + 3: for the price of one. */
static __device__ inline void hk__random_four(uint64_t key, uint64_t moment, uint64_t quad,
                                              uint32_t *word) {
    hk__philox(key, quad, moment, word);
}

static __device__ inline uint32_t hk__random_one(uint64_t key, uint64_t moment, uint64_t index) {
    uint32_t word[4];
    hk__philox(key, index / 4, moment, word);
    const uint32_t low = index & 1 ? word[1] : word[0], high = index & 1 ? word[3] : word[2];
    return index & 2 ? high : low; /* no array in memory */
}

/* The 24 bits that make a uniform draw, and the draw: in [0, 1). */
static __device__ inline uint32_t hk__random_24(uint32_t bits) { return bits >> 8; }
static __device__ inline double hk__random_uniform(uint32_t bits) {
    return (double)hk__random_24(bits) * 0x1p-24;
}

#endif
