/* test_value_loss.c: products, losses and accuracy against plain C in double and closed forms.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

/* --- cross-entropy --------------------------------------------------------------------------- */

static double cross_entropy(int64_t n, int64_t classes, const double *x, const double *label,
                            double smoothing) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < classes; j++) most = fmax(most, x[i * classes + j]);
        for (int64_t j = 0; j < classes; j++) sum += exp(x[i * classes + j] - most);
        for (int64_t j = 0; j < classes; j++) {
            const double target =
                (1 - smoothing) * (j == (int64_t)label[i]) + smoothing / (double)classes;
            total -= target * (x[i * classes + j] - most - log(sum));
        }
    }
    return total / (double)n;
}

static void cross_entropies(void **state) {
    hk_context *ctx = *state;
    static const hk_shape shapes[] = {
        {2, {1, 1}}, {2, {1, 2}}, {2, {7, 10}}, {2, {33, 17}}, {2, {5, 1000}}};
    static const double smoothing[] = {0, 0.1, 0.5, 1};
    for (int64_t k = 0; k < COUNT(shapes) * COUNT(smoothing) * VIEWS * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const view v = (view)(k / 2 % VIEWS);
        const double s = smoothing[k / 2 / VIEWS % COUNT(smoothing)];
        const hk_shape shape = shapes[k / 2 / VIEWS / COUNT(smoothing)];
        hk_tensor *x = view_of(v, seeded(ctx, dtype, view_source(v, shape), "ce", -5, 5, 0), shape);
        hk_tensor *labels =
            seeded(ctx, HK_I32, HK_SHAPE(shape.dim[0]), "labels", 0, (double)shape.dim[1], 0);
        const double want = cross_entropy(shape.dim[0], shape.dim[1], values(x), values(labels), s);
        const double got = hk_tensor_item(hk_cross_entropy_smooth(x, labels, s));
        assert_close("smooth", k, got, want, (dtype == HK_F32 ? 1e-6 : 1e-14) * (1 + want));
        if (s == 0) assert_close("plain", k, hk_tensor_item(hk_cross_entropy(x, labels)), got, 0);
        must(hk_step_end(ctx));
        hk_tensor_destroy(labels);
    }
}

static void extreme_logits(void **state) {
    hk_context *ctx = *state;
    static const struct {
        double x[3];
        int32_t label;
        double want;
    } cases[] = {
        {{1000, 0, -1000}, 0, 0},
        {{1000, 0, -1000}, 2, 2000},
        {{-1e30, -1e30, -1e30}, 1, 1.0986122886681098},
        {{1e30, 1e30, 0}, 0, 0.69314718055994531},
        {{88, 89, 90}, 2, 0.40760596444438},
        {{-INFINITY, 0, 0}, 1, 0.69314718055994531},
        {{-INFINITY, 0, 0}, 0, INFINITY},
        {{1e-7, 0, 0}, 0, 1.0986122220014432},
        {{20, 0, 0}, 0, 4.1223072363804e-09},
    };
    for (int64_t k = 0; k < 2 * COUNT(cases); k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        hk_tensor *x = kept(ctx, dtype, HK_SHAPE(1, 3), cases[k / 2].x);
        hk_tensor *label = hk_constant(ctx, HK_I32, HK_SHAPE(1), &cases[k / 2].label);
        const double want = cases[k / 2].want, eps = dtype == HK_F32 ? 1.2e-7 : 1e-13;
        assert_close("loss", k, hk_tensor_item(hk_cross_entropy(x, label)), want,
                     eps * fmax(1, want));
    }
    const double nan[] = {0, NAN, 1};
    const int32_t zero = 0;
    assert_nan("loss", 0,
               hk_tensor_item(hk_cross_entropy(kept(ctx, HK_F32, HK_SHAPE(1, 3), nan),
                                               hk_constant(ctx, HK_I32, HK_SHAPE(1), &zero))));
}

