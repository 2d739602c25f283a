/* test_layers.c: what each layer computes, takes and refuses; gradients of networks; the summary.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
#include "activation_fixture.h"
#include "net_fixture.h"

static bool same_bits(hk_tensor *a, hk_tensor *b) {
    return hk_shape_equal(a->shape, b->shape) && a->dtype == b->dtype && same_elements(a, b);
}

/* --- shapes --------------------------------------------------------------------------------- */

static void linear(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *with = hk_linear(ctx, 3, 2), *without = hk_linear_no_bias(ctx, 3, 2);
    assert_int_equal(hk_module_build(with, HK_SHAPE(-1, 3), "torch"), HK_OK); /* draws the bias */
    assert_int_equal(hk_module_parameters(without).count, 1);
    hk_module *const both[] = {with, without};
    for (int k = 0; k < 2; k++) {
        const hk_tensor *w = hk_module_find(both[k], "weight");
        const hk_tensor *b = k == 0 ? hk_module_find(both[k], "bias") : NULL;
        assert_true(hk_shape_equal(hk_tensor_shape(w), HK_SHAPE(2, 3)));
        hk_tensor *x = normal(ctx, "x", HK_SHAPE(4, 5, 3)), *y = hk_forward(both[k], x);
        assert_ok(ctx);
        assert_true(hk_shape_equal(hk_tensor_shape(y), HK_SHAPE(4, 5, 2)));
        for (int64_t i = 0; i < 40; i++) {
            double sum = b ? number(b, i % 2) : 0;
            for (int64_t j = 0; j < 3; j++)
                sum += number(x, i / 2 * 3 + j) * number(w, i % 2 * 3 + j);
            assert_true(fabs(number(y, i) - sum) <= 1e-14);
        }
        assert_int_equal(hk_tensor_rank(hk_forward(both[k], normal(ctx, "x", HK_SHAPE(3)))), 1);
    }
    hk_context_destroy(ctx);
}

static hk_module *small(hk_context *ctx) {
    return hk_sequential(ctx, hk_flatten(ctx),
                         hk_sequential(ctx, hk_linear(ctx, 6, 4), hk_activation(ctx, "relu")),
                         hk_linear(ctx, 4, 2));
}

static hk_tensor *zeros(hk_context *ctx, hk_shape shape) {
    return hk_full(ctx, ctx->config.dtype, shape, 0);
}

