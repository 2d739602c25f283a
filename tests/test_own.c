/* test_own.c: the five examples of one's own parts in examples/own work, and are short.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

#include "../examples/own/own_activation.c"
#include "../examples/own/own_dataset.c"
#include "../examples/own/own_module.c"
#include "../examples/own/own_op.c"
#include "../examples/own/own_optimizer.c"

/* Gradients of everything are right; message from the check otherwise. */
static void assert_gradients(hk_context *ctx, hk_module *net, hk_shape input) {
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", input));
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_gradcheck_result result;
    const hk_status status = hk_gradcheck_module(net, x, NULL, &result);
    if (status != HK_OK) fail_msg("%s; %s", result.message, hk_error_message(ctx));
    assert_true(result.elements > hk_tensor_count(x));
    hk_tensor_destroy(x);
}

/* --- module --------------------------------------------------------------------------------- */

static void own_module(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *inner = hk_sequential(ctx, hk_linear(ctx, 5, 5), hk_activation(ctx, "tanh"));
    hk_module *net = hk_sequential(ctx, residual(ctx, 5, inner), hk_linear(ctx, 5, 2));
    assert_non_null(net);
    const hk_parameters all = hk_module_parameters(net);
    static const char *const names[] = {"0.gain", "0.inner.0.weight", "0.inner.0.bias", "1.weight",
                                        "1.bias"};
    assert_int_equal(all.count, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(hk_tensor_name(all.items[i]), names[i]);

    /* y = x + gain·inner(x), put together by hand. */
    hk_tensor *gain = hk_module_find(net, "0.gain");
    const double gains[] = {1, -2, 0.5, 3, 0};
    assert_int_equal(hk_tensor_write(gain, gains, sizeof gains), HK_OK);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(3, 5));
    hk_tensor *y = hk_forward(hk_module_child_at(net, 0), x), *f = hk_forward(inner, x);
    assert_ok(ctx);
    for (int64_t i = 0; i < 15; i++) {
        const double wanted = number(x, i) + gains[i % 5] * number(f, i);
        assert_true(fabs(number(y, i) - wanted) <= 1e-15);
    }
    assert_int_equal(hk_step_end(ctx), HK_OK);
    assert_gradients(ctx, net, HK_SHAPE(4, 5));

    assert_null(residual(ctx, 5, NULL));
    hk_forward(net, normal(ctx, "x", HK_SHAPE(3, 4)));
    expect_error(ctx, HK_ERR_SHAPE, "0.inner.0.weight (5, 5)");
    hk_context_destroy(ctx);
}

/* --- operation ------------------------------------------------------------------------------ */

static hk_tensor *run_bump(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    return bump(in[0], *(const double *)arg);
}

static void own_op(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    double width = 1.5;
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 7)));
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_gradcheck_result result;
    const hk_status status = hk_gradcheck(ctx, run_bump, &width, 1, &x, NULL, &result);
    if (status != HK_OK) fail_msg("%s; %s", result.message, hk_error_message(ctx));
    assert_int_equal(result.elements, 21);

    hk_tensor *y = bump(x, width);
    for (int64_t i = 0; i < 21; i++) {
        const double wanted = exp(-number(x, i) * number(x, i) / (width * width));
        assert_true(fabs(number(y, i) - wanted) <= 1e-15);
    }
    assert_null(bump(NULL, 1));
    assert_ok(ctx);
    assert_null(bump(x, -1));
    expect_error(ctx, HK_ERR_ARGUMENT, "[bump] width must be positive, not -1");
    assert_null(bump(hk_full(ctx, HK_I32, HK_SHAPE(2), 1), 1));
    expect_error(ctx, HK_ERR_DTYPE, "not i32");
    hk_context_destroy(ctx);
}

/* --- data set ------------------------------------------------------------------------------- */

