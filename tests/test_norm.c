/* test_norm.c: batch, layer and group norm as operations: gradients and forward mode, known values, views, statistics,
   values that are not finite, errors.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
#include "testing.h"

#include "context.h"
#include "hk_image_ops.h"

typedef enum kind { BATCH, GIVEN, LAYER, GROUP, KINDS } kind;

typedef struct setting {
    kind kind;
    int axes;       /* layer norm */
    int64_t groups; /* group norm */
    view view;      /* of x */
    hk_shape shape; /* of x as the operation sees it */
} setting;

/* in: x and, if n > 1, weight and bias. */
static hk_tensor *normalise(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    const setting *s = arg;
    hk_tensor *x = view_of(s->view, in[0], s->shape), *w = n > 1 ? in[1] : HK_NO_BIAS,
              *b = n > 1 ? in[2] : HK_NO_BIAS;
    const hk_shape channels = HK_SHAPE(s->shape.dim[1]);
    const double mean[] = {0.5, -1, 2, 0, 0.1, 0.2, 0.3}, var[] = {0.5, 1, 2, 3, 0.1, 0.2, 4};
    switch (s->kind) {
    case BATCH: return hk_batch_norm_op(x, w, b, 1e-3, NULL, NULL);
    case GIVEN:
        return hk_batch_norm_eval_op(x, hk_constant(ctx, HK_F64, channels, mean),
                                     hk_constant(ctx, HK_F64, channels, var), w, b, 1e-3);
    case LAYER: return hk_layer_norm_op(x, s->axes, w, b, 1e-3);
    default: return hk_group_norm_op(x, s->groups, w, b, 1e-3);
    }
}

static hk_shape params_of(const setting *s) {
    hk_shape shape = HK_SHAPE(s->shape.dim[1]);
    if (s->kind != LAYER) return shape;
    shape.rank = s->axes;
    for (int i = 0; i < s->axes; i++) shape.dim[i] = s->shape.dim[s->shape.rank - s->axes + i];
    return shape;
}

/* Backward and forward mode against differences: planes of one element and of many, one channel, one sample, rows of
   columns (16 samples or more of small planes), views. */
static void gradients(void **state) {
    hk_context *ctx = *state;
    static const setting cases[] = {
        {BATCH, 0, 0, PLAIN, {2, {5, 3}}},        {BATCH, 0, 0, PLAIN, {2, {2, 7}}},
        {BATCH, 0, 0, TRANSPOSED, {2, {4, 3}}},   {BATCH, 0, 0, PLAIN, {3, {3, 2, 5}}},
        {BATCH, 0, 0, PLAIN, {3, {17, 3, 2}}},    {BATCH, 0, 0, PLAIN, {4, {2, 3, 3, 3}}},
        {BATCH, 0, 0, PLAIN, {4, {1, 2, 5, 5}}},  {BATCH, 0, 0, PERMUTED, {4, {2, 3, 2, 4}}},
        {BATCH, 0, 0, SLICED, {4, {2, 1, 3, 3}}}, {GIVEN, 0, 0, PLAIN, {2, {4, 5}}},
        {GIVEN, 0, 0, PLAIN, {4, {2, 3, 2, 5}}},  {GIVEN, 0, 0, TRANSPOSED, {4, {1, 2, 2, 1}}},
        {LAYER, 1, 0, PLAIN, {2, {3, 7}}},        {LAYER, 2, 0, PLAIN, {3, {2, 3, 5}}},
        {LAYER, 1, 0, SLICED, {4, {2, 2, 2, 5}}}, {LAYER, 3, 0, TRANSPOSED, {3, {2, 3, 4}}},
        {GROUP, 0, 2, PLAIN, {2, {3, 6}}},        {GROUP, 0, 1, PLAIN, {3, {2, 3, 4}}},
        {GROUP, 0, 4, PLAIN, {4, {2, 4, 3, 3}}},  {GROUP, 0, 2, PERMUTED, {4, {3, 4, 2, 3}}},
    };
    for (int64_t i = 0; i < COUNT(cases) * 2; i++) {
        setting s = cases[i / 2];
        char name[64];
        snprintf(name, sizeof name, "case %d, %s", (int)(i / 2), i % 2 ? "affine" : "plain");
        hk_tensor *in[] = {seeded(ctx, HK_F64, view_source(s.view, s.shape), "x", -1, 2, 0),
                           seeded(ctx, HK_F64, params_of(&s), "w", 0.5, 2, 0),
                           seeded(ctx, HK_F64, params_of(&s), "b", -1, 1, 0)};
        assert_gradient(ctx, name, normalise, &s, i % 2 ? 3 : 1, in, NULL);
        while (ctx->kept) hk_tensor_destroy(ctx->kept);
    }
}

