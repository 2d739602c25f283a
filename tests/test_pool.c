/* test_pool.c: the thread pool: every block once, nesting, floating-point modes, many regions.
   SPDX-License-Identifier: MIT */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

/* clang-format off: cmocka needs these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "pool.h"

#include <float.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { MAX_BLOCKS = 257, MAX_THREADS = 5 };

typedef struct record {
    atomic_int runs[MAX_BLOCKS];
    int worker[MAX_BLOCKS];
    int64_t last[MAX_THREADS]; /* last block of each worker, to see the order */
    atomic_int wrong_order;
} record;

static void note(void *arg, int64_t block, int worker) {
    record *r = arg;
    atomic_fetch_add(&r->runs[block], 1);
    r->worker[block] = worker;
    if (r->last[worker] >= block) atomic_fetch_add(&r->wrong_order, 1);
    r->last[worker] = block;
}

static void every_block_once(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 4, 5, 7, 64, 255, 257};
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        hk__pool *pool = hk__pool_create(threads);
        assert_non_null(pool);
        assert_int_equal(hk__pool_threads(pool), threads);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            record r;
            memset(&r, 0, sizeof r);
            memset(r.last, 0xff, sizeof r.last);
            const uint64_t before = hk__pool_parallel_regions(pool);
            hk__parallel(pool, counts[i], note, &r);
            for (int64_t b = 0; b < MAX_BLOCKS; b++)
                assert_int_equal(atomic_load(&r.runs[b]), b < counts[i]);
            assert_int_equal(atomic_load(&r.wrong_order), 0);
            const bool parallel = threads > 1 && counts[i] > 1;
            assert_int_equal(hk__pool_parallel_regions(pool) - before, parallel);
            /* The promised deal: a share's worker, or the caller if that worker came too late. */
            for (int64_t b = 0; parallel && b < counts[i]; b++)
                for (int w = 0; w < threads; w++)
                    if (w * counts[i] / threads <= b && b < (w + 1) * counts[i] / threads)
                        assert_true(r.worker[b] == w || r.worker[b] == 0);
        }
        hk__pool_destroy(pool);
    }
}

static void bad_arguments(void **state) {
    (void)state;
    assert_null(hk__pool_create(0));
    assert_null(hk__pool_create(-3));
    hk__pool_destroy(NULL);
}

typedef struct nest {
    hk__pool *pool, *other;
    atomic_int inner, wrong_worker;
    int outer_worker[8];
} nest;

typedef struct inner_call {
    nest *n;
    int worker;
} inner_call;

static void inner_task(void *arg, int64_t block, int worker) {
    (void)block;
    const inner_call *call = arg;
    atomic_fetch_add(&call->n->inner, 1);
    if (worker != call->worker) atomic_fetch_add(&call->n->wrong_worker, 1);
}

static void outer_task(void *arg, int64_t block, int worker) {
    nest *n = arg;
    n->outer_worker[block] = worker;
    hk__parallel(n->pool, 10, inner_task, &(inner_call){n, worker});
    hk__parallel(n->other, 10, inner_task, &(inner_call){n, 0});
}

static void nested_runs_inline(void **state) {
    (void)state;
    nest n = {.pool = hk__pool_create(2), .other = hk__pool_create(2)};
    assert_non_null(n.pool);
    assert_non_null(n.other);
    hk__parallel(n.pool, 8, outer_task, &n);
    assert_int_equal(atomic_load(&n.inner), 160);
    assert_int_equal(atomic_load(&n.wrong_worker), 0);
    assert_int_equal(hk__pool_parallel_regions(n.pool), 1);
    assert_int_equal(hk__pool_parallel_regions(n.other), 0);
    assert_int_equal(n.outer_worker[0], 0);
    hk__pool_destroy(n.pool);
    hk__pool_destroy(n.other);
}

static float half(float x) {
    volatile float y = x;
    return y * 0.5F;
}