static void bad_labels(void **state) {
    hk_context *ctx = *state;
    const int32_t labels[] = {0, 2, 1, 3, -1};
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(5, 3), 0),
              *y = hk_constant(ctx, HK_I32, HK_SHAPE(5), labels);
    if (!on_gpu()) { /* which finds them at the step's end: test_gpu_rows.c */
        assert_null(hk_cross_entropy(x, y));
        expect_error(ctx, HK_ERR_ARGUMENT, "[cross_entropy]", "label 3", "position 3", "0 to 2");
        assert_null(hk_cross_entropy(hk_slice(x, 0, 0, 1), hk_slice(y, 0, 4, 1)));
        expect_error(ctx, HK_ERR_ARGUMENT, "label -1", "position 0");
    }
    assert_null(hk_cross_entropy(x, hk_slice(y, 0, 0, 4)));
    expect_error(ctx, HK_ERR_SHAPE, "[cross_entropy]", "(5, 3)", "(4)");
    assert_null(hk_cross_entropy(hk_reshape(x, HK_SHAPE(5, 3, 1)), y));
    expect_error(ctx, HK_ERR_SHAPE, "(5, 3, 1)");
    assert_null(hk_cross_entropy(x, hk_cast(y, HK_F32)));
    expect_error(ctx, HK_ERR_DTYPE, "[cross_entropy]", "i32", "f32");
    assert_null(hk_cross_entropy(hk_cast(x, HK_I32), y));
    expect_error(ctx, HK_ERR_DTYPE, "[cross_entropy]", "i32");
    assert_null(hk_cross_entropy(hk_slice(x, 0, 0, 0), hk_slice(y, 0, 0, 0)));
    expect_error(ctx, HK_ERR_SHAPE, "empty batch");
    for (int k = 0; k < 3; k++) {
        assert_null(hk_cross_entropy_smooth(x, y, (const double[]){-0.1, 1.1, NAN}[k]));
        expect_error(ctx, HK_ERR_ARGUMENT, "[cross_entropy]", "smoothing");
    }
    assert_null(hk_cross_entropy(NULL, y));
    assert_null(hk_cross_entropy(x, NULL));
    assert_ok(ctx);
}

/* --- losses of two tensors ------------------------------------------------------------------- */

static double r_mse(double x, double t) { return (x - t) * (x - t); }
static double r_l1(double x, double t) { return fabs(x - t); }
static double r_huber(double x, double t) {
    const double d = fabs(x - t);
    return d <= 0.5 ? 0.5 * d * d : 0.5 * (d - 0.25);
}
static double r_bce(double x, double t) {
    return -t * log(1 / (1 + exp(-x))) - (1 - t) * log(1 / (1 + exp(x)));
}
static hk_tensor *o_huber(hk_tensor *x, hk_tensor *t) { return hk_huber(x, t, 0.5); }

static void losses_of_two(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *name;
        hk_tensor *(*fn)(hk_tensor *, hk_tensor *);
        double (*want)(double, double);
    } rows[] = {{"mse", hk_mse, r_mse},
                {"l1", hk_l1, r_l1},
                {"huber", o_huber, r_huber},
                {"bce", hk_bce_with_logits, r_bce}};
    static const hk_shape shapes[][3] = {{{0, {0}}, {0, {0}}, {0, {0}}},
                                         {{2, {7, 9}}, {2, {7, 9}}, {2, {7, 9}}},
                                         {{2, {7, 1}}, {3, {2, 1, 9}}, {3, {2, 7, 9}}}};
    for (int64_t k = 0; k < COUNT(rows) * COUNT(shapes) * VIEWS * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const view v = (view)(k / 2 % VIEWS);
        const hk_shape *s = shapes[k / 2 / VIEWS % COUNT(shapes)];
        const int64_t r = k / 2 / VIEWS / COUNT(shapes);
        hk_tensor *x = view_of(v, seeded(ctx, dtype, view_source(v, s[0]), "x", -3, 3, 0), s[0]);
        hk_tensor *t = view_of(v, seeded(ctx, dtype, view_source(v, s[1]), "t", 0, 1, 0), s[1]);
        const double *a = values(x), *b = values(t);
        double want = 0;
        const int64_t n = hk_shape_count(s[2]);
        for (int64_t i = 0; i < n; i++)
            want += rows[r].want(a[broadcast_at(s[0], s[2], i)], b[broadcast_at(s[1], s[2], i)]) /
                    (double)n;
        hk_tensor *loss = rows[r].fn(x, t);
        assert_shape(loss, HK_SCALAR);
        assert_close(rows[r].name, k, hk_tensor_item(loss), want,
                     (dtype == HK_F32 ? 1e-6 : 1e-14) * want);
        must(hk_step_end(ctx));
    }
    const double x[] = {1000, -1000, 0}, t[] = {1, 0, 0.5}; /* no overflow */
    assert_close("bce", 0,
                 hk_tensor_item(hk_bce_with_logits(kept(ctx, HK_F32, HK_SHAPE(3), x),
                                                   kept(ctx, HK_F32, HK_SHAPE(3), t))),
                 log(2) / 3, 1e-7);
    hk_tensor *one = hk_full(ctx, HK_F32, HK_SHAPE(2), 1);
    for (int k = 0; k < 4; k++) {
        assert_null(hk_huber(one, one, (const double[]){0, -1, NAN, INFINITY}[k]));
        expect_error(ctx, HK_ERR_ARGUMENT, "[huber]", "delta");
    }
}

