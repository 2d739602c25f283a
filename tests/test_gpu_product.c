/* ctest: labels=unit timeout=120 */
/* Matrix products on a GPU against those of the CPU: sizes, layouts, leading axes, bias, both ways to compute them.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"
#include "product.h"

static const double tolerance[] = {[HK_F32] = 2e-6, [HK_F64] = 1e-14};

/* A matrix (..., rows, cols) in one of three layouts: as it is, transposed, or every other column of a wider one. */
enum { AS_IT_IS, TURNED, GAPS, LAYOUTS };

static hk_tensor *matrix(hk_context *ctx, hk_dtype dtype, hk_shape shape, int layout,
                         const char *name) {
    const int r = shape.rank;
    if (layout == AS_IT_IS) return numbers(ctx, dtype, shape, name);
    hk_shape stored = shape;
    if (layout == TURNED) {
        stored.dim[r - 1] = shape.dim[r - 2];
        stored.dim[r - 2] = shape.dim[r - 1];
        return hk__transposed(numbers(ctx, dtype, stored, name));
    }
    stored.dim[r - 1] *= 2;
    hk_tensor *v = hk__view(numbers(ctx, dtype, stored, name));
    v->shape = shape;
    v->stride[r - 1] = 2;
    return v;
}

typedef struct one {
    hk_dtype dtype;
    hk_shape a, b, out;
    int layout_a, layout_b;
    bool bias, accumulate;
} one;

static hk_tensor *product(hk_context *ctx, const one *c) {
    hk_tensor *a = matrix(ctx, c->dtype, c->a, c->layout_a, "a");
    hk_tensor *b = matrix(ctx, c->dtype, c->b, c->layout_b, "b");
    hk_tensor *out = numbers(ctx, c->dtype, c->out, "out"), *bias = NULL;
    if (c->bias) bias = numbers(ctx, c->dtype, HK_SHAPE(c->out.dim[c->out.rank - 1]), "bias");
    must(hk__product(ctx, out, a, b, bias, c->accumulate));
    return out;
}

static void compare(const one *c) {
    char name[160], a[64], b[64];
    snprintf(name, sizeof name, "%s (%d) times %s (%d)%s%s", hk_shape_text(c->a, a, sizeof a),
             c->layout_a, hk_shape_text(c->b, b, sizeof b), c->layout_b, c->bias ? " + bias" : "",
             c->accumulate ? " + out" : "");
    assert_alike(name, product(cpu, c), product(gpu, c),
                 tolerance[c->dtype] * sqrt((double)c->a.dim[c->a.rank - 1] + 1));
    forget();
}

static void every_layout(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1},     {3, 5, 7},     {16, 16, 128}, {17, 33, 129},
                                       {64, 10, 128}, {10, 128, 64}, {128, 48, 33}, {64, 128, 10},
                                       {1, 70, 40},   {70, 1, 40}};
    for (int64_t i = 0; i < COUNT(sizes); i++)
        for (int which = 0; which < 8 * LAYOUTS * LAYOUTS; which++) {
            const int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
            const int layouts = which / 8;
            const one c = {.dtype = which & 1 ? HK_F64 : HK_F32,
                           .a = HK_SHAPE(m, k),
                           .b = HK_SHAPE(k, n),
                           .out = HK_SHAPE(m, n),
                           .layout_a = layouts % LAYOUTS,
                           .layout_b = layouts / LAYOUTS,
                           .bias = which >> 1 & 1,
                           .accumulate = which >> 2 & 1};
            compare(&c);
        }
}

static void leading_axes(void **state) {
    (void)state;
    static const one cases[] = {
        {.a = {3, {4, 5, 6}}, .b = {3, {4, 6, 7}}, .out = {3, {4, 5, 7}}},
        {.a = {3, {4, 5, 6}}, .b = {2, {6, 7}}, .out = {3, {4, 5, 7}}, .bias = true},
        {.a = {2, {5, 6}}, .b = {3, {4, 6, 7}}, .out = {3, {4, 5, 7}}, .accumulate = true},
        {.a = {4, {2, 1, 5, 6}}, .b = {4, {1, 3, 6, 7}}, .out = {4, {2, 3, 5, 7}}},
        {.a = {4, {2, 3, 5, 6}}, .b = {3, {3, 6, 7}}, .out = {4, {2, 3, 5, 7}}, .bias = true},
        {.a = {5, {2, 1, 3, 4, 5}},
         .b = {5, {1, 4, 1, 5, 3}},
         .out = {5, {2, 4, 3, 4, 3}},
         .layout_a = TURNED},
        {.a = {3, {4, 5, 0}}, .b = {2, {0, 7}}, .out = {3, {4, 5, 7}}, .bias = true},
        {.a = {2, {5, 0}}, .b = {2, {0, 7}}, .out = {2, {5, 7}}},
        {.a = {2, {5, 0}}, .b = {2, {0, 7}}, .out = {2, {5, 7}}, .accumulate = true},
    };
    for (int64_t i = 0; i < COUNT(cases); i++)
        for (int dtype = HK_F32; dtype <= HK_F64; dtype++)
            for (int layout = AS_IT_IS; layout <= TURNED; layout++) {
                one c = cases[i];
                c.dtype = (hk_dtype)dtype;
                c.layout_b = layout;
                compare(&c);
            }
}