static void flush_task(void *arg, int64_t block, int worker) {
    (void)worker;
    ((float *)arg)[block] = half(FLT_MIN);
}

static void denormals_flushed_and_mode_restored(void **state) {
    (void)state;
    assert_true(half(FLT_MIN) > 0.0F);
    for (int threads = 1; threads <= 2; threads++) {
        hk__pool *pool = hk__pool_create(threads);
        assert_non_null(pool);
        for (int64_t blocks = 1; blocks <= 4; blocks++) {
            float got[4] = {1, 1, 1, 1};
            hk__parallel(pool, blocks, flush_task, got);
            for (int64_t b = 0; b < blocks; b++) assert_true(got[b] == 0.0F);
            assert_true(half(FLT_MIN) > 0.0F);
        }
        hk__pool_destroy(pool);
    }
}

static void add_task(void *arg, int64_t block, int worker) {
    (void)worker;
    ((int64_t *)arg)[8 * block] += block + 1;
}

static void pause_us(long us) { nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL); }

/* Plain, unsynchronised memory is written by workers and read by the caller, and the other way
   round; ThreadSanitizer and the sums watch. */
static int64_t many_regions(int threads, int regions) {
    hk__pool *pool = hk__pool_create(threads);
    if (!pool) return -1;
    int64_t sums[8 * 4] = {0};
    for (int i = 0; i < regions; i++) {
        hk__parallel(pool, 4, add_task, sums);
        for (int b = 0; b < 4; b++) sums[8 * b]--;
        if (i % 997 == 0) pause_us(300); /* long enough for the workers to fall asleep */
    }
    int64_t total = 0;
    for (int b = 0; b < 4; b++) total += sums[8 * b];
    hk__pool_destroy(pool);
    return total;
}

static void regions_follow_each_other(void **state) {
    (void)state;
    assert_int_equal(many_regions(2, 20000), 6 * 20000);
    assert_int_equal(many_regions(3, 500), 6 * 500);
}

static void slow_task(void *arg, int64_t block, int worker) {
    (void)worker;
    if (block == 1) pause_us(2000); /* the caller falls asleep waiting */
    ((int64_t *)arg)[8 * block] = block + 1;
}

static void other_thread_task(void *arg, int64_t block, int worker) {
    (void)block;
    if (worker == 1) atomic_fetch_add((atomic_int *)arg, 1);
    pause_us(1000); /* long enough for a worker to wake up and find its share still there */
}

static void two_threads_really_run(void **state) {
    (void)state;
    hk__pool *pool = hk__pool_create(2);
    assert_non_null(pool);
    atomic_int by_worker = 0;
    for (int i = 0; i < 20; i++) hk__parallel(pool, 2, other_thread_task, &by_worker);
    assert_int_not_equal(atomic_load(&by_worker), 0);
    hk__pool_destroy(pool);
}

static void caller_wakes_up(void **state) {
    (void)state;
    hk__pool *pool = hk__pool_create(2);
    assert_non_null(pool);
    for (int i = 0; i < 20; i++) {
        int64_t got[16] = {0};
        hk__parallel(pool, 2, slow_task, got);
        assert_int_equal(got[0], 1);
        assert_int_equal(got[8], 2);
    }
    hk__pool_destroy(pool);
}

static void *pool_user(void *arg) {
    *(int64_t *)arg = many_regions(2, 3000);
    return NULL;
}

static void two_pools_in_two_threads(void **state) {
    (void)state;
    pthread_t threads[2];
    int64_t totals[2] = {0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pool_user, &totals[i]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(totals[i], 6 * 3000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_once),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(nested_runs_inline),
        cmocka_unit_test(denormals_flushed_and_mode_restored),
        cmocka_unit_test(regions_follow_each_other),
        cmocka_unit_test(two_threads_really_run),
        cmocka_unit_test(caller_wakes_up),
        cmocka_unit_test(two_pools_in_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
