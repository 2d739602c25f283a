/* checks.h: what the checked build of the emulator (HILLOCK_EMULATED_CHECKS) looks at, access by access.
   SPDX-License-Identifier: MIT

   Without HK_EMULATED_CHECKS none of it is there. A block's run is its number among all that ever ran. */
#ifndef HK_EMULATOR_CHECKS_H
#define HK_EMULATOR_CHECKS_H

#include "emulator.h"

#if HK_EMULATED_CHECKS

/* A launch, or other work of a stream (NULL), begins; it is over. */
void checks_begin(const launch *k);
void checks_end();
/* Block `index` begins, with its threads as fibers from `first` on, and shared memory as given. */
void checks_block(uint3 index, int first, int threads, const void *shared);
/* Which fiber runs; -1: none. */
void checks_switch(int fiber);
/* The fiber that runs came past a barrier that the code at `pc` calls; the lanes of a warp past theirs. */
void checks_barrier(const void *pc);
void checks_cluster_barrier(const void *pc);
void checks_warp_barrier(int first, unsigned lanes, const void *pc);
/* A write to the shared memory of the block whose fibers begin at `first`. */
void checks_put(int first, const void *p, size_t bytes);
/* The blocks of a cluster, fibers from 0 on, are done. */
void checks_cluster_end(unsigned blocks);
/* Memory that a kernel can reach is there or not; nothing wrote to it yet. */
void checks_memory(const void *p, size_t bytes, bool live);
/* The host wrote to the device's memory, copied within it, read it. */
void checks_written(const void *p, size_t bytes);
void checks_copied(const void *to, const void *from, size_t bytes);
void checks_read(const void *p, size_t bytes);

#else

static inline void checks_begin(const launch *) {}
static inline void checks_end() {}
static inline void checks_block(uint3, int, int, const void *) {}
static inline void checks_switch(int) {}
static inline void checks_barrier(const void *) {}
static inline void checks_cluster_barrier(const void *) {}
static inline void checks_warp_barrier(int, unsigned, const void *) {}
static inline void checks_put(int, const void *, size_t) {}
static inline void checks_cluster_end(unsigned) {}
static inline void checks_memory(const void *, size_t, bool) {}
static inline void checks_written(const void *, size_t) {}
static inline void checks_copied(const void *, const void *, size_t) {}
static inline void checks_read(const void *, size_t) {}

#endif
#endif
