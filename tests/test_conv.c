/* test_conv.c: the convolution kernels against their formula in double, on 500 random shapes.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=120 */
#include "conv_fixture.h"

enum { CASES = 500, GUARD = 64 };

/* An array of the context's kernels' type between guards, NaN to begin with. */
typedef struct guarded {
    int64_t n;
    size_t size;
    char *memory;
} guarded;

static void put(void *at, size_t size, int64_t i, double v) {
    if (size == 8)
        ((double *)at)[i] = v;
    else
        ((float *)at)[i] = (float)v;
}

static double get(const void *at, size_t size, int64_t i) {
    return size == 8 ? ((const double *)at)[i] : (double)((const float *)at)[i];
}

static void *data_of(const guarded *a) { return a->memory + GUARD; }

static guarded guard(size_t size, int64_t n, const double *from) {
    guarded a = {n, size, malloc((size_t)n * size + 2 * GUARD)};
    assert_non_null(a.memory);
    memset(a.memory, 0x5a, GUARD);
    memset(a.memory + GUARD + (size_t)n * size, 0x5a, GUARD);
    for (int64_t i = 0; i < n; i++) put(data_of(&a), size, i, from ? from[i] : NAN);
    return a;
}

static void check(const char *what, const hk__conv *c, guarded *a, const double *want,
                  const double *size, double times, double start) {
    char text[256];
    const double unit = a->size == 8 ? 0x1p-52 : 0x1p-23;
    for (int i = 0; i < GUARD; i++)
        if (a->memory[i] != 0x5a || a->memory[GUARD + (size_t)a->n * a->size + (size_t)i] != 0x5a) {
            conv_text(c, text, sizeof text);
            fail_msg("%s: a guard was overwritten: %s", what, text);
        }
    for (int64_t i = 0; i < a->n; i++) {
        const double got = get(data_of(a), a->size, i), expected = start + want[i];
        /* Any order of summing n terms is within n units of the sum of their sizes; few need that much. */
        if (fabs(got - expected) <= times * unit * (size[i] + fabs(start)) + 0x1p-149) continue;
        conv_text(c, text, sizeof text);
        fail_msg("%s[%lld] is %.9g, not %.9g: %s", what, (long long)i, got, expected, text);
    }
    free(a->memory);
}

/* NaN in all scratch memory: nothing may be read there before it was written. */
static void poison(hk_context *ctx) {
    const hk__mark mark = hk__arena_mark(&ctx->scratch);
    float *all = hk__scratch(ctx, 1 << 22);
    for (int i = 0; i < (1 << 20); i++) all[i] = NAN;
    hk__arena_rewind(&ctx->scratch, mark);
}

static void run_case(hk_context *ctx, hk_dtype dtype, int64_t i) {
    const hk__conv c = random_conv(i);
    const arrays a = make_arrays(&c, i, i % 3 == 0 ? 0 : 0.75);
    const size_t size = dtype == HK_F64 ? 8 : 4;
    const int64_t oc = c.groups * c.oc;
    const double times = 64;
    guarded x = guard(size, a.nx, a.x), w = guard(size, a.nw, a.w), b = guard(size, oc, a.b),
            g = guard(size, a.ny, a.g);
    guarded y = guard(size, a.ny, NULL);
    poison(ctx);
    must(hk__conv_forward(ctx, dtype, &c, data_of(&x), data_of(&w), data_of(&b), data_of(&y), NULL,
                          NULL));
    check("y", &c, &y, a.y, a.size_y, times, 0);
    const bool add = i % 2;
    guarded gx = guard(size, a.nx, NULL), gw = guard(size, a.nw, NULL), gb = guard(size, oc, NULL);
    for (int64_t k = 0; add && k < a.nx; k++) put(data_of(&gx), size, k, 1);
    for (int64_t k = 0; add && k < a.nw; k++) put(data_of(&gw), size, k, 1);
    for (int64_t k = 0; add && k < oc; k++) put(data_of(&gb), size, k, 1);
    const hk__conv_gradients to = {.x = data_of(&x),
                                   .w = data_of(&w),
                                   .g = data_of(&g),
                                   .gx = data_of(&gx),
                                   .gw = data_of(&gw),
                                   .gb = data_of(&gb),
                                   .add_x = add,
                                   .add_w = add,
                                   .add_b = add};
    poison(ctx);
    must(hk__conv_backward(ctx, dtype, &c, &to));
    check("gx", &c, &gx, a.gx, a.size_x, times, add);
    check("gw", &c, &gw, a.gw, a.size_w, times, add);
    check("gb", &c, &gb, a.gb, a.size_b, times, add);
    free(x.memory);
    free(w.memory);
    free(b.memory);
    free(g.memory);
    free_arrays(&a);
}

static void run_all(const char *isa, hk_dtype dtype) {
    hk_context *ctx = new_context(2, isa);
    for (int64_t i = 0; i < CASES; i++) run_case(ctx, dtype, i);
    hk_context_destroy(ctx);
}

static void test_every_instruction_set(void **state) {
    (void)state;
    for (int i = 0; isa_number(i); i++) run_all(isa_number(i), HK_F32);
}

static void test_double(void **state) {
    (void)state;
    run_all(NULL, HK_F64);
}

/* Every size of chunk that the best instruction set has was used above. */
static void test_every_chunk_was_used(void **state) {
    (void)state;
    hk_context *ctx = new_context(1, NULL);
    const hk__conv_kernels *k = hk__conv_tables[hk__stamp_of(ctx, HK_F32)];
    for (int runs = 1; runs <= 5; runs++)
        for (int vecs = 1; vecs <= k->most_vecs[runs]; vecs++)
            if (hk__conv_chosen(runs, vecs) == 0)
                fail_msg("no chunk of %d runs of %d vectors", runs, vecs);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_instruction_set),
        cmocka_unit_test(test_double),
        cmocka_unit_test(test_every_chunk_was_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
