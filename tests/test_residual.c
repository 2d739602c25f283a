/* test_residual.c: residual blocks and zero padding: values, names, gradients, starts, what they refuse.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

/* x·wᵀ + b, by hand. */
static double affine_at(hk_module *linear, const hk_tensor *x, int64_t row, int64_t column) {
    const hk_parameters p = hk_module_parameters(linear);
    const hk_tensor *w = p.items[0], *b = p.items[1];
    const int64_t in = hk_tensor_shape(w).dim[1];
    double sum = number(b, column);
    for (int64_t k = 0; k < in; k++) sum += number(x, row * in + k) * number(w, column * in + k);
    return sum;
}

static void adds_what_both_ways_give(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *body = hk_linear(ctx, 3, 3), *shortcut = hk_linear(ctx, 3, 3), *twice;
    hk_module *plain = hk_residual(ctx, body, NULL);
    assert_int_equal(hk_module_build(plain, HK_SHAPE(-1, 3), "torch"), HK_OK);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(5, 3)), *y = hk_forward(plain, x);
    assert_ok(ctx);
    assert_true(hk_shape_equal(hk_tensor_shape(y), HK_SHAPE(5, 3)));
    for (int64_t i = 0; i < 15; i++)
        assert_true(fabs(number(y, i) - affine_at(body, x, i / 3, i % 3) - number(x, i)) <= 1e-14);

    body = hk_linear(ctx, 3, 4);
    shortcut = hk_linear(ctx, 3, 4);
    hk_module *both = hk_residual(ctx, body, shortcut);
    assert_int_equal(hk_module_build(both, HK_SHAPE(-1, 3), "torch"), HK_OK);
    y = hk_forward(both, x);
    assert_ok(ctx);
    for (int64_t i = 0; i < 20; i++)
        assert_true(fabs(number(y, i) - affine_at(body, x, i / 4, i % 4) -
                         affine_at(shortcut, x, i / 4, i % 4)) <= 1e-14);

    /* One module on both ways has its parameters once. */
    twice = hk_linear(ctx, 3, 2);
    hk_module *same = hk_residual(ctx, twice, twice);
    assert_int_equal(hk_module_build(same, HK_SHAPE(-1, 3), "torch"), HK_OK);
    assert_int_equal(hk_module_parameters(same).count, 2);
    y = hk_forward(same, x);
    for (int64_t i = 0; i < 10; i++)
        assert_true(fabs(number(y, i) - 2 * affine_at(twice, x, i / 2, i % 2)) <= 1e-14);
    hk_context_destroy(ctx);
}

static hk_module *block(hk_context *ctx, int64_t in, int64_t out) {
    return hk_residual(ctx,
                       hk_sequential(ctx, hk_linear(ctx, in, 5), hk_activation(ctx, "tanh"),
                                     hk_linear(ctx, 5, out)),
                       in == out ? NULL : hk_linear_no_bias(ctx, in, out));
}

static void names_and_streams(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = hk_sequential(ctx, block(ctx, 4, 4), block(ctx, 4, 3));
    static const char *const names[] = {"0.body.0.weight", "0.body.0.bias",   "0.body.2.weight",
                                        "0.body.2.bias",   "1.body.0.weight", "1.body.0.bias",
                                        "1.body.2.weight", "1.body.2.bias",   "1.shortcut.weight"};
    const hk_parameters all = hk_module_parameters(net);
    assert_ok(ctx);
    assert_int_equal(all.count, 9);
    for (int i = 0; i < 9; i++) assert_string_equal(hk_tensor_name(all.items[i]), names[i]);
    const hk_module *first = hk_module_child_at(net, 0);
    assert_string_equal(hk_module_kind(first), "residual");
    assert_int_equal(hk_module_child_count(first), 1);
    assert_string_equal(hk_module_name(hk_module_child_at(first, 0)), "0.body");

    /* Ways of one class draw from streams of their own. */
    hk_module *a = hk_linear(ctx, 3, 3), *b = hk_linear(ctx, 3, 3);
    assert_int_equal(hk_module_build(hk_residual(ctx, a, b), HK_SHAPE(-1, 3), NULL), HK_OK);
    hk_tensor *wa = hk_module_parameters(a).items[0], *wb = hk_module_parameters(b).items[0];
    assert_false(same_elements(wa, wb));

    char text[2048];
    assert_true(hk_module_summary(net, HK_SHAPE(-1, 4), text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "1.shortcut"));
    assert_non_null(strstr(text, "(n, 3)"));
    hk_context_destroy(ctx);
}

