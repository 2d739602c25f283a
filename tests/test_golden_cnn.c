/* test_golden_cnn.c: batch norm over steps, and training of convolutional networks, against PyTorch.
   SPDX-License-Identifier: MIT */
/* ctest: labels=golden timeout=60 devices=cpu,cuda */
#include "golden_check.h"

enum { STEPS = 5, BETWEEN = 61 };

/* The gate for float is 1e-5, as in other golden tests. PyTorch's own float results are within 2e-6 of
   its double ones, or the file would not have been written; the rest is room for other orders of
   sums. No input of relu is nearer to 0 than 2e-5, nor are the two largest of a window to each other:
   float takes the same side as double. */

/* --- batch norm as a module: statistics that move --------------------------------------------- */

static void numbered(char text[GOLDEN_NAME], const char *name, int i) {
    snprintf(text, GOLDEN_NAME, "%s%d", name, i);
}

/* One step in training mode: result, gradient of the input, statistics behind it. */
static void check_norm_step(golden *g, const char *name, hk_module *m, int step, double tolerance) {
    hk_context *ctx = hk_module_context(m);
    char text[GOLDEN_NAME];
    numbered(text, "x", step);
    hk_tensor *x = load(ctx, g, name, text), *y = hk_forward(m, x);
    assert_ok(ctx);
    numbered(text, "y", step);
    check(g, name, text, y, tolerance);
    numbered(text, "v", step);
    assert_int_equal(hk_backward_from(ctx, y, load(ctx, g, name, text)), HK_OK);
    numbered(text, "dx", step);
    check(g, name, text, hk_grad(x), tolerance);
    numbered(text, "running_mean", step);
    check(g, name, text, hk_module_find(m, "running_mean"), tolerance);
    numbered(text, "running_var", step);
    check(g, name, text, hk_module_find(m, "running_var"), tolerance);
    assert_int_equal(hk_step_end(ctx), HK_OK);
}

static void check_batch_norm(golden *g, const way *w, const char *name, const double *setting) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    const bool plain = !has(g, name, "w");
    const hk_norm_config config = {.eps = setting[0], .momentum = setting[1], .plain = plain};
    char full[GOLDEN_FULL];
    snprintf(full, sizeof full, "%s.x0", name);
    const hk_shape shape = golden_get(g, full)->shape;
    hk_module *m = shape.rank == 4 ? hk_batch_norm2d(ctx, &config) : hk_batch_norm1d(ctx, &config);
    assert_int_equal(hk_module_build(m, shape, NULL), HK_OK);
    if (!plain) {
        write_to(m, g, name, "w", "weight");
        write_to(m, g, name, "b", "bias");
    }
    for (int step = 0; step < 2; step++) check_norm_step(g, name, m, step, w->tolerance);
    if (!plain) {
        check(g, name, "dw", hk_grad(hk_module_find(m, "weight")), w->tolerance);
        check(g, name, "db", hk_grad(hk_module_find(m, "bias")), w->tolerance);
    }
    int32_t batches = 0;
    hk_tensor *count = hk_module_find(m, "num_batches_tracked");
    assert_int_equal(hk_tensor_read(count, &batches, sizeof batches), HK_OK);
    assert_int_equal(batches, 2);
    hk_module_train(m, false);
    check(g, name, "y2", hk_forward(m, load(ctx, g, name, "x0")), w->tolerance);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void batch_norms(void **state) {
    (void)state;
    golden g = golden_read("images.txt");
    char name[GOLDEN_NAME];
    int cases = 0;
    for (int at = 0; next_case(&g, "batch_norm", &at, name); at++, cases++) {
        g.entry[at].used = true;
        for (int w = 0; w < WAYS; w++) check_batch_norm(&g, &ways[w], name, g.entry[at].value);
    }
    assert_true(cases >= 4);
    golden_all_used(&g, "batch_norm.");
    golden_free(&g);
}

/* --- networks --------------------------------------------------------------------------------- */

static hk_module *conv(hk_context *ctx, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                       bool bias) {
    const hk_conv2d_config config = {.stride = HK_SQUARE(stride), .padding = HK_SQUARE(kernel / 2)};
    return bias ? hk_conv2d(ctx, in, out, HK_SQUARE(kernel), &config)
                : hk_conv2d_no_bias(ctx, in, out, HK_SQUARE(kernel), &config);
}
static hk_module *relu(hk_context *ctx) { return hk_activation(ctx, "relu"); }
static hk_module *norm(hk_context *ctx) { return hk_batch_norm2d(ctx, NULL); }

static hk_module *small(hk_context *ctx) {
    const hk_pool2d_config two = {.kernel = HK_SQUARE(2)};
    return hk_sequential(ctx, conv(ctx, 1, 8, 3, 1, true), relu(ctx), hk_max_pool2d(ctx, &two),
                         conv(ctx, 8, 16, 3, 1, true), relu(ctx), hk_max_pool2d(ctx, &two),
                         hk_flatten(ctx), hk_linear(ctx, 64, 10));
}

static hk_module *body(hk_context *ctx, int64_t in, int64_t out, int64_t stride) {
    return hk_sequential(ctx, conv(ctx, in, out, 3, stride, false), norm(ctx), relu(ctx),
                         conv(ctx, out, out, 3, 1, false), norm(ctx));
}

