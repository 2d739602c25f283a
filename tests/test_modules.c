/* test_modules.c: the tree of modules: names, sharing, building, where parameters lie, destroying.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

static void assert_names(hk_parameters params, int n, const char *const *names) {
    for (int i = 0; i < params.count && i < n; i++)
        assert_string_equal(hk_tensor_name(params.items[i]), names[i]);
    assert_int_equal(params.count, n);
}
#define ASSERT_NAMES(params, ...)                                                                  \
    assert_names(params, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),            \
                 (const char *[]){__VA_ARGS__})

static hk_tensor *ones(hk_context *ctx, hk_shape shape) {
    return hk_full(ctx, ctx->config.dtype, shape, 1);
}

/* --- describing ----------------------------------------------------------------------------- */

static void null_members(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *flat = hk_flatten(ctx);
    assert_null(hk_sequential(ctx, flat, NULL, hk_linear(ctx, 2, 2), NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[sequential] member 1 of 4 is NULL");

    /* A member that failed tells why itself. */
    assert_null(hk_sequential(ctx, hk_activation(ctx, "rleu"), hk_flatten(ctx)));
    expect_error(ctx, HK_ERR_NAME, "rleu");

    /* NULL passes through. */
    hk_shape shape = HK_SHAPE(1);
    char text[8] = "x";
    assert_null(hk_forward(NULL, ones(ctx, HK_SHAPE(2))));
    assert_null(hk_forward(flat, NULL));
    assert_false(hk_module_train(NULL, true) || hk_module_is_training(NULL));
    assert_int_equal(hk_module_parameters(NULL).count, 0);
    assert_null(hk_module_find(NULL, "0.weight"));
    assert_int_equal(hk_module_summary(NULL, shape, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_string_equal(hk_module_name(NULL), "");
    assert_string_equal(hk_module_kind(NULL), "");
    assert_int_equal(hk_module_child_count(NULL), 0);
    assert_null(hk_module_child_at(NULL, 0));
    assert_null(hk_module_context(NULL));
    assert_null(hk_module_state(NULL));
    assert_null(hk_module_adopt(NULL, "a", hk_flatten(ctx)));
    assert_null(hk_module_adopt(hk_flatten(ctx), "a", NULL));
    assert_int_equal(hk_module_build(NULL, shape, NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_module_shape(NULL, shape, &shape), HK_ERR_ARGUMENT);
    hk_module_destroy(NULL);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void one_parent(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1), *other = context(HK_F32, 1, 1);
    hk_module *member = hk_linear(ctx, 2, 2), *net = hk_sequential(ctx, member);
    assert_null(hk_sequential(ctx, hk_flatten(ctx), member));
    expect_error(ctx, HK_ERR_STATE, "[sequential] member '1' belongs to another module already");

    hk_module *built = hk_linear(ctx, 2, 2);
    assert_int_equal(hk_module_build(built, HK_SHAPE(-1, 2), NULL), HK_OK);
    assert_null(hk_sequential(ctx, built));
    expect_error(ctx, HK_ERR_STATE, "[sequential] member '0' is built already");
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2), NULL), HK_OK);
    assert_null(hk_module_adopt(net, "late", hk_flatten(ctx)));
    expect_error(ctx, HK_ERR_STATE,
                 "[sequential] the module is built already: it can take no member 'late'");

    assert_null(hk_sequential(other, hk_flatten(ctx)));
    expect_error(other, HK_ERR_STATE, "is of another context");
    assert_ok(ctx);

    /* A module cannot be inside itself. */
    hk_module *inner = hk_sequential(ctx, hk_flatten(ctx)), *outer = hk_sequential(ctx, inner);
    assert_null(hk_module_adopt(inner, "1", outer));
    expect_error(ctx, HK_ERR_STATE, "member '1' would contain itself");
    assert_null(hk_module_adopt(outer, "1", outer));
    expect_error(ctx, HK_ERR_STATE, "member '1' would contain itself");
    hk_context_destroy(other);
    hk_context_destroy(ctx);
}

/* --- names ---------------------------------------------------------------------------------- */

static hk_module *nested(hk_context *ctx) {
    hk_module *block = hk_sequential(ctx, hk_linear(ctx, 3, 3), hk_activation(ctx, "prelu"));
    return hk_sequential(ctx, hk_flatten(ctx), hk_sequential(ctx, block, hk_linear(ctx, 3, 4)),
                         hk_activation(ctx, "prelu"), hk_linear_no_bias(ctx, 4, 2));
}

static void names_and_kinds(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = nested(ctx), *part = hk_module_child_at(net, 1);
    ASSERT_NAMES(hk_module_parameters(net), "1.0.0.weight", "1.0.0.bias", "1.0.1.alpha",
                 "1.1.weight", "1.1.bias", "2.alpha", "3.weight");
    ASSERT_NAMES(hk_module_parameters_of(net, HK_OF_ACTIVATIONS), "1.0.1.alpha", "2.alpha");
    ASSERT_NAMES(hk_module_parameters_of(net, HK_OF_WEIGHTS), "1.0.0.weight", "1.0.0.bias",
                 "1.1.weight", "1.1.bias", "3.weight");
    assert_int_equal(hk_module_parameters_of(net, 3).count, 0);

    /* A part has its own, under their full names. */
    ASSERT_NAMES(hk_module_parameters(part), "1.0.0.weight", "1.0.0.bias", "1.0.1.alpha",
                 "1.1.weight", "1.1.bias");
    ASSERT_NAMES(hk_module_parameters_of(part, HK_OF_ACTIVATIONS), "1.0.1.alpha");
    ASSERT_NAMES(hk_module_parameters(hk_module_child_at(net, 3)), "3.weight");
    assert_int_equal(hk_module_parameters(hk_module_child_at(net, 0)).count, 0);
    assert_ptr_equal(hk_module_find(part, "1.1.bias"), hk_module_find(net, "1.1.bias"));
    assert_null(hk_module_find(part, "3.weight"));
    expect_error(ctx, HK_ERR_NAME, "there is no parameter or buffer '3.weight'");

    assert_string_equal(hk_module_name(net), "");
    assert_string_equal(hk_module_kind(net), "sequential");
    assert_int_equal(hk_module_child_count(net), 4);
    assert_null(hk_module_child_at(net, 4));
    assert_null(hk_module_child_at(net, -1));
    const hk_module *deep = hk_module_child_at(hk_module_child_at(part, 0), 1);
    assert_string_equal(hk_module_name(deep), "1.0.1");
    assert_string_equal(hk_module_kind(deep), "activation");
    assert_ptr_equal(hk_module_context(deep), ctx);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

/* --- sharing -------------------------------------------------------------------------------- */

static void shared_module(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *twice = hk_linear(ctx, 3, 3);
    hk_module *net = hk_sequential(ctx, twice, hk_activation(ctx, "tanh"), twice);
    ASSERT_NAMES(hk_module_parameters(net), "0.weight", "0.bias");

    /* The gradient is the sum of both uses: that of the same network with two equal layers. */
    hk_module *apart =
        hk_sequential(ctx, hk_linear(ctx, 3, 3), hk_activation(ctx, "tanh"), hk_linear(ctx, 3, 3));
    hk_tensor *w = hk_module_find(net, "0.weight"), *b = hk_module_find(net, "0.bias");
    const hk_parameters all = hk_module_parameters(apart);
    for (int i = 0; i < 4; i++)
        assert_int_equal(hk_tensor_copy(all.items[i], i % 2 ? b : w), HK_OK);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(4, 3));
    hk_tensor *y = hk_forward(net, x), *z = hk_forward(apart, x);
    for (int64_t i = 0; i < 12; i++) assert_true(number(y, i) == number(z, i));
    assert_int_equal(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)), HK_OK);
    assert_int_equal(hk_backward(ctx, hk_sum(z, HK_ALL_AXES, false)), HK_OK);
    for (int64_t i = 0; i < 9; i++) {
        const double sum = number(hk_grad(all.items[0]), i) + number(hk_grad(all.items[2]), i);
        assert_true(fabs(number(hk_grad(w), i) - sum) <= 1e-14 * fmax(1, fabs(sum)));
    }
    assert_int_equal(hk_step_end(ctx), HK_OK);

    /* What has no parameters may stand at places of different widths. */
    hk_module *relu = hk_activation(ctx, "relu"), *drop = hk_dropout(ctx, 0.5);
    hk_module *mixed = hk_sequential(ctx, hk_linear(ctx, 3, 5), relu, drop, hk_linear(ctx, 5, 2),
                                     relu, drop, hk_linear(ctx, 2, 1));
    assert_int_equal(hk_module_build(mixed, HK_SHAPE(-1, 3), NULL), HK_OK);
    assert_ok(ctx);
    char text[2000];
    hk_module_summary(mixed, HK_SHAPE(-1, 3), text, sizeof text);
    const char *first = strstr(text, "relu"), *second = first ? strstr(first + 1, "relu") : NULL;
    assert_non_null(second);
    assert_ptr_equal(strstr(first, "(n, 5)"), first + 20);
    assert_ptr_equal(strstr(second, "(n, 2)"), second + 20);
    hk_context_destroy(ctx);
}

