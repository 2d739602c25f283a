/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_act_widening.c: convolutions become as wide as the activation behind them needs, maxout or a
   gated unit, whatever passes channels on between.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "hk_layers.h"

static int setup_f64(void **state) {
    const hk_context_config config = {.threads = 1, .seed = 1, .dtype = HK_F64};
    *state = test_context(&config);
    assert_ok(*state);
    return 0;
}

static hk_module *built(hk_context *ctx, hk_module *m, hk_shape shape) {
    if (!m || hk_module_build(m, shape, NULL) != HK_OK) fail_msg("%s", hk_error_message(ctx));
    return m;
}

static hk_tensor *uniform(hk_context *ctx, hk_shape shape, const char *name) {
    return seeded(ctx, HK_F64, shape, name, -2, 2, 0);
}

/* A convolution to 4 channels, up to two layers that pass channels on, and the activation: the
   convolution has `widened` channels, what comes out 4. */
static void widens(hk_context *ctx, const char *text, int between, bool transposed,
                   int64_t widened) {
    const hk_pool2d_config pool = {.kernel = {2, 2}};
    hk_module *members[4], *act = hk_activation(ctx, text);
    int n = 0;
    members[n++] = transposed ? hk_conv_transpose2d(ctx, 3, 4, HK_SQUARE(3), NULL)
                              : hk_conv2d(ctx, 3, 4, HK_SQUARE(3), NULL);
    if (between & 1) members[n++] = hk_batch_norm2d(ctx, NULL);
    if (between & 2) members[n++] = hk_max_pool2d(ctx, &pool);
    members[n++] = act;
    hk_module *m = built(ctx, hk_sequential_n(ctx, n, members), HK_SHAPE(-1, 3, 8, 8));
    hk_tensor *w = hk_module_find(m, "0.weight");
    const int64_t size = (transposed ? 10 : 6) / (between & 2 ? 2 : 1);
    assert_shape(w, transposed ? HK_SHAPE(3, widened, 3, 3) : HK_SHAPE(widened, 3, 3, 3));
    assert_shape(hk_module_find(m, "0.bias"), HK_SHAPE(widened));
    if (between & 1) assert_shape(hk_module_find(m, "1.running_mean"), HK_SHAPE(widened));
    hk_tensor *y = hk_forward(m, uniform(ctx, HK_SHAPE(2, 3, 8, 8), text));
    assert_shape(y, HK_SHAPE(2, 4, size, size));
    must(hk_backward(ctx, hk_sum(hk_mul(y, y), HK_ALL_AXES, false)));
    must(hk_step_end(ctx));
    hk_module_destroy(m);
}

static void convolutions_widen(void **state) {
    static const struct {
        const char *text;
        int64_t widened;
    } cases[] = {{"relu", 4},     {"maxout", 8},   {"maxout:k=3", 12}, {"maxout:k=5", 20},
                 {"glu", 8},      {"reglu", 8},    {"geglu", 8},       {"swiglu", 8},
                 {"bilinear", 8}, {"softmax", 4},  {"dyrelu_b", 4},    {"frelu", 4},
                 {"prelu", 4},    {"meta_acon", 4}};
    for (int64_t i = 0; i < COUNT(cases); i++)
        for (int between = 0; between < 4; between++)
            for (int transposed = 0; transposed < 2; transposed++)
                widens(*state, cases[i].text, between, transposed, cases[i].widened);
}

/* Only for the activation that comes next. */
static void only_the_next_counts(void **state) {
    hk_context *ctx = *state;
    const hk_conv2d_config same = {.padding = {1, 1}};
    hk_module *m = hk_sequential(
        ctx, hk_conv2d(ctx, 3, 4, HK_SQUARE(3), &same), hk_activation(ctx, "frelu"),
        hk_batch_norm2d(ctx, NULL), hk_conv2d(ctx, 4, 5, HK_SQUARE(3), &same), hk_flatten(ctx),
        hk_activation(ctx, "maxout:k=3"), hk_linear(ctx, 5 * 16, 2), hk_activation(ctx, "glu"));
    built(ctx, m, HK_SHAPE(-1, 3, 4, 4));
    assert_shape(hk_module_find(m, "0.weight"), HK_SHAPE(4, 3, 3, 3));
    assert_shape(hk_module_find(m, "3.weight"), HK_SHAPE(15, 4, 3, 3));
    assert_shape(hk_module_find(m, "6.weight"), HK_SHAPE(4, 80));
    assert_shape(hk_forward(m, uniform(ctx, HK_SHAPE(2, 3, 4, 4), "two")), HK_SHAPE(2, 2));
}

/* Groups divide what is widened too. */
static void groups_widen_too(void **state) {
    hk_context *ctx = *state;
    const hk_conv2d_config grouped = {.groups = 2};
    hk_module *m = hk_sequential(ctx, hk_conv2d(ctx, 4, 6, HK_SQUARE(1), &grouped),
                                 hk_activation(ctx, "maxout:k=3"));
    built(ctx, m, HK_SHAPE(-1, 4, 5, 5));
    assert_shape(hk_module_find(m, "0.weight"), HK_SHAPE(18, 2, 1, 1));
    assert_shape(hk_forward(m, uniform(ctx, HK_SHAPE(1, 4, 5, 5), "groups")), HK_SHAPE(1, 6, 5, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(convolutions_widen, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(only_the_next_counts, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(groups_widen_too, setup_f64, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
