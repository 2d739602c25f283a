/* test_ops_error.c: what operations refuse, and what they say: the operation, both shapes, the
   place.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

typedef hk_tensor *two_fn(hk_tensor *a, hk_tensor *b);
typedef hk_tensor *one_fn(hk_tensor *a);

static hk_tensor *o_huber(hk_tensor *a, hk_tensor *b) { return hk_huber(a, b, 1); }
static hk_tensor *o_clamp(hk_tensor *a) { return hk_clamp(a, 0, 1); }
static hk_tensor *o_scale(hk_tensor *a) { return hk_scale(a, 0, 1); }
static hk_tensor *o_sum(hk_tensor *a) { return hk_sum(a, HK_ALL_AXES, false); }
static hk_tensor *o_mean(hk_tensor *a) { return hk_mean(a, HK_ALL_AXES, false); }
static hk_tensor *o_var(hk_tensor *a) { return hk_var(a, HK_ALL_AXES, 0, false); }
static hk_tensor *o_max(hk_tensor *a) { return hk_max(a, HK_ALL_AXES, false); }
static hk_tensor *o_argmax(hk_tensor *a) { return hk_argmax(a, 0, false); }
static hk_tensor *o_softmax(hk_tensor *a) { return hk_softmax(a, 0); }
static hk_tensor *o_log_softmax(hk_tensor *a) { return hk_log_softmax(a, 0); }
static hk_tensor *o_dropout(hk_tensor *a) { return hk_dropout_op(a, 0.5, "x"); }
static hk_tensor *o_alpha(hk_tensor *a) { return hk_alpha_dropout_op(a, 0.5, "x"); }
static hk_tensor *o_where(hk_tensor *a, hk_tensor *b) {
    return hk_where(hk_full(hk_tensor_context(a), HK_U8, HK_SHAPE(1), 1), a, b);
}
static hk_tensor *o_affine(hk_tensor *a, hk_tensor *b) { return hk_affine(a, b, HK_NO_BIAS); }

static const struct {
    const char *name;
    two_fn *fn;
} twos[] = {
    {"[add]", hk_add},
    {"[sub]", hk_sub},
    {"[mul]", hk_mul},
    {"[div]", hk_div},
    {"[pow]", hk_pow},
    {"[maximum]", hk_maximum},
    {"[minimum]", hk_minimum},
    {"[less]", hk_less},
    {"[less_equal]", hk_less_equal},
    {"[greater]", hk_greater},
    {"[greater_equal]", hk_greater_equal},
    {"[equal]", hk_equal},
    {"[not_equal]", hk_not_equal},
    {"[mse]", hk_mse},
    {"[l1]", hk_l1},
    {"[huber]", o_huber},
    {"[bce_with_logits]", hk_bce_with_logits},
    {"[where]", o_where},
    {"[matmul]", hk_matmul},
    {"[affine]", o_affine},
};

static const struct {
    const char *name;
    one_fn *fn;
} ones[] = {
    {"[neg]", hk_neg},        {"[abs]", hk_abs},
    {"[exp]", hk_exp},        {"[log]", hk_log},
    {"[sqrt]", hk_sqrt},      {"[clamp]", o_clamp},
    {"[scale]", o_scale},     {"[sum]", o_sum},
    {"[mean]", o_mean},       {"[var]", o_var},
    {"[max]", o_max},         {"[argmax]", o_argmax},
    {"[softmax]", o_softmax}, {"[log_softmax]", o_log_softmax},
    {"[dropout]", o_dropout}, {"[alpha_dropout]", o_alpha},
};

static void two_operands(void **state) {
    hk_context *ctx = *state, *other = new_context(1, NULL);
    hk_tensor *a = hk_full(ctx, HK_F32, HK_SHAPE(2, 3), 1),
              *b = hk_full(ctx, HK_F32, HK_SHAPE(7, 5), 1);
    hk_tensor *wide = hk_full(ctx, HK_F64, HK_SHAPE(2, 3), 1),
              *bytes = hk_full(ctx, HK_U8, HK_SHAPE(2, 3), 1);
    hk_tensor *ints = hk_full(ctx, HK_I32, HK_SHAPE(2, 3), 1),
              *far = hk_full(other, HK_F32, HK_SHAPE(2, 3), 1);
    for (int64_t k = 0; k < COUNT(twos); k++) {
        assert_null(twos[k].fn(a, b));
        expect_error(ctx, HK_ERR_SHAPE, "(2, 3)", "(7, 5)");
        assert_null(twos[k].fn(hk_tensor_set_name(a, "left"), b));
        if (!strstr(hk_error_message(ctx), twos[k].name))
            fail_msg("no %s: %s", twos[k].name, hk_error_message(ctx));
        expect_error(ctx, HK_ERR_SHAPE, "left (2, 3)");
        assert_null(twos[k].fn(a, wide));
        if (!strstr(hk_error_message(ctx), twos[k].name))
            fail_msg("no %s: %s", twos[k].name, hk_error_message(ctx));
        expect_error(ctx, HK_ERR_DTYPE, "f32", "f64", "hk_cast");
        assert_null(twos[k].fn(a, ints));
        expect_error(ctx, HK_ERR_DTYPE, "i32");
        assert_null(twos[k].fn(bytes, bytes));
        expect_error(ctx, HK_ERR_DTYPE, "u8");
        assert_null(twos[k].fn(a, far));
        expect_error(ctx, HK_ERR_DEVICE, "another context");
        assert_null(twos[k].fn(a, NULL));
        if (twos[k].fn != o_where) assert_null(twos[k].fn(NULL, a));
        assert_ok(ctx);
    }
    hk_context_destroy(other);
}

static void one_operand(void **state) {
    hk_context *ctx = *state;
    for (int64_t k = 0; k < COUNT(ones); k++) {
        assert_null(ones[k].fn(hk_full(ctx, HK_U8, HK_SHAPE(2, 3), 1)));
        if (!strstr(hk_error_message(ctx), ones[k].name))
            fail_msg("no %s: %s", ones[k].name, hk_error_message(ctx));
        expect_error(ctx, HK_ERR_DTYPE, "u8", "f32 or f64");
        assert_null(ones[k].fn(hk_full(ctx, HK_I32, HK_SHAPE(2, 3), 1)));
        expect_error(ctx, HK_ERR_DTYPE, "i32");
        assert_null(ones[k].fn(NULL));
        assert_ok(ctx);
    }
}

#define REFUSED(call, status, ...)                                                                 \
    do {                                                                                           \
        assert_null(call);                                                                         \
        expect_error(ctx, status, __VA_ARGS__);                                                    \
    } while (0)

static void arguments(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(2, 3), 1),
              *scalar = hk_full(ctx, HK_F32, HK_SCALAR, 1);
    hk_tensor *empty = hk_tensor_new(ctx, HK_F32, HK_SHAPE(0, 3)),
              *wide = hk_full(ctx, HK_F64, HK_SHAPE(2, 3), 1);
    hk_tensor *y = hk_full(ctx, HK_F32, HK_SHAPE(2, 4), 1);
    REFUSED(hk_clamp(x, 1, 0), HK_ERR_ARGUMENT, "[clamp]", "1", "0");
    REFUSED(hk_clamp(x, NAN, 0), HK_ERR_ARGUMENT, "[clamp]");
    REFUSED(hk_where(x, x, x), HK_ERR_DTYPE, "[where]", "f32", "u8");
    REFUSED(hk_where(hk_full(ctx, HK_U8, HK_SHAPE(5), 1), x, x), HK_ERR_SHAPE, "[where]", "(5)",
            "(2, 3)");
    REFUSED(hk_matmul(x, hk_full(ctx, HK_F32, HK_SHAPE(3), 1)), HK_ERR_SHAPE, "[matmul]", "rank 2",
            "(3)");
    REFUSED(hk_matmul(hk_broadcast_to(x, HK_SHAPE(5, 2, 3)),
                      hk_full(ctx, HK_F32, HK_SHAPE(4, 3, 2), 1)),
            HK_ERR_SHAPE, "[matmul]", "(5, 2, 3)", "(4, 3, 2)");
    REFUSED(hk_affine(x, x, scalar), HK_ERR_SHAPE, "[affine]", "bias", "(2, 3)", "()");
    REFUSED(hk_affine(x, x, hk_full(ctx, HK_F32, HK_SHAPE(3), 1)), HK_ERR_SHAPE, "[affine]",
            "bias");
    REFUSED(hk_affine(scalar, x, HK_NO_BIAS), HK_ERR_SHAPE, "[affine]", "()");
    REFUSED(hk_sum(x, HK_AXIS(2), false), HK_ERR_ARGUMENT, "[sum]", "rank 2");
    REFUSED(hk_sum(scalar, HK_AXIS(0), false), HK_ERR_ARGUMENT, "[sum]", "rank 0");
    REFUSED(hk_mean(empty, HK_AXIS(0), false), HK_ERR_SHAPE, "[mean]", "(0, 3)");
    REFUSED(hk_var(empty, HK_AXIS(0), 0, false), HK_ERR_SHAPE, "[var]", "(0, 3)");
    REFUSED(hk_max(empty, HK_AXIS(0), false), HK_ERR_SHAPE, "[max]", "(0, 3)");
    REFUSED(hk_argmax(empty, 0, false), HK_ERR_SHAPE, "[argmax]", "(0, 3)");
    REFUSED(hk_mse(empty, empty), HK_ERR_SHAPE, "(0, 3)");
    REFUSED(hk_argmax(x, 2, false), HK_ERR_ARGUMENT, "[argmax]", "axis 2", "rank 2");
    REFUSED(hk_argmax(scalar, 0, false), HK_ERR_ARGUMENT, "[argmax]", "axis 0", "rank 0");
    REFUSED(hk_softmax(x, -3), HK_ERR_ARGUMENT, "[softmax]", "axis -3", "rank 2");
    REFUSED(hk_log_softmax(scalar, 0), HK_ERR_ARGUMENT, "[log_softmax]", "axis 0");
    REFUSED(hk_dropout_op(x, 1, "d"), HK_ERR_ARGUMENT, "[dropout]", "[0, 1)", "not 1");
    REFUSED(hk_dropout_op(x, NAN, "d"), HK_ERR_ARGUMENT, "[dropout]");
    REFUSED(hk_alpha_dropout_op(x, -0.1, "d"), HK_ERR_ARGUMENT, "[alpha_dropout]", "-0.1");
    REFUSED(hk_concat(2, ((hk_tensor *[]){x, wide}), 0), HK_ERR_DTYPE, "[concat]", "f32", "f64");
    REFUSED(hk_stack(2, ((hk_tensor *[]){x, wide}), 0), HK_ERR_DTYPE, "f32", "f64");
    REFUSED(hk_concat(2, ((hk_tensor *[]){x, y}), 0), HK_ERR_SHAPE, "[concat]", "(2, 3)", "(2, 4)");
    REFUSED(hk_concat(2, ((hk_tensor *[]){x, scalar}), 0), HK_ERR_SHAPE, "[concat]", "(2, 3)",
            "()");
    REFUSED(hk_concat(2, ((hk_tensor *[]){x, x}), 2), HK_ERR_ARGUMENT, "[concat]", "axis 2");
    REFUSED(hk_stack(2, ((hk_tensor *[]){x, y}), 0), HK_ERR_SHAPE, "[stack]", "(2, 3)", "(2, 4)");
    REFUSED(hk_stack(2, ((hk_tensor *[]){x, x}), 3), HK_ERR_ARGUMENT, "[stack]", "axis 3");
    hk_tensor *six = hk_full(ctx, HK_F32, HK_SHAPE(1, 1, 1, 1, 1, 1), 1);
    REFUSED(hk_stack(2, ((hk_tensor *[]){six, six}), 0), HK_ERR_SHAPE, "[stack]", "6");
    assert_null(hk_concat(2, ((hk_tensor *[]){x, NULL}), 0));
    assert_null(hk_stack(0, NULL, 0));
    assert_ok(ctx);
}

static void shapes(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(2, 3), 1), *part[2];
    REFUSED(hk_reshape(x, HK_SHAPE(4, 2)), HK_ERR_SHAPE, "[reshape]", "(2, 3)", "(4, 2)");
    REFUSED(hk_reshape(x, HK_SHAPE(-1, 4)), HK_ERR_SHAPE, "[reshape]", "(-1, 4)");
    REFUSED(hk_reshape(x, HK_SHAPE(-1, -1)), HK_ERR_SHAPE, "[reshape]", "(2, 3)");
    REFUSED(hk_reshape(x, HK_SHAPE(-1, 0)), HK_ERR_SHAPE, "[reshape]", "(2, 3)");
    REFUSED(hk_reshape(x, HK_SHAPE(INT64_MAX, INT64_MAX, -1)), HK_ERR_SHAPE, "[reshape]");
    REFUSED(hk_reshape(x, ((hk_shape){7, {1, 1, 1, 1, 1, 6}})), HK_ERR_SHAPE, "[reshape]",
            "rank 7");
    REFUSED(hk_reshape(x, ((hk_shape){-1, {6}})), HK_ERR_SHAPE, "[reshape]", "rank -1");
    REFUSED(hk_broadcast_to(x, HK_SHAPE(3, 2)), HK_ERR_SHAPE, "[broadcast_to]", "(2, 3)", "(3, 2)");
    REFUSED(hk_broadcast_to(x, HK_SHAPE(3)), HK_ERR_SHAPE, "[broadcast_to]", "(2, 3)", "(3)");
    REFUSED(hk_broadcast_to(x, ((hk_shape){7, {1}})), HK_ERR_SHAPE, "[broadcast_to]", "rank 7");
    REFUSED(hk_broadcast_to(x, HK_SHAPE(INT64_MAX, 2, 3)), HK_ERR_SHAPE, "[broadcast_to]");
    REFUSED(hk_flatten_from(x, 2), HK_ERR_ARGUMENT, "axis 2");
    REFUSED(hk_transpose(x, 0, 2), HK_ERR_ARGUMENT, "[transpose]", "axis 2");
    REFUSED(hk_permute(x, ((int[]){0, 0})), HK_ERR_ARGUMENT, "[permute]", "axis 0", "twice");
    REFUSED(hk_permute(x, ((int[]){0, 2})), HK_ERR_ARGUMENT, "[permute]", "axis 2");
    REFUSED(hk_slice(x, 1, 2, 2), HK_ERR_SHAPE, "[slice]", "2 elements from 2", "axis 1", "(2, 3)");
    REFUSED(hk_slice(x, 1, -1, 2), HK_ERR_SHAPE, "[slice]");
    REFUSED(hk_slice(x, 1, 0, -2), HK_ERR_SHAPE, "[slice]");
    REFUSED(hk_slice(x, 1, 1, INT64_MAX), HK_ERR_SHAPE, "[slice]");
    REFUSED(hk_slice(x, 2, 0, 1), HK_ERR_ARGUMENT, "[slice]", "axis 2");
    assert_int_equal(hk_split(x, 1, 2, (const int64_t[]){1, 1}, part), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[split]", "add up to 2", "has 3");
    assert_int_equal(hk_split(x, 1, 2, (const int64_t[]){2, 2}, part), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "(2, 3)");
    assert_int_equal(hk_split(x, 2, 1, (const int64_t[]){3}, part), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "[split]", "axis 2");
    assert_int_equal(hk_split(NULL, 0, 2, (const int64_t[]){1, 1}, part), HK_ERR_ARGUMENT);
    assert_true(!part[0] && !part[1]);
    REFUSED(hk_pad(x, ((int64_t[]){0, -1}), ((int64_t[]){0, 0}), 0), HK_ERR_ARGUMENT, "[pad]",
            "axis 1");
    REFUSED(hk_pad(x, ((int64_t[]){INT64_MAX, 0}), ((int64_t[]){INT64_MAX, 0}), 0), HK_ERR_ARGUMENT,
            "[pad]");
    const int32_t at[] = {0, 1, 2};
    hk_tensor *index = hk_constant(ctx, HK_I32, HK_SHAPE(3), at);
    if (!on_gpu()) { /* which looks at values, and tells at the end of the step (test_gpu_gather.c) */
        REFUSED(hk_gather_rows(x, index), HK_ERR_ARGUMENT, "[gather_rows]", "index 2", "position 2",
                "0 to 1");
        const int32_t minus[] = {0, -1, 0};
        REFUSED(hk_gather_rows(x, hk_constant(ctx, HK_I32, HK_SHAPE(3), minus)), HK_ERR_ARGUMENT,
                "index -1", "position 1");
    }
    REFUSED(hk_gather_rows(x, x), HK_ERR_DTYPE, "[gather_rows]", "f32", "i32");
    REFUSED(hk_gather_rows(hk_full(ctx, HK_F32, HK_SCALAR, 1), index), HK_ERR_SHAPE,
            "[gather_rows]", "()");
    hk_tensor *deep = hk_full(ctx, HK_I32, HK_SHAPE(1, 1, 1, 1, 1, 1), 0);
    REFUSED(hk_gather_rows(x, deep), HK_ERR_SHAPE, "[gather_rows]", "rank");
}

