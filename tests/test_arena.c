/* test_arena.c: memory by moving a pointer: alignment, growth, merging, marks.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "arena.h"

static void aligned_and_apart(void **state) {
    (void)state;
    hk__arena arena = {.merges = true};
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 0, 300000, 8, 1 << 20, 1};
    char *p[COUNT(sizes)];
    for (int64_t i = 0; i < COUNT(sizes); i++) {
        p[i] = hk__arena_alloc(&arena, sizes[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % HK_ALIGN, 0);
        memset(p[i], (int)i, sizes[i]); /* under AddressSanitizer: it is all there */
    }
    for (int64_t i = 0; i < COUNT(sizes); i++) {
        for (size_t b = 0; b < sizes[i]; b++) assert_int_equal(p[i][b], i);
        for (int64_t k = 0; k < i; k++) assert_ptr_not_equal(p[i], p[k]);
    }
    assert_int_equal(arena.used % HK_ALIGN, 0);
    assert_int_equal(arena.most, arena.used);
    hk__arena_free(&arena);
    assert_int_equal(arena.used, 0);
    assert_null(arena.first);
}

/* A first round in several chunks becomes one; from the second round on addresses repeat. */
static void merges_to_what_was_needed(void **state) {
    (void)state;
    hk__arena arena = {.merges = true};
    void *first[3][40];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            first[round][i] = hk__arena_alloc(&arena, 50000 + 100 * (size_t)i);
            assert_non_null(first[round][i]);
        }
        hk__arena_reset(&arena);
        assert_int_equal(arena.used, 0);
    }
    assert_memory_equal(first[1], first[2], sizeof first[1]);
    assert_true((char *)first[1][39] - (char *)first[1][0] < 40 * 60000); /* one stretch */
    const size_t most = arena.most;
    assert_non_null(hk__arena_alloc(&arena, 10));
    hk__arena_reset(&arena);
    assert_int_equal(arena.most, most);
    hk__arena_free(&arena);
}

/* Of memory that nobody touches, as a GPU's. */
typedef struct counted {
    size_t all, most;
} counted;
static void *count_alloc(void *owner, size_t bytes) {
    counted *c = owner;
    void *p = (void *)(((uintptr_t)1 << 40) + c->all);
    c->all += bytes;
    if (c->all > c->most) c->most = c->all;
    return p;
}
static void count_free(void *owner, void *p) {
    counted *c = owner;
    (void)p;
    c->all = 0; /* chunks are given back all at once */
}

/* Tens of gigabytes: little is taken that is not asked for, and never twice. */
static void large(void **state) {
    (void)state;
    counted c = {0};
    hk__arena arena = {.merges = true, .source = {count_alloc, count_free, &c}}, small = {0};
    assert_non_null(hk__arena_alloc(&small, 1));
    const bool gaps = small.used > HK_ALIGN; /* a build that keeps account of each byte */
    hk__arena_free(&small);
    if (gaps) skip();
    enum { TENSORS = 70 };
    const size_t each = (size_t)3 << 28;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < TENSORS; i++) assert_non_null(hk__arena_alloc(&arena, each));
        hk__arena_reset(&arena);
        assert_true(c.all == TENSORS * each);
    }
    assert_true(c.most <=
                TENSORS * each + ((size_t)TENSORS << 28)); /* chunks of 4/3 of what was asked for */
    hk__arena_free(&arena);
}

static void reserves(void **state) {
    (void)state;
    hk__arena arena = {.merges = false};
    assert_true(hk__arena_reserve(&arena, 100000));
    char *before = hk__arena_alloc(&arena, 64);
    for (int i = 1; i < 1500; i++)
        assert_ptr_equal(hk__arena_alloc(&arena, 64),
                         before + 64 * i);      /* all from the room that was made */
    assert_true(hk__arena_reserve(&arena, 10)); /* it is there */
    hk__arena_reset(&arena);
    assert_ptr_equal(hk__arena_alloc(&arena, 1), before);
    hk__arena_free(&arena);
}

