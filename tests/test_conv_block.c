/* test_conv_block.c: convolution, activation and pooling as one operation: the same bits as one by one.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit,grad timeout=300 devices=cpu,cuda */
#include "testing.h"

#include "conv_block.h"

typedef struct count {
    int calls;
    hk_hook *remove;
} count;

static void tally(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    count *c = arg;
    assert_non_null(m);
    assert_non_null(x);
    assert_non_null(y);
    c->calls++;
    if (c->remove) hk_hook_remove(c->remove);
    c->remove = NULL;
}

static hk_module *block_net(hk_context *ctx, const char *activation, bool bias) {
    const hk_conv2d_config padded = {.padding = {1, 1}};
    const hk_pool2d_config two = {.kernel = {2, 2}};
    return hk_sequential(ctx,
                         bias ? hk_conv2d(ctx, 2, 5, HK_SQUARE(3), &padded)
                              : hk_conv2d_no_bias(ctx, 2, 5, HK_SQUARE(3), &padded),
                         hk_activation(ctx, activation), hk_max_pool2d(ctx, &two),
                         hk_conv2d(ctx, 5, 18, HK_SQUARE(3), NULL), hk_activation(ctx, activation),
                         hk_max_pool2d(ctx, &two));
}

enum { N = 3, H = 13, W = 15, MOST_NUMBERS = 8192, MOST_SHAPE_NUMBERS = 1 << 19 };

/* Output, gradient of x and of every parameter, one behind the other. */
static int64_t run(const char *activation, bool bias, bool hooks, int threads, bool nan_guard,
                   float *out) {
    hk_context *ctx = new_context(threads, NULL);
    hk_module *net = block_net(ctx, activation, bias);
    must(hk_module_build(net, HK_SHAPE(-1, 2, H, W), NULL));
    count c = {0};
    for (int i = 0; hooks && i < hk_module_child_count(net); i++)
        assert_non_null(hk_hook_forward(hk_module_child_at(net, i), tally, &c));
    hk_nan_guard(ctx, nan_guard);
    assert_int_equal(hooks || nan_guard ? 0 : 3,
                     hk__conv_block_length(net->children, net->n_children));
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F32, HK_SHAPE(N, 2, H, W), "x", -2, 2, 0));
    hk_tensor *y = hk_forward(net, x);
    hk_tensor *g = seeded(ctx, HK_F32, hk_tensor_shape(y), "g", -1, 1, 0);
    must(hk_backward_from(ctx, y, g));
    int64_t n = 0;
    const hk_parameters all = hk_module_parameters(net);
    for (int i = -2; i < all.count; i++) {
        hk_tensor *t = i == -2 ? y : hk_grad(i == -1 ? x : all.items[i]);
        assert_true(n + hk_tensor_count(t) <= MOST_NUMBERS);
        must(hk_tensor_read(t, out + n, (MOST_NUMBERS - (size_t)n) * sizeof *out));
        n += hk_tensor_count(t);
    }
    assert_int_equal(c.calls, hooks ? 6 : 0);
    must(hk_step_end(ctx));
    hk_context_destroy(ctx);
    return n;
}

static bool is_same(float got, float want) {
    return memcmp(&got, &want, sizeof got) == 0 || (got == 0 && want == 0);
}

static void test_same_bits(void **state) {
    (void)state;
    static float fused[MOST_NUMBERS], other[MOST_NUMBERS];
    for (int i = 0; hk_activation_row(NULL, i); i++) {
        const hk_activation_info *row = hk_activation_row(NULL, i);
        if (row->kind != HK_ACTIVATION_POINTWISE || row->random || row->surrogate) continue;
        char name[64];
        snprintf(name, sizeof name, "%s%s", row->name, row->n_params ? ":learn=no" : "");
        hk_context *ctx = new_context(1, NULL);
        hk_activation_spec spec;
        const bool takes = hk_activation_parse(ctx, name, &spec) == HK_OK;
        hk_context_destroy(ctx);
        if (!takes) snprintf(name, sizeof name, "%s", row->name);
        const bool bias = i % 2;
        const int64_t n = run(name, bias, false, 1, false, fused);
        for (int way = 0; way < 3; way++) {
            memset(other, 0x7f, sizeof other);
            assert_int_equal(n, run(name, bias, way == 1, way == 0 ? 2 : 1, way == 2, other));
            for (int64_t k = 0; k < n; k++)
                if (!is_same(other[k], fused[k]))
                    fail_msg("%s, way %d, number %d: %.9g, not %.9g", name, way, (int)k,
                             (double)other[k], (double)fused[k]);
        }
    }
}