/* Whatever one of x, weight and bias needs a gradient alone, it gets the same one. */
static void some_gradients(void **state) {
    hk_context *ctx = *state;
    for (int k = 0; k < KINDS; k++) {
        setting s = {(kind)k, 2, 2, PLAIN, HK_SHAPE(3, 4, 5)};
        double want[3][60];
        for (int which = 7; which > 0; which--) {
            hk_tensor *in[] = {seeded(ctx, HK_F64, s.shape, "x", -1, 2, 0),
                               seeded(ctx, HK_F64, params_of(&s), "w", 0.5, 2, 0),
                               seeded(ctx, HK_F64, params_of(&s), "b", -1, 1, 0)};
            for (int i = 0; i < 3; i++)
                if (which >> i & 1) hk_require_grad(in[i]);
            hk_tensor *y = normalise(ctx, 3, in, &s);
            must(hk_backward_from(ctx, y, seeded(ctx, HK_F64, s.shape, "g", -1, 1, 0)));
            for (int i = 0; i < 3; i++) {
                if (!(which >> i & 1)) continue;
                const int64_t n = hk_tensor_count(in[i]);
                if (which == 7)
                    memcpy(want[i], values(hk_grad(in[i])), sizeof(double) * (size_t)n);
                else
                    assert_values("gradient", hk_grad(in[i]), n, want[i], 0);
            }
            must(hk_step_end(ctx));
        }
    }
}

/* --- values -------------------------------------------------------------------------------------------------- */

static void known_values(void **state) {
    hk_context *ctx = *state;
    /* Two channels: 1, 3 and 10, 30 at one sample and 5, 7 and 50, 70 at the other. */
    const double x[] = {1, 3, 10, 30, 5, 7, 50, 70}, w[] = {2, 3}, b[] = {0, 1};
    const double one = 1 / sqrt(5), three = 3 / sqrt(5);
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        hk_tensor *in = kept(ctx, dtype, HK_SHAPE(2, 2, 2), x), *mean, *var,
                  *weight = kept(ctx, dtype, HK_SHAPE(2), w),
                  *bias = kept(ctx, dtype, HK_SHAPE(2), b);
        hk_tensor *y = hk_batch_norm_op(in, weight, bias, 0, &mean, &var);
        assert_values("batch norm", y, 8,
                      (const double[]){-2 * three, -2 * one, 1 - 3 * three, 1 - 3 * one, 2 * one,
                                       2 * three, 1 + 3 * one, 1 + 3 * three},
                      2e-6);
        assert_values("mean", mean, 2, (const double[]){4, 40}, 0);
        assert_values("variance", var, 2, (const double[]){5, 500}, 1e-4);
        assert_shape(mean, HK_SHAPE(2));
        assert_int_equal(hk_tensor_dtype(var), dtype);
        assert_values("layer norm", hk_layer_norm_op(in, 1, HK_NO_BIAS, HK_NO_BIAS, 0), 8,
                      (const double[]){-1, 1, -1, 1, -1, 1, -1, 1}, 1e-6);
        assert_values("group norm", hk_group_norm_op(in, 2, weight, bias, 0), 8,
                      (const double[]){-2, 2, -2, 4, -2, 2, -2, 4}, 1e-6);
        assert_values("given",
                      hk_batch_norm_eval_op(in, kept(ctx, dtype, HK_SHAPE(2), (double[]){1, 10}),
                                            kept(ctx, dtype, HK_SHAPE(2), (double[]){3, 99}),
                                            weight, bias, 1),
                      8, (const double[]){0, 2, 1, 7, 4, 6, 13, 19}, 1e-5);
    }
}