static void gradients(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *nets[] = {block(ctx, 4, 4), block(ctx, 4, 3),
                         hk_sequential(ctx, block(ctx, 4, 4), block(ctx, 4, 2)),
                         hk_sequential(ctx, hk_zero_pad2d(ctx, 1, 0, 2, 1), hk_linear(ctx, 7, 3),
                                       hk_activation(ctx, "tanh"), hk_zero_pad2d(ctx, 0, 2, 0, 0))};
    for (int i = 0; i < 4; i++) {
        const hk_shape shape = i < 3 ? HK_SHAPE(3, 4) : HK_SHAPE(2, 2, 3, 4);
        hk_tensor *x = hk_tensor_new(ctx, HK_F64, shape);
        assert_ok(ctx);
        for (int64_t k = 0; k < hk_tensor_count(x); k++)
            element_put(x, k, hk_random_normal(hk_random_stream(5, "x", (uint64_t)i), (uint64_t)k));
        hk_gradcheck_result result;
        if (hk_gradcheck_module(nets[i], x, NULL, &result) != HK_OK) fail_msg("%s", result.message);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    hk_context_destroy(ctx);
}

/* --- what comes behind decides the start ---------------------------------------------------------- */

static double gain_of(hk_context *ctx, const char *name) {
    hk_activation_spec spec;
    assert_int_equal(hk_activation_parse(ctx, name, &spec), HK_OK);
    return hk_activation_gain(ctx, &spec);
}

/* How many times as large `name` starts in `net` as in `other`, where the draws are the same. */
static double ratio(hk_module *net, hk_module *other, const char *name) {
    const hk_tensor *a = hk_module_find(net, name), *b = hk_module_find(other, name);
    assert_non_null(a);
    assert_non_null(b);
    const double first = number(a, 0) / number(b, 0);
    for (int64_t i = 0; i < hk_tensor_count(a); i++)
        assert_true(fabs(number(a, i) / number(b, i) - first) <= 1e-13);
    return first;
}

static void activation_behind_decides_both_ways(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *net[2];
    for (int k = 0; k < 2; k++) {
        hk_module *members[] = {block(ctx, 4, 3), hk_dropout(ctx, 0.1),
                                hk_activation(ctx, k == 0 ? "relu" : "identity")};
        net[k] = hk_sequential_n(ctx, 3, members);
        assert_int_equal(hk_module_build(net[k], HK_SHAPE(-1, 4), NULL), HK_OK);
    }
    const double relu = gain_of(ctx, "relu") / gain_of(ctx, "identity");
    assert_true(relu > 1.4);
    assert_true(fabs(ratio(net[0], net[1], "0.body.2.weight") - relu) <= 1e-13);
    assert_true(fabs(ratio(net[0], net[1], "0.shortcut.weight") - relu) <= 1e-13);
    assert_true(fabs(ratio(net[0], net[1], "0.body.0.weight") - 1) <= 1e-13); /* tanh follows it */

    /* Two halves of a maxout come from both ways. */
    hk_module *wide = hk_sequential(ctx, block(ctx, 4, 3), hk_activation(ctx, "maxout:k=2"));
    assert_true(
        hk_shape_equal(hk_tensor_shape(hk_module_find(wide, "0.shortcut.weight")), HK_SHAPE(6, 4)));
    hk_tensor *y = hk_forward(wide, normal(ctx, "x", HK_SHAPE(2, 4)));
    assert_ok(ctx);
    assert_true(hk_shape_equal(hk_tensor_shape(y), HK_SHAPE(2, 3)));
    /* Without a shortcut there is nothing to widen. */
    hk_module *narrow = hk_sequential(ctx, block(ctx, 4, 4), hk_activation(ctx, "maxout:k=2"));
    assert_int_equal(hk_module_build(narrow, HK_SHAPE(-1, 4), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "the body gives (n, 8) but its input is (n, 4)");
    hk_context_destroy(ctx);
}

/* --- what is refused -------------------------------------------------------------------------------- */

static void residual_refuses(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    assert_null(hk_residual(ctx, NULL, hk_linear(ctx, 2, 2)));
    expect_error(ctx, HK_ERR_ARGUMENT, "[residual] the body is NULL");
    assert_null(hk_residual(ctx, hk_linear(ctx, 2, 2), hk_linear(ctx, 0, 2)));
    expect_error(ctx, HK_ERR_ARGUMENT, "[linear] sizes must be 1 or more");
    hk_module *taken = hk_linear(ctx, 2, 2);
    assert_non_null(hk_sequential(ctx, taken));
    assert_null(hk_residual(ctx, taken, NULL));
    expect_error(ctx, HK_ERR_STATE, "[residual] member 'body' belongs to another module already");

    /* While building, if the sizes are known. */
    hk_module *net = hk_sequential(ctx, hk_residual(ctx, hk_linear(ctx, 4, 3), NULL));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE,
                 "[residual] 0: the body gives (n, 3) but its input is (n, 4): to be added they "
                 "must be equal; a shortcut would bring the input to that shape");
    net = hk_residual(ctx, hk_linear(ctx, 4, 3), hk_linear(ctx, 4, 2));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE,
                 "[residual] the module: the body gives (n, 3) but the shortcut (n, 2): to be "
                 "added they must be equal");
    net = hk_residual(ctx, hk_flatten(ctx), NULL);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4, 1), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "the body gives (n, 4) but its input is (n, 4, 1)");

    /* While running, if not: a row of one element must not be spread. */
    net = hk_residual(ctx, hk_linear(ctx, 4, 1), NULL);
    assert_int_equal(hk_module_parameters(net).count, 2);
    assert_ok(ctx);
    assert_null(hk_forward(net, hk_full(ctx, HK_F32, HK_SHAPE(2, 4), 1)));
    expect_error(ctx, HK_ERR_SHAPE, "the body gives (2, 1) but its input is (2, 4)");
    hk_context_destroy(ctx);
}