/* --- building ------------------------------------------------------------------------------- */

static void building(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = nested(ctx);
    assert_int_equal(hk_module_build(hk_module_child_at(net, 1), HK_SHAPE(-1, 3), NULL),
                     HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "[module_build] build the root of the tree");
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), "auto"), HK_OK);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), NULL), HK_ERR_STATE);
    expect_error(ctx, HK_ERR_STATE, "[module_build] the module is built already");

    /* Built by whoever comes first: forward, parameters, a part, the summary. */
    hk_module *by_forward = nested(ctx), *by_list = nested(ctx), *by_part = nested(ctx);
    hk_module *by_table = nested(ctx);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(2, 3));
    hk_tensor *y = hk_forward(by_forward, x);
    assert_int_equal(hk_module_parameters(by_list).count, 7);
    assert_non_null(hk_forward(hk_module_child_at(by_part, 1), x));
    assert_true(hk_module_summary(hk_module_child_at(by_table, 3), HK_SHAPE(-1, 4), NULL, 0) > 100);
    assert_ok(ctx);
    hk_module *const nets[] = {by_forward, by_list, by_part, by_table};
    for (int k = 0; k < 4; k++) { /* all alike: draws do not depend on how they were built */
        hk_tensor *again = hk_forward(nets[k], x);
        assert_ok(ctx);
        for (int64_t i = 0; i < 4; i++) assert_true(number(again, i) == number(y, i));
    }

    /* Nothing to learn is no error. */
    hk_module *plain = hk_sequential(ctx, hk_flatten(ctx), hk_activation(ctx, "relu"));
    assert_int_equal(hk_tensor_rank(hk_forward(plain, ones(ctx, HK_SHAPE(2, 3, 4)))), 2);
    assert_int_equal(hk_module_parameters(plain).count, 0);
    assert_ok(ctx);

    /* An error while building stays with the module. */
    hk_module *bad = hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 784, 2));
    assert_null(hk_forward(bad, ones(ctx, HK_SHAPE(2, 100))));
    expect_error(ctx, HK_ERR_SHAPE, "[linear] 1 takes (..., 784), not (n, 100)");
    assert_null(hk_forward(bad, ones(ctx, HK_SHAPE(2, 784))));
    expect_error(ctx, HK_ERR_STATE, "[module_build] an earlier build failed");
    assert_null(hk_forward(hk_module_child_at(bad, 0), ones(ctx, HK_SHAPE(2, 784))));
    expect_error(ctx, HK_ERR_STATE, "[module_build] an earlier build failed");
    assert_null(hk_linear(ctx, 0, 3));
    expect_error(ctx, HK_ERR_ARGUMENT, "[linear] sizes must be 1 or more, not 0 in and 3 out");
    hk_module *huge = hk_linear(ctx, (int64_t)1 << 40, (int64_t)1 << 40);
    assert_int_equal(hk_module_parameters(huge).count, 0);
    expect_error(ctx, HK_ERR_SHAPE, "no tensor can have shape (1099511627776, 1099511627776)");
    hk_context_destroy(ctx);
}

