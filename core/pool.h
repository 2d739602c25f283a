/* pool.h: the threads of one context. The caller is worker 0; others spin a little, then sleep.
   SPDX-License-Identifier: MIT */
#ifndef HK_POOL_H
#define HK_POOL_H

#include "hk_base.h"

HK_BEGIN_DECLS

typedef struct hk__pool hk__pool;

/* Work on one block. `worker` is in [0, threads): scratch that must not be shared is indexed by it. */
typedef void hk__task(void *arg, int64_t block, int worker);

/* Starts threads - 1 workers. Returns NULL when memory or threads cannot be had. */
hk__pool *hk__pool_create(int threads);
void hk__pool_destroy(hk__pool *pool);
int hk__pool_threads(const hk__pool *pool);

/* Runs task(arg, b, w) for every b in [0, blocks) and returns when all are done. Worker w of W takes
   the blocks [w*blocks/W, (w+1)*blocks/W) in order: a static deal. A worker that has not begun about a
   microsecond after the caller is done loses its share to the caller, which runs it as worker 0: on a
   busy machine a short region must not wait for a wake-up. Who computes a block never changes
   its bits, so results do not depend on W as long as the number and shape of blocks depend on the
   sizes of the problem alone. Denormals are flushed to zero while a task runs, in every worker; the
   caller's floating-point mode is restored on return. One block runs on the caller at no cost. */
void hk__parallel(hk__pool *pool, int64_t blocks, hk__task *task, void *arg);

/* How many regions were dealt to more than one thread so far; for tests and logs. */
uint64_t hk__pool_parallel_regions(const hk__pool *pool);
/* How many shares of them were really run by a thread other than the caller. */
uint64_t hk__pool_worker_shares(const hk__pool *pool);

HK_END_DECLS
#endif
