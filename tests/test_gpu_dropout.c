/* ctest: labels=unit timeout=120 */
/* Random draws on a GPU: the CPU's, to the bit, at every step, also where steps are replayed.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"

#include "hk_image_ops.h"

typedef hk_tensor *drop_fn(hk_tensor *x, double p, const char *stream);

/* NaN stays where x is kept and is gone where not: so equal results have equal masks. */
static void compare(drop_fn *drop, hk_dtype dtype, hk_shape shape, double p, view v, int shift) {
    hk_tensor *y[2], *g[2], *t[2];
    for (int c = 0; c < 2; c++) {
        hk_context *ctx = c ? gpu : cpu;
        const hk_shape source = view_source(v, shape);
        const int64_t n = hk_shape_count(source);
        hk_tensor *all = seeded(ctx, dtype, HK_SHAPE(n + shift), "x", -2, 2, 0);
        hk_require_grad(all);
        hk_tensor *x = view_of(v, hk_reshape(hk_slice(all, 0, shift, n), source), shape);
        y[c] = drop(x, p, "dropout/test");
        must(hk_backward_from(ctx, y[c], seeded(ctx, dtype, shape, "g", 1, 2, 0)));
        g[c] = hk_grad(all);
        hk_tensor *along = seeded(ctx, dtype, HK_SHAPE(n + shift), "t", -1, 1, 0);
        t[c] = hk_jvp(ctx, y[c], 1, &all, &along);
    }
    assert_alike("y", y[0], y[1], 0);
    assert_alike("gradient", g[0], g[1], v == STRETCHED ? 1e-6 : 0); /* sums there */
    assert_alike("direction", t[0], t[1], 0);
    forget(); /* the next moment */
}

static void masks(void **state) {
    (void)state;
    static drop_fn *const drops[] = {hk_dropout_op, hk_dropout2d_op, hk_alpha_dropout_op};
    static const hk_shape shapes[] = {{2, {1, 1}},       {2, {3, 5}},        {2, {64, 256}},
                                      {4, {3, 5, 7, 7}}, {4, {2, 3, 8, 20}}, {3, {0, 2, 3}},
                                      {2, {5, 1003}}};
    for (int k = 0; k < 3; k++)
        for (int s = 0; s < COUNT(shapes); s++)
            for (int v = 0; v < VIEWS; v++)
                for (int d = 0; d < 4; d++)
                    compare(drops[k], d % 2 ? HK_F64 : HK_F32, shapes[s], 0.25 * (d + 1) / 2,
                            (view)v, d / 2);
}

static void uniforms(void **state) {
    (void)state;
    for (int64_t n = 1; n < 6000; n = 3 * n + 1)
        for (int d = 0; d < 2; d++) {
            hk_tensor *u[2];
            for (int c = 0; c < 2; c++) {
                hk_tensor *x = hk_full(c ? gpu : cpu, d ? HK_F64 : HK_F32, HK_SHAPE(n), 0);
                u[c] = hk_uniform_like(x, 0.125, 0.333, "uniform");
            }
            assert_true(same_elements(u[0], u[1]));
            forget();
        }
}

/* One step: x := x·mask·2 + draws, with a backward, which makes it the next moment. */
static hk_status draw(hk_context *ctx, void *arg) {
    hk_tensor *x = arg;
    hk_tensor *y = hk_dropout_op(x, 0.5, "replayed");
    hk_tensor *z = hk_add(y, hk_uniform_like(x, 0, 1, "drawn"));
    return hk_backward(ctx, hk_sum(hk_mul(z, z), HK_ALL_AXES, false));
}

static void replayed_steps_draw_anew(void **state) {
    (void)state;
    hk_tensor *x[2];
    for (int c = 0; c < 2; c++)
        x[c] = hk_require_grad(seeded(c ? gpu : cpu, HK_F32, HK_SHAPE(7, 30), "x", -1, 1, 0));
    for (int step = 0; step < 8; step++) {
        must(hk_step_run(cpu, draw, x[0]));
        must(hk_step_run(gpu, draw, x[1]));
        assert_alike("gradients so far", hk_grad(x[0]), hk_grad(x[1]), 1e-6);
    }
    assert_true(gpu->replayed > 2);
    forget();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(masks, open_both, close_both),
        cmocka_unit_test_setup_teardown(uniforms, open_both, close_both),
        cmocka_unit_test_setup_teardown(replayed_steps_draw_anew, open_both, close_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