/* The statistics carry no gradient; what is made of them neither. */
static void statistics_are_constants(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F32, HK_SHAPE(4, 3), "x", -1, 2, 0)), *mean, *var;
    assert_non_null(hk_batch_norm_op(x, HK_NO_BIAS, HK_NO_BIAS, 1e-5, &mean, &var));
    assert_int_equal(hk_backward(ctx, hk_sum(hk_add(mean, var), HK_ALL_AXES, false)),
                     HK_ERR_GRADIENT);
    hk_error_clear(ctx);
    hk_tensor *m = hk_require_grad(kept(ctx, HK_F32, HK_SHAPE(3), (double[]){1, 2, 3})),
              *v = hk_require_grad(kept(ctx, HK_F32, HK_SHAPE(3), (double[]){1, 2, 3}));
    hk_tensor *y = hk_batch_norm_eval_op(x, m, v, HK_NO_BIAS, HK_NO_BIAS, 1e-5);
    must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
    assert_values("mean", hk_grad(m), 3, (const double[3]){0}, 0);
    assert_values("variance", hk_grad(v), 3, (const double[3]){0}, 0);
    /* Moved after the forward pass, as running statistics are, they do not change what backward gives. */
    hk_zero_grad(x);
    y = hk_batch_norm_eval_op(x, m, v, HK_NO_BIAS, HK_NO_BIAS, 0);
    element_put(v, 0, 100);
    must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
    assert_close("gx", 0, values(hk_grad(x))[0], 1, 0);
}

/* A layout changes no bit: of x, of the gradient, of the weights. */
static void views(void **state) {
    hk_context *ctx = *state;
    const hk_shape shape = HK_SHAPE(20, 6, 3, 7);
    const int order[] = {3, 2, 1, 0};
    for (int k = 0; k < KINDS; k++) {
        setting s = {(kind)k, 1, 3, PLAIN, shape};
        const hk_shape own = params_of(&s);
        double y[2520], gx[2520], gw = 0;
        for (int turned = 0; turned < 2; turned++) {
            hk_tensor *x = hk_require_grad(seeded(ctx, HK_F64, shape, "x", -1, 2, 0)),
                      *w = hk_require_grad(seeded(ctx, HK_F64, HK_SHAPE(1), "w", 0.5, 2, 0)),
                      *g = seeded(ctx, HK_F64, shape, "g", -1, 1, 0), *gy = g;
            hk_tensor *wide = hk_broadcast_to(w, own), *in[] = {x, wide, wide};
            if (!turned) {
                in[1] = in[2] = hk_contiguous(wide);
            } else {
                assert_false(hk_tensor_is_contiguous(wide));
                in[0] = hk_permute(hk_contiguous(hk_permute(x, order)), order);
                gy = hk_permute(hk_contiguous(hk_permute(g, order)), order);
                assert_false(hk_tensor_is_contiguous(in[0]) || hk_tensor_is_contiguous(gy));
            }
            hk_tensor *out = normalise(ctx, 3, in, &s);
            assert_ok(ctx);
            must(hk_backward_from(ctx, out, gy));
            if (turned) {
                assert_values("y", out, 2520, y, 0);
                assert_values("gx", hk_grad(x), 2520, gx, 0);
                assert_values("gw", hk_grad(w), 1, &gw, 0);
            } else {
                memcpy(y, values(out), sizeof y);
                memcpy(gx, values(hk_grad(x)), sizeof gx);
                gw = values(hk_grad(w))[0];
            }
            must(hk_step_end(ctx));
        }
    }
}

/* --- values that are not finite, and none at all ---------------------------------------------------------------- */

/* NaN in one channel of a batch, or in one row, stays there: forward, and in the gradient of x and of the weights. */
static void nan_stays(void **state) {
    (void)state;
    static const hk_shape shapes[] = {{2, {40, 20}}, {4, {20, 20, 2, 2}}, {4, {3, 20, 9, 9}}};
    for (int number = 0; isa_number(number); number++)
        for (int64_t q = 0; q < COUNT(shapes) * KINDS; q++) {
            hk_context *ctx = new_context(1, isa_number(number));
            setting s = {(kind)(q % KINDS), 1, 4, PLAIN, shapes[q / KINDS]};
            if (s.kind == GIVEN || s.kind == LAYER) s.kind = BATCH;
            hk_tensor *x = hk_require_grad(seeded(ctx, HK_F32, s.shape, "x", -1, 2, 0)),
                      *w = hk_require_grad(seeded(ctx, HK_F32, HK_SHAPE(20), "w", 1, 2, 0)),
                      *in[] = {x, w, seeded(ctx, HK_F32, HK_SHAPE(20), "b", 1, 2, 0)};
            const int64_t plane = hk_tensor_count(x) / s.shape.dim[0] / 20;
            element_put(x, (1 * 20 + 7) * plane, q % 2 ? (double)NAN : (double)INFINITY);
            hk_tensor *y = normalise(ctx, 3, in, &s);
            must(hk_backward_from(ctx, y, hk_full(ctx, HK_F32, s.shape, 0.5)));
            const double *out = values(y), *gx = values(hk_grad(x)), *gw = values(hk_grad(w));
            for (int64_t i = 0; i < hk_tensor_count(x); i++) {
                const int64_t channel = i / plane % 20, sample = i / plane / 20;
                const bool hit = s.kind == BATCH ? channel == 7 : sample == 1 && channel / 5 == 1;
                assert_int_equal(isnan(out[i]), hit);
                assert_int_equal(isnan(gx[i]), hit);
            }
            for (int64_t c = 0; c < 20; c++)
                assert_int_equal(isnan(gw[c]), s.kind == BATCH ? c == 7 : c / 5 == 1);
            hk_context_destroy(ctx);
        }
}

