/* test_buffers.c: buffers of modules: their names, running statistics, where these move and where not.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

static void assert_names(hk_parameters list, int n, const char *const *names) {
    for (int i = 0; i < list.count && i < n; i++)
        assert_string_equal(hk_tensor_name(list.items[i]), names[i]);
    assert_int_equal(list.count, n);
}
#define ASSERT_NAMES(list, ...)                                                                    \
    assert_names(list, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),              \
                 (const char *[]){__VA_ARGS__})

static void near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("%.17g, not %.17g", got, want);
}

static int32_t batches_of(hk_module *net, const char *name) {
    const hk_tensor *t = hk_module_find(net, name);
    assert_non_null(t);
    return (int32_t)element_get(t, 0);
}

static hk_tensor *matrix(hk_context *ctx, int64_t rows, int64_t cols, const double *x) {
    hk_tensor *t = hk_full(ctx, ctx->config.dtype, HK_SHAPE(rows, cols), 0);
    for (int64_t i = 0; i < rows * cols; i++) element_put(t, i, x[i]);
    return t;
}

/* --- declaring ---------------------------------------------------------------------------------------------- */

static hk_module *two_norms(hk_context *ctx) {
    hk_module *block = hk_sequential(ctx, hk_linear(ctx, 3, 4), hk_batch_norm1d(ctx, NULL));
    return hk_sequential(ctx, hk_batch_norm1d(ctx, NULL), block, hk_linear(ctx, 4, 2),
                         hk_batch_norm1d(ctx, &(hk_norm_config){.plain = true}));
}

static void names_and_values(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        hk_context *ctx = context(d ? HK_F64 : HK_F32, 1, 1);
        hk_module *net = two_norms(ctx);
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), NULL), HK_OK);
        ASSERT_NAMES(hk_module_buffers(net), "0.running_mean", "0.running_var",
                     "0.num_batches_tracked", "1.1.running_mean", "1.1.running_var",
                     "1.1.num_batches_tracked", "3.running_mean", "3.running_var",
                     "3.num_batches_tracked");
        ASSERT_NAMES(hk_module_parameters(net), "0.weight", "0.bias", "1.0.weight", "1.0.bias",
                     "1.1.weight", "1.1.bias", "2.weight", "2.bias");
        ASSERT_NAMES(hk_module_parameters_of(net, HK_OF_WEIGHTS), "0.weight", "0.bias",
                     "1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias", "2.weight", "2.bias");
        ASSERT_NAMES(hk_module_buffers(hk_module_child_at(net, 1)), "1.1.running_mean",
                     "1.1.running_var", "1.1.num_batches_tracked");
        assert_int_equal(hk_module_buffers(hk_module_child_at(net, 2)).count, 0);
        const hk_tensor *mean = hk_module_find(net, "1.1.running_mean"),
                        *var = hk_module_find(net, "1.1.running_var"),
                        *batches =
                            hk_module_find(hk_module_child_at(net, 1), "1.1.num_batches_tracked"),
                        *weight = hk_module_find(net, "1.1.weight"),
                        *bias = hk_module_find(net, "1.1.bias");
        assert_ok(ctx);
        assert_true(hk_shape_equal(mean->shape, HK_SHAPE(4)));
        assert_true(hk_shape_equal(weight->shape, HK_SHAPE(4)));
        assert_true(hk_shape_equal(batches->shape, HK_SCALAR));
        assert_int_equal(batches->dtype, HK_I32);
        assert_int_equal(mean->dtype, ctx->config.dtype);
        assert_null(mean->grad);
        assert_false(mean->requires);
        assert_int_equal((uintptr_t)mean->data % 64, 0);
        for (int64_t i = 0; i < 4; i++)
            assert_true(number(mean, i) == 0 && number(var, i) == 1 && number(weight, i) == 1 &&
                        number(bias, i) == 0);
        assert_true(element_get(batches, 0) == 0);
        assert_null(hk_module_find(net, "0.running"));
        expect_error(ctx, HK_ERR_NAME, "there is no parameter or buffer '0.running'");
        hk_tensor_destroy(
            hk_module_find(net, "0.running_mean")); /* the module's: nothing happens */
        assert_non_null(hk_module_find(net, "0.running_mean"));
        hk_context_destroy(ctx);
    }
}

typedef struct counter {
    hk_tensor *calls;
} counter;

