/* pool.c: the threads of one context: a static deal of blocks, spinning first and sleeping later.
   SPDX-License-Identifier: MIT

   Each worker has its share of a region's blocks. A worker that does not turn up in time, because it
   sleeps or because another program has its processor, loses its share to the caller: on a busy
   machine a region of 2 us must not take the 50 us of a wake-up, or a time slice of somebody else. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* pthread_sigmask under -std=c11 */
#endif

#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) || defined(__SSE2__)
#include <xmmintrin.h>
#endif

enum {
    LINE = 64, /* bytes of a cache line: what one side writes is kept off the other side's line */
    /* About 50 us. Inside a training step the next region follows within a few microseconds, and
       waking a sleeper costs 5 to 50; between steps or in a waiting host nothing should burn. */
    SPINS = 1200,
    /* About 1 us: how long the caller, done with its own share, lets a worker be late. Workers that
       spin begin within 0.1 us. */
    PATIENCE = 25
};

typedef struct worker {
    /* The last region whose share of this worker has an owner: the worker, or the caller for it. */
    _Alignas(LINE) atomic_uint_fast64_t taken;
    atomic_uint_fast64_t ran; /* how many shares the worker itself ran */
    hk__pool *pool;
    pthread_t thread;
    int index;
} worker;

struct hk__pool {
    /* Written by the caller. `region` counts regions; a new value is what workers wait for. The rest
       is atomic because a late worker may read it while the next region is prepared; that worker then
       finds its share taken and uses nothing of what it read. */
    _Alignas(LINE) atomic_uint_fast64_t region;
    _Atomic(hk__task *) task;
    _Atomic(void *) arg;
    atomic_int_fast64_t blocks;
    atomic_bool ending;
    /* How many shares are not finished, the caller's own not counted. */
    _Alignas(LINE) atomic_int pending;
    /* Sleeping. A sleeper raises its flag, then looks at what it waits for once more; a waker changes
       that, then looks at the flag. Both in sequential order, so one of them sees the other. */
    _Alignas(LINE) atomic_int workers_asleep;
    atomic_int caller_asleep;
    pthread_mutex_t mutex;
    pthread_cond_t start, finish;
    int threads;
    int started;     /* workers whose thread exists */
    worker *workers; /* [threads]; 0, the caller, is not used */
};

/* Who this thread is while it runs a task; a region started from inside a task runs inline. */
static _Thread_local struct {
    const hk__pool *pool; /* NULL outside of tasks */
    int index;
} self;

/* The mode that flushes denormals: they would slow Adam's moments by a factor. */
#if defined(__x86_64__) || defined(__SSE2__)
typedef unsigned int fp_mode;
static fp_mode fp_get(void) { return _mm_getcsr(); }
static void fp_set(fp_mode mode) { _mm_setcsr(mode); }
static const fp_mode fp_flush = 0x8040; /* FTZ and DAZ */
static void relax(void) { _mm_pause(); }
#elif defined(__aarch64__)
typedef uint64_t fp_mode;
static fp_mode fp_get(void) {
    fp_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static void fp_set(fp_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
static const fp_mode fp_flush = (fp_mode)1 << 24; /* FZ: inputs and outputs */
static void relax(void) { __asm__ volatile("isb" : : : "memory"); }
#else
typedef unsigned int fp_mode;
static fp_mode fp_get(void) { return 0; }
static void fp_set(fp_mode mode) { (void)mode; }
static const fp_mode fp_flush = 0;
static void relax(void) {}
#endif

/* Returns the region once the counter has moved on from `seen`. */
static uint_fast64_t wait_for_region(hk__pool *pool, uint_fast64_t seen) {
    uint_fast64_t now;
    for (int i = 0; i < SPINS; i++) {
        now = atomic_load_explicit(&pool->region, memory_order_acquire);
        if (now != seen) return now;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->workers_asleep, 1);
    while ((now = atomic_load(&pool->region)) == seen)
        pthread_cond_wait(&pool->start, &pool->mutex);
    atomic_fetch_sub(&pool->workers_asleep, 1);
    pthread_mutex_unlock(&pool->mutex);
    return now;
}

static void announce_region(hk__pool *pool) {
    atomic_fetch_add(&pool->region, 1);
    if (atomic_load(&pool->workers_asleep) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);
}

/* Exactly one thread gets the share of worker w in a region. */
static bool take_share(hk__pool *pool, int w, uint_fast64_t region) {
    uint_fast64_t before = region - 1; /* every share of every region is taken by somebody */
    return atomic_compare_exchange_strong(&pool->workers[w].taken, &before, region);
}

/* Runs the share of worker `owner` on the thread of worker `self_index`. */
static void run_share(const hk__pool *pool, int owner, int self_index, int64_t blocks,
                      hk__task *task, void *arg) {
    const int64_t end = (owner + 1) * blocks / pool->threads;
    for (int64_t b = owner * blocks / pool->threads; b < end; b++) task(arg, b, self_index);
}

static void wait_for_workers(hk__pool *pool) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->pending, memory_order_acquire) == 0) return;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_asleep, 1);
    while (atomic_load(&pool->pending) != 0) pthread_cond_wait(&pool->finish, &pool->mutex);
    atomic_store(&pool->caller_asleep, 0);
    pthread_mutex_unlock(&pool->mutex);
}