static hk_module *residual(hk_context *ctx) {
    hk_module *shortcut = hk_sequential(ctx, conv(ctx, 6, 8, 1, 2, false), norm(ctx));
    return hk_sequential(ctx, conv(ctx, 1, 6, 3, 1, false), norm(ctx), relu(ctx),
                         hk_residual(ctx, body(ctx, 6, 6, 1), NULL), relu(ctx),
                         hk_residual(ctx, body(ctx, 6, 8, 2), shortcut), relu(ctx),
                         hk_adaptive_avg_pool2d(ctx, HK_SQUARE(1)), hk_flatten(ctx),
                         hk_linear(ctx, 8, 10));
}

/* The name of entry i behind PREFIX, NULL if it does not begin so. */
static const char *behind(const golden *g, int i, const char *prefix) {
    const size_t length = strlen(prefix);
    return strncmp(g->entry[i].name, prefix, length) == 0 ? g->entry[i].name + length : NULL;
}

/* Every parameter becomes what NET.start has. */
static void write_start(hk_module *m, golden *g, const char *prefix) {
    int written = 0;
    for (int i = 0; i < g->n; i++) {
        const char *parameter = behind(g, i, prefix);
        if (!parameter) continue;
        write_to(m, g, "", g->entry[i].name, parameter);
        written++;
    }
    assert_int_equal(written, hk_module_parameters(m).count);
}

/* Some of all parameters, laid end to end in the file's order, against one row of RUN.weights. */
static void check_weights(hk_module *m, golden *g, const char *prefix, const char *run, int step,
                          double tolerance) {
    char name[GOLDEN_FULL];
    snprintf(name, sizeof name, "%s.weights", run);
    const golden_entry *e = golden_get(g, name);
    const int64_t row = e->shape.dim[1];
    int64_t at = 0, compared = 0; /* in all parameters; in the row */
    for (int i = 0; i < g->n; i++) {
        const char *parameter = behind(g, i, prefix);
        if (!parameter) continue;
        hk_tensor *t = hk_module_find(m, parameter);
        const int64_t count = hk_tensor_count(t);
        for (; compared < row && compared * BETWEEN < at + count; compared++)
            check_value(name, step * row + compared, number(t, compared * BETWEEN - at),
                        e->value[step * row + compared], tolerance);
        at += count;
    }
    assert_int_equal(compared, row);
    assert_true(row == (at + BETWEEN - 1) / BETWEEN && row > 20);
    checked++;
}

/* Logits in evaluation mode, and every running statistic that the file has. */
static void check_end(hk_module *m, golden *g, const char *run, hk_tensor *x, double tolerance) {
    char prefix[GOLDEN_FULL];
    hk_module_train(m, false);
    check(g, run, "eval", hk_forward(m, x), tolerance);
    snprintf(prefix, sizeof prefix, "%s.end.", run);
    for (int i = 0; i < g->n; i++) {
        const char *buffer = behind(g, i, prefix);
        if (buffer) check(g, "", g->entry[i].name, hk_module_find(m, buffer), tolerance);
    }
}

static void check_training(golden *g, const way *w, const char *net,
                           hk_module *(*make)(hk_context *), bool adam) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    char prefix[GOLDEN_FULL], run[GOLDEN_NAME], losses[GOLDEN_FULL];
    snprintf(prefix, sizeof prefix, "%s.start.", net);
    snprintf(run, sizeof run, "%s.%s", net, adam ? "adam" : "sgd");
    snprintf(losses, sizeof losses, "%s.losses", run);
    hk_module *m = make(ctx);
    hk_tensor *x = load(ctx, g, net, "x"), *labels = load(ctx, g, net, "labels");
    assert_int_equal(hk_module_build(m, hk_tensor_shape(x), NULL), HK_OK);
    write_start(m, g, prefix);
    const hk_parameters all = hk_module_parameters(m);
    const hk_adam_config adam_config = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    hk_optimizer *opt = adam ? hk_adam(ctx, all, adam_config)
                             : hk_sgd(ctx, all, (hk_sgd_config){.lr = 0.02, .momentum = 0.9});
    assert_ok(ctx);
    for (int step = 0; step < STEPS; step++) {
        hk_optimizer_zero_grad(opt);
        hk_tensor *loss = hk_cross_entropy(hk_forward(m, x), labels);
        assert_ok(ctx);
        check_value(losses, step, hk_tensor_item(loss), golden_get(g, losses)->value[step],
                    w->tolerance);
        assert_int_equal(hk_backward(ctx, loss), HK_OK);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        check_weights(m, g, prefix, run, step, w->tolerance);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    check_end(m, g, run, x, w->tolerance);
    assert_ok(ctx);
    hk_context_destroy(ctx);
}

static void networks(void **state) {
    (void)state;
    golden g = golden_read("images.txt");
    for (int w = 0; w < WAYS; w++)
        for (int adam = 0; adam < 2; adam++) {
            check_training(&g, &ways[w], "small", small, adam);
            check_training(&g, &ways[w], "residual", residual, adam);
        }
    golden_all_used(&g, "small.");
    golden_all_used(&g, "residual.");
    golden_free(&g);
}

static int report(void **state) {
    (void)state;
    print_message("%d results compared with PyTorch's\n", checked);
    return checked > 100 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_norms),
        cmocka_unit_test(networks),
    };
    return cmocka_run_group_tests(tests, NULL, report);
}