/* --- where parameters lie ------------------------------------------------------------------- */

static void parameters_side_by_side(void **state) {
    (void)state;
    for (int f64 = 0; f64 < 2; f64++) {
        hk_context *ctx = context(f64 ? HK_F64 : HK_F32, 1, 1);
        hk_module *net = nested(ctx);
        const hk_parameters all = hk_module_parameters(net);
        const char *next = NULL, *next_grad = NULL;
        for (int i = 0; i < all.count; i++) {
            const char *at = hk_tensor_data(all.items[i]);
            const char *grad = hk_tensor_data(hk_grad(all.items[i]));
            assert_int_equal((uintptr_t)at % 64, 0);
            assert_int_equal((uintptr_t)grad % 64, 0);
            if (next) assert_ptr_equal(at, next);
            if (next_grad) assert_ptr_equal(grad, next_grad);
            const int64_t bytes = hk_tensor_count(all.items[i]) * (f64 ? 8 : 4);
            next = at + (bytes + 63) / 64 * 64;
            next_grad = grad + (bytes + 63) / 64 * 64;
            assert_true(hk_shape_equal(hk_tensor_shape(hk_grad(all.items[i])),
                                       hk_tensor_shape(all.items[i])));
            for (int64_t k = 0; k < hk_tensor_count(all.items[i]); k++)
                assert_true(number(hk_grad(all.items[i]), k) == 0);
        }
        hk_context_destroy(ctx);
    }
}