static void marks(void **state) {
    (void)state;
    hk__arena arena = {.merges = true};
    const hk__mark empty = hk__arena_mark(&arena);
    char *a = hk__arena_alloc(&arena, 100);
    const hk__mark outer = hk__arena_mark(&arena);
    char *b = hk__arena_alloc(&arena, 1000);
    const hk__mark inner = hk__arena_mark(&arena);
    assert_non_null(hk__arena_alloc(&arena, 1 << 20)); /* another chunk */
    assert_non_null(hk__arena_alloc(&arena, 1 << 20));
    hk__arena_rewind(&arena, inner);
    assert_ptr_equal(hk__arena_alloc(&arena, 5), b + 1024);
    hk__arena_rewind(&arena, outer);
    assert_ptr_equal(hk__arena_alloc(&arena, 5), b);
    memset(a, 1, 100); /* what was before the mark is still there */
    hk__arena_rewind(&arena, empty);
    assert_int_equal(arena.used, 0);
    assert_ptr_equal(hk__arena_alloc(&arena, 5), a);
    hk__arena_reset(&arena);
    hk__arena_free(&arena);
}

static void too_much(void **state) {
    (void)state;
    hk__arena arena = {.merges = true};
    assert_null(hk__arena_alloc(&arena, SIZE_MAX));
    assert_null(hk__arena_alloc(&arena, SIZE_MAX / 2 + 1));
    assert_null(hk__alloc(SIZE_MAX, false));
    assert_null(hk__alloc(SIZE_MAX - HK_ALIGN, true));
    char *p = hk__alloc(1000, true);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % HK_ALIGN, 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(p[i], 0);
    hk__free(p);
    p = hk__alloc(0, false);
    assert_non_null(p);
    hk__free(p);
    hk__free(NULL);
    hk__arena_free(&arena);
}

/* --- the helpers of testing.h, on which all other tests rest --------------------------------- */

static void comparisons_fail_on_nan(void **state) {
    (void)state;
    assert_true(is_close(1, 1, 0));
    assert_true(is_close(1, 1.5, 0.5));
    assert_true(is_close(INFINITY, INFINITY, 0));
    assert_true(is_close(0.0, -0.0, 0));
    assert_false(is_close(1, 1.5, 0.25));
    assert_false(is_close(NAN, 1, 1));
    assert_false(is_close(1, NAN, 1));
    assert_false(is_close(NAN, NAN, 1));
    assert_false(is_close(1, 2, NAN));
    assert_false(is_close(INFINITY, 1, 1e300));
    assert_false(is_close(INFINITY, -INFINITY, 1e300));
    char text[256];
    close_text(text, sizeof text, "weight", 7, 1.5, 2.25, 0.1);
    static const char *const words[] = {"weight[7]", "is 1.5", "not 2.25", "off by 0.75",
                                        "allowed 0.1"};
    for (int64_t k = 0; k < COUNT(words); k++) assert_non_null(strstr(text, words[k]));
}

static void views_show_the_shape(void **state) {
    hk_context *ctx = *state;
    static const hk_shape shapes[] = {{0, {0}}, {1, {5}}, {2, {3, 5}}, {6, {2, 1, 3, 2, 1, 3}}};
    for (int64_t k = 0; k < COUNT(shapes) * VIEWS; k++) {
        const view v = (view)(k % VIEWS);
        const hk_shape s = shapes[k / VIEWS];
        hk_tensor *t = view_of(v, seeded(ctx, HK_F32, view_source(v, s), "view", 0, 1, 0), s);
        assert_shape(t, s);
        if (s.rank == 2) assert_int_equal(hk_tensor_is_contiguous(t), v == PLAIN);
    }
    assert_int_equal(broadcast_at((hk_shape){2, {3, 1}}, (hk_shape){3, {2, 3, 5}}, 27), 2);
    assert_int_equal(broadcast_at((hk_shape){1, {5}}, (hk_shape){3, {2, 3, 5}}, 27), 2);
    assert_int_equal(broadcast_at((hk_shape){3, {2, 3, 5}}, (hk_shape){3, {2, 3, 5}}, 27), 27);
    const double *g = values(seeded(ctx, HK_F64, HK_SHAPE(100), "grid", -1, 1, 0.25));
    for (int i = 0; i < 100; i++)
        assert_true(4 * g[i] == floor(4 * g[i]) && g[i] >= -1 && g[i] < 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligned_and_apart),
        cmocka_unit_test(merges_to_what_was_needed),
        cmocka_unit_test(large),
        cmocka_unit_test(reserves),
        cmocka_unit_test(marks),
        cmocka_unit_test(too_much),
        cmocka_unit_test(comparisons_fail_on_nan),
        cmocka_unit_test_setup_teardown(views_show_the_shape, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
