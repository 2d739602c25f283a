/* ctest: labels=unit timeout=300 */
/* Batch, layer and group norm on a GPU, against the CPU: every way through the kernels, layouts, added gradients, forward
   mode, running statistics, values that are not finite.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"

#include "hk_image_ops.h"
#include "hk_layers.h"

typedef enum kind { BATCH, GIVEN, LAYER, GROUP, KINDS } kind;

typedef struct setting {
    kind kind;
    int axes;       /* layer norm */
    int64_t groups; /* group norm */
    hk_shape shape;
    double mean; /* of x */
} setting;

static double gate(hk_dtype dtype) { return dtype == HK_F32 ? 2e-5 : 1e-12; }

static hk_shape params_of(const setting *s) {
    hk_shape shape = HK_SHAPE(s->shape.dim[1]);
    if (s->kind != LAYER) return shape;
    shape.rank = s->axes;
    for (int i = 0; i < s->axes; i++) shape.dim[i] = s->shape.dim[s->shape.rank - s->axes + i];
    return shape;
}

static hk_tensor *normalise(hk_context *ctx, const setting *s, hk_tensor *x, hk_tensor *w,
                            hk_tensor *b, hk_tensor **stats) {
    const hk_shape c = HK_SHAPE(s->shape.dim[1]);
    const hk_dtype dtype = hk_tensor_dtype(x);
    switch (s->kind) {
    case BATCH: return hk_batch_norm_op(x, w, b, 1e-3, &stats[0], &stats[1]);
    case GIVEN:
        stats[0] = seeded(ctx, dtype, c, "mean", -1, 1, 0);
        stats[1] = seeded(ctx, dtype, c, "var", 0.1, 2, 0);
        return hk_batch_norm_eval_op(x, stats[0], stats[1], w, b, 1e-3);
    case LAYER: return hk_layer_norm_op(x, s->axes, w, b, 1e-3);
    default: return hk_group_norm_op(x, s->groups, w, b, 1e-3);
    }
}

enum { VALUE, MEAN, VAR, ALONG, GX, GW, GB, GX2, GW2, RESULTS };

/* affine: with weight and bias; needs: bit 0 x, 1 weight, 2 bias. */
static void run(const setting *s, hk_dtype dtype, view v, bool affine, unsigned needs) {
    hk_tensor *got[2][RESULTS] = {{NULL}};
    for (int c = 0; c < 2; c++) {
        hk_context *ctx = c ? gpu : cpu;
        hk_tensor *in[] = {
            seeded(ctx, dtype, view_source(v, s->shape), "x", s->mean - 2, s->mean + 2, 0),
            seeded(ctx, dtype, params_of(s), "w", 0.5, 2, 0),
            seeded(ctx, dtype, params_of(s), "b", -1, 1, 0)};
        const int n = affine ? 3 : 1;
        for (int i = 0; i < n; i++)
            if (needs >> i & 1) hk_require_grad(in[i]);
        hk_tensor *y = normalise(ctx, s, view_of(v, in[0], s->shape), affine ? in[1] : HK_NO_BIAS,
                                 affine ? in[2] : HK_NO_BIAS, &got[c][MEAN]);
        assert_ok(ctx);
        hk_tensor *gy = seeded(ctx, dtype, s->shape, "g", -1, 1, 0);
        must(hk_backward_from(ctx, y, gy));
        got[c][VALUE] = y;
        for (int i = 0; i < n; i++)
            if (needs >> i & 1) got[c][GX + i] = hk_tensor_keep(hk_grad(in[i]));
        must(hk_backward_from(ctx, y, gy)); /* on top */
        if (needs & 1) got[c][GX2] = hk_grad(in[0]);
        if (affine && needs & 2) got[c][GW2] = hk_grad(in[1]);
        hk_tensor *x[3], *t[3];
        int k = 0;
        for (int i = 0; i < n; i++)
            if (needs >> i & 1) {
                x[k] = in[i];
                t[k++] = seeded(ctx, dtype, hk_tensor_shape(in[i]), "t", -1, 1, 0);
            }
        got[c][ALONG] = hk_jvp(ctx, y, k, x, t);
    }
    char shape[64], name[128];
    for (int r = 0; r < RESULTS; r++) {
        snprintf(name, sizeof name, "kind %d, %s, %s, view %d, %s, needs %u: result %d",
                 (int)s->kind, hk_shape_text(s->shape, shape, sizeof shape), hk_dtype_name(dtype),
                 (int)v, affine ? "affine" : "plain", needs, r);
        if (got[0][r]) assert_alike(name, got[0][r], got[1][r], gate(dtype));
    }
    forget();
}

