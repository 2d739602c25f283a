/* ctest: labels=unit timeout=120 */
/* Reductions on a GPU against those of the CPU: every set of axes, layouts, long rows and columns, special values.
   SPDX-License-Identifier: MIT */
#include "gpu_fixture.h"
#include "reduce.h"
#include "tensor.h"

/* x, and out with the reduced axes of size 1, which holds numbers already. */
static hk_tensor *reduced(hk_context *ctx, hk__reduction kind, hk_tensor *x, unsigned axes,
                          double scale, bool accumulate) {
    hk_shape shape = hk_tensor_shape(x);
    for (int a = 0; a < shape.rank; a++)
        if (axes >> a & 1) shape.dim[a] = 1;
    hk_tensor *out = kind == HK__ARGMAX ? hk_full(ctx, HK_I32, shape, -1)
                                        : numbers(ctx, hk_tensor_dtype(x), shape, "out");
    assert_true(hk__reduce(ctx, kind, out, x, axes, scale, accumulate));
    assert_ok(ctx);
    return out;
}

static hk_tensor *viewed(hk_tensor *x, int layout) {
    hk_tensor *v = hk__view(x);
    const int r = v->shape.rank;
    if (layout == 1 && r > 1) { /* the first axis last */
        const int64_t dim = v->shape.dim[0], stride = v->stride[0];
        for (int a = 0; a + 1 < r; a++)
            v->shape.dim[a] = v->shape.dim[a + 1], v->stride[a] = v->stride[a + 1];
        v->shape.dim[r - 1] = dim;
        v->stride[r - 1] = stride;
    }
    if (layout == 2) v->shape.dim[r - 1] = (v->shape.dim[r - 1] + 1) / 2, v->stride[r - 1] = 2;
    if (layout == 3) v->stride[0] = 0; /* broadcast */
    return v;
}

static void compare(hk_dtype dtype, hk_shape shape, int layout, unsigned axes) {
    static const hk__reduction kinds[] = {HK__SUM, HK__SUM, HK__MAX, HK__ARGMAX};
    static const char *const names[] = {"sum", "sum added", "max", "argmax"};
    const bool one = axes && (axes & (axes - 1)) == 0;
    for (int k = 0; k < (one ? 4 : 3); k++) {
        hk_tensor *out[2];
        for (int c = 0; c < 2; c++) {
            hk_context *ctx = c ? gpu : cpu;
            hk_tensor *x = viewed(numbers(ctx, dtype, shape, "x"), layout);
            out[c] = reduced(ctx, kinds[k], x, axes, k < 2 ? 0.5 : 1, k == 1);
        }
        char name[160], text[64];
        snprintf(name, sizeof name, "%s %s, layout %d, axes 0x%x", names[k],
                 hk_shape_text(shape, text, sizeof text), layout, axes);
        assert_alike(name, out[0], out[1], k >= 2 ? 0 : dtype == HK_F64 ? 1e-14 : 1e-6);
    }
    forget();
}

static void any_axes(void **state) {
    (void)state;
    static const hk_shape shapes[] = {
        {1, {7}}, {2, {6, 8}}, {3, {4, 5, 12}}, {4, {3, 4, 2, 5}}, {3, {2, 1, 40}}};
    for (int64_t i = 0; i < COUNT(shapes); i++)
        for (int layout = 0; layout < 4; layout++)
            for (unsigned axes = 0; axes < 1u << shapes[i].rank; axes++)
                for (int dtype = HK_F32; dtype <= HK_F64; dtype++)
                    compare((hk_dtype)dtype, shapes[i], layout, axes);
}

