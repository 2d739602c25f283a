/* bandwidth.c: copy and triad on threads that stay.
   SPDX-License-Identifier: MIT */
#include "bandwidth.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    PIECE = 2048,  /* bytes: a memcpy this small never streams */
    LINE = 16,     /* floats in a cache line */
    SPINS = 20000, /* before a thread that waits lets others run */
    PATIENCE = 25  /* about 1 us: how late a worker may be before its share is done by the caller */
};
static const double waking_seconds = 1e-3;

/* As in the library's own pool, each thread has its share of a run, and the caller takes that of one
   that does not turn up, so that on a busy machine both are held up alike. */
typedef struct worker {
    _Alignas(64) atomic_uint_fast64_t taken; /* the last run whose share has an owner */
    _Alignas(64) atomic_uint_fast64_t ran;   /* the last one that this worker did itself */
    bandwidth *of;
    int index;
    pthread_t thread;
} worker;

struct bandwidth {
    int threads, started; /* started: workers beside the caller */
    int64_t n;
    float *out;
    const float *b, *c;
    bandwidth_kind kind;
    worker *workers;
    atomic_uint_fast64_t run; /* counts runs */
    atomic_bool active;       /* a series of runs is on: workers spin */
    atomic_int awake;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    uint64_t series;
    bool ending;
};

/* --- the loops -------------------------------------------------------------------------------- */

/* Small pieces, so that the C library takes its widest plain stores. */
static void copy_plain(float *restrict out, const float *restrict b, int64_t n) {
    const int64_t step = PIECE / (int64_t)sizeof *out;
    for (int64_t i = 0; i < n; i += step)
        memcpy(out + i, b + i, sizeof *out * (size_t)(n - i < step ? n - i : step));
}

#define TRIAD(name, attribute)                                                                     \
    attribute static void name(float *restrict out, const float *restrict b,                       \
                               const float *restrict c, int64_t n) {                               \
        for (int64_t i = 0; i < n; i++) out[i] = b[i] + 0.5f * c[i];                               \
    }
TRIAD(triad_base, )
#if defined(__x86_64__) && defined(__GNUC__)
TRIAD(triad_avx2, __attribute__((target("avx2"))))
TRIAD(triad_avx512, __attribute__((target("avx512f"))))
static void triad_plain(float *out, const float *b, const float *c, int64_t n) {
    if (__builtin_cpu_supports("avx512f"))
        triad_avx512(out, b, c, n);
    else if (__builtin_cpu_supports("avx2"))
        triad_avx2(out, b, c, n);
    else
        triad_base(out, b, c, n);
}
#else
static void triad_plain(float *out, const float *b, const float *c, int64_t n) {
    triad_base(out, b, c, n);
}
#endif

#if defined(__SSE2__)
static void copy_streamed(float *out, const float *b, int64_t n) {
    int64_t i = 0;
    for (; i + LINE <= n; i += LINE) {
        const __m128 v0 = _mm_load_ps(b + i), v1 = _mm_load_ps(b + i + 4);
        const __m128 v2 = _mm_load_ps(b + i + 8), v3 = _mm_load_ps(b + i + 12);
        _mm_stream_ps(out + i, v0);
        _mm_stream_ps(out + i + 4, v1);
        _mm_stream_ps(out + i + 8, v2);
        _mm_stream_ps(out + i + 12, v3);
    }
    copy_plain(out + i, b + i, n - i);
    _mm_sfence();
}

static void triad_streamed(float *out, const float *b, const float *c, int64_t n) {
    const __m128 s = _mm_set1_ps(0.5f);
    int64_t i = 0;
    for (; i + LINE <= n; i += LINE)
        for (int64_t k = i; k < i + LINE; k += 4)
            _mm_stream_ps(out + k,
                          _mm_add_ps(_mm_load_ps(b + k), _mm_mul_ps(s, _mm_load_ps(c + k))));
    triad_base(out + i, b + i, c + i, n - i);
    _mm_sfence();
}

bool bandwidth_has(bandwidth_kind kind) {
    (void)kind;
    return true;
}
#else
static void copy_streamed(float *out, const float *b, int64_t n) { copy_plain(out, b, n); }
static void triad_streamed(float *out, const float *b, const float *c, int64_t n) {
    triad_plain(out, b, c, n);
}

bool bandwidth_has(bandwidth_kind kind) { return kind == COPY_PLAIN || kind == TRIAD_PLAIN; }
#endif

