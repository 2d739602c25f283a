/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_grad_product.c: gradients of matmul and affine: leading axes broadcast, every layout, one
   tensor twice.
   SPDX-License-Identifier: MIT */
#include "testing.h"

typedef struct product {
    view view[2];
    hk_shape shape[2];
} product;

static hk_tensor *matmul(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const product *p = arg;
    return hk_matmul(view_of(p->view[0], in[0], p->shape[0]),
                     view_of(p->view[1], in[1], p->shape[1]));
}

static void matmuls(void **state) {
    hk_context *ctx = *state;
    static const hk_shape cases[][2] = {
        {{2, {1, 1}}, {2, {1, 1}}},
        {{2, {3, 5}}, {2, {5, 7}}},
        {{2, {1, 7}}, {2, {7, 1}}},
        {{2, {7, 1}}, {2, {1, 5}}},
        {{2, {5, 33}}, {2, {33, 17}}},
        {{3, {2, 3, 5}}, {2, {5, 2}}},
        {{2, {3, 5}}, {3, {2, 5, 3}}},
        {{3, {3, 2, 5}}, {3, {1, 5, 3}}},
        {{3, {1, 3, 5}}, {3, {3, 5, 2}}},
        {{4, {2, 1, 3, 2}}, {3, {3, 2, 3}}},
        {{5, {1, 2, 1, 3, 1}}, {4, {2, 1, 1, 3}}},
        {{6, {1, 2, 1, 2, 1, 3}}, {6, {2, 1, 1, 2, 3, 2}}},
    };
    for (int64_t k = 0; k < COUNT(cases) * VIEWS * VIEWS; k++) {
        const hk_shape *s = cases[k / VIEWS / VIEWS];
        product p = {{(view)(k / VIEWS % VIEWS), (view)(k % VIEWS)}, {s[0], s[1]}};
        if (hk_shape_count(s[1]) > 100 && p.view[0] != p.view[1]) continue;
        hk_tensor *in[] = {
            seeded(ctx, HK_F64, view_source(p.view[0], s[0]), "product/a", -1, 1, 0),
            seeded(ctx, HK_F64, view_source(p.view[1], s[1]), "product/b", -1, 1, 0)};
        char what[80];
        snprintf(what, sizeof what, "matmul %lld, views %d and %d", (long long)(k / VIEWS / VIEWS),
                 p.view[0], p.view[1]);
        assert_gradient(ctx, what, matmul, &p, 2, in, NULL);
        hk_tensor_destroy(in[0]);
        hk_tensor_destroy(in[1]);
    }
}

/* in: x, w and, with a bias, the bias as a slice of something longer. */
static hk_tensor *affine(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    const product *p = arg;
    hk_tensor *x = view_of(p->view[0], in[0], p->shape[0]),
              *w = view_of(p->view[1], in[1], p->shape[1]);
    return hk_affine(x, w, n == 3 ? hk_slice(in[2], 0, 1, p->shape[1].dim[0]) : HK_NO_BIAS);
}

static void affines(void **state) {
    hk_context *ctx = *state;
    static const hk_shape inputs[] = {{1, {5}},       {2, {1, 5}},       {2, {7, 5}},
                                      {3, {2, 3, 5}}, {4, {2, 1, 3, 5}}, {6, {1, 2, 1, 3, 1, 5}}};
    static const hk_shape weights[] = {{2, {3, 5}}, {2, {1, 5}}};
    for (int64_t k = 0; k < COUNT(inputs) * COUNT(weights) * VIEWS * 2; k++) {
        const hk_shape x = inputs[k / 2 / VIEWS / COUNT(weights)],
                       w = weights[k / 2 / VIEWS % COUNT(weights)];
        const int n = k % 2 ? 3 : 2;
        product p = {{(view)(k / 2 % VIEWS), (view)((k / 2 + k) % VIEWS)}, {x, w}};
        hk_tensor *in[] = {seeded(ctx, HK_F64, view_source(p.view[0], x), "affine/x", -1, 1, 0),
                           seeded(ctx, HK_F64, view_source(p.view[1], w), "affine/w", -1, 1, 0),
                           seeded(ctx, HK_F64, HK_SHAPE(w.dim[0] + 2), "affine/b", -1, 1, 0)};
        char what[80];
        snprintf(what, sizeof what, "affine, x of rank %d, w of %d rows, views %d and %d, %s",
                 x.rank, (int)w.dim[0], p.view[0], p.view[1], n == 3 ? "bias" : "no bias");
        assert_gradient(ctx, what, affine, &p, n, in, NULL);
        for (int i = 0; i < 3; i++) hk_tensor_destroy(in[i]);
    }
}