/* One case for each way through the kernels: teams of 8, 32, 256; in parts; few and many columns. */
static void sizes(void **state) {
    (void)state;
    static const struct {
        hk_shape shape;
        unsigned axes;
    } cases[] = {{{2, {1000, 10}}, 2},   {{2, {300, 100}}, 2},   {{2, {50, 500}}, 2},
                 {{2, {3, 5000}}, 2},    {{2, {2, 40000}}, 2},   {{1, {100003}}, 1},
                 {{2, {64, 128}}, 1},    {{2, {64, 10}}, 1},     {{2, {5000, 3}}, 1},
                 {{2, {3000, 130}}, 1},  {{3, {20, 6, 49}}, 5},  {{3, {20, 6, 196}}, 5},
                 {{3, {300, 2, 64}}, 5}, {{3, {40, 50, 36}}, 2}, {{3, {70, 80, 6}}, 3},
                 {{2, {1, 70001}}, 1},   {{3, {3, 6000, 4}}, 2}};
    for (int64_t i = 0; i < COUNT(cases); i++)
        for (int dtype = HK_F32; dtype <= HK_F64; dtype++)
            for (int layout = 0; layout < 3; layout++)
                compare((hk_dtype)dtype, cases[i].shape, layout, cases[i].axes);
}

/* A long sum keeps its digits: parts are added in double. */
static void digits(void **state) {
    (void)state;
    const hk_shape shape = HK_SHAPE(1 << 20);
    hk_tensor *x = hk_full(gpu, HK_F32, shape, 0.1);
    assert_close("sum", 0, hk_tensor_item(hk_sum(x, HK_ALL_AXES, false)), 0x1p20 * (double)0.1f,
                 0.05);
    assert_close("squares", 0, hk__sum_squares(gpu, HK_F32, x->data, 1 << 20),
                 0x1p20 * (double)0.1f * (double)0.1f, 1e-6 * 0x1p20 * 0.01);
    must(hk_step_end(gpu));
}

static void special_values(void **state) {
    (void)state;
    static const int64_t lengths[] = {5, 64, 3000, 40000};
    static const float specials[] = {NAN, INFINITY, -INFINITY, 3};
    for (int64_t l = 0; l < COUNT(lengths); l++)
        for (int64_t i = 0; i < COUNT(specials); i++)
            for (int twice = 0; twice < 2; twice++) {
                const int64_t n = lengths[l], at = n * 2 / 3;
                float *v = calloc((size_t)n, sizeof *v);
                v[at] = specials[i];
                if (twice) v[n - 1] = specials[i];
                hk_tensor *x = hk_constant(gpu, HK_F32, HK_SHAPE(n), v),
                          *y = hk_constant(cpu, HK_F32, HK_SHAPE(n), v);
                assert_alike("max", hk_max(y, 1, false), hk_max(x, 1, false), 0);
                assert_alike("argmax", hk_argmax(y, 0, false), hk_argmax(x, 0, false), 0);
                const bool finite = isfinite(specials[i]);
                assert_int_equal(hk__first_nonfinite(gpu, x), finite ? -1 : at);
                hk_tensor *every_other = hk__view(x);
                every_other->shape.dim[0] = (n + 1) / 2;
                every_other->stride[0] = 2;
                int64_t first = -1;
                for (int64_t e = n - 1; e >= 0; e--)
                    if (e % 2 == 0 && !isfinite(v[e])) first = e / 2;
                assert_int_equal(hk__first_nonfinite(gpu, every_other), first);
                free(v);
                forget();
            }
}

/* Back to a smaller shape, and the variance, which is made of sums. */
static void ops(void **state) {
    (void)state;
    hk_tensor *out[2], *var[2];
    for (int c = 0; c < 2; c++) {
        hk_context *ctx = c ? gpu : cpu;
        hk_tensor *x = numbers(ctx, HK_F32, HK_SHAPE(3, 4, 5, 6), "x");
        out[c] = numbers(ctx, HK_F32, HK_SHAPE(4, 1, 6), "out");
        assert_true(hk__sum_to(ctx, out[c], x, true));
        var[c] = hk_var(x, HK_AXIS(0) | HK_AXIS(2), 1, false);
    }
    assert_alike("sum_to", out[0], out[1], 1e-6);
    assert_alike("var", var[0], var[1], 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_axes), cmocka_unit_test(sizes),
                                       cmocka_unit_test(digits), cmocka_unit_test(special_values),
                                       cmocka_unit_test(ops)};
    return cmocka_run_group_tests(tests, open_both, close_both);
}