static void what_does_not_fit(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    /* While building: the layer, what it takes, and what it would get. */
    assert_int_equal(hk_module_build(small(ctx), HK_SHAPE(-1, 2, 4), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[linear] 1.0 takes (..., 6), not (n, 8)");
    assert_int_equal(hk_module_build(hk_linear(ctx, 3, 2), HK_SCALAR, NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[linear] the module takes (..., 3), not ()");
    hk_module *chain = hk_sequential(ctx, hk_linear(ctx, 6, 4), hk_linear(ctx, 5, 2));
    assert_int_equal(hk_module_parameters(chain).count, 0); /* whatever the input */
    expect_error(ctx, HK_ERR_SHAPE, "[linear] 1 takes (..., 5), not (n, 4)");

    /* In use: the operation, the weight by its path, and both shapes. */
    hk_module *net = small(ctx);
    hk_module_parameters(net);
    assert_null(hk_forward(net, hk_tensor_set_name(zeros(ctx, HK_SHAPE(7, 5)), "x")));
    assert_non_null(strstr(hk_error_message(ctx), "x (7, 5)"));
    expect_error(ctx, HK_ERR_SHAPE, "1.0.weight (4, 6)");
    assert_null(hk_forward(net, hk_full(ctx, HK_U8, HK_SHAPE(7, 6), 0)));
    expect_error(ctx, HK_ERR_DTYPE, "hk_cast");
    assert_null(hk_forward(net, hk_full(ctx, HK_F64, HK_SHAPE(7, 6), 0)));
    expect_error(ctx, HK_ERR_DTYPE, "hk_cast");
    hk_context *other = context(HK_F32, 1, 1);
    assert_null(hk_forward(net, zeros(other, HK_SHAPE(7, 6))));
    expect_error(ctx, HK_ERR_DEVICE, "another context");
    hk_context_destroy(other);
    hk_tensor *old = zeros(ctx, HK_SHAPE(7, 6));
    assert_int_equal(hk_step_end(ctx), HK_OK);
    assert_null(hk_forward(net, old));
    expect_error(ctx, HK_ERR_STALE, "hk_tensor_keep");
    assert_non_null(hk_forward(net, zeros(ctx, HK_SHAPE(7, 6)))); /* and all is well again */
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void flatten(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *flat = hk_flatten(ctx);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(2, 3, 4, 5)), *y = hk_forward(flat, x);
    assert_true(hk_shape_equal(hk_tensor_shape(y), HK_SHAPE(2, 60)));
    for (int64_t i = 0; i < 120; i++) assert_true(number(y, i) == number(x, i));
    hk_tensor *flat_already = normal(ctx, "x", HK_SHAPE(2, 3));
    assert_ptr_equal(hk_forward(flat, flat_already), flat_already);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

/* --- activations with parameters ------------------------------------------------------------ */

static void prelu(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *layer = hk_activation(ctx, "prelu"),
              *channel = hk_activation(ctx, "prelu:per=channel");
    hk_module *fixed = hk_activation(ctx, "prelu:learn=no:alpha=0.5");
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(4, 3, 2));
    hk_tensor *y[] = {hk_forward(layer, x), hk_forward(channel, x), hk_forward(fixed, x)};
    assert_ok(ctx);
    for (int64_t i = 0; i < 24; i++) {
        const double v = number(x, i);
        assert_true(number(y[0], i) == (v > 0 ? v : 0.25 * v));
        assert_true(number(y[1], i) == (v > 0 ? v : 0.25 * v));
        assert_true(number(y[2], i) == (v > 0 ? v : 0.5 * v));
    }
    hk_tensor *one = hk_module_find(layer, "alpha"), *three = hk_module_find(channel, "alpha");
    assert_true(hk_shape_equal(hk_tensor_shape(one), HK_SHAPE(1)));
    assert_true(hk_shape_equal(hk_tensor_shape(three), HK_SHAPE(3, 1)));
    assert_int_equal(hk_module_parameters(fixed).count, 0);
    assert_int_equal(hk_module_parameters_of(channel, HK_OF_ACTIVATIONS).count, 1);
    assert_int_equal(hk_module_parameters_of(channel, HK_OF_WEIGHTS).count, 0);

    /* dy/dα = min(x, 0), summed over the layer or over each channel. */
    assert_int_equal(hk_backward(ctx, hk_sum(y[0], HK_ALL_AXES, false)), HK_OK);
    assert_int_equal(hk_backward(ctx, hk_sum(y[1], HK_ALL_AXES, false)), HK_OK);
    double sums[3] = {0};
    for (int64_t i = 0; i < 24; i++) sums[i / 2 % 3] += fmin(number(x, i), 0);
    for (int64_t c = 0; c < 3; c++) assert_true(fabs(number(hk_grad(three), c) - sums[c]) <= 1e-14);
    assert_true(fabs(number(hk_grad(one), 0) - (sums[0] + sums[1] + sums[2])) <= 1e-14);

    /* The number of channels must be known. */
    hk_module *unknown = hk_sequential(ctx, hk_activation(ctx, "prelu:per=channel"));
    assert_int_equal(hk_module_parameters(unknown).count, 0);
    expect_error(ctx, HK_ERR_SHAPE, "[prelu] 0: the number of channels (axis 1) must be known");
    hk_module *wide =
        hk_sequential(ctx, hk_linear(ctx, 4, 7), hk_activation(ctx, "prelu:per=channel"));
    assert_true(hk_shape_equal(hk_tensor_shape(hk_module_find(wide, "1.alpha")), HK_SHAPE(7)));
    hk_context_destroy(ctx);
}

/* --- dropout -------------------------------------------------------------------------------- */

static void dropout_in_training_alone(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net =
        hk_sequential(ctx, hk_dropout(ctx, 0.5), hk_sequential(ctx, hk_dropout(ctx, 0)));
    hk_module *alpha = hk_alpha_dropout(ctx, 0.2);
    assert_true(hk_module_is_training(net));
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(100, 100), 1);
    hk_tensor *y = hk_forward(net, x), *again = hk_forward(net, x);
    assert_ok(ctx);
    int64_t zero = 0;
    for (int64_t i = 0; i < 10000; i++) {
        assert_true(number(y, i) == 0 || number(y, i) == 2);
        zero += number(y, i) == 0;
    }
    assert_in_range(zero, 4800, 5200); /* 4 deviations of 50 */
    assert_true(same_bits(y, again));  /* one step, one mask */
    assert_false(same_bits(x, hk_forward(alpha, x)));

    assert_true(hk_module_train(net, false)); /* it was on */
    assert_false(hk_module_train(net, false));
    hk_module_train(alpha, false);
    assert_false(hk_module_is_training(hk_module_child_at(net, 1)));
    assert_ptr_equal(hk_forward(net, x), x);
    assert_ptr_equal(hk_forward(alpha, x), x);

    /* A part keeps its own mode, also when the whole is built later. */
    hk_module *frozen = hk_sequential(ctx, hk_dropout(ctx, 0.5)),
              *whole = hk_sequential(ctx, frozen);
    hk_module_train(frozen, false);
    assert_ptr_equal(hk_forward(whole, x), x);
    assert_true(hk_module_is_training(whole));

    /* Two layers have two masks; the next training step has others. */
    hk_module *two = hk_sequential(ctx, hk_dropout(ctx, 0.5), hk_dropout(ctx, 0.5));
    hk_tensor *second = hk_forward(two, x);
    for (int64_t i = zero = 0; i < 10000; i++) zero += number(second, i) == 0;
    assert_in_range(zero, 7300, 7700);
    hk_tensor *first = hk_tensor_keep(y),
              *p = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(1)));
    assert_int_equal(hk_backward(ctx, hk_sum(p, HK_ALL_AXES, false)), HK_OK);
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_module_train(net, true);
    assert_false(same_bits(first, hk_forward(net, hk_full(ctx, HK_F32, HK_SHAPE(100, 100), 1))));

    assert_null(hk_dropout(ctx, 1));
    expect_error(ctx, HK_ERR_ARGUMENT, "[dropout] p must be in [0, 1), not 1");
    assert_null(hk_alpha_dropout(ctx, (double)NAN));
    expect_error(ctx, HK_ERR_ARGUMENT, "[alpha_dropout] p must be in [0, 1), not");
    assert_null(hk_dropout(ctx, -0.1));
    expect_error(ctx, HK_ERR_ARGUMENT, "not -0.1");
    hk_context_destroy(ctx);
}

/* --- gradients of whole networks ------------------------------------------------------------ */

/* Some parameters start at 0, where gradients of others are 0. */
static void jog(hk_parameters p) {
    for (int i = 0; i < p.count; i++) {
        double *w = host(p.items[i]);
        for (int64_t k = 0; k < hk_tensor_count(p.items[i]); k++)
            w[k] += 0.2 * sin(1.7 * (double)(k + 3 * i) + 0.4);
        host_done(p.items[i], w);
    }
}

static void check_gradients(hk_module *(*make)(hk_context *ctx, const char *activation),
                            const char *activation) {
    hk_context *ctx = context(HK_F64, 1, 3);
    hk_module *net = make(ctx, activation);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3, 2), "torch"), HK_OK);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "input", HK_SHAPE(5, 3, 2)));
    assert_int_equal(hk_step_end(ctx), HK_OK);
    jog(hk_module_parameters(net));
    const uint64_t before = fingerprint(hk_module_parameters(net));
    hk_gradcheck_result result;
    const hk_gradcheck_config config = {.vacuous = 1e-5}; /* some starts have small slopes */
    const hk_status status = hk_gradcheck_module(net, x, &config, &result);
    if (status != HK_OK) fail_msg("%s: %s; %s", activation, result.message, hk_error_message(ctx));
    int64_t elements = hk_tensor_count(x);
    const hk_parameters all = hk_module_parameters(net);
    for (int i = 0; i < all.count; i++) elements += hk_tensor_count(all.items[i]);
    assert_int_equal(result.elements, elements);
    assert_true(fingerprint(all) == before);
    hk_context_destroy(ctx);
}

