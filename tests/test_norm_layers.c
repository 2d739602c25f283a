/* test_norm_layers.c: normalisation as modules: parameters, what stands before and behind, two places, errors.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

static void assert_names(hk_parameters list, int n, const char *const *names) {
    for (int i = 0; i < list.count && i < n; i++)
        assert_string_equal(hk_tensor_name(list.items[i]), names[i]);
    assert_int_equal(list.count, n);
}
#define ASSERT_NAMES(list, ...)                                                                    \
    assert_names(list, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),              \
                 (const char *[]){__VA_ARGS__})

static int32_t batches_of(hk_module *net, const char *name) {
    const hk_tensor *t = hk_module_find(net, name);
    assert_non_null(t);
    return (int32_t)element_get(t, 0);
}

/* --- modules of other kinds, places, errors ------------------------------------------------------------------- */

static void layer_and_group(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_layer_norm(ctx, 2, NULL), hk_group_norm(ctx, 3, NULL),
                                   hk_layer_norm(ctx, 1, &(hk_norm_config){.plain = true}));
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(2, 6, 3, 4));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 6, 3, 4), NULL), HK_OK);
    ASSERT_NAMES(hk_module_parameters(net), "0.weight", "0.bias", "1.weight", "1.bias");
    assert_int_equal(hk_module_buffers(net).count, 0);
    hk_tensor *w = hk_module_find(net, "0.weight"), *b = hk_module_find(net, "0.bias"),
              *w1 = hk_module_find(net, "1.weight"), *b1 = hk_module_find(net, "1.bias");
    assert_true(hk_shape_equal(w->shape, HK_SHAPE(3, 4)));
    assert_true(hk_shape_equal(w1->shape, HK_SHAPE(6)));
    for (int64_t i = 0; i < 12; i++) element_put(w, i, 1 + 0.1 * (double)i);
    for (int64_t i = 0; i < 6; i++) element_put(b1, i, (double)i);
    hk_tensor *want = hk_layer_norm_op(x, 2, w, b, 1e-5);
    want = hk_group_norm_op(want, 3, w1, b1, 1e-5);
    want = hk_layer_norm_op(want, 1, HK_NO_BIAS, HK_NO_BIAS, 1e-5);
    hk_tensor *got = hk_forward(net, x);
    assert_ok(ctx);
    assert_true(same_elements(got, want));
    char text[1000];
    hk_module_summary(net, HK_SHAPE(-1, 6, 3, 4), text, sizeof text);
    assert_non_null(strstr(text, "layer_norm          (n, 6, 3, 4)                 24"));
    hk_context_destroy(ctx);
}

/* What stands before a norm follows the activation behind it: its width and its start. */
static void passes_on(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 3, 4), hk_batch_norm1d(ctx, NULL),
                                   hk_activation(ctx, "maxout"), hk_linear(ctx, 4, 2));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), NULL), HK_OK);
    assert_int_equal(hk_tensor_dim(hk_module_find(net, "0.weight"), 0), 8);
    assert_int_equal(hk_tensor_dim(hk_module_find(net, "1.running_var"), 0), 8);
    hk_module *with = hk_sequential(ctx, hk_linear(ctx, 3, 4), hk_group_norm(ctx, 2, NULL),
                                    hk_layer_norm(ctx, 1, NULL), hk_activation(ctx, "relu"));
    hk_module *without = hk_sequential(ctx, hk_linear(ctx, 3, 4), hk_activation(ctx, "relu"));
    assert_int_equal(hk_module_build(with, HK_SHAPE(-1, 3), NULL), HK_OK);
    assert_int_equal(hk_module_build(without, HK_SHAPE(-1, 3), NULL), HK_OK);
    assert_true(
        same_elements(hk_module_find(with, "0.weight"), hk_module_find(without, "0.weight")));
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void two_places(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    for (int plain = 0; plain < 2; plain++) {
        hk_module *norm = hk_batch_norm2d(ctx, &(hk_norm_config){.plain = plain});
        /* Another size of image in the second place; what follows still knows its channels. */
        hk_module *net =
            hk_sequential(ctx, norm, hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 2}}),
                          norm, hk_batch_norm2d(ctx, NULL));
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3, 4, 6), NULL), HK_OK);
        assert_int_equal(hk_module_buffers(net).count, 6);
        assert_int_equal(hk_module_parameters(net).count, plain ? 2 : 4);
        assert_non_null(hk_forward(net, normal(ctx, "x", HK_SHAPE(2, 3, 4, 6))));
        assert_int_equal(batches_of(net, "0.num_batches_tracked"), 2);
        assert_int_equal(batches_of(net, "3.num_batches_tracked"), 1);
        assert_ok(ctx);

        hk_module *one = hk_batch_norm1d(ctx, &(hk_norm_config){.plain = plain});
        hk_module *bad = hk_sequential(ctx, one, hk_linear(ctx, 3, 5), one);
        assert_int_equal(hk_module_build(bad, HK_SHAPE(-1, 3), NULL), HK_ERR_SHAPE);
        expect_error(ctx, HK_ERR_SHAPE,
                     "[batch_norm1d] 0 stands in two places, for (n, 3) and for (n, 5)");
    }
    hk_module *layer = hk_layer_norm(ctx, 1, NULL);
    hk_module *rows = hk_sequential(ctx, layer, hk_linear(ctx, 3, 3), layer);
    assert_int_equal(hk_module_build(rows, HK_SHAPE(-1, 4, 3), NULL), HK_OK);
    hk_module *group = hk_group_norm(ctx, 2, NULL);
    hk_module *deeper = hk_sequential(ctx, group, hk_flatten(ctx), group);
    assert_int_equal(hk_module_build(deeper, HK_SHAPE(-1, 4, 3), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE,
                 "[group_norm] 0 stands in two places, for (n, 4, 3) and for (n, 12)");
    hk_context_destroy(ctx);
}