static void accuracies(void **state) {
    hk_context *ctx = *state;
    const double x[] = {1, 2, 3, 3, 2, 1, 0, 5, 5, NAN, 1, 2};
    const int32_t labels[] = {
        2, 0, 2, 0}; /* right, right, the tie goes to class 1: wrong, NaN counts as largest */
    hk_tensor *t = kept(ctx, HK_F32, HK_SHAPE(4, 3), x),
              *l = hk_constant(ctx, HK_I32, HK_SHAPE(4), labels);
    assert_close("accuracy", 0, hk_accuracy(t, l), 0.75, 0);
    assert_nan("accuracy", 1, hk_accuracy(t, hk_cast(l, HK_F32)));
    assert_true(hk_error(ctx) == HK_ERR_SHAPE || hk_error(ctx) == HK_ERR_DTYPE);
    hk_error_clear(ctx);
    assert_nan("accuracy", 2, hk_accuracy(t, hk_slice(l, 0, 0, 3)));
    expect_error(ctx, HK_ERR_SHAPE, "[accuracy]", "(4, 3)", "(3)");
    assert_nan("accuracy", 3, hk_accuracy(NULL, l));
    assert_ok(ctx);
}

/* --- products -------------------------------------------------------------------------------- */

static void products(void **state) {
    hk_context *ctx = *state;
    static const hk_shape shapes[][3] = {
        {{2, {1, 1}}, {2, {1, 1}}, {2, {1, 1}}},
        {{2, {17, 33}}, {2, {33, 5}}, {2, {17, 5}}},
        {{2, {1, 65}}, {2, {65, 1}}, {2, {1, 1}}},
        {{3, {3, 5, 7}}, {2, {7, 9}}, {3, {3, 5, 9}}},
        {{4, {2, 1, 3, 5}}, {3, {4, 5, 2}}, {4, {2, 4, 3, 2}}},
    };
    for (int64_t k = 0; k < COUNT(shapes) * VIEWS * 2; k++) {
        const hk_dtype dtype = k % 2 ? HK_F64 : HK_F32;
        const view v = (view)(k / 2 % VIEWS);
        const hk_shape *s = shapes[k / 2 / VIEWS];
        hk_tensor *a = view_of(v, seeded(ctx, dtype, view_source(v, s[0]), "a", -1, 1, 0), s[0]);
        hk_tensor *b = view_of(v, seeded(ctx, dtype, view_source(v, s[1]), "b", -1, 1, 0), s[1]);
        hk_tensor *y = hk_matmul(a, b);
        assert_shape(y, s[2]);
        const int64_t m = hk_tensor_dim(a, -2), inner = hk_tensor_dim(a, -1),
                      n = hk_tensor_dim(b, -1);
        hk_shape la = s[0], lb = s[1], ly = s[2];
        la.rank -= 2, lb.rank -= 2, ly.rank -= 2;
        const double *x = values(a), *z = values(b), *got = values(y);
        for (int64_t i = 0; i < hk_tensor_count(y); i++) {
            const double *row = x + (broadcast_at(la, ly, i / m / n) * m + i / n % m) * inner;
            const double *col = z + broadcast_at(lb, ly, i / m / n) * inner * n + i % n;
            double want = 0, size = 0;
            for (int64_t j = 0; j < inner; j++)
                want += row[j] * col[j * n], size += fabs(row[j] * col[j * n]);
            assert_close("matmul", i, got[i], want, (dtype == HK_F32 ? 5e-7 : 1e-15) * size);
        }
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cross_entropies, setup, teardown),
        cmocka_unit_test_setup_teardown(extreme_logits, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(losses_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(accuracies, setup, teardown),
        cmocka_unit_test_setup_teardown(products, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