/* Equal values have variance 0: x̂ is 0 whatever they are, and nothing is divided by 0. */
static void constants(void **state) {
    hk_context *ctx = *state;
    for (int k = 0; k < 3 * 3; k++) {
        static const hk_shape shapes[] = {{2, {70, 5}}, {4, {3, 5, 4, 25}}, {4, {30, 5, 2, 2}}};
        const double value = k % 3 == 0 ? 1e6 + 0.1 : k % 3 == 1 ? 0 : -0.37;
        hk_tensor *x = hk_require_grad(hk_tensor_keep(hk_full(ctx, HK_F32, shapes[k / 3], value))),
                  *var;
        hk_tensor *y = hk_batch_norm_op(x, HK_NO_BIAS, HK_NO_BIAS, 1e-5, NULL, &var);
        must(hk_backward_from(ctx, y, hk_full(ctx, HK_F32, shapes[k / 3], 1)));
        const double *out = values(y), *gx = values(hk_grad(x));
        for (int64_t i = 0; i < hk_tensor_count(x); i++) {
            assert_close("y", i, out[i], 0, 0);
            assert_close("gx", i, gx[i], 0, 1e-4); /* 316 times what rounding leaves of 1 - 1 */
        }
        assert_values("variance", var, 5, (const double[5]){0}, 0);
        must(hk_step_end(ctx));
    }
}

static void nothing(void **state) {
    hk_context *ctx = *state;
    static const hk_shape empty[] = {{3, {0, 4, 5}}, {3, {3, 4, 0}}};
    for (int i = 0; i < 2; i++) {
        hk_tensor *x = hk_require_grad(hk_tensor_new(ctx, HK_F32, empty[i])),
                  *w = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(4)));
        hk_tensor *y = hk_group_norm_op(x, 2, w, w, 1e-5);
        assert_shape(y, empty[i]);
        assert_shape(hk_layer_norm_op(x, 1, HK_NO_BIAS, HK_NO_BIAS, 1e-5), empty[i]);
        assert_shape(hk_batch_norm_eval_op(x, w, w, w, w, 1e-5), empty[i]);
        must(hk_backward_from(ctx, y, hk_full(ctx, HK_F32, empty[i], 1)));
        assert_values("gw", hk_grad(w), 4, (const double[4]){0}, 0);
        assert_null(hk_batch_norm_op(x, w, w, 1e-5, NULL, NULL));
        expect_error(ctx, HK_ERR_ARGUMENT, "has 0 value(s) for each channel");
    }
    /* A row of one element is its own mean. */
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(2, 1), 7);
    assert_values("one", hk_layer_norm_op(x, 1, HK_NO_BIAS, HK_NO_BIAS, 1e-5), 2,
                  (const double[2]){0}, 0);
}

/* --- errors ------------------------------------------------------------------------------------------------------ */