static void errors(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *unknown = hk_sequential(ctx, hk_batch_norm2d(ctx, NULL));
    assert_int_equal(hk_module_parameters(unknown).count, 0);
    expect_error(ctx, HK_ERR_SHAPE,
                 "[batch_norm2d] 0: the number of channels (axis 1) must be known: call "
                 "hk_module_build with the input's shape");
    assert_int_equal(hk_module_build(hk_group_norm(ctx, 2, NULL), HK_SHAPE(-1, -1, 4), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[group_norm] the module: the number of channels (axis 1)");
    assert_int_equal(hk_module_build(hk_layer_norm(ctx, 2, NULL), HK_SHAPE(-1, -1, 4), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE,
                 "[layer_norm] the module: the sizes of the last 2 axes must be known");
    assert_int_equal(hk_module_build(hk_layer_norm(ctx, 3, NULL), HK_SHAPE(-1, 4), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[layer_norm] the module takes 3 axes or more, not (n, 4)");
    assert_int_equal(hk_module_build(hk_group_norm(ctx, 3, NULL), HK_SHAPE(-1, 4, 2, 2), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[group_norm] the module: 3 groups do not divide 4 channels");
    assert_int_equal(hk_module_build(hk_batch_norm2d(ctx, NULL), HK_SHAPE(-1, 4), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[batch_norm2d] the module takes (n, c, h, w), not (n, 4)");
    assert_int_equal(hk_module_build(hk_batch_norm1d(ctx, NULL), HK_SHAPE(-1, 4, 2, 2), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE,
                 "[batch_norm1d] the module takes (n, c) or (n, c, l), not (n, 4, 2, 2)");

    /* What forward gets may differ from what the module was built for. */
    hk_module *norm = hk_batch_norm1d(ctx, &(hk_norm_config){.plain = true});
    assert_int_equal(hk_module_build(norm, HK_SHAPE(-1, 4), NULL), HK_OK);
    assert_non_null(hk_forward(norm, normal(ctx, "x", HK_SHAPE(2, 4, 3))));
    assert_null(hk_forward(norm, normal(ctx, "x", HK_SHAPE(2, 5))));
    expect_error(ctx, HK_ERR_SHAPE, "the module normalises 4 channels of f32, not (2, 5) of f32");
    assert_null(hk_forward(norm, hk_full(ctx, HK_F64, HK_SHAPE(2, 4), 1)));
    expect_error(ctx, HK_ERR_DTYPE, "the module normalises 4 channels of f32, not (2, 4) of f64");
    assert_null(hk_forward(norm, normal(ctx, "x", HK_SHAPE(2, 4, 3, 3))));
    expect_error(ctx, HK_ERR_SHAPE, "takes (n, c) or (n, c, l), not (2, 4, 3, 3)");

    static const struct {
        hk_norm_config config;
        const char *text;
    } bad[] = {{{.eps = -1}, "[batch_norm2d] eps must be positive and finite, not -1"},
               {{.eps = NAN}, "eps must be positive"},
               {{.momentum = 1.5}, "[batch_norm2d] momentum must be in (0, 1], not 1.5"},
               {{.momentum = -0.1}, "momentum must be"},
               {{.momentum = NAN}, "momentum must be"}};
    for (int i = 0; i < 5; i++) {
        assert_null(hk_batch_norm2d(ctx, &bad[i].config));
        expect_error(ctx, HK_ERR_ARGUMENT, bad[i].text);
    }
    assert_null(hk_layer_norm(ctx, 0, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[layer_norm] axes must be from 1 to");
    assert_null(hk_group_norm(ctx, 0, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[group_norm] groups must be 1 or more, not 0");
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_and_group),
        cmocka_unit_test(passes_on),
        cmocka_unit_test(two_places),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