/* A convolution, relu and pooling: output and gradients of x, weights and bias, one behind the other. */
static int64_t run_shape(const hk_conv2d_config *config, int64_t in, int64_t out, int64_t kernel,
                         int64_t n, int64_t size, bool hooks, float *numbers) {
    hk_context *ctx = new_context(2, NULL);
    const hk_pool2d_config two = {.kernel = {2, 2}};
    hk_module *net = hk_sequential(ctx, hk_conv2d(ctx, in, out, HK_SQUARE(kernel), config),
                                   hk_activation(ctx, "relu"), hk_max_pool2d(ctx, &two));
    must(hk_module_build(net, HK_SHAPE(-1, in, size, size), NULL));
    count c = {0};
    if (hooks) assert_non_null(hk_hook_forward(hk_module_child_at(net, 1), tally, &c));
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F32, HK_SHAPE(n, in, size, size), "x", -2, 2, 0));
    hk_tensor *y = hk_forward(net, x);
    must(hk_backward_from(ctx, y, seeded(ctx, HK_F32, hk_tensor_shape(y), "g", -1, 1, 0)));
    const hk_parameters all = hk_module_parameters(net);
    assert_int_equal(all.count, 2);
    int64_t total = 0;
    hk_tensor *const parts[] = {y, hk_grad(x), hk_grad(all.items[0]), hk_grad(all.items[1])};
    for (int i = 0; i < COUNT(parts); i++) {
        assert_true(total + hk_tensor_count(parts[i]) <= MOST_SHAPE_NUMBERS);
        must(hk_tensor_read(parts[i], numbers + total,
                            (size_t)hk_tensor_count(parts[i]) * sizeof *numbers));
        total += hk_tensor_count(parts[i]);
    }
    assert_int_equal(c.calls, hooks);
    must(hk_step_end(ctx));
    hk_context_destroy(ctx);
    return total;
}

/* Every kernel of the GPU, odd sizes, parts of a batch, tiles whose steps are divided. */
static void test_same_bits_of_shapes(void **state) {
    (void)state;
    static float fused[MOST_SHAPE_NUMBERS], other[MOST_SHAPE_NUMBERS];
    static const struct {
        int64_t n, in, out, kernel, size;
        hk_conv2d_config config;
    } rows[] = {
        {20, 1, 5, 3, 12, {.padding = {1, 1}}},
        {20, 1, 6, 5, 11, {.padding = {2, 2}}},
        {9, 1, 9, 7, 15, {.padding = {3, 3}}},
        {9, 1, 3, 3, 13, {.padding = {1, 1}}},
        {7, 1, 6, 3, 15, {.stride = {2, 2}}},
        {7, 1, 2, 4, 15, {.stride = {2, 1}}},
        {5, 6, 6, 3, 12, {.groups = 6}},
        {3, 4, 8, 7, 13, {.padding = {3, 3}, .groups = 4}},
        {5, 3, 6, 5, 12, {.padding = {2, 2}, .dilation = {2, 1}, .groups = 3}},
        {5, 3, 6, 3, 15, {.padding = {1, 1}, .stride = {2, 2}, .groups = 3}},
        {6, 16, 17, 3, 9, {.padding = {1, 1}}},
        {5, 12, 40, 3, 8, {.padding = {1, 1}}},
        {2, 40, 8, 3, 11, {.padding = {0, 1}}},
        {3, 10, 9, 5, 10, {.stride = {2, 2}}},
        {30, 4, 4, 3, 7, {.padding = {1, 1}}},
        {2, 6, 34, 3, 9, {.groups = 2}},
        /* Enough for two slices; not if only what pools counted. */
        {226, 8, 2, 3, 15, {.padding = {1, 1}}},
    };
    for (int i = 0; i < COUNT(rows); i++) {
        memset(other, 0x7f, sizeof other);
        const int64_t n = run_shape(&rows[i].config, rows[i].in, rows[i].out, rows[i].kernel,
                                    rows[i].n, rows[i].size, false, fused),
                      m = run_shape(&rows[i].config, rows[i].in, rows[i].out, rows[i].kernel,
                                    rows[i].n, rows[i].size, true, other);
        assert_int_equal(n, m);
        for (int64_t k = 0; k < n; k++)
            if (!is_same(other[k], fused[k]))
                fail_msg("shape %d, number %d of %d: %.9g, not %.9g", i, (int)k, (int)n,
                         (double)other[k], (double)fused[k]);
    }
}