/* The first error stays, everything after it does nothing, and hk_error_clear resumes. */
static void first_error_is_kept(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(2, 3), 1);
    assert_null(hk_matmul(x, x));
    char first[512];
    snprintf(first, sizeof first, "%s", hk_error_message(ctx));
    assert_null(hk_add(x, x));
    assert_null(hk_softmax(x, 9));
    assert_null(hk_reshape(x, HK_SHAPE(7)));
    assert_null(hk_full(ctx, HK_F32, HK_SHAPE(2), 0));
    assert_null(hk_tensor_new(ctx, HK_F32, HK_SHAPE(2)));
    assert_null(hk_tensor_keep(x));
    assert_null(hk_tensor_data(x));
    assert_nan("item", 0, hk_tensor_item(x));
    assert_int_equal(hk_backward(ctx, x), HK_ERR_SHAPE);
    assert_int_equal(hk_fail(ctx, HK_ERR_IO, "test", "later"), HK_ERR_SHAPE);
    float buffer[6];
    assert_int_equal(hk_tensor_read(x, buffer, sizeof buffer), HK_ERR_SHAPE);
    assert_string_equal(hk_error_message(ctx), first);
    assert_int_equal(hk_step_end(ctx), HK_ERR_SHAPE);
    hk_error_clear(ctx);
    assert_string_equal(hk_error_message(ctx), "");
    x = hk_full(ctx, HK_F32, HK_SHAPE(2, 3), 1);
    assert_values("after", hk_add(x, x), 6, (const double[]){2, 2, 2, 2, 2, 2}, 0);
    must(hk_step_end(ctx));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_operands, setup, teardown),
        cmocka_unit_test_setup_teardown(one_operand, setup, teardown),
        cmocka_unit_test_setup_teardown(arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(first_error_is_kept, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
