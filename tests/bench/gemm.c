/* gemm.c: speed of matrix products in GF/s: own kernels with 1 and 2 threads beside OpenBLAS.
   SPDX-License-Identifier: MIT

   gemm [base|avx2|avx512|f64]     the best instructions of this processor if none is named

   "best" is the fastest sample and what a quiet machine gives; "median" tells how quiet it was. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "cpu.h"
#include "gemm.h"
#include "openblas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 25, WAYS = 4, WARM = 10 };

typedef struct shape {
    const char *use, *operands; /* T: transposed */
    int64_t m, n, k;
} shape;

static const shape shapes[] = {
    {"784-128-10, batch 64: forward", "NT", 64, 128, 784},
    {"", "NT", 64, 10, 128},
    {"weights' gradient", "TN", 128, 784, 64},
    {"", "TN", 10, 128, 64},
    {"data's gradient", "NN", 64, 128, 10},
    {"784-512-256-10, batch 128: forward", "NT", 128, 512, 784},
    {"", "NT", 128, 256, 512},
    {"", "NT", 128, 10, 256},
    {"weights' gradient", "TN", 512, 784, 128},
    {"", "TN", 256, 512, 128},
    {"", "TN", 10, 256, 128},
    {"data's gradient", "NN", 128, 512, 256},
    {"", "NN", 128, 256, 10},
    {"squares", "NN", 256, 256, 256},
    {"", "NN", 1024, 1024, 1024},
    {"", "NT", 1024, 1024, 1024},
    {"", "TN", 1024, 1024, 1024},
    {"one row", "NT", 1, 512, 784},
    {"one column", "NN", 512, 1, 784},
};

typedef struct bench {
    hk__pool *pools[2]; /* 1 and 2 threads */
    hk__stamp stamp;
    bool have_blas;
    void *a, *b, *c, *scratch;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *numbers(int64_t count, hk__stamp stamp) {
    double *p = aligned_alloc(64, (size_t)count * sizeof *p);
    if (!p) exit(1);
    for (int64_t i = 0; i < count; i++) {
        const double x = (double)((i * 2654435761) % 1000) * 1e-3 - 0.5;
        if (stamp == HK__STAMP_f64)
            p[i] = x;
        else
            ((float *)p)[i] = (float)x;
    }
    return p;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Ways: own kernels with 1 and 2 threads, what is chosen when OpenBLAS may be (2 threads), OpenBLAS. */
static double sample(const bench *be, const hk__gemm *job, int way) {
    hk__pool *pool = be->pools[way == 1 || way == 2];
    const size_t bytes = hk__gemm_scratch(be->stamp, job, 1, hk__pool_threads(pool));
    const int calls = (int)(3e8 / (2.0 * (double)(job->m * job->n * job->k))) + 1;
    double start = 0;
    for (int i = -WARM; i < calls; i++) { /* first the workers wake up and the data change caches */
        if (i == 0) start = now();
        if (way == 3)
            hk__openblas_gemm(job);
        else if (hk__gemm_run(pool, be->stamp, way == 2, job, 1, be->scratch, bytes))
            exit(2);
    }
    return (now() - start) / calls;
}

static void measure(const bench *be, const shape *s) {
    hk__gemm job = {.m = s->m, .n = s->n, .k = s->k, .a = be->a, .b = be->b, .c = be->c};
    job.trans_a = s->operands[0] == 'T';
    job.trans_b = s->operands[1] == 'T';
    job.lda = job.trans_a ? s->m : s->k;
    job.ldb = job.trans_b ? s->k : s->n;
    job.ldc = s->n;
    static double times[WAYS][SAMPLES];
    const int samples = s->m < 1024 ? SAMPLES : 7;
    for (int r = 0; r < samples; r++)
        for (int w = 0; w < WAYS; w++)
            if (w < 2 || be->have_blas) times[w][r] = sample(be, &job, w);
    printf("%-36s %s %5d %5d %5d |", s->use, s->operands, (int)s->m, (int)s->n, (int)s->k);
    const double gflop = 2e-9 * (double)(s->m * s->n * s->k);
    for (int w = 0; w < WAYS; w++) {
        if (w >= 2 && !be->have_blas) continue;
        qsort(times[w], (size_t)samples, sizeof *times[w], by_size);
        printf("%9.2f us %4.0f %4.0f |", times[w][0] * 1e6, gflop / times[w][0],
               gflop / times[w][samples / 2]);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    bench be = {.pools = {hk__pool_create(1), hk__pool_create(2)}, .stamp = hk__cpu_best_stamp()};
    for (int s = 0; argc > 1 && s < HK__STAMPS; s++)
        if (strcmp(argv[1], hk__stamp_name((hk__stamp)s)) == 0) be.stamp = (hk__stamp)s;
    char text[160];
    be.have_blas = hk__openblas_describe(text, sizeof text) && be.stamp != HK__STAMP_f64;
    const int64_t most = 1024 * 1024;
    be.a = numbers(most, be.stamp);
    be.b = numbers(most, be.stamp);
    be.c = numbers(most, be.stamp);
    be.scratch = numbers(most, be.stamp);
    if (!be.pools[0] || !be.pools[1]) return 1;
    printf("kernels: %s; BLAS: %s\ntime and GF/s of the fastest sample, GF/s of the median\n",
           hk__stamp_name(be.stamp), text);
    printf("%-36s    %5s %5s %5s |%-22s |%-22s |%-22s |%-22s |\n", "", "m", "n", "k",
           " own, 1 thread", " own, 2 threads", " as chosen, 2 threads", " OpenBLAS, 1 thread");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) measure(&be, &shapes[i]);
    return 0;
}
