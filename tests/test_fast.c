/* ctest: labels=unit timeout=120 devices=cpu,cuda */
/* test_fast.c: float kernels element by element, on every instruction set: near the f64
   reference, and the same bits whatever the length, the place, the layout and the number of
   threads.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "context.h"

enum { N = 40000 };

typedef hk_tensor *two_fn(hk_tensor *a, hk_tensor *b);

static int which; /* row of the activation that `activated` applies */
static hk_tensor *activated(hk_tensor *a, hk_tensor *b) {
    (void)b;
    return hk_activate(a, hk_activation_row(NULL, which)->name);
}
static hk_tensor *learned(hk_tensor *a, hk_tensor *b) { /* a parameter for each element */
    hk_activation_spec spec;
    if (hk_activation_parse(hk_tensor_context(a), "prelu", &spec) != HK_OK) return NULL;
    return hk_activate_with(a, &spec, &b);
}
#define ONE(name, call)                                                                            \
    static hk_tensor *o_##name(hk_tensor *a, hk_tensor *b) {                                       \
        (void)b;                                                                                   \
        return call;                                                                               \
    }                                                                                              \
    WANTS_SEMICOLON
ONE(neg, hk_neg(a));
ONE(abs, hk_abs(a));
ONE(exp, hk_exp(a));
ONE(log, hk_log(a));
ONE(sqrt, hk_sqrt(a));
ONE(clamp, hk_clamp(a, 0.5, 1.5));
ONE(scale, hk_scale(a, -1.7, 0.3));
static hk_tensor *o_where(hk_tensor *a, hk_tensor *b) {
    return hk_where(hk_less(a, b), hk_mul(a, a), b);
}
static hk_tensor *o_less(hk_tensor *a, hk_tensor *b) {
    return hk_mul(hk_cast(hk_less(a, b), hk_tensor_dtype(a)), a);
}

static const struct {
    const char *name;
    two_fn *fn;
} rows[] = {
    {"add", hk_add},
    {"sub", hk_sub},
    {"mul", hk_mul},
    {"div", hk_div},
    {"pow", hk_pow},
    {"maximum", hk_maximum},
    {"minimum", hk_minimum},
    {"neg", o_neg},
    {"abs", o_abs},
    {"exp", o_exp},
    {"log", o_log},
    {"sqrt", o_sqrt},
    {"clamp", o_clamp},
    {"scale", o_scale},
    {"where", o_where},
    {"less", o_less},
    {"prelu, learned", learned},
};

/* Inputs that are floats, so that both types compute with the same numbers. */
static double in_a[N], in_b[N], in_g[N];

static void fill_inputs(void) {
    for (int64_t i = 0; i < N; i++) {
        const uint64_t u = (uint64_t)i;
        in_a[i] = (double)(float)(0.3 + 2 * hk_random_uniform(hk_random_stream(5, "a", 0), u));
        in_b[i] = (double)(float)(0.3 + 2 * hk_random_uniform(hk_random_stream(5, "b", 0), u));
        in_g[i] = (double)(float)(2 * hk_random_uniform(hk_random_stream(5, "g", 0), u) - 1);
    }
}

typedef enum layout { CONTIGUOUS, STRIDED, LAYOUTS } layout;

/* Elements first ... first + n of `from`, plus `zero`, as a view: of a longer array, so that its
   start is not aligned, or of the second of three columns, with NaN on both sides. */
static hk_tensor *piece(hk_tensor *zero, layout how, int64_t first, int64_t n, const double *from) {
    static double wide[3 * N];
    hk_context *ctx = hk_tensor_context(zero);
    const hk_dtype dtype = hk_tensor_dtype(zero);
    if (how == CONTIGUOUS)
        return hk_slice(hk_add(kept(ctx, dtype, HK_SHAPE(first + n), from), zero), 0, first, n);
    for (int64_t i = 0; i < n; i++) {
        wide[3 * i] = wide[3 * i + 2] = NAN;
        wide[3 * i + 1] = from[first + i];
    }
    return hk_slice(hk_add(kept(ctx, dtype, HK_SHAPE(n, 3), wide), zero), 1, 1, 1);
}

typedef struct result {
    double y[N], ga[N], gb[N];
} result;

static void store(double *out, hk_tensor *t, int64_t n) {
    const double *wide = t ? host(hk_cast(t, HK_F64)) : NULL;
    for (int64_t i = 0; i < n; i++) out[i] = wide ? wide[i] + 0.0 : 0; /* -0 becomes 0 */
}

/* y and both gradients of fn on those elements; the context is emptied afterwards. */
static void compute(hk_context *ctx, hk_dtype dtype, two_fn *fn, layout how, int64_t first,
                    int64_t n, result *out) {
    hk_tensor *zero =
        hk_require_grad(hk_tensor_new(ctx, dtype, HK_SCALAR)); /* gives the views gradients */
    hk_tensor *a = piece(zero, how, first, n, in_a), *b = piece(zero, how, first, n, in_b);
    assert_int_equal(hk_tensor_is_contiguous(a), how == CONTIGUOUS || n == 1);
    hk_tensor *y = fn(a, b);
    assert_ok(ctx);
    must(hk_backward_from(ctx, y, piece(zero, how, first, n, in_g)));
    store(out->y, y, n);
    store(out->ga, hk_grad(a), n);
    store(out->gb, hk_grad(b), n);
    must(hk_step_end(ctx));
    while (ctx->kept) hk_tensor_destroy(ctx->kept);
}