/* --- a module class with children that it makes itself -------------------------------------- */

static int destroyed;

static hk_status pair_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    hk_context *ctx = hk_module_context(m);
    hk_module **part = state;
    part[0] = hk_module_adopt(m, "left", hk_linear(ctx, 3, 2));
    part[1] = hk_module_adopt(m, "right", hk_linear(ctx, 3, 2));
    HK_TRY(hk_module_shape(part[0], in, out));
    return hk_module_shape(part[1], in, out);
}

static hk_tensor *pair_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m;
    hk_module **part = state;
    return hk_mul(hk_forward(part[0], x), hk_forward(part[1], x));
}

static void pair_destroy(hk_module *m, void *state) {
    assert_ptr_equal(hk_module_state(m), state);
    destroyed++;
}

static hk_status fail_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)m, (void)state, (void)in, (void)out;
    return HK_ERR_IO; /* without hk_fail */
}

static const hk_module_class pair_class = {.name = "pair",
                                           .state_size = 2 * sizeof(hk_module *),
                                           .build = pair_build,
                                           .forward = pair_forward,
                                           .destroy = pair_destroy};
static const hk_module_class fail_class = {
    .name = "failing", .build = fail_build, .forward = pair_forward};

static void own_class(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_flatten(ctx), hk_module_create(ctx, &pair_class, NULL));
    hk_module_train(net, false); /* before the children exist: they follow */
    ASSERT_NAMES(hk_module_parameters(net), "1.left.weight", "1.left.bias", "1.right.weight",
                 "1.right.bias");
    assert_false(hk_module_is_training(hk_module_child_at(hk_module_child_at(net, 1), 1)));
    hk_tensor *left = hk_module_find(net, "1.left.weight");
    hk_tensor *right = hk_module_find(net, "1.right.weight");
    assert_true(number(left, 0) != number(right, 0)); /* each has draws of its own */
    assert_true(hk_shape_equal(hk_tensor_shape(hk_forward(net, ones(ctx, HK_SHAPE(5, 3)))),
                               HK_SHAPE(5, 2)));
    hk_module_destroy(net);
    assert_int_equal(destroyed, 1);

    hk_module *bad = hk_sequential(ctx, hk_module_create(ctx, &fail_class, NULL));
    assert_int_equal(hk_module_parameters(bad).count, 0);
    expect_error(ctx, HK_ERR_IO, "[failing] 0: a file cannot be read or written");
    assert_null(hk_module_parameter(bad, "w", HK_SHAPE(2), (hk_init){.kind = HK_INIT_BIAS}));
    expect_error(ctx, HK_ERR_STATE, "parameter 'w' is declared outside of build");
    hk_context_destroy(ctx);
}

/* --- destroying ----------------------------------------------------------------------------- */

static void destroying(void **state) {
    (void)state;
    destroyed = 0;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *first = nested(ctx), *second = nested(ctx);
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(first), hk_adam_defaults());
    assert_int_equal(
        hk_backward(ctx, hk_sum(hk_forward(first, ones(ctx, HK_SHAPE(2, 3))), HK_ALL_AXES, false)),
        HK_OK);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    hk_module_destroy(hk_module_child_at(second, 1)); /* has a parent: nothing happens */
    assert_int_equal(hk_module_parameters(second).count, 7);
    hk_module_destroy(first); /* before its optimizer, and with a tape that mentions it */
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_module *shared = hk_module_create(ctx, &pair_class, NULL);
    hk_module_destroy(hk_sequential(ctx, shared, hk_activation(ctx, "relu"), shared));
    assert_int_equal(destroyed, 1);
    hk_module_create(ctx, &pair_class, NULL); /* never built, never taken */
    hk_sequential(ctx, hk_module_create(ctx, &pair_class, NULL), NULL); /* half made */
    hk_error_clear(ctx);
    hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(3)));
    hk_loader_create(patterns(ctx, 10, HK_SHAPE(4), 2), NULL);
    hk_context_destroy(ctx); /* the rest; ASan tells what it forgot */
    assert_int_equal(destroyed, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_members),    cmocka_unit_test(one_parent),
        cmocka_unit_test(names_and_kinds), cmocka_unit_test(shared_module),
        cmocka_unit_test(building),        cmocka_unit_test(parameters_side_by_side),
        cmocka_unit_test(own_class),       cmocka_unit_test(destroying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