/* Columns, planes in vectors and in single elements, one piece and many, groups, rows. */
static const setting settings[] = {
    {.kind = BATCH, .shape = {2, {5, 3}}},
    {.kind = BATCH, .shape = {2, {70, 40}}},
    {.kind = BATCH, .shape = {2, {3000, 33}}},
    {.kind = BATCH, .shape = {3, {3, 2, 5}}},
    {.kind = BATCH, .shape = {4, {4, 5, 8, 8}}},
    {.kind = BATCH, .shape = {4, {33, 3, 20, 20}}},
    {.kind = BATCH, .shape = {4, {40, 2, 19, 17}}},
    {.kind = BATCH, .shape = {4, {1, 2, 5, 5}}},
    {.kind = GIVEN, .shape = {2, {40, 35}}},
    {.kind = GIVEN, .shape = {4, {3, 4, 4, 6}}},
    {.kind = GIVEN, .shape = {4, {33, 2, 17, 19}}},
    {.kind = LAYER, .axes = 1, .shape = {2, {7, 5}}},
    {.kind = LAYER, .axes = 1, .shape = {2, {3, 768}}},
    {.kind = LAYER, .axes = 2, .shape = {3, {5, 6, 50}}},
    {.kind = LAYER, .axes = 1, .shape = {2, {1100, 37}}},
    {.kind = LAYER, .axes = 1, .shape = {2, {2, 20001}}},
    {.kind = LAYER, .axes = 3, .shape = {3, {3, 5, 7}}},
    {.kind = LAYER, .axes = 1, .shape = {2, {1, 40000}}},
    {.kind = GROUP, .groups = 2, .shape = {2, {30, 6}}},
    {.kind = GROUP, .groups = 4, .shape = {4, {3, 8, 5, 5}}},
    {.kind = GROUP, .groups = 1, .shape = {4, {18, 4, 6, 6}}},
    {.kind = GROUP, .groups = 2, .shape = {4, {2, 4, 60, 60}}},
    {.kind = GROUP, .groups = 3, .shape = {3, {5, 3, 64}}},
};

static void ways(void **state) {
    (void)state;
    for (int i = 0; i < COUNT(settings); i++)
        for (int k = 0; k < 4; k++)
            run(&settings[i], k % 2 ? HK_F64 : HK_F32, PLAIN, k / 2 != 0, 7);
}

static void layouts_and_needs(void **state) {
    (void)state;
    static const setting some[] = {{.kind = BATCH, .shape = {4, {6, 3, 4, 8}}},
                                   {.kind = GIVEN, .shape = {4, {6, 3, 4, 8}}},
                                   {.kind = LAYER, .axes = 2, .shape = {4, {6, 3, 4, 8}}},
                                   {.kind = GROUP, .groups = 3, .shape = {4, {6, 3, 4, 8}}}};
    for (int i = 0; i < COUNT(some); i++) {
        for (int v = 0; v < VIEWS; v++) run(&some[i], HK_F32, (view)v, true, 7);
        for (unsigned needs = 1; needs < 7; needs++) run(&some[i], HK_F64, PLAIN, true, needs);
    }
}

/* A mean that is large beside the deviation costs no more digits than on the CPU. */
static void large_means(void **state) {
    (void)state;
    for (int i = 0; i < COUNT(settings); i++) {
        setting s = settings[i];
        s.mean = 1000;
        if (s.kind != GIVEN) run(&s, HK_F32, PLAIN, true, 7);
    }
}