static void own_dataset(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_dataset *ds = spirals(ctx, 200, 1.5);
    hk_loader *loader = hk_loader_create(ds, &(hk_loader_config){.batch = 64, .shuffle = true});
    assert_ok(ctx);
    int seen[200] = {0};
    hk_batch batch;
    while (hk_loader_next(loader, &batch)) {
        assert_true(hk_shape_equal(hk_tensor_shape(batch.x), HK_SHAPE(batch.size, 2)));
        for (int64_t i = 0; i < batch.size; i++) {
            const int64_t item = batch.items[i];
            float point[2];
            int32_t label;
            const spirals_state s = {200, 1.5};
            assert_int_equal(spirals_get((void *)&s, item, point, &label), HK_OK);
            assert_true(hypotf(point[0], point[1]) <= 1);
            assert_memory_equal((float *)host(batch.x) + 2 * i, point, sizeof point);
            assert_int_equal(((int32_t *)host(batch.y))[i], label);
            seen[item]++;
        }
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    for (int i = 0; i < 200; i++) assert_int_equal(seen[i], 1);
    hk_context_destroy(ctx);
}

/* --- optimizer ------------------------------------------------------------------------------ */

static void own_optimizer(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 2, 1);
    const float start[] = {1, -2, 3}, slopes[] = {0.5F, 0, -4};
    hk_tensor *w = hk_require_grad(hk_tensor_from(ctx, HK_F32, HK_SHAPE(3), start));
    hk_optimizer *opt = adagrad(ctx, (hk_parameters){1, &w}, 0.1);
    for (int t = 0; t < 3; t++) {
        hk_optimizer_zero_grad(opt);
        hk_tensor *slope = hk_constant(ctx, HK_F32, HK_SHAPE(3), slopes);
        assert_int_equal(hk_backward(ctx, hk_sum(hk_mul(w, slope), HK_ALL_AXES, false)), HK_OK);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    /* The gradient is constant: step t moves by lr/sqrt(t) against its sign, whatever its size. */
    const double way = 0.1 * (1 + 1 / sqrt(2) + 1 / sqrt(3));
    const double wanted[] = {1 - way, -2, 3 + way};
    for (int i = 0; i < 3; i++) assert_true(fabs(number(w, i) - wanted[i]) <= 1e-6);
    hk_context_destroy(ctx);

    ctx = context(HK_F64, 1, 1);
    hk_module *net = hk_linear(ctx, 2, 1);
    assert_null(adagrad(ctx, hk_module_parameters(net), 0.1));
    expect_error(ctx, HK_ERR_DTYPE, "[adagrad] written for f32");
    hk_context_destroy(ctx);
}

/* --- activation ----------------------------------------------------------------------------- */

static double wrong_slope(double x, const double *p) {
    return snake_slope(x, p) + (x > 3 ? 1e-4 : 0);
}

static void own_activation(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    assert_int_equal(define_snake(ctx), HK_OK);
    hk_module *net =
        hk_sequential(ctx, hk_linear(ctx, 3, 5), hk_activation(ctx, "snake:a=0.5:per=channel"),
                      hk_linear(ctx, 5, 2));
    assert_non_null(net);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), NULL), HK_OK);
    const hk_parameters own = hk_module_parameters_of(net, HK_OF_ACTIVATIONS);
    assert_int_equal(own.count, 1);
    assert_string_equal(hk_tensor_name(own.items[0]), "1.a");
    assert_int_equal(hk_tensor_count(own.items[0]), 5);
    assert_true(number(own.items[0], 3) == 0.5);
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(4, 5));
    hk_tensor *y = hk_forward(hk_module_child_at(net, 1), x);
    assert_ok(ctx);
    for (int64_t i = 0; i < 20; i++) {
        const double v = number(x, i), wanted = v + 1 - cos(v); /* sin(x/2)²/0.5 = 1 - cos x */
        assert_true(fabs(number(y, i) - wanted) <= 1e-14);
    }
    assert_int_equal(hk_step_end(ctx), HK_OK);
    assert_gradients(ctx, net, HK_SHAPE(6, 3));

    assert_int_equal(define_snake(ctx), HK_ERR_NAME);
    expect_error(ctx, HK_ERR_NAME, "'snake' is taken");
    const hk_activation_info twin = {
        .name = "twin",
        .n_params = 1,
        .params = {{"a", 1, 0, HUGE_VAL, HK_PARAM_LEARNS, .above = true}}};
    const hk_activation_functions bad = {snake_value, wrong_slope, snake_param_slopes};
    assert_int_equal(hk_activation_define(ctx, &twin, &bad), HK_ERR_CHECK);
    expect_error(ctx, HK_ERR_CHECK, "twin: the derivative by x at x = 3.0");
    assert_null(hk_activation(ctx, "twin"));
    expect_error(ctx, HK_ERR_NAME, "snake");
    assert_null(hk_activation(ctx, "snake:a=0"));
    expect_error(ctx, HK_ERR_ARGUMENT, "snake: a must be a number above 0");
    hk_context_destroy(ctx);
}

/* --- all five together ---------------------------------------------------------------------- */

static hk_module *spiral_net(hk_context *ctx) {
    hk_module *inner = hk_sequential(ctx, hk_linear(ctx, 32, 32), hk_activation(ctx, "tanh"));
    return hk_sequential(ctx, hk_linear(ctx, 2, 32), hk_activation(ctx, "snake"),
                         residual(ctx, 32, inner), hk_linear(ctx, 32, 2));
}

static void together(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 2, 1);
    hk_loader *loader =
        hk_loader_create(spirals(ctx, 400, 1), &(hk_loader_config){.shuffle = true});
    assert_int_equal(define_snake(ctx), HK_OK);
    hk_module *net = spiral_net(ctx);
    hk_optimizer *opt = adagrad(ctx, hk_module_parameters(net), 0.05);
    hk_batch batch;
    double loss = 0;
    for (int epoch = 0; epoch < 120; epoch++) {
        loss = 0;
        while (hk_loader_next(loader, &batch)) {
            hk_optimizer_zero_grad(opt);
            hk_tensor *logits = hk_scale(bump(hk_forward(net, batch.x), 2), 5, 0);
            hk_tensor *mean = hk_cross_entropy(logits, batch.y);
            loss += hk_tensor_item(mean) * (double)batch.size / 400;
            if (hk_backward(ctx, mean) || hk_optimizer_step(opt) || hk_step_end(ctx)) break;
        }
    }
    assert_ok(ctx);
    print_message("loss on the spirals: %.4f\n", loss);
    assert_true(loss < 0.1);
    const double a = number(hk_module_find(net, "1.a"), 0);
    assert_true(isfinite(a) && fabs(a - 1) > 1e-3);
    hk_context_destroy(ctx);
}

static void short_enough(void **state) {
    (void)state;
    static const char *const parts[] = {"activation", "module", "op",       "dataset",
                                        "optimizer",  "flow",   "jacobian", "doctor"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/examples/own/own_%s.c", HK_SOURCE_DIR, parts[i]);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        int lines = 0;
        for (int c; (c = getc(file)) != EOF;) lines += c == '\n';
        fclose(file);
        assert_in_range(lines, 10, 40);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_activation), cmocka_unit_test(own_module),
        cmocka_unit_test(own_op),         cmocka_unit_test(own_dataset),
        cmocka_unit_test(own_optimizer),  cmocka_unit_test(together),
        cmocka_unit_test(short_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