/* Beyond what hillock's own kernels are for: by their depth, so that the CPU is quick. */
static void by_cublas(void **state) {
    (void)state;
    for (int which = 0; which < 16; which++) {
        const one c = {.dtype = which & 8 ? HK_F64 : HK_F32,
                       .a = HK_SHAPE(3, 5, 4100),
                       .b = HK_SHAPE(3, 4100, 6),
                       .out = HK_SHAPE(3, 5, 6),
                       .layout_a = which & 1,
                       .layout_b = which >> 1 & 1,
                       .bias = which >> 2 & 1,
                       .accumulate = which % 3 == 0};
        compare(&c);
    }
    assert_true(hk_context_describe(gpu).has_blas);
    assert_non_null(strstr(hk_context_describe(gpu).blas, "cuBLAS 1"));
    assert_non_null(strstr(hk_context_describe(gpu).isa, "sm_"));
}

/* The layers of a small network, where rows are long and results few, as they meet in training. */
static void of_a_network(void **state) {
    (void)state;
    const one cases[] = {{.a = HK_SHAPE(64, 784),
                          .b = HK_SHAPE(784, 128),
                          .out = HK_SHAPE(64, 128),
                          .layout_b = TURNED,
                          .bias = true},
                         {.a = HK_SHAPE(128, 64),
                          .b = HK_SHAPE(64, 784),
                          .out = HK_SHAPE(128, 784),
                          .layout_a = TURNED},
                         {.a = HK_SHAPE(64, 128),
                          .b = HK_SHAPE(128, 10),
                          .out = HK_SHAPE(64, 10),
                          .layout_b = TURNED,
                          .bias = true}};
    for (int64_t i = 0; i < COUNT(cases); i++) compare(&cases[i]);
    hk_tensor *first = product(gpu, &cases[0]), *again = product(gpu, &cases[0]);
    assert_alike("again", first, again, 0);
}

/* Gradients of x, w and b in one launch, also added to what is there, and where that launch cannot be taken. */
static void of_a_layer(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {
        {64, 784, 128}, {5, 3, 4}, {64, 128, 10}, {33, 40, 70}, {4200, 3, 2}};
    for (int64_t i = 0; i < COUNT(sizes); i++)
        for (int dtype = HK_F32; dtype <= HK_F64; dtype++) {
            const int64_t rows = sizes[i][0], in = sizes[i][1], outs = sizes[i][2];
            hk_tensor *grad[2][3];
            for (int c = 0; c < 2; c++) {
                hk_context *ctx = c ? gpu : cpu;
                const hk_dtype t = (hk_dtype)dtype;
                hk_tensor *p[] = {numbers(ctx, t, HK_SHAPE(rows, in), "x"),
                                  numbers(ctx, t, HK_SHAPE(outs, in), "w"),
                                  numbers(ctx, t, HK_SHAPE(outs), "b")};
                for (int k = 0; k < 3; k++) p[k] = hk_require_grad(hk_tensor_keep(p[k]));
                for (int twice = 0; twice < 2; twice++) {
                    hk_tensor *y = hk_affine(p[0], p[1], p[2]);
                    must(hk_backward_from(ctx, y, numbers(ctx, t, hk_tensor_shape(y), "g")));
                }
                for (int k = 0; k < 3; k++) grad[c][k] = hk_grad(p[k]);
            }
            for (int k = 0; k < 3; k++)
                assert_alike("gradient", grad[0][k], grad[1][k],
                             tolerance[dtype] * sqrt((double)rows));
            forget();
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout), cmocka_unit_test(leading_axes), cmocka_unit_test(by_cublas),
        cmocka_unit_test(of_a_network), cmocka_unit_test(of_a_layer)};
    return cmocka_run_group_tests(tests, open_both, close_both);
}