static void finish_share(hk__pool *pool) {
    if (atomic_fetch_sub(&pool->pending, 1) != 1) return;
    if (atomic_load(&pool->caller_asleep) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->finish);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg) {
    worker *me = arg;
    hk__pool *pool = me->pool;
    self.pool = pool;
    self.index = me->index;
    fp_set(fp_get() | fp_flush);
    for (uint_fast64_t region = 0;;) {
        region = wait_for_region(pool, region);
        if (atomic_load_explicit(&pool->ending, memory_order_relaxed)) return NULL;
        hk__task *task = atomic_load_explicit(&pool->task, memory_order_relaxed);
        void *task_arg = atomic_load_explicit(&pool->arg, memory_order_relaxed);
        const int64_t blocks = atomic_load_explicit(&pool->blocks, memory_order_relaxed);
        if (!take_share(pool, me->index, region)) continue;
        atomic_fetch_add_explicit(&me->ran, 1, memory_order_relaxed);
        run_share(pool, me->index, me->index, blocks, task, task_arg);
        finish_share(pool);
    }
}

static void run_region(hk__pool *pool, int64_t blocks, hk__task *task, void *arg) {
    atomic_store_explicit(&pool->task, task, memory_order_relaxed);
    atomic_store_explicit(&pool->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&pool->blocks, blocks, memory_order_relaxed);
    atomic_store_explicit(&pool->pending, pool->started, memory_order_relaxed);
    announce_region(pool);
    run_share(pool, 0, 0, blocks, task, arg);
    for (int i = 0; i < PATIENCE; i++) {
        if (atomic_load_explicit(&pool->pending, memory_order_acquire) == 0) return;
        relax();
    }
    const uint_fast64_t region = atomic_load_explicit(&pool->region, memory_order_relaxed);
    for (int w = 1; w <= pool->started; w++) {
        if (!take_share(pool, w, region)) continue;
        run_share(pool, w, 0, blocks, task, arg);
        atomic_fetch_sub(&pool->pending, 1);
    }
    wait_for_workers(pool);
}

/* Signals stay with the host's threads: a handler must not run on a worker's stack. */
static bool start_worker(hk__pool *pool, int index) {
    worker *me = &pool->workers[index];
    atomic_init(&me->taken, 0);
    atomic_init(&me->ran, 0);
    me->pool = pool;
    me->index = index;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&me->thread, NULL, worker_main, me);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

hk__pool *hk__pool_create(int threads) {
    if (threads < 1) return NULL;
    /* Both sizes are multiples of the alignment. */
    hk__pool *pool = aligned_alloc(LINE, sizeof *pool);
    worker *workers = aligned_alloc(LINE, (size_t)threads * sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    pool->threads = threads;
    pool->workers = workers;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->finish, NULL);
    while (pool->started < threads - 1 && start_worker(pool, pool->started + 1)) pool->started++;
    if (pool->started == threads - 1) return pool;
    hk__pool_destroy(pool);
    return NULL;
}

void hk__pool_destroy(hk__pool *pool) {
    if (!pool) return;
    atomic_store(&pool->ending, true);
    announce_region(pool);
    for (int w = 1; w <= pool->started; w++) pthread_join(pool->workers[w].thread, NULL);
    pthread_cond_destroy(&pool->finish);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

int hk__pool_threads(const hk__pool *pool) { return pool->threads; }

uint64_t hk__pool_parallel_regions(const hk__pool *pool) {
    return atomic_load_explicit(&pool->region, memory_order_relaxed);
}

uint64_t hk__pool_worker_shares(const hk__pool *pool) {
    uint64_t shares = 0;
    for (int w = 1; w <= pool->started; w++)
        shares += atomic_load_explicit(&pool->workers[w].ran, memory_order_relaxed);
    return shares;
}

void hk__parallel(hk__pool *pool, int64_t blocks, hk__task *task, void *arg) {
    if (blocks <= 0) return;
    if (self.pool) { /* inside a task: its worker keeps its number, and with it its scratch */
        const int w = self.pool == pool ? self.index : 0;
        for (int64_t b = 0; b < blocks; b++) task(arg, b, w);
        return;
    }
    const fp_mode mode = fp_get();
    const bool change = (mode & fp_flush) != fp_flush;
    if (change) fp_set(mode | fp_flush);
    self.pool = pool;
    self.index = 0;
    if (blocks == 1 || pool->threads == 1) {
        for (int64_t b = 0; b < blocks; b++) task(arg, b, 0);
    } else {
        run_region(pool, blocks, task, arg);
    }
    self.pool = NULL;
    if (change) fp_set(mode);
}
