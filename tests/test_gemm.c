/* test_gemm.c: every way to compute a matrix product against long double, and 1 thread against 2.
   ctest: labels=unit timeout=120
   SPDX-License-Identifier: MIT */

#include "gemm_fixture.h"

#include "cpu.h"
#include "openblas.h"

#include <stdio.h>

enum { SHAPES = 500 };

static hk__pool *pools[3]; /* by threads */
static bool have_blas;

/* One, the edges of all tiles, panels and vectors, and anything. */
static int64_t random_size(void) {
    static const int64_t edges[] = {1,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                    12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 36,
                                    47, 48, 49, 63, 64, 65, 95, 96, 97, 98, 100};
    if (random_below(4) == 0) return 1 + random_below(130);
    return edges[random_below((int64_t)(sizeof edges / sizeof *edges))];
}

/* ---- checks ---- */

static void fail_at(const problem *pr, const char *way, const char *what, int64_t job, int64_t i,
                    int64_t j, double got, double want) {
    const hk__gemm *s = &pr->shape;
    fail_msg("%s: %s: %lld x %lld x %lld %c%c, accumulate %d, bias %d, job %lld of %lld: element "
             "(%lld, %lld) is %.9g, not %.9g",
             way, what, (long long)s->m, (long long)s->n, (long long)s->k, s->trans_a ? 'T' : 'N',
             s->trans_b ? 'T' : 'N', s->accumulate, pr->has_bias, (long long)job,
             (long long)pr->jobs, (long long)i, (long long)j, got, want);
}

static void check_results(const problem *pr, const setting *set, hk__stamp stamp, const char *way) {
    const hk__gemm *s = &pr->shape;
    const size_t size = element_size(stamp);
    const double eps = stamp == HK__STAMP_f64 ? 0x1p-53 : 0x1p-24;
    for (int64_t e = 0; e < pr->jobs * s->m * s->n; e++) {
        if (isnan(pr->want[e])) continue;
        const int64_t job = e / s->n / s->m, i = e / s->n % s->m, j = e % s->n;
        const memory *c = &set->c[job];
        const double got = get(c->data + (size_t)(i * c->ld + j) * size, stamp);
        const double allowed = eps * (4 * sqrt((double)s->k) * pr->sizes[e] + 4 * pr->add[e]);
        if (!(fabs(got - pr->want[e]) <= allowed))
            fail_at(pr, way, "wrong", job, i, j, got, pr->want[e]);
    }
}

static void check_guards(const problem *pr, const setting *set, hk__stamp stamp, const char *way) {
    const hk__gemm *s = &pr->shape;
    const size_t row = (size_t)s->n * element_size(stamp);
    for (int64_t job = 0; job < pr->jobs; job++) {
        const memory *c = &set->c[job];
        const size_t stride = (size_t)c->ld * element_size(stamp);
        for (size_t byte = 0; byte < c->bytes; byte++) {
            const size_t in = byte - GUARD; /* wraps round in the guard: a line beyond the last */
            if (in / stride < (size_t)s->m && in % stride < row) continue;
            if ((unsigned char)c->block[byte] != 0xff)
                fail_at(pr, way, "written outside of C", job, (int64_t)(in / stride),
                        (int64_t)(in % stride / element_size(stamp)), 0, 0);
        }
    }
}

static void run(hk__pool *pool, hk__stamp stamp, bool use_blas, const problem *pr, setting *set) {
    const size_t bytes = hk__gemm_scratch(stamp, set->jobs, pr->jobs, hk__pool_threads(pool));
    char *scratch = aligned_alloc(64, (bytes + GUARD + 63) / 64 * 64);
    assert_non_null(scratch);
    memset(scratch, 0xff, bytes + GUARD);
    assert_int_equal(hk__gemm_run(pool, stamp, use_blas, set->jobs, pr->jobs, scratch, bytes),
                     HK_OK);
    for (int i = 0; i < GUARD; i++)
        assert_int_equal((unsigned char)scratch[bytes + (size_t)i], 0xff);
    free(scratch);
}