static hk_module *make_mlp(hk_context *ctx, const char *activation) {
    return hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 6, 5), hk_activation(ctx, activation),
                         hk_linear_no_bias(ctx, 5, 4), hk_activation(ctx, activation),
                         hk_linear(ctx, 4, 3));
}

static hk_module *make_dropout_mlp(hk_context *ctx, const char *activation) {
    return hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 6, 8), hk_activation(ctx, activation),
                         hk_dropout(ctx, 0.4), hk_linear(ctx, 8, 5), hk_alpha_dropout(ctx, 0.2),
                         hk_linear(ctx, 5, 3));
}

static hk_module *make_shared_mlp(hk_context *ctx, const char *activation) {
    hk_module *twice = hk_linear(ctx, 6, 6), *act = hk_activation(ctx, activation);
    return hk_sequential(ctx, hk_flatten(ctx), twice, act, twice, act, hk_linear(ctx, 6, 2));
}

static void gradients(void **state) {
    (void)state;
    const hk_activation_info *row;
    for (int i = 0; (row = hk_activation_row(NULL, i)) != NULL; i++)
        if (row->surrogate == 0 && !activation_needs_images(row)) /* test_act_images.c */
            check_gradients(make_mlp, activation_text(row));
    check_gradients(make_mlp, "prelu:per=channel");
    check_gradients(make_mlp, "leaky_relu:negative_slope=-0.5");
    check_gradients(make_dropout_mlp, "tanh");
    check_gradients(make_dropout_mlp, "prelu");
    check_gradients(make_shared_mlp, "sigmoid");
    check_gradients(make_shared_mlp, "prelu:per=channel");
}