static void compare(const char *name, const result *fast, const result *reference) {
    const double *const got[] = {fast->y, fast->ga, fast->gb};
    const double *const want[] = {reference->y, reference->ga, reference->gb};
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < N; i++)
            assert_close(name, k * N + i, got[k][i], want[k][i],
                         1e-5 * fmax(fabs(want[k][i]), 3e-2));
}

static void same_bits(const char *name, const char *isa, const result *some, const result *all,
                      int64_t first, int64_t n, layout how) {
    const size_t bytes = sizeof(double) * (size_t)n;
    if (memcmp(some->y, all->y + first, bytes) != 0 ||
        memcmp(some->ga, all->ga + first, bytes) != 0 ||
        memcmp(some->gb, all->gb + first, bytes) != 0)
        fail_msg("%s on %s: %lld elements from %lld on, layout %d, have other bits than among %d",
                 name, isa, (long long)n, (long long)first, how, N);
}

static void one_operation(const char *name, two_fn *fn) {
    static const int64_t lengths[] = {1, 7, 15, 16, 17, 33, 511, 512, 513, 8191, 8193, N};
    static result reference, all, some;
    hk_context *exact = new_context(1, NULL);
    compute(exact, HK_F64, fn, CONTIGUOUS, 0, N, &reference);
    hk_context_destroy(exact);
    const char *isa;
    for (int s = 0; (isa = isa_number(s)) != NULL; s++) {
        hk_context *ctx = new_context(1, isa), *two = new_context(2, isa);
        compute(ctx, HK_F32, fn, CONTIGUOUS, 0, N, &all);
        compare(name, &all, &reference);
        for (int64_t k = 0; k < COUNT(lengths) * LAYOUTS; k++) {
            const int64_t n = lengths[k / LAYOUTS], first = n == N ? 0 : 3 + k;
            const layout how = (layout)(k % LAYOUTS);
            compute(ctx, HK_F32, fn, how, first, n, &some);
            same_bits(name, isa, &some, &all, first, n, how);
            if (n < 8000) continue;
            const uint64_t before = hk__pool_parallel_regions(two->pool);
            compute(two, HK_F32, fn, how, first, n, &some);
            same_bits(name, isa, &some, &all, first, n, how);
            assert_int_equal(hk__pool_parallel_regions(two->pool) > before, n == N && !on_gpu());
        }
        hk_context_destroy(ctx);
        hk_context_destroy(two);
    }
}

static void operations(void **state) {
    (void)state;
    fill_inputs();
    for (int64_t r = 0; r < COUNT(rows); r++) one_operation(rows[r].name, rows[r].fn);
}

static void activations(void **state) {
    (void)state;
    fill_inputs();
    for (int64_t i = 0; i < N; i++) in_a[i] = (double)(float)(4 * (in_a[i] - 1.3)); /* both signs */
    const hk_activation_info *row;
    for (which = 0; (row = hk_activation_row(NULL, which)) != NULL; which++)
        if (row->kind == HK_ACTIVATION_POINTWISE && !row->surrogate)
            one_operation(row->name, activated);
}

/* --- the threshold itself, and rows of every length ------------------------------------------ */

static void thresholds(void **state) {
    (void)state;
    static const struct {
        hk_shape shape;
        bool parallel;
    } cases[] = {
        {{1, {32767}}, false},     {{1, {32768}}, true},    {{1, {32769}}, true},
        {{2, {4, 9000}}, true},    {{2, {600, 64}}, true},  {{2, {33000, 1}}, true},
        {{3, {40, 31, 33}}, true}, {{2, {8191, 4}}, false}, {{4, {3, 41, 5, 77}}, true},
    };
    for (int64_t k = 0; k < COUNT(cases) * VIEWS; k++) {
        const view v = (view)(k % VIEWS);
        const hk_shape s = cases[k / VIEWS].shape;
        if (v == STRETCHED && s.rank == 1) continue; /* one element */
        hk_tensor *y[2];
        hk_context *ctx[] = {new_context(1, NULL), new_context(2, NULL)};
        for (int c = 0; c < 2; c++) {
            const hk_shape source = view_source(v, s);
            hk_tensor *a = view_of(v, seeded(ctx[c], HK_F32, source, "threshold", -2, 2, 0), s);
            const uint64_t before = hk__pool_parallel_regions(ctx[c]->pool);
            y[c] = hk_mul(hk_activate(a, "tanh"), a);
            assert_ok(ctx[c]);
            const bool ran = hk__pool_parallel_regions(ctx[c]->pool) > before;
            assert_int_equal(ran, c == 1 && cases[k / VIEWS].parallel && !on_gpu());
        }
        assert_memory_equal(host(y[0]), host(y[1]), (size_t)hk_tensor_count(y[0]) * sizeof(float));
        for (int c = 0; c < 2; c++) hk_context_destroy(ctx[c]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations),
        cmocka_unit_test(activations),
        cmocka_unit_test(thresholds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