/* One thread against long double, two and three threads against one. */
static void check_problem(const problem *pr, hk__stamp stamp, bool use_blas) {
    static setting one, more;
    const int64_t pads[] = {random_below(3) * 5, random_below(3) * 3, random_below(3) * 7};
    char way[64];
    snprintf(way, sizeof way, "%s%s", hk__stamp_name(stamp), use_blas ? " with BLAS" : "");
    set_up(&one, pr, stamp, pads);
    run(pools[0], stamp, use_blas, pr, &one);
    check_results(pr, &one, stamp, way);
    check_guards(pr, &one, stamp, way);
    for (int p = 1; p < 3; p++) {
        set_up(&more, pr, stamp, pads);
        run(pools[p], stamp, use_blas, pr, &more);
        for (int64_t job = 0; job < pr->jobs; job++)
            if (memcmp(one.c[job].block, more.c[job].block, one.c[job].bytes) != 0)
                fail_at(pr, way, "threads change bits", job, 0, 0, 0, 0);
        tear_down(&more, pr);
    }
    tear_down(&one, pr);
}

static void check_blas_alone(const problem *pr) {
    static setting set;
    if (!have_blas || pr->shape.k == 0) return;
    const int64_t pads[] = {1, 2, 3};
    set_up(&set, pr, HK__STAMP_base, pads);
    for (int64_t job = 0; job < pr->jobs; job++) hk__openblas_gemm(&set.jobs[job]);
    check_results(pr, &set, HK__STAMP_base, "OpenBLAS");
    check_guards(pr, &set, HK__STAMP_base, "OpenBLAS");
    tear_down(&set, pr);
}

static void check_all_stamps(const problem *pr, bool use_blas) {
    for (int s = 0; s < HK__STAMPS; s++)
        if (s == HK__STAMP_f64 || s <= (int)hk__cpu_best_stamp())
            check_problem(pr, (hk__stamp)s, use_blas && have_blas);
}

/* ---- tests ---- */

static problem random_problem(void) {
    problem pr = {.jobs = 1, .has_bias = random_below(2)};
    hk__gemm *s = &pr.shape;
    s->trans_a = random_below(2);
    s->trans_b = random_below(2);
    s->accumulate = random_below(2);
    s->m = random_size();
    s->n = random_size();
    s->k = random_size();
    switch (random_below(12)) {
    case 0: /* all depths of a pass, in few rows and columns */
        s->k =
            (int64_t[]){0, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 2049}[random_below(11)];
        s->m = 1 + random_below(40);
        s->n = 1 + random_below(40);
        break;
    case 1: s->m = 1; break;
    case 2: s->n = 1; break;
    case 3: /* a batch */
        pr.jobs = (int64_t[]){2, 3, 7, 32, 33}[random_below(5)];
        s->m = 1 + random_below(20);
        s->n = 1 + random_below(36);
        s->k = 1 + random_below(20);
        break;
    default: break;
    }
    return pr;
}

static void random_shapes(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        problem pr = random_problem();
        fill_problem(&pr, false);
        check_all_stamps(&pr, i % 2);
        check_blas_alone(&pr);
        free_problem(&pr);
    }
}

/* Big enough for OpenBLAS on every stamp, and for a P read across its rows in pieces. */
static void big_product(void **state) {
    (void)state;
    problem pr = {.jobs = 1, .has_bias = true};
    pr.shape = (hk__gemm){.trans_a = true, .m = 771, .n = 793, .k = 401, .accumulate = true};
    fill_problem(&pr, true);
    check_all_stamps(&pr, true);
    check_all_stamps(&pr, false);
    free_problem(&pr);
}

typedef struct threading {
    hk__gemm shape;
    int64_t jobs;
    bool parallel; /* two threads should run */
} threading;

