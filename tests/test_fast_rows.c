/* ctest: labels=unit timeout=120 devices=cpu,cuda */
/* test_fast_rows.c: float kernels over rows (softmax, losses, reductions, products) on every
   instruction set: near the f64 reference, the same bits for views and for one and two threads.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "context.h"

enum { LARGEST = 90000 };

typedef hk_tensor *row_fn(hk_tensor *x, hk_tensor *labels);

#define ONE(name, call)                                                                            \
    static hk_tensor *o_##name(hk_tensor *x, hk_tensor *labels) {                                  \
        (void)labels;                                                                              \
        return call;                                                                               \
    }                                                                                              \
    WANTS_SEMICOLON
ONE(softmax, hk_softmax(x, 1));
ONE(log_softmax, hk_log_softmax(x, -1));
ONE(softmax_down, hk_softmax(x, 0));
ONE(sum, hk_sum(x, HK_AXIS(1), false));
ONE(sum_down, hk_sum(x, HK_AXIS(0), false));
ONE(mean, hk_mean(x, HK_ALL_AXES, false));
ONE(var, hk_var(x, HK_AXIS(1), 0, true));
ONE(max, hk_max(x, HK_AXIS(1), false));
ONE(max_down, hk_max(x, HK_AXIS(0), true));
ONE(mse, hk_mse(x, hk_slice(x, 0, 0, 1)));
ONE(l1, hk_l1(x, hk_full(hk_tensor_context(x), hk_tensor_dtype(x), HK_SCALAR, 0.1)));
ONE(huber, hk_huber(x, hk_slice(x, 0, 0, 1), 0.7));
ONE(bce, hk_bce_with_logits(x, hk_full(hk_tensor_context(x), hk_tensor_dtype(x), HK_SCALAR, 0.3)));
ONE(gram, hk_matmul(x, hk_transpose(x, 0, 1)));
ONE(affine, hk_affine(x, hk_slice(x, 0, 0, 1), HK_NO_BIAS));
static hk_tensor *o_cross_entropy(hk_tensor *x, hk_tensor *labels) {
    return hk_cross_entropy(x, labels);
}
static hk_tensor *o_smooth(hk_tensor *x, hk_tensor *labels) {
    return hk_cross_entropy_smooth(x, labels, 0.1);
}
static hk_tensor *o_gather(hk_tensor *x, hk_tensor *labels) { return hk_gather_rows(x, labels); }

static const struct {
    const char *name;
    row_fn *fn;
    bool exact_views; /* a view gives the same bits: it is copied, or each element is on its own */
} rows[] = {
    {"softmax", o_softmax, true},
    {"log_softmax", o_log_softmax, true},
    {"softmax down", o_softmax_down, true},
    {"sum", o_sum, false},
    {"sum down", o_sum_down, false},
    {"mean", o_mean, false},
    {"var", o_var, false},
    {"max", o_max, true},
    {"max down", o_max_down, true},
    {"mse", o_mse, false},
    {"l1", o_l1, false},
    {"huber", o_huber, false},
    {"bce", o_bce, false},
    {"gram", o_gram, false},
    {"affine", o_affine, false},
    {"cross-entropy", o_cross_entropy, true},
    {"smooth", o_smooth, true},
    {"gather", o_gather, true},
};

typedef struct result {
    int64_t n, count;
    bool threaded; /* the operation itself ran on several threads */
    double y[LARGEST], g[LARGEST];
} result;

static void store(double *out, hk_tensor *t) {
    hk_tensor *wide = hk_contiguous(hk_cast(t, HK_F64));
    assert_non_null(wide);
    assert_true(hk_tensor_count(t) <= LARGEST);
    memcpy(out, host(wide), sizeof(double) * (size_t)hk_tensor_count(t));
}

/* fn of x (shape seen through a view) and the gradient of Σ v·y. Values are floats on a grid of
   distinct ones. */