/* --- zero padding ------------------------------------------------------------------------------------- */

static void pads_with_zeros(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *pad = hk_zero_pad2d(ctx, 1, 2, 3, 0);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(2, 3, 4, 5)), *y = hk_forward(pad, x);
    assert_ok(ctx);
    assert_string_equal(hk_module_kind(pad), "zero_pad2d");
    assert_true(hk_shape_equal(hk_tensor_shape(y), HK_SHAPE(2, 3, 7, 8)));
    for (int64_t i = 0; i < 2 * 3 * 7 * 8; i++) {
        const int64_t row = i / 8 % 7 - 1, column = i % 8 - 3;
        const bool inside = row >= 0 && row < 4 && column >= 0;
        assert_true(number(y, i) == (inside ? number(x, i / 56 * 20 + row * 5 + column) : 0));
    }
    /* Sizes that are not known yet. */
    hk_module *net = hk_sequential(ctx, hk_zero_pad2d(ctx, 1, 1, 1, 1), hk_flatten(ctx));
    char text[1024];
    hk_module_summary(net, HK_SHAPE(-1, 2, -1, 3), text, sizeof text);
    assert_non_null(strstr(text, "(n, 2, ?, 5)"));
    hk_context_destroy(ctx);
}

static void padding_is_looked_through(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *net[2];
    for (int k = 0; k < 2; k++) {
        net[k] = hk_sequential(ctx, hk_linear(ctx, 4, 4), hk_zero_pad2d(ctx, 1, 1, 1, 1),
                               hk_activation(ctx, k == 0 ? "relu" : "identity"));
        assert_int_equal(hk_module_build(net[k], HK_SHAPE(-1, 1, 2, 4), NULL), HK_OK);
    }
    const double relu = gain_of(ctx, "relu") / gain_of(ctx, "identity");
    assert_true(fabs(ratio(net[0], net[1], "0.weight") - relu) <= 1e-13);
    hk_context_destroy(ctx);
}

static void padding_refuses(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    assert_null(hk_zero_pad2d(ctx, 0, 0, -1, 0));
    expect_error(ctx, HK_ERR_ARGUMENT, "[zero_pad2d] a side gets from 0 to 1073741824");
    assert_null(hk_zero_pad2d(ctx, 0, INT64_MAX, 0, 0));
    expect_error(ctx, HK_ERR_ARGUMENT, "not 9223372036854775807");
    hk_module *net = hk_sequential(ctx, hk_flatten(ctx), hk_zero_pad2d(ctx, 1, 1, 1, 1));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 4, 4), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[zero_pad2d] 1 takes (n, c, h, w), not (n, 16)");
    net = hk_sequential(ctx, hk_zero_pad2d(ctx, 1, 1, 1, 1));
    assert_int_equal(hk_module_parameters(net).count, 0); /* builds it for any input */
    assert_null(hk_forward(net, hk_full(ctx, HK_F32, HK_SHAPE(2, 4), 1)));
    expect_error(ctx, HK_ERR_SHAPE, "0 takes (n, c, h, w), not (2, 4)");
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_what_both_ways_give),
        cmocka_unit_test(names_and_streams),
        cmocka_unit_test(gradients),
        cmocka_unit_test(activation_behind_decides_both_ways),
        cmocka_unit_test(residual_refuses),
        cmocka_unit_test(pads_with_zeros),
        cmocka_unit_test(padding_is_looked_through),
        cmocka_unit_test(padding_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