static hk_status counter_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    ((counter *)state)->calls = hk_module_buffer(m, "calls", HK_F64, HK_SHAPE(2), 2.5);
    assert_true(number(((counter *)state)->calls, 1) == 2.5); /* memory and value at once */
    *out = in;
    return hk_error(hk_module_context(m));
}
static hk_status counter_shape(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)m, (void)state;
    *out = in;
    return HK_OK;
}
static hk_tensor *counter_forward(hk_module *m, void *state, hk_tensor *x) {
    if (hk_buffers_enabled(hk_module_context(m)))
        element_put(((counter *)state)->calls, 0, number(((counter *)state)->calls, 0) + 1);
    return x;
}
static const hk_module_class counter_class = {.name = "counter",
                                              .state_size = sizeof(counter),
                                              .build = counter_build,
                                              .shape = counter_shape,
                                              .forward = counter_forward,
                                              .passes_on = true};

static hk_status clumsy_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)state;
    *out = in;
    hk_module_buffer(m, "first", HK_F32, HK_SHAPE(3), 1);
    hk_module_buffer(m, "second", HK_F32, HK_SHAPE(3, -1), 1);
    return hk_error(hk_module_context(m));
}
static const hk_module_class clumsy_class = {
    .name = "clumsy", .build = clumsy_build, .forward = counter_forward};