static void errors(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(2, 6, 3), 1),
              *w = hk_full(ctx, HK_F32, HK_SHAPE(6), 1),
              *five = hk_full(ctx, HK_F32, HK_SHAPE(5), 1), *none = HK_NO_BIAS, *mean = x, *var = x;
    hk_tensor *flat = hk_full(ctx, HK_F32, HK_SHAPE(6), 1);
    assert_null(hk_batch_norm_op(NULL, w, w, 1e-5, &mean, &var));
    assert_null(mean);
    assert_null(var);
    assert_null(hk_batch_norm_op(x, NULL, w, 1e-5, NULL, NULL));
    assert_null(hk_batch_norm_op(x, w, NULL, 1e-5, NULL, NULL));
    assert_null(hk_batch_norm_eval_op(x, NULL, w, none, none, 1e-5));
    assert_ok(ctx);

    assert_null(hk_batch_norm_op(x, w, none, 1e-5, NULL, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[batch_norm] weight and bias go together");
    assert_null(hk_layer_norm_op(x, 1, none, w, 1e-5));
    expect_error(ctx, HK_ERR_ARGUMENT, "[layer_norm] weight and bias go together");
    assert_null(hk_batch_norm_op(flat, none, none, 1e-5, NULL, NULL));
    expect_error(ctx, HK_ERR_SHAPE, "[batch_norm] x must be (n, c) or (n, c, ...), not (6)");
    assert_null(hk_batch_norm_op(x, five, w, 1e-5, &mean, NULL));
    expect_error(
        ctx, HK_ERR_SHAPE,
        "[batch_norm] the weight needs one element for each channel of x: (2, 6, 3) and (5)");
    assert_null(mean);
    assert_null(hk_batch_norm_op(x, w, five, 1e-5, NULL, NULL));
    expect_error(ctx, HK_ERR_SHAPE, "the bias needs one element", "(2, 6, 3) and (5)");
    assert_null(hk_batch_norm_eval_op(x, five, w, w, w, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE, "[batch_norm_eval] the mean needs one element", "and (5)");
    assert_null(hk_batch_norm_eval_op(x, w, five, none, none, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE, "the variance needs one element", "and (5)");
    assert_null(hk_batch_norm_eval_op(x, w, w, five, w, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE, "the weight needs one element", "and (5)");
    assert_null(hk_batch_norm_eval_op(x, w, w, w, five, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE, "the bias needs one element", "and (5)");
    assert_null(hk_batch_norm_op(hk_full(ctx, HK_F32, HK_SHAPE(1, 16, 1, 1), 1), none, none, 1e-5,
                                 NULL, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT,
                 "[batch_norm] (1, 16, 1, 1) has 1 value(s) for each channel; a variance needs 2");

    assert_null(hk_layer_norm_op(x, 0, none, none, 1e-5));
    expect_error(ctx, HK_ERR_ARGUMENT, "[layer_norm] 0 axes of (2, 6, 3); from 1 to 3");
    assert_null(hk_layer_norm_op(x, 4, none, none, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE, "[layer_norm] 4 axes of (2, 6, 3); from 1 to 3");
    assert_null(hk_layer_norm_op(x, 2, w, w, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE,
                 "the weight needs the shape of x's last axes: (2, 6, 3) and (6)");
    assert_null(hk_layer_norm_op(hk_transpose(x, 1, 2), 1, w, five, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE, "the bias needs the shape of x's last axes: (2, 3, 6) and (5)");
    assert_null(hk_group_norm_op(x, 0, none, none, 1e-5));
    expect_error(ctx, HK_ERR_ARGUMENT, "[group_norm] 0 groups; 1 or more");
    assert_null(hk_group_norm_op(x, 4, none, none, 1e-5));
    expect_error(ctx, HK_ERR_SHAPE,
                 "[group_norm] 4 groups do not divide the channels (axis 1) of (2, 6, 3)");

    const double bad[] = {-1e-9, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        assert_null(hk_group_norm_op(x, 2, w, w, bad[i]));
        expect_error(ctx, HK_ERR_ARGUMENT, "eps must be finite and not negative");
    }
    assert_null(hk_batch_norm_op(x, hk_full(ctx, HK_F64, HK_SHAPE(6), 1), w, 1e-5, NULL, NULL));
    expect_error(ctx, HK_ERR_DTYPE, "f32 and f64");
    assert_null(hk_layer_norm_op(hk_full(ctx, HK_I32, HK_SHAPE(2, 6), 1), 1, none, none, 1e-5));
    expect_error(ctx, HK_ERR_DTYPE, "not i32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradients, setup, teardown),
        cmocka_unit_test_setup_teardown(some_gradients, setup, teardown),
        cmocka_unit_test_setup_teardown(known_values, setup, teardown),
        cmocka_unit_test_setup_teardown(statistics_are_constants, setup, teardown),
        cmocka_unit_test_setup_teardown(views, setup, teardown),
        cmocka_unit_test(nan_stays),
        cmocka_unit_test_setup_teardown(constants, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