static void test_gradient(void **state) {
    (void)state;
    const char *const names[] = {"tanh", "silu", "leaky_relu", "elu"};
    for (int i = 0; i < 4; i++) {
        hk_context *ctx =
            test_context(&(hk_context_config){.threads = 1, .dtype = HK_F64, .seed = 3});
        hk_module *net = block_net(ctx, names[i], i != 1);
        must(hk_module_build(net, HK_SHAPE(-1, 2, H, W), NULL));
        hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(2, 2, H, W), "x", -2, 2, 0);
        hk_gradcheck_result result;
        if (hk_gradcheck_module(net, x, NULL, &result) != HK_OK)
            fail_msg("%s: %s", names[i], result.message);
        hk_context_destroy(ctx);
    }
}

/* What is not such a group runs one by one. */
static void test_other_groups(void **state) {
    hk_context *ctx = *state;
    const hk_pool2d_config two = {.kernel = {2, 2}}, three = {.kernel = {3, 3}},
                           up = {.kernel = {2, 2}, .ceil_mode = true};
    const struct {
        const char *activation;
        const hk_pool2d_config *pool;
        int length;
    } rows[] = {{"relu", &two, 3},          {"relu", &three, 0}, {"relu", &up, 0},
                {"prelu", &two, 0},         {"rrelu", &two, 0},  {"maxout", &two, 0},
                {"mix:relu+tanh", &two, 0}, {"step", &two, 0},   {"swish:learn=no", &two, 3}};
    for (int i = 0; i < COUNT(rows); i++) {
        hk_module *net =
            hk_sequential(ctx, hk_conv2d(ctx, 1, 4, HK_SQUARE(3), NULL),
                          hk_activation(ctx, rows[i].activation), hk_max_pool2d(ctx, rows[i].pool));
        must(hk_module_build(net, HK_SHAPE(-1, 1, 10, 10), NULL));
        assert_int_equal(rows[i].length, hk__conv_block_length(net->children, 3));
        assert_int_equal(0, hk__conv_block_length(net->children, 2));
        hk_tensor *y = hk_forward(net, seeded(ctx, HK_F32, HK_SHAPE(2, 1, 10, 10), "x", -1, 1, 0));
        assert_ok(ctx);
        assert_int_equal(hk_tensor_dim(y, 1), 4);
        must(hk_step_end(ctx));
    }
}

static void test_hooks(void **state) {
    hk_context *ctx = *state;
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 3, 2), hk_activation(ctx, "relu"));
    count a = {0}, b = {0}, all = {0};
    hk_hook *first = hk_hook_forward(hk_module_child_at(net, 0), tally, &a);
    assert_non_null(hk_hook_forward(hk_module_child_at(net, 0), tally, &b));
    assert_non_null(hk_hook_forward(net, tally, &all));
    hk_tensor *x = seeded(ctx, HK_F32, HK_SHAPE(4, 3), "x", -1, 1, 0);
    assert_non_null(hk_forward(net, x));
    a.remove = first; /* takes itself off in the second pass */
    for (int i = 0; i < 3; i++) assert_non_null(hk_forward(net, x));
    assert_int_equal(a.calls, 2);
    assert_int_equal(b.calls, 4);
    assert_int_equal(all.calls, 4);
    assert_null(hk_hook_forward(net, NULL, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "function");
    hk_hook_remove(NULL);
    must(hk_step_end(ctx));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_same_bits_of_shapes),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test_setup_teardown(test_other_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hooks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