/* --- summary -------------------------------------------------------------------------------- */

static void summary(void **state) {
    (void)state;
    for (int f64 = 0; f64 < 2; f64++) {
        hk_context *ctx = context(f64 ? HK_F64 : HK_F32, 1, 1);
        hk_module *shared = hk_linear(ctx, 128, 128);
        hk_module *net = hk_sequential(
            ctx, hk_flatten(ctx), hk_linear(ctx, 784, 128), hk_activation(ctx, "prelu:per=channel"),
            shared, shared, hk_sequential(ctx, hk_dropout(ctx, 0.1)), hk_linear(ctx, 128, 10));
        char text[4000], part[20];
        const size_t length = hk_module_summary(net, HK_SHAPE(-1, 1, 28, 28), text, sizeof text);
        assert_int_equal(length, strlen(text));
        static const char *const rows[] = {
            "layer kind output parameters bytes",
            "0 flatten (n, 784) 0 0",
            "1 linear (n, 128) 100,480 %s401,920",
            "2 prelu (n, 128) 128 %s512",
            "3 linear (n, 128) 16,512 %s66,048",
            "3 linear (n, 128) 0 0", /* the same layer: counted once */
            "5.0 dropout (n, 128) 0 0",
            "6 linear (n, 10) 1,290 %s5,160",
            "total 118,410 %s473,640",
        };
        static const char *const doubled[] = {"803,840", "1,024", "132,096", "10,320", "947,280"};
        char *line = strtok(text, "\n");
        for (size_t i = 0, bytes = 0; i < sizeof rows / sizeof *rows; i++) {
            assert_non_null(line);
            assert_true(strlen(line) <= 80);
            char squeezed[100] = "", wanted[100];
            size_t n = 0;
            for (const char *c = line; *c; c++)
                if (*c != ' ' || (n > 0 && squeezed[n - 1] != ' ')) squeezed[n++] = *c;
            squeezed[n] = 0;
            const char *mark = strstr(rows[i], "%s");
            snprintf(wanted, sizeof wanted, "%.*s%s", mark ? (int)(mark - rows[i]) : 99, rows[i],
                     !mark ? ""
                     : f64 ? doubled[bytes]
                           : mark + 2);
            bytes += mark != NULL;
            assert_string_equal(squeezed, wanted);
            line = strtok(NULL, "\n");
        }
        assert_null(line);
        memset(part, 'x', sizeof part); /* a short buffer: cut, ended, and the whole length told */
        assert_int_equal(hk_module_summary(net, HK_SCALAR, part, 10), length);
        assert_int_equal(strlen(part), 9);
        assert_int_equal(part[10], 'x');
        hk_context_destroy(ctx);
    }
    /* Long names and large numbers stay within the columns. */
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *deep = hk_linear(ctx, 9, 9);
    for (int i = 0; i < 12; i++) deep = hk_sequential(ctx, deep);
    char text[2000];
    hk_module_summary(deep, HK_SHAPE(-1, 123456789, 1234567, 12345, 9), text, sizeof text);
    assert_ok(ctx);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 80);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(flatten),
        cmocka_unit_test(prelu),
        cmocka_unit_test(dropout_in_training_alone),
        cmocka_unit_test(gradients),
        cmocka_unit_test(summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
