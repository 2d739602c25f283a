/* gemm_fixture.h: matrix products with their right answers, laid out in memory between guards.
   SPDX-License-Identifier: MIT */
#ifndef HK_GEMM_FIXTURE_H
#define HK_GEMM_FIXTURE_H

/* clang-format off: cmocka needs these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, MOST_JOBS = 33 };

/* ---- seeded numbers ---- */

static uint64_t seed = 20240611;

static inline uint32_t random_bits(void) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33);
}

static inline int64_t random_below(int64_t n) { return random_bits() % n; }

/* Floats from -1 to 1, so that they are the same numbers in every stamp. */
static inline double random_value(void) {
    return (float)random_bits() * (1.0F / (1U << 30)) - 1.0F;
}

/* ---- a problem: numbers, shape and the right answer ---- */

typedef struct problem {
    hk__gemm shape; /* without pointers */
    bool has_bias;
    int64_t jobs;
    double *a, *b, *c, *bias;   /* dense, all jobs in a row; c: what C holds before */
    double *want, *sizes, *add; /* results; sums of |a||b|; |bias| + |c| where they are added */
} problem;

static inline double *random_numbers(int64_t count) {
    double *p = malloc((size_t)(count + 1) * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < count; i++) p[i] = random_value();
    return p;
}

static inline double at(const double *x, bool transposed, int64_t rows, int64_t cols, int64_t i,
                        int64_t j) {
    return transposed ? x[j * rows + i] : x[i * cols + j];
}

static inline void solve_element(problem *pr, int64_t job, int64_t i, int64_t j) {
    const hk__gemm *s = &pr->shape;
    const double *a = pr->a + job * s->m * s->k, *b = pr->b + job * s->k * s->n;
    const int64_t here = (job * s->m + i) * s->n + j;
    long double sum = 0;
    double size = 0, add = 0;
    for (int64_t t = 0; t < s->k; t++) {
        const double x = at(a, s->trans_a, s->m, s->k, i, t),
                     y = at(b, s->trans_b, s->k, s->n, t, j);
        sum += (long double)x * y;
        size += fabs(x * y);
    }
    if (pr->has_bias) {
        sum += pr->bias[j];
        add += fabs(pr->bias[j]);
    }
    if (s->accumulate) {
        sum += pr->c[here];
        add += fabs(pr->c[here]);
    }
    pr->want[here] = (double)sum;
    pr->sizes[here] = size;
    pr->add[here] = add;
}

/* A big problem is checked at random places only; elsewhere want is NaN and not looked at. */
static inline void fill_problem(problem *pr, bool big) {
    const hk__gemm *s = &pr->shape;
    const int64_t results = pr->jobs * s->m * s->n;
    pr->a = random_numbers(pr->jobs * s->m * s->k);
    pr->b = random_numbers(pr->jobs * s->k * s->n);
    pr->c = random_numbers(results);
    pr->bias = random_numbers(s->n);
    pr->want = random_numbers(results);
    pr->sizes = random_numbers(results);
    pr->add = random_numbers(results);
    for (int64_t e = 0; e < results; e++) pr->want[e] = NAN;
    for (int64_t e = 0; e < (big ? 3000 : results); e++) {
        const int64_t here = big ? random_below(results) : e, row = here / s->n;
        solve_element(pr, row / s->m, row % s->m, here % s->n);
    }
}

static inline void free_problem(problem *pr) {
    double *const all[] = {pr->a, pr->b, pr->c, pr->bias, pr->want, pr->sizes, pr->add};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* ---- the same problem in the memory of one stamp ---- */

typedef struct memory {
    char *block;
    size_t bytes;
    char *data; /* first element */
    int64_t ld;
} memory;

static inline size_t element_size(hk__stamp stamp) {
    return stamp == HK__STAMP_f64 ? sizeof(double) : sizeof(float);
}

static inline void put(void *to, hk__stamp stamp, double x) {
    if (stamp == HK__STAMP_f64)
        memcpy(to, &x, sizeof x);
    else
        memcpy(to, &(float){(float)x}, sizeof(float));
}

static inline double get(const void *from, hk__stamp stamp) {
    double d;
    float f;
    memcpy(stamp == HK__STAMP_f64 ? (void *)&d : (void *)&f, from, element_size(stamp));
    return stamp == HK__STAMP_f64 ? d : (double)f;
}

/* Rows with `pad` elements of NaN between them (bytes of 0xff are one) and bytes before and after.
   Operands have none after, so that AddressSanitizer sees one read too many. */
static inline memory lay_out(const double *x, int64_t rows, int64_t cols, int64_t pad,
                             size_t before, size_t after, hk__stamp stamp) {
    const size_t size = element_size(stamp);
    memory mem = {.ld = cols + pad};
    mem.bytes =
        before + after + (rows * cols > 0 ? (size_t)((rows - 1) * mem.ld + cols) * size : 0);
    mem.block = malloc(mem.bytes + (mem.bytes == 0));
    assert_non_null(mem.block);
    memset(mem.block, 0xff, mem.bytes);
    mem.data = mem.block + before;
    for (int64_t i = 0; x && i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            put(mem.data + (size_t)(i * mem.ld + j) * size, stamp, x[i * cols + j]);
    return mem;
}

typedef struct setting {
    memory a[MOST_JOBS], b[MOST_JOBS], c[MOST_JOBS], bias;
    hk__gemm jobs[MOST_JOBS];
} setting;

/* pads, offsets: chosen once a problem, so that all runs of it see the same strides. */
static inline void set_up(setting *set, const problem *pr, hk__stamp stamp, const int64_t pads[3]) {
    const hk__gemm *s = &pr->shape;
    const size_t size = element_size(stamp);
    set->bias = lay_out(pr->bias, 1, s->n, 0, 0, 0, stamp);
    for (int64_t i = 0; i < pr->jobs; i++) {
        const int64_t a_rows = s->trans_a ? s->k : s->m, b_rows = s->trans_b ? s->n : s->k;
        set->a[i] = lay_out(pr->a + i * s->m * s->k, a_rows, s->m + s->k - a_rows, pads[0],
                            (size_t)(i % 3) * size, 0, stamp);
        set->b[i] = lay_out(pr->b + i * s->k * s->n, b_rows, s->k + s->n - b_rows, pads[1],
                            (size_t)(i % 2) * size, 0, stamp);
        /* Without accumulate, what C holds must not matter: NaN. */
        set->c[i] = lay_out(s->accumulate ? pr->c + i * s->m * s->n : NULL, s->m, s->n, pads[2],
                            GUARD, GUARD, stamp);
        set->jobs[i] = *s;
        set->jobs[i].a = set->a[i].data;
        set->jobs[i].lda = set->a[i].ld;
        set->jobs[i].b = set->b[i].data;
        set->jobs[i].ldb = set->b[i].ld;
        set->jobs[i].c = set->c[i].data;
        set->jobs[i].ldc = set->c[i].ld;
        set->jobs[i].bias = pr->has_bias ? set->bias.data : NULL;
    }
}

static inline void tear_down(setting *set, const problem *pr) {
    free(set->bias.block);
    for (int64_t i = 0; i < pr->jobs; i++) {
        free(set->a[i].block);
        free(set->b[i].block);
        free(set->c[i].block);
    }
}

#endif
