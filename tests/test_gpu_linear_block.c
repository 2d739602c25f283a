/* ctest: labels=unit,grad timeout=120 */
/* A linear layer and its activation as one operation on a GPU: the same bits as one by one, which a hook brings about.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "linear_block.h"

static hk_context *open_gpu(hk_dtype dtype) {
    need_gpu();
    hk_context *ctx = hk_context_create(
        &(hk_context_config){.device = HK_CUDA, .threads = 1, .dtype = dtype, .seed = 3});
    assert_ok(ctx);
    return ctx;
}

typedef struct layer {
    const char *activation;
    hk_dtype dtype;
    hk_shape x; /* the last size is `in` */
    int64_t out;
    bool bias, frozen; /* frozen: no gradient of the weight is wanted */
} layer;

static void look(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x, (void)y;
    ++*(int *)arg;
}

/* y, and the gradients of x, weight and bias after two passes, as kept tensors. */
static void run(hk_context *ctx, const layer *l, bool hooked, hk_tensor *result[4]) {
    const int64_t in = l->x.dim[l->x.rank - 1];
    hk_module *linear = l->bias ? hk_linear(ctx, in, l->out) : hk_linear_no_bias(ctx, in, l->out);
    hk_module *net = hk_sequential(ctx, linear, hk_activation(ctx, l->activation));
    must(hk_module_build(net, l->x, NULL));
    int calls = 0;
    if (hooked) assert_non_null(hk_hook_forward(linear, look, &calls));
    assert_int_equal(hk__linear_block_length(net->children, 2), hooked ? 0 : 2);
    assert_int_equal(hk__linear_block_length(net->children, 1), 0);
    const hk_parameters all = hk_module_parameters(net);
    if (l->frozen) all.items[0]->requires = false;
    hk_tensor *x = hk_require_grad(seeded(ctx, l->dtype, l->x, "x", -2, 2, 0)), *y = NULL;
    for (int pass = 0; pass < 2; pass++) {
        y = hk_forward(net, x);
        assert_ok(ctx);
        must(hk_backward_from(ctx, y, seeded(ctx, l->dtype, hk_tensor_shape(y), "g", -1, 1, 0)));
    }
    assert_int_equal(calls, hooked ? 2 : 0);
    result[0] = hk_tensor_keep(y);
    result[1] = hk_tensor_keep(hk_grad(x));
    for (int i = 0; i < 2; i++)
        result[2 + i] = i < all.count ? hk_tensor_keep(hk_grad(all.items[i])) : NULL;
    assert_ok(ctx);
}

static void compare(hk_context *ctx, const layer *l) {
    static const char *const names[] = {"y", "x", "weight", "bias"};
    hk_tensor *fused[4], *single[4];
    run(ctx, l, false, fused);
    run(ctx, l, true, single);
    for (int i = 0; i < 4; i++)
        if (fused[i] && !same_elements(fused[i], single[i]))
            fail_msg("%s: %s", l->activation, names[i]);
    must(hk_step_end(ctx));
}

static void every_activation(void **state) {
    (void)state;
    hk_context *ctx = open_gpu(HK_F32);
    for (int i = 0; hk_activation_row(NULL, i); i++) {
        const hk_activation_info *row = hk_activation_row(NULL, i);
        if (row->kind != HK_ACTIVATION_POINTWISE || row->random || row->surrogate) continue;
        char name[64];
        hk_activation_spec spec;
        snprintf(name, sizeof name, "%s%s", row->name, row->n_params ? ":learn=no" : "");
        if (hk_activation_parse(ctx, name, &spec) != HK_OK) {
            hk_error_clear(ctx);
            snprintf(name, sizeof name, "%s", row->name);
        }
        compare(ctx, &(layer){.activation = name,
                              .x = HK_SHAPE(5 + i % 3, 7 + i % 2),
                              .out = 6 + i % 4,
                              .bias = i % 2});
    }
    hk_context_destroy(ctx);
}