/* A user's module: its buffer, also where it stands twice with different shapes, and in a build that fails. */
static void own_buffers(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *twice = hk_module_create(ctx, &counter_class, NULL);
    hk_module *net = hk_sequential(ctx, twice, hk_linear(ctx, 3, 2), twice);
    assert_non_null(hk_forward(net, normal(ctx, "x", HK_SHAPE(4, 3))));
    ASSERT_NAMES(hk_module_buffers(net), "0.calls");
    assert_true(number(hk_module_find(net, "0.calls"), 0) == 4.5);
    assert_true(hk_buffers_enable(ctx, false));
    assert_false(hk_buffers_enable(ctx, false));
    assert_false(hk_buffers_enabled(ctx));
    assert_non_null(hk_forward(net, normal(ctx, "x", HK_SHAPE(4, 3))));
    assert_true(number(hk_module_find(net, "0.calls"), 0) == 4.5);
    assert_false(hk_buffers_enable(ctx, true));
    assert_true(hk_buffers_enabled(ctx));
    assert_null(hk_module_buffer(twice, "late", HK_F32, HK_SHAPE(1), 0));
    expect_error(ctx, HK_ERR_STATE, "[counter] buffer 'late' is declared outside of build");

    hk_module *bad = hk_sequential(ctx, hk_module_create(ctx, &clumsy_class, NULL));
    assert_int_equal(hk_module_build(bad, HK_SHAPE(-1, 3), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "no tensor can have shape (3, -1)");
    assert_int_equal(hk_module_buffers(bad).count, 0);
    expect_error(ctx, HK_ERR_STATE, "an earlier build failed");
    assert_int_equal(hk_module_buffers(NULL).count, 0);
    assert_false(hk_buffers_enable(NULL, true) || hk_buffers_enabled(NULL));
    assert_ok(ctx);
    hk_module_destroy(net); /* with its buffers: ASan tells */
    hk_context_destroy(ctx);
}

/* --- running statistics ------------------------------------------------------------------------------------- */

/* Batches 1 3, 5 5, -2 4 of one channel: means 2, 5, 1, unbiased variances 2, 0, 18; and the same times 10 in another. */
static void three_steps(void **state) {
    (void)state;
    static const double batch[3][4] = {{1, 10, 3, 30}, {5, 50, 5, 50}, {-2, -20, 4, 40}};
    static const double mean[3] = {0.2, 0.68, 0.712}, var[3] = {1.1, 0.99, 2.691},
                        var10[3] = {20.9, 18.81, 196.929}, half_mean[3] = {1, 3, 2},
                        half_var[3] = {1.5, 0.75, 9.375};
    for (int d = 0; d < 4; d++) {
        hk_context *ctx = context(d % 2 ? HK_F64 : HK_F32, 1, 1);
        const hk_norm_config half = {.momentum = 0.5};
        hk_module *norm = hk_batch_norm1d(ctx, d / 2 ? &half : NULL);
        const double tolerance = d % 2 ? 1e-13 : 1e-5;
        for (int i = 0; i < 3; i++) {
            assert_non_null(hk_forward(norm, matrix(ctx, 2, 2, batch[i])));
            const hk_tensor *m = hk_module_find(norm, "running_mean"),
                            *v = hk_module_find(norm, "running_var");
            near(number(m, 0), (d / 2 ? half_mean : mean)[i], tolerance);
            near(number(v, 0), (d / 2 ? half_var : var)[i], tolerance);
            near(number(m, 1), 10 * (d / 2 ? half_mean : mean)[i], 10 * tolerance);
            if (d / 2 == 0) near(number(v, 1), var10[i], 100 * tolerance);
            assert_int_equal(batches_of(norm, "num_batches_tracked"), i + 1);
            assert_int_equal(hk_step_end(ctx), HK_OK);
        }
        hk_context_destroy(ctx);
    }
}

/* Images: the count behind the unbiased variance is n·h·w. */
static void images(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *norm = hk_batch_norm2d(ctx, &(hk_norm_config){.momentum = 1});
    hk_tensor *x = normal(ctx, "x", HK_SHAPE(3, 2, 4, 5));
    hk_tensor *y = hk_forward(norm, x), *wide = hk_permute(x, (const int[]){1, 0, 2, 3});
    hk_tensor *rows = hk_reshape(wide, HK_SHAPE(2, 60));
    hk_tensor *mean = hk_mean(rows, HK_AXIS(1), false), *var = hk_var(rows, HK_AXIS(1), 1, false);
    assert_ok(ctx);
    for (int64_t c = 0; c < 2; c++) {
        near(number(hk_module_find(norm, "running_mean"), c), number(mean, c), 1e-14);
        near(number(hk_module_find(norm, "running_var"), c), number(var, c), 1e-14);
    }
    /* Trained on one batch with momentum 1, evaluation differs by the bias of the variance alone. */
    hk_module_train(norm, false);
    hk_tensor *z = hk_forward(norm, x);
    const double v = number(var, 1), ratio = sqrt((v * 59 / 60 + 1e-5) / (v + 1e-5));
    for (int64_t i = 20; i < 40; i++) near(number(z, i), number(y, i) * ratio, 1e-13);
    hk_context_destroy(ctx);
}

static uint64_t buffers_print(hk_module *net) { return fingerprint(hk_module_buffers(net)); }

static void who_moves_them(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = two_norms(ctx);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(8, 3)));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3), NULL), HK_OK);
    const uint64_t start = buffers_print(net);

    hk_module_train(net, false);
    hk_tensor *y = hk_forward(net, x);
    assert_true(buffers_print(net) == start);
    hk_module_train(net, true);
    hk_buffers_enable(ctx, false);
    hk_tensor *off = hk_forward(net, x);
    assert_true(buffers_print(net) == start);
    hk_buffers_enable(ctx, true);
    hk_tensor *on = hk_forward(net, x);
    const uint64_t moved = buffers_print(net);
    assert_true(moved != start);
    assert_true(same_elements(on, off));
    assert_false(same_elements(on, y));
    assert_int_equal(batches_of(net, "1.1.num_batches_tracked"), 1);

    /* A batch that cannot be normalised moves nothing. */
    assert_null(hk_forward(net, hk_slice(x, 0, 0, 1)));
    expect_error(ctx, HK_ERR_ARGUMENT, "[batch_norm] (1, 3) has 1 value(s) for each channel");
    assert_true(buffers_print(net) == moved);
    hk_module_train(net, false);
    assert_non_null(hk_forward(net, hk_slice(x, 0, 0, 1))); /* evaluation takes it */
    assert_ok(ctx);

    /* Backward, forward mode and the optimizer leave them. */
    hk_module_train(net, true);
    hk_buffers_enable(ctx, false);
    hk_tensor *w = hk_module_find(net, "1.0.weight"), *v = normal(ctx, "v", w->shape);
    hk_sgd_config config = hk_sgd_defaults();
    config.lr = config.weight_decay = 0.5;
    hk_optimizer *opt = hk_sgd(ctx, hk_module_parameters(net), config);
    hk_tensor *loss = hk_mse(hk_forward(net, x), normal(ctx, "t", HK_SHAPE(8, 2)));
    assert_non_null(hk_jvp(ctx, loss, 1, &w, &v));
    assert_int_equal(hk_backward(ctx, loss), HK_OK);
    double squares = 0;
    const hk_parameters all = hk_module_parameters(net);
    for (int p = 0; p < all.count; p++)
        for (int64_t i = 0; i < hk_tensor_count(all.items[p]); i++)
            squares += pow(number(hk_grad(all.items[p]), i), 2);
    near(hk_optimizer_grad_norm(opt), sqrt(squares), 1e-6);
    const uint64_t weights = fingerprint(all);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_true(fingerprint(all) != weights);
    assert_true(buffers_print(net) == moved);
    assert_null(hk_sgd(ctx, hk_module_buffers(net), config));
    expect_error(ctx, HK_ERR_GRADIENT, "0.running_mean (3), has no gradient");
    hk_context_destroy(ctx);
}

