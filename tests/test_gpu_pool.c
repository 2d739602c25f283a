/* ctest: labels=unit timeout=120 */
/* test_gpu_pool.c: pooling on a GPU against the CPU: forward, backward, forward mode, of random settings and sizes.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"
#include "pool_fixture.h"

enum { CASES = 120, NUMBERS = 4 * PLANE };

typedef struct results {
    const double *y, *jvp, *g;
} results;

static hk_tensor *apply(const pooling *p, hk_tensor *x) {
    const hk_pair out = {p->oh, p->ow};
    if (p->adaptive)
        return p->max ? hk_adaptive_max_pool2d_op(x, out) : hk_adaptive_avg_pool2d_op(x, out);
    return p->max ? hk_max_pool2d_op(x, &p->c) : hk_avg_pool2d_op(x, &p->c);
}

/* The numbers of x come from data, those of its direction and of y's gradient behind. twice: the gradient is added to
   what is there. */
static results run(hk_context *ctx, hk_dtype dtype, const pooling *p, hk_shape shape,
                   const double *data, bool twice) {
    results r;
    const int64_t n = hk_shape_count(shape);
    hk_tensor *x = hk_require_grad(kept(ctx, dtype, shape, data));
    hk_tensor *t = kept(ctx, dtype, shape, data + n);
    hk_tensor *y = apply(p, x);
    assert_ok(ctx);
    hk_tensor *gy = kept(ctx, dtype, hk_tensor_shape(y), data + 2 * n);
    hk_tensor *jvp = hk_jvp(ctx, y, 1, &x, &t);
    assert_ok(ctx);
    r.y = values(y);
    r.jvp = values(jvp);
    must(hk_backward_from(ctx, y, gy));
    if (twice) {
        must(hk_step_end(ctx));
        y = apply(p, x);
        must(hk_backward_from(ctx, y, gy));
    }
    r.g = values(hk_grad(x));
    return r;
}

static void compare(const char *what, const pooling *p, int64_t n, const double *got,
                    const double *want, double tolerance) {
    char text[256];
    for (int64_t i = 0; i < n; i++) {
        if (same_or_close(got[i], want[i], tolerance)) continue;
        describe(p, text, sizeof text);
        fail_msg("%s[%lld] is %.9g, not %.9g: %s", what, (long long)i, got[i], want[i], text);
    }
}

static void run_case(hk_dtype dtype, int64_t seed) {
    static double data[4 * NUMBERS];
    pooling p = random_pooling(seed % 4 < 3, seed % 3 == 0);
    if (seed % 8 == 1) { /* whole vectors of windows of 2 x 2 */
        p = (pooling){
            .max = seed % 16 == 1, .h = 2 * random_from(1, 7), .w = 4 * random_from(1, 7)};
        p.c = (hk_pool2d_config){.kernel = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}};
        plain_sizes(&p);
    }
    const hk_shape shape = HK_SHAPE(random_from(1, 3), random_from(1, 3), p.h, p.w);
    const int64_t n = hk_shape_count(shape), out = shape.dim[0] * shape.dim[1] * p.oh * p.ow;
    assert_true(2 * n + out <= COUNT(data));
    random_plane(n, p.max, data);
    random_plane(n + out, false, data + n);
    const bool twice = seed % 2;
    const results want = run(cpu, dtype, &p, shape, data, twice),
                  got = run(gpu, dtype, &p, shape, data, twice);
    /* Eighths are added exactly, and a division rounds once; a quarter or the mean of a plane in another order. */
    const double tolerance = p.max ? 0 : dtype == HK_F64 ? 1e-14 : 1e-6;
    compare("y", &p, out, got.y, want.y, tolerance);
    compare("the direction of y", &p, out, got.jvp, want.jvp, tolerance);
    compare("the gradient of x", &p, n, got.g, want.g, 4 * tolerance);
    forget();
}

static void test_float(void **state) {
    (void)state;
    for (int64_t i = 0; i < CASES; i++) run_case(HK_F32, i);
}

static void test_double(void **state) {
    (void)state;
    for (int64_t i = 0; i < CASES; i++) run_case(HK_F64, i);
}

/* Planes that a block sums, and those of one column. */
static void test_large_means(void **state) {
    (void)state;
    const int64_t size[][2] = {{70, 40}, {3000, 1}, {32, 32}, {33, 32}, {1, 1}};
    for (int64_t i = 0; i < COUNT(size); i++) {
        const pooling p = {.adaptive = true, .h = size[i][0], .w = size[i][1], .oh = 1, .ow = 1};
        const hk_shape shape = HK_SHAPE(2, 3, p.h, p.w);
        static double data[6 * 3000 * 2 + 6];
        random_plane(2 * hk_shape_count(shape) + 6, false, data);
        const results want = run(cpu, HK_F32, &p, shape, data, i % 2),
                      got = run(gpu, HK_F32, &p, shape, data, i % 2);
        compare("y", &p, 6, got.y, want.y, 1e-6);
        compare("the direction of y", &p, 6, got.jvp, want.jvp, 1e-6);
        compare("the gradient of x", &p, hk_shape_count(shape), got.g, want.g, 0);
        forget();
    }
}

static void test_no_images(void **state) {
    (void)state;
    hk_tensor *x = hk_require_grad(hk_tensor_new(gpu, HK_F32, HK_SHAPE(0, 2, 4, 4)));
    hk_tensor *y = hk_max_pool2d_op(x, &(hk_pool2d_config){.kernel = {2, 2}});
    assert_shape(y, HK_SHAPE(0, 2, 2, 2));
    must(hk_backward_from(gpu, y, hk_tensor_new(gpu, HK_F32, HK_SHAPE(0, 2, 2, 2))));
    assert_ok(gpu);
    forget();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float),
        cmocka_unit_test(test_double),
        cmocka_unit_test(test_large_means),
        cmocka_unit_test(test_no_images),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
