/* ctest: labels=slow timeout=3600 */
/* test_exhaustive.c: the elementary functions of the kernels at every float of their domains, against
   long double. What it prints stands in docs/accuracy.md.
   SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "stamped_math.h"

static long double exact_tail(long double x) { return 0.5L * erfcl(fabsl(x) * sqrtl(0.5L)); }

/* Floats whose bits run from first to last, of one sign, and the largest error allowed. */
typedef struct function {
    const char *name, *domain;
    long double (*exact)(long double);
    uint32_t first, last;
    double allowed;
} function;

static const function functions[MATH_COUNT] = {
    [MATH_EXP] = {"exp", "x <= 0", expl, 0x80000000, 0xff800000, 2},
    [MATH_EXPM1] = {"expm1", "x <= 0", expm1l, 0x80000000, 0xff800000, 2},
    [MATH_TANH] = {"tanh", "all x", tanhl, 0, 0x7f800000, 2}, /* and their negatives */
    [MATH_LOG1P] = {"log1p", "0 <= x <= 1", log1pl, 0, 0x3f800000, 3},
    [MATH_TAIL] = {"normal tail", "x >= 0", exact_tail, 0, 0x7f800000, 8},
};

/* The instruction sets that the processor has, in the order of their stamps. */
static int stamps(hk__stamp list[3]) {
    static const char *const names[] = {"base", "avx2", "avx512"};
    int n = 0;
    for (int i = 0; i < 3; i++) {
        hk_context *ctx = hk_context_create(&(hk_context_config){.threads = 1, .isa = names[i]});
        if (hk_error(ctx) == HK_OK && ctx->stamp == (hk__stamp)i) list[n++] = (hk__stamp)i;
        hk_context_destroy(ctx);
    }
    return n;
}

enum { CHUNK = 1 << 16, WORKERS = 64 };

/* The worst error that one worker met on one instruction set. */
typedef struct worst {
    double ulps;
    float at;
    char line[192]; /* free: workers do not share cache lines */
} worst;

typedef struct sweep {
    const function *f;
    int which, n_stamps;
    hk__stamp stamp[3];
    worst worst[3][WORKERS];
} sweep;

/* In units of the last place of the exact result. Below the normal numbers a result may be 0. */
static double error_of(float got, long double want) {
    if (fabsl(want) < (long double)FLT_MIN) return fabsf(got) <= FLT_MIN ? 0 : INFINITY;
    int exponent;
    frexpl(want, &exponent);
    const double ulps = (double)(fabsl((long double)got - want) / ldexpl(1, exponent - 24));
    return ulps >= 0 ? ulps : INFINITY; /* NaN is the worst */
}

static void sweep_chunk(void *arg, int64_t chunk, int worker) {
    sweep *s = arg;
    float x[CHUNK], y[3][CHUNK];
    const int64_t first = (int64_t)s->f->first + chunk * CHUNK, left = s->f->last - first + 1;
    const int64_t n = left < CHUNK ? left : CHUNK;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)(first + i);
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (int k = 0; k < s->n_stamps; k++) math_tables[s->stamp[k]]->row[s->which](n, x, y[k]);
    for (int64_t i = 0; i < n; i++) {
        const long double want = s->f->exact((long double)x[i]);
        for (int k = 0; k < s->n_stamps; k++) {
            const double error = error_of(y[k][i], want);
            worst *w = &s->worst[k][worker];
            if (error <= w->ulps) continue;
            w->ulps = error;
            w->at = x[i];
        }
    }
}

/* tanh is odd, to the bit: so its negative half needs no second sweep. */
static void odd_chunk(void *arg, int64_t chunk, int worker) {
    sweep *s = arg;
    float x[CHUNK], y[CHUNK], z[CHUNK];
    const int64_t first = chunk * CHUNK, left = 0x7f800000 - first + 1;
    const int64_t n = left < CHUNK ? left : CHUNK;
    for (int k = 0; k < s->n_stamps; k++) {
        for (int sign = 0; sign < 2; sign++) {
            for (int64_t i = 0; i < n; i++) {
                const uint32_t bits = (uint32_t)(first + i) | (uint32_t)sign << 31;
                memcpy(&x[i], &bits, sizeof bits);
            }
            math_tables[s->stamp[k]]->row[s->which](n, x, sign ? z : y);
        }
        for (int64_t i = 0; i < n; i++)
            if (y[i] != -z[i]) s->worst[k][worker].ulps = INFINITY;
    }
}

static void every_float(int which) {
    static sweep s;
    memset(&s, 0, sizeof s);
    s.f = &functions[which];
    s.which = which;
    s.n_stamps = stamps(s.stamp);
    hk_context *ctx = hk_context_create(NULL);
    assert_int_equal(hk_error(ctx), HK_OK);
    assert_in_range(hk__pool_threads(ctx->pool), 1, WORKERS);
    const int64_t count = (int64_t)s.f->last - s.f->first + 1;
    hk__run(ctx, (count + CHUNK - 1) / CHUNK, sweep_chunk, &s);
    if (which == MATH_TANH) hk__run(ctx, 0x7f800000 / CHUNK + 1, odd_chunk, &s);
    hk_context_destroy(ctx);
    for (int k = 0; k < s.n_stamps; k++) {
        static const char *const names[] = {"base", "avx2", "avx512"};
        const worst *w = &s.worst[k][0];
        for (int i = 1; i < WORKERS; i++)
            if (!(s.worst[k][i].ulps <= w->ulps)) w = &s.worst[k][i];
        print_message("| %s | %s | %s | %.3f | %.9g (%a) |\n", s.f->name, s.f->domain,
                      names[s.stamp[k]], w->ulps, (double)w->at, (double)w->at);
        assert_true(w->ulps > 0 && w->ulps <= s.f->allowed);
    }
}

static void exp_(void **state) {
    (void)state;
    every_float(MATH_EXP);
}
static void expm1_(void **state) {
    (void)state;
    every_float(MATH_EXPM1);
}
static void tanh_(void **state) {
    (void)state;
    every_float(MATH_TANH);
}
static void log1p_(void **state) {
    (void)state;
    every_float(MATH_LOG1P);
}
static void tail_(void **state) {
    (void)state;
    every_float(MATH_TAIL);
}

/* With an argument, the function of that name alone: test_exhaustive tanh_ */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_),   cmocka_unit_test(expm1_), cmocka_unit_test(tanh_),
        cmocka_unit_test(log1p_), cmocka_unit_test(tail_),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