/* Sizes on both sides of each threshold from which work is dealt to threads. */
static void threads_run_where_they_should(void **state) {
    (void)state;
    static const threading cases[] = {
        {{.m = 16, .n = 48, .k = 63}, 1, false}, /* tiles: work of 2 x 24 Ki */
        {{.m = 16, .n = 48, .k = 64}, 1, true},
        {{.trans_b = true, .m = 48, .n = 16, .k = 63}, 1, false},
        {{.trans_b = true, .m = 48, .n = 16, .k = 64}, 1, true},
        {{.m = 1, .n = 1024, .k = 48}, 1, true},                   /* one row of tiles */
        {{.m = 4, .n = 4, .k = 65536}, 1, false},                  /* one tile cannot be shared */
        {{.trans_b = true, .m = 1, .n = 256, .k = 191}, 1, false}, /* dot products */
        {{.trans_b = true, .m = 1, .n = 256, .k = 192}, 1, true},
        {{.m = 256, .n = 1, .k = 191}, 1, false},
        {{.m = 256, .n = 1, .k = 192}, 1, true},
        {{.m = 16, .n = 16, .k = 16}, 11, false}, /* batches */
        {{.m = 16, .n = 16, .k = 16}, 12, true},
        {{.m = 1, .n = 1, .k = 1500}, 32, false},
        {{.m = 1, .n = 1, .k = 1600}, 32, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        problem pr = {.shape = cases[i].shape, .jobs = cases[i].jobs};
        fill_problem(&pr, false);
        for (int s = 0; s < HK__STAMPS; s++) {
            if (s != HK__STAMP_f64 && s > (int)hk__cpu_best_stamp()) continue;
            const uint64_t before = hk__pool_parallel_regions(pools[1]);
            check_problem(&pr, (hk__stamp)s, false);
            const bool parallel = hk__pool_parallel_regions(pools[1]) != before;
            if (parallel != cases[i].parallel)
                fail_msg("case %d, stamp %s: two threads %s", (int)i, hk__stamp_name((hk__stamp)s),
                         parallel ? "ran" : "did not run");
        }
        free_problem(&pr);
    }
#ifdef __x86_64__ /* elsewhere the baseline has FMA, and its tiles are preferred */
    if (!have_blas) return;
    static const int64_t sides[] = {128, 129};
    for (int i = 0; i < 2; i++) { /* one block of OpenBLAS, two blocks */
        problem pr = {.shape = {.m = 64, .n = sides[i], .k = 64}, .jobs = 1};
        fill_problem(&pr, false);
        const uint64_t before = hk__pool_parallel_regions(pools[1]);
        check_problem(&pr, HK__STAMP_base, true);
        assert_int_equal(hk__pool_parallel_regions(pools[1]) - before, i);
        free_problem(&pr);
    }
#endif
}

static void bad_calls(void **state) {
    (void)state;
    float x[64] = {0};
    _Alignas(64) char scratch[4096];
    hk__gemm jobs[2] = {
        {.m = 4, .n = 4, .k = 4, .a = x, .lda = 4, .b = x, .ldb = 4, .c = x, .ldc = 4}};
    jobs[0].trans_b = true; /* needs a panel */
    jobs[1] = jobs[0];
    const size_t need = hk__gemm_scratch(HK__STAMP_base, jobs, 2, 1);
    assert_true(need > 0 && need <= sizeof scratch);
    assert_int_equal(hk__gemm_run(pools[0], HK__STAMP_base, false, jobs, 2, scratch, need - 1),
                     HK_ERR_ARGUMENT);
    jobs[1].m = 3;
    assert_int_equal(hk__gemm_run(pools[0], HK__STAMP_base, false, jobs, 2, scratch, need),
                     HK_ERR_ARGUMENT);
    jobs[0].m = 0; /* nothing to do */
    assert_int_equal(hk__gemm_run(pools[0], HK__STAMP_base, false, jobs, 1, scratch, need), HK_OK);
}

/* Runs last: prints how often each way was taken. */
static void every_way_was_taken(void **state) {
    (void)state;
    int never = 0;
    for (int kind = 0; kind < HK__GEMM_KIND_COUNT; kind++) {
        const uint64_t times = hk__gemm_chosen((hk__gemm_kind)kind);
        printf("%-28s chosen %llu times\n", hk__gemm_kind_name((hk__gemm_kind)kind),
               (unsigned long long)times);
        if (times == 0 && (kind != HK__GEMM_OPENBLAS || have_blas)) never++;
    }
    assert_int_equal(never, 0);
}

int main(void) {
    char text[160];
    have_blas = hk__openblas_describe(text, sizeof text);
    printf("BLAS: %s\n", text);
    for (int p = 0; p < 3; p++) pools[p] = hk__pool_create(p + 1);
    if (!pools[0] || !pools[1] || !pools[2]) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(big_product),
        cmocka_unit_test(threads_run_where_they_should),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test(every_way_was_taken),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int p = 0; p < 3; p++) hk__pool_destroy(pools[p]);
    return failed;
}