/* A thread's share: whole cache lines, but for the end of the last one. */
static void run_share(const bandwidth *w, int index) {
    const int64_t lines = (w->n + LINE - 1) / LINE;
    const int64_t first = lines * index / w->threads * LINE;
    const int64_t end = lines * (index + 1) / w->threads * LINE;
    const int64_t n = (end < w->n ? end : w->n) - first;
    if (n <= 0) return;
    switch (w->kind) {
    case COPY_PLAIN: copy_plain(w->out + first, w->b + first, n); break;
    case COPY_STREAMED: copy_streamed(w->out + first, w->b + first, n); break;
    case TRIAD_PLAIN: triad_plain(w->out + first, w->b + first, w->c + first, n); break;
    default: triad_streamed(w->out + first, w->b + first, w->c + first, n); break;
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

static void relax(int *spins) {
#if defined(__SSE2__)
    _mm_pause();
#endif
    if (++*spins % SPINS == 0) sched_yield();
}

/* Whether the share of this worker in that run is now the asker's. */
static bool take(worker *of, uint_fast64_t run) {
    uint_fast64_t last = atomic_load(&of->taken);
    return last < run && atomic_compare_exchange_strong(&of->taken, &last, run);
}

static void run_series(worker *self) {
    bandwidth *w = self->of;
    int spins = 0;
    atomic_fetch_add(&w->awake, 1);
    while (atomic_load(&w->active)) {
        const uint_fast64_t run = atomic_load(&w->run);
        if (!take(self, run)) {
            relax(&spins);
            continue;
        }
        run_share(w, self->index);
        atomic_store(&self->ran, run);
    }
    atomic_fetch_sub(&w->awake, 1);
}

static void *work(void *arg) {
    worker *self = arg;
    bandwidth *w = self->of;
    uint64_t series = 0;
    for (;;) {
        pthread_mutex_lock(&w->mutex);
        while (w->series == series && !w->ending) pthread_cond_wait(&w->wake, &w->mutex);
        series = w->series;
        const bool ending = w->ending;
        pthread_mutex_unlock(&w->mutex);
        if (ending) return NULL;
        run_series(self);
    }
}

static void run_once(bandwidth *w) {
    const uint_fast64_t run = atomic_fetch_add(&w->run, 1) + 1;
    int spins = 0;
    run_share(w, 0);
    for (int i = 1; i <= w->started; i++) {
        worker *other = &w->workers[i];
        for (int k = 0; k < PATIENCE && atomic_load(&other->taken) < run; k++) relax(&spins);
        if (take(other, run))
            run_share(w, i);
        else
            while (atomic_load(&other->ran) < run) relax(&spins);
    }
}

void bandwidth_measure(bandwidth *w, bandwidth_kind kind, int runs, double *seconds) {
    int spins = 0;
    w->kind = kind;
    atomic_store(&w->active, true);
    pthread_mutex_lock(&w->mutex);
    w->series++;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    const double asked = clock_seconds();
    while (atomic_load(&w->awake) < w->started && clock_seconds() < asked + waking_seconds)
        relax(&spins);
    for (int r = -1; r < runs; r++) { /* the first one is to warm up */
        const double start = clock_seconds();
        run_once(w);
        if (r >= 0) seconds[r] = clock_seconds() - start;
    }
    atomic_store(&w->active, false);
}

bandwidth *bandwidth_open(int threads, int64_t n, float *out, const float *b, const float *c) {
    bandwidth *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->threads = threads;
    w->n = n;
    w->out = out;
    w->b = b;
    w->c = c;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->workers = aligned_alloc(64, (size_t)threads * sizeof *w->workers);
    if (w->workers) memset(w->workers, 0, (size_t)threads * sizeof *w->workers);
    bool ok = w->workers != NULL;
    for (int i = 1; ok && i < threads; i++) {
        w->workers[i].of = w;
        w->workers[i].index = i;
        ok = pthread_create(&w->workers[i].thread, NULL, work, &w->workers[i]) == 0;
        w->started += ok;
    }
    if (ok) return w;
    bandwidth_close(w);
    return NULL;
}

void bandwidth_close(bandwidth *w) {
    if (!w) return;
    pthread_mutex_lock(&w->mutex);
    w->ending = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    for (int i = 1; i <= w->started; i++) pthread_join(w->workers[i].thread, NULL);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->wake);
    free(w->workers);
    free(w);
}