/* --- gradient checks ---------------------------------------------------------------------------------------- */

static hk_tensor *fails(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)n, (void)in, (void)arg;
    assert_false(hk_buffers_enabled(ctx));
    return NULL;
}

static void gradient_checks(void **state) {
    (void)state;
    for (int k = 0; k < 8; k++) {
        hk_context *ctx = context(HK_F64, 1, 1);
        hk_module *const norms[] = {hk_batch_norm2d(ctx, NULL),
                                    hk_batch_norm2d(ctx, &(hk_norm_config){.plain = true}),
                                    hk_layer_norm(ctx, 3, NULL), hk_group_norm(ctx, 2, NULL)};
        hk_module *net = hk_sequential(ctx, norms[k / 2], hk_activation(ctx, "prelu:per=channel"));
        hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 4, 2, 3)));
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4, 2, 3), NULL), HK_OK);
        hk_module_train(net, k % 2 == 0);
        assert_non_null(hk_forward(net, x));
        const uint64_t before = buffers_print(net);
        const bool on = k % 4 < 2;
        hk_buffers_enable(ctx, on);
        assert_int_equal(hk_step_end(ctx), HK_OK);
        hk_gradcheck_result result;
        if (hk_gradcheck_module(net, x, NULL, &result) != HK_OK)
            fail_msg("%d: %s", k, result.message);
        assert_true(buffers_print(net) == before);
        assert_int_equal(hk_buffers_enabled(ctx), on); /* as it was */
        assert_int_equal(hk_gradcheck(ctx, fails, NULL, 1, &x, NULL, NULL), HK_ERR_ARGUMENT);
        hk_error_clear(ctx);
        assert_int_equal(hk_buffers_enabled(ctx), on);
        hk_context_destroy(ctx);
    }
}

/* --- training --------------------------------------------------------------------------------------------- */

/* Training moves the statistics to those of the data, and evaluation then agrees with training. */
static void trains(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 2, 3);
    hk_module *net = hk_sequential(ctx, hk_batch_norm2d(ctx, NULL), hk_flatten(ctx),
                                   hk_linear(ctx, 2 * 6 * 6, 16), hk_batch_norm1d(ctx, NULL),
                                   hk_activation(ctx, "relu"), hk_linear(ctx, 16, 3));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2, 6, 6), NULL), HK_OK);
    hk_dataset *ds = patterns(ctx, 96, HK_SHAPE(2, 6, 6), 3);
    hk_loader *loader = hk_loader_create(ds, &(hk_loader_config){.batch = 32, .shuffle = true});
    hk_optimizer *opt = hk_adam(ctx, hk_module_parameters(net), hk_adam_defaults());
    double first = 0, last = 0;
    for (int step = 0; step < 120; step++) {
        hk_batch batch;
        while (!hk_loader_next(loader, &batch)) assert_ok(ctx); /* the end of an epoch */
        last = train_step(ctx, net, opt, &batch);
        if (step == 0) first = last;
    }
    assert_true(last < 0.3 * first);
    assert_int_equal(batches_of(net, "3.num_batches_tracked"), 120);
    hk_module_train(net, false);
    hk_loader *all = hk_loader_create(ds, &(hk_loader_config){.batch = 96});
    hk_batch batch;
    assert_true(hk_loader_next(all, &batch));
    const double evaluated = hk_tensor_item(hk_cross_entropy(hk_forward(net, batch.x), batch.y));
    assert_true(evaluated < 0.3 * first);
    assert_true(hk_accuracy(hk_forward(net, batch.x), batch.y) == 1);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_values), cmocka_unit_test(own_buffers),
        cmocka_unit_test(three_steps),      cmocka_unit_test(images),
        cmocka_unit_test(who_moves_them),   cmocka_unit_test(gradient_checks),
        cmocka_unit_test(trains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