/* Equal elements have a variance of 0, to the bit. */
static void equal_elements(void **state) {
    (void)state;
    const hk_shape shapes[] = {HK_SHAPE(3000, 33), HK_SHAPE(9, 3, 50, 50)};
    for (int i = 0; i < 2; i++) {
        hk_tensor *mean, *var, *x = hk_full(gpu, HK_F32, shapes[i], 0.1);
        hk_tensor *y = hk_batch_norm_op(x, HK_NO_BIAS, HK_NO_BIAS, 1e-5, &mean, &var);
        assert_close("y", i, hk_tensor_item(hk_max(y, HK_ALL_AXES, false)), 0, 0);
        assert_close("mean", i, element_get(mean, 2), (double)0.1f, 0);
        assert_close("var", i, element_get(var, 2), 0, 0);
        forget();
    }
}

static void not_finite(void **state) {
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    const setting some[] = {{.kind = BATCH, .shape = {3, {4, 3, 50}}},
                            {.kind = BATCH, .shape = {2, {40, 3}}},
                            {.kind = LAYER, .axes = 1, .shape = {2, {4, 300}}},
                            {.kind = GROUP, .groups = 3, .shape = {3, {4, 3, 50}}}};
    for (int i = 0; i < COUNT(some) * 3; i++) {
        const setting *s = &some[i / 3];
        hk_tensor *y[2], *stats[2][2] = {{NULL}}, *gx[2];
        for (int c = 0; c < 2; c++) {
            hk_context *ctx = c ? gpu : cpu;
            hk_tensor *x = seeded(ctx, HK_F32, s->shape, "x", -1, 1, 0);
            element_put(x, hk_tensor_count(x) / 2 + 1, bad[i % 3]);
            hk_require_grad(x);
            y[c] = normalise(ctx, s, x, HK_NO_BIAS, HK_NO_BIAS, stats[c]);
            must(hk_backward_from(ctx, y[c], seeded(ctx, HK_F32, s->shape, "g", -1, 1, 0)));
            gx[c] = hk_grad(x);
        }
        assert_alike("y", y[0], y[1], 1e-5);
        assert_alike("gx", gx[0], gx[1], 1e-5);
        for (int k = 0; k < 2 && stats[0][k]; k++)
            assert_alike("statistics", stats[0][k], stats[1][k], 1e-5);
        forget();
    }
}

/* The layer moves its running statistics there. */
static void layer(void **state) {
    (void)state;
    hk_module *m[2];
    for (int c = 0; c < 2; c++) {
        hk_context *ctx = c ? gpu : cpu;
        m[c] = hk_batch_norm2d(ctx, NULL);
        must(hk_module_build(m[c], HK_SHAPE(-1, 5, 4, 4), NULL));
    }
    for (int step = 0; step < 3; step++) {
        hk_tensor *y[2];
        char name[16];
        snprintf(name, sizeof name, "x%d", step);
        for (int c = 0; c < 2; c++) {
            hk_module_train(m[c], step < 2);
            y[c] = hk_forward(m[c],
                              seeded(c ? gpu : cpu, HK_F32, HK_SHAPE(6, 5, 4, 4), name, -1, 3, 0));
        }
        assert_alike("y", y[0], y[1], 1e-5);
        forget();
    }
    const hk_parameters want = hk_module_buffers(m[0]), got = hk_module_buffers(m[1]);
    assert_int_equal(want.count, 3);
    for (int i = 0; i < 3; i++) assert_alike("buffer", want.items[i], got.items[i], 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ways, open_both, close_both),
        cmocka_unit_test_setup_teardown(layouts_and_needs, open_both, close_both),
        cmocka_unit_test_setup_teardown(large_means, open_both, close_both),
        cmocka_unit_test_setup_teardown(equal_elements, open_both, close_both),
        cmocka_unit_test_setup_teardown(not_finite, open_both, close_both),
        cmocka_unit_test_setup_teardown(layer, open_both, close_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