static void compute(hk_context *ctx, hk_dtype dtype, row_fn *fn, view v, hk_shape shape,
                    result *out) {
    hk_tensor *plain = seeded(ctx, HK_F64, shape, "rows", -3, 3, 0x1p-20),
              *x = hk_cast(plain, dtype);
    hk_tensor *zero = hk_require_grad(hk_tensor_new(ctx, dtype, HK_SCALAR));
    if (v == TRANSPOSED)
        x = hk_contiguous(hk_transpose(x, 0, 1)); /* the same values, lying otherwise */
    x = hk_add(x, zero);
    if (v == TRANSPOSED) x = hk_transpose(x, 0, 1);
    assert_int_equal(hk_tensor_is_contiguous(x),
                     v == PLAIN || shape.dim[0] == 1 || shape.dim[1] == 1);
    const double most = (double)(shape.dim[0] < shape.dim[1] ? shape.dim[0] : shape.dim[1]);
    hk_tensor *labels = seeded(ctx, HK_I32, HK_SHAPE(shape.dim[0]), "rows/labels", 0, most, 0);
    const uint64_t before = hk__pool_parallel_regions(ctx->pool);
    hk_tensor *y = fn(x, labels);
    out->threaded = hk__pool_parallel_regions(ctx->pool) > before;
    assert_ok(ctx);
    must(hk_backward_from(
        ctx, y, hk_cast(seeded(ctx, HK_F64, hk_tensor_shape(y), "rows/v", -1, 1, 0x1p-20), dtype)));
    out->n = hk_tensor_count(y);
    out->count = hk_tensor_count(x);
    store(out->y, y);
    store(out->g, hk_grad(x));
    must(hk_step_end(ctx));
    while (ctx->kept) hk_tensor_destroy(ctx->kept);
}

static double largest(int64_t n, const double *x) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

/* Relative to the largest element: a small one may be a difference of large ones. */
static void compare(const char *name, const result *fast, const result *exact) {
    assert_int_equal(fast->n, exact->n);
    const double y = 1e-5 * largest(exact->n, exact->y), g = 1e-5 * largest(exact->count, exact->g);
    for (int64_t i = 0; i < exact->n; i++) assert_close(name, i, fast->y[i], exact->y[i], y);
    for (int64_t i = 0; i < exact->count; i++) assert_close(name, i, fast->g[i], exact->g[i], g);
}

static bool equal(const result *a, const result *b) {
    return a->n == b->n && memcmp(a->y, b->y, sizeof *a->y * (size_t)a->n) == 0 &&
           memcmp(a->g, b->g, sizeof *a->g * (size_t)a->count) == 0;
}

static const hk_shape shapes[] = {
    {2, {3, 1}},    {2, {1, 7}},     {2, {5, 15}},    {2, {7, 16}},  {2, {2, 17}},
    {2, {33, 33}},  {2, {3, 511}},   {2, {3, 512}},   {2, {2, 513}}, {2, {3, 8191}},
    {2, {2, 8193}}, {2, {2, 40000}}, {2, {257, 300}},
};

static result exact, fast, other;

static void near_the_reference(void **state) {
    (void)state;
    for (int64_t k = 0; k < COUNT(rows) * COUNT(shapes); k++) {
        const hk_shape s = shapes[k % COUNT(shapes)];
        const int64_t r = k / COUNT(shapes);
        hk_context *reference = new_context(1, NULL);
        compute(reference, HK_F64, rows[r].fn, PLAIN, s, &exact);
        hk_context_destroy(reference);
        const char *isa;
        for (int i = 0; (isa = isa_number(i)) != NULL; i++) {
            hk_context *ctx = new_context(1, isa);
            char what[64];
            snprintf(what, sizeof what, "%s (%d, %d) on %s", rows[r].name, (int)s.dim[0],
                     (int)s.dim[1], isa);
            compute(ctx, HK_F32, rows[r].fn, PLAIN, s, &fast);
            compare(what, &fast, &exact);
            compute(ctx, HK_F32, rows[r].fn, TRANSPOSED, s, &other);
            compare(what, &other, &exact);
            if (rows[r].exact_views && !equal(&fast, &other))
                fail_msg("%s: a view has other bits", what);
            hk_context_destroy(ctx);
        }
    }
}

/* Every row on both sides of its threshold; the larger shape must really use two threads. */
static void threads_change_nothing(void **state) {
    (void)state;
    static const hk_shape small = {2, {6, 11}}, large = {2, {293, 301}};
    for (int64_t k = 0; k < COUNT(rows) * 2 * 2; k++) {
        const int64_t r = k / 4;
        const hk_shape s = k % 2 ? large : small;
        const hk_dtype dtype = k / 2 % 2 ? HK_F64 : HK_F32;
        hk_context *one = new_context(1, NULL), *two = new_context(2, NULL);
        compute(one, dtype, rows[r].fn, PLAIN, s, &fast);
        compute(two, dtype, rows[r].fn, PLAIN, s, &other);
        if (!equal(&fast, &other)) fail_msg("%s: two threads give other bits", rows[r].name);
        if (!on_gpu()) {
            assert_false(fast.threaded);
            assert_int_equal(other.threaded,
                             k % 2 && rows[r].fn != o_gather); /* which is a few memcpy */
        }
        hk_context_destroy(one);
        hk_context_destroy(two);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_the_reference),
        cmocka_unit_test(threads_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