/* --- one tensor used several times ----------------------------------------------------------- */

#define FN(name, expr)                                                                             \
    static hk_tensor *name(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {              \
        (void)ctx, (void)n, (void)arg;                                                             \
        hk_tensor *x = in[0];                                                                      \
        return (expr);                                                                             \
    }                                                                                              \
    WANTS_SEMICOLON
FN(gram, hk_matmul(x, hk_transpose(x, 0, 1)));
FN(gram_of_columns, hk_matmul(hk_transpose(x, 0, 1), x));
FN(cube, hk_matmul(hk_matmul(x, x), x));
FN(affine_by_itself, hk_affine(x, x, hk_slice(hk_reshape(x, HK_SHAPE(-1)), 0, 2, 3)));
static hk_tensor *around(hk_tensor *row, hk_tensor *w) { return hk_affine(row, w, row); }
FN(affine_around_itself, around(hk_reshape(hk_slice(x, 0, 0, 1), HK_SHAPE(3)), hk_exp(x)));
FN(stretched_against_itself, hk_matmul(hk_broadcast_to(x, HK_SHAPE(2, 3, 3)), x));
FN(chain, hk_affine(hk_exp(hk_affine(x, x, HK_NO_BIAS)), hk_transpose(x, 0, 1), HK_NO_BIAS));

static void used_several_times(void **state) {
    hk_context *ctx = *state;
    hk_function *const all[] = {gram,
                                gram_of_columns,
                                cube,
                                affine_by_itself,
                                affine_around_itself,
                                stretched_against_itself,
                                chain};
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(3, 3), "several", -1, 1, 0);
    for (int64_t k = 0; k < COUNT(all); k++) {
        char what[64];
        snprintf(what, sizeof what, "several times, number %lld", (long long)k);
        assert_gradient(ctx, what, all[k], NULL, 1, &x, NULL);
    }
}

/* --- nothing to multiply: results and gradients of the right shape, zero --------------------- */

static void empty_products(void **state) {
    hk_context *ctx = *state;
    for (int d = 0; d < 2; d++) {
        const hk_dtype dtype = d ? HK_F64 : HK_F32;
        hk_tensor *a = hk_require_grad(hk_tensor_new(ctx, dtype, HK_SHAPE(2, 0)));
        hk_tensor *b = hk_require_grad(hk_tensor_new(ctx, dtype, HK_SHAPE(0, 3)));
        hk_tensor *y = hk_matmul(a, b); /* an inner size of 0 sums nothing */
        assert_shape(y, HK_SHAPE(2, 3));
        assert_values("inner 0", y, 6, (const double[6]){0}, 0);
        must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
        assert_int_equal(hk_tensor_count(hk_grad(a)), 0);

        hk_tensor *x =
            hk_require_grad(hk_tensor_new(ctx, dtype, HK_SHAPE(0, 3))); /* an empty batch */
        hk_tensor *w = hk_require_grad(seeded(ctx, dtype, HK_SHAPE(2, 3), "empty/w", 1, 2, 0));
        hk_tensor *bias = hk_require_grad(seeded(ctx, dtype, HK_SHAPE(2), "empty/b", 1, 2, 0));
        y = hk_affine(x, w, bias);
        assert_shape(y, HK_SHAPE(0, 2));
        must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
        assert_values("w", hk_grad(w), 6, (const double[6]){0}, 0);
        assert_values("b", hk_grad(bias), 2, (const double[2]){0}, 0);

        hk_tensor *thin = hk_tensor_new(ctx, dtype, HK_SHAPE(3, 0)),
                  *none = hk_tensor_new(ctx, dtype, HK_SHAPE(2, 0));
        y = hk_affine(thin, none, bias); /* no input: the bias alone */
        const double *got = values(y), *want = values(bias);
        for (int i = 0; i < 6; i++) assert_close("bias alone", i, got[i], want[i % 2], 0);
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matmuls, setup, teardown),
        cmocka_unit_test_setup_teardown(affines, setup, teardown),
        cmocka_unit_test_setup_teardown(used_several_times, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_products, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