/* In tiles of both sizes, in vectors and not, of any rank, and where hillock's own kernel is not taken. */
static void sizes(void **state) {
    (void)state;
    const layer layers[] = {
        {.x = HK_SHAPE(64, 784), .out = 128, .bias = true},
        {.x = HK_SHAPE(64, 128), .out = 10, .bias = true},
        {.x = HK_SHAPE(1, 1), .out = 1, .bias = true},
        {.x = HK_SHAPE(1, 20), .out = 33},
        {.x = HK_SHAPE(33, 20), .out = 1},
        {.x = HK_SHAPE(9), .out = 5, .bias = true},
        {.x = HK_SHAPE(2, 3, 4, 12), .out = 20, .bias = true},
        {.x = HK_SHAPE(3, 4100), .out = 4, .bias = true},
        {.x = HK_SHAPE(4200, 3), .out = 2, .bias = true},
        {.x = HK_SHAPE(8, 12), .out = 16, .bias = true, .frozen = true},
    };
    static const char *const names[] = {"relu", "silu", "tanh", "softplus"};
    for (int dtype = HK_F32; dtype <= HK_F64; dtype++) {
        hk_context *ctx = open_gpu((hk_dtype)dtype);
        for (int64_t i = 0; i < COUNT(layers); i++) {
            layer l = layers[i];
            l.activation = names[(i + dtype) % COUNT(names)];
            l.dtype = (hk_dtype)dtype;
            compare(ctx, &l);
        }
        hk_context_destroy(ctx);
    }
}

/* All derivatives, forward mode too. */
static void derivatives(void **state) {
    (void)state;
    static const char *const names[] = {"tanh", "silu", "elu"};
    for (int i = 0; i < COUNT(names); i++) {
        hk_context *ctx = open_gpu(HK_F64);
        hk_module *net = hk_sequential(ctx, hk_linear(ctx, 5, 7), hk_activation(ctx, names[i]),
                                       hk_linear_no_bias(ctx, 7, 3), hk_activation(ctx, names[i]));
        must(hk_module_build(net, HK_SHAPE(-1, 5), NULL));
        assert_int_equal(hk__linear_block_length(net->children + 2, 2), 2);
        hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(4, 5), "x", -2, 2, 0);
        hk_gradcheck_result result;
        if (hk_gradcheck_module(net, x, NULL, &result) != HK_OK)
            fail_msg("%s: %s", names[i], result.message);
        hk_context_destroy(ctx);
    }
}

/* What is no such pair runs one by one; errors name the layer. */
static void other_pairs(void **state) {
    (void)state;
    hk_context *ctx = open_gpu(HK_F32);
    static const struct {
        const char *activation;
        int length;
    } rows[] = {{"relu", 2},   {"swish:learn=no", 2}, {"prelu", 0}, {"rrelu", 0},
                {"maxout", 0}, {"softmax", 0},        {"step", 0},  {"mix:relu+tanh", 0}};
    for (int i = 0; i < COUNT(rows); i++) {
        hk_module *net =
            hk_sequential(ctx, hk_linear(ctx, 3, 4), hk_activation(ctx, rows[i].activation));
        must(hk_module_build(net, HK_SHAPE(-1, 3), NULL));
        assert_int_equal(hk__linear_block_length(net->children, 2), rows[i].length);
        assert_int_equal(hk__linear_block_length(net->children + 1, 1), 0);
        hk_nan_guard(ctx, true);
        assert_int_equal(hk__linear_block_length(net->children, 2), 0);
        hk_nan_guard(ctx, false);
        assert_null(hk_forward(net, hk_full(ctx, HK_F32, HK_SHAPE(2, 5), 1)));
        assert_non_null(strstr(hk_error_message(ctx), "[affine] the last size of x"));
        hk_error_clear(ctx);
        must(hk_step_end(ctx));
    }
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_activation), cmocka_unit_test(sizes),
                                       cmocka_unit_test(derivatives),
                                       cmocka_unit_test(other_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
