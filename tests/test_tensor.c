/* test_tensor.c: shapes, owners, facts and elements of tensors.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "testing.h"

#include "tensor.h"

static void shapes(void **state) {
    (void)state;
    static const struct {
        hk_shape shape;
        int64_t count;
        const char *text;
    } cases[] = {
        {{0, {0}}, 1, "()"},
        {{1, {7}}, 7, "(7)"},
        {{2, {64, 784}}, 50176, "(64, 784)"},
        {{3, {3, 0, 5}}, 0, "(3, 0, 5)"},
        {{6, {1, 2, 3, 4, 5, 6}}, 720, "(1, 2, 3, 4, 5, 6)"},
        {{2, {3, -1}}, -1, "(3, -1)"},
        {{2, {0, -1}}, -1, "(0, -1)"},
        {{7, {1}}, -1, "(rank 7)"},
        {{-1, {1}}, -1, "(rank -1)"},
        {{1, {INT64_MAX}}, -1, "(9223372036854775807)"},
        {{2, {INT64_C(1) << 40, INT64_C(1) << 40}}, -1, "(1099511627776, 1099511627776)"},
        {{3, {INT64_MAX, INT64_MAX, 0}}, -1, NULL},
    };
    for (int64_t k = 0; k < COUNT(cases); k++) {
        char text[200];
        assert_int_equal(hk_shape_count(cases[k].shape), cases[k].count);
        if (cases[k].text)
            assert_string_equal(hk_shape_text(cases[k].shape, text, sizeof text), cases[k].text);
        for (int64_t i = 0; i < COUNT(cases); i++)
            if (cases[k].shape.rank >= 0 && cases[k].shape.rank <= 6)
                assert_int_equal(hk_shape_equal(cases[k].shape, cases[i].shape), i == k);
    }
    char small[8]; /* cut, not overrun */
    memset(small, '#', sizeof small);
    hk_shape_text((hk_shape){3, {100, 200, 300}}, small, 6);
    assert_string_equal(small, "(100,");
    assert_int_equal(small[6], '#');
    hk_shape_text((hk_shape){1, {5}}, small, 0);
    assert_int_equal(small[0], '(');
    assert_int_equal(HK_SHAPE(2, 3).rank, 2);
    assert_int_equal(HK_SHAPE(2, 3).dim[1], 3);
}

static void broadcasting(void **state) {
    (void)state;
    static const struct {
        hk_shape a, b, out;
        bool fits;
    } cases[] = {
        {{0, {0}}, {0, {0}}, {0, {0}}, true},
        {{2, {3, 5}}, {1, {5}}, {2, {3, 5}}, true},
        {{2, {3, 1}}, {3, {7, 1, 5}}, {3, {7, 3, 5}}, true},
        {{2, {0, 5}}, {2, {1, 1}}, {2, {0, 5}}, true},
        {{2, {3, 5}}, {1, {3}}, {0, {0}}, false},
        {{2, {2, 5}}, {2, {3, 5}}, {0, {0}}, false},
        {{1, {0}}, {1, {2}}, {0, {0}}, false},
    };
    for (int64_t k = 0; k < COUNT(cases); k++)
        for (int turned = 0; turned < 2; turned++) {
            hk_shape out;
            const bool fits = turned ? hk__broadcast(cases[k].b, cases[k].a, &out)
                                     : hk__broadcast(cases[k].a, cases[k].b, &out);
            assert_int_equal(fits, cases[k].fits);
            if (fits) assert_true(hk_shape_equal(out, cases[k].out));
        }
}

/* Sanitizers give up on an allocation that is larger than memory, unless told not to. */
const char *__asan_default_options(void), *__tsan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

static void making(void **state) {
    hk_context *ctx = *state;
    static const struct {
        hk_dtype dtype;
        hk_shape shape;
        hk_status status;
        const char *word;
    } bad[] = {
        {(hk_dtype)9, {1, {2}}, HK_ERR_DTYPE, "9"},
        {HK_F32, {7, {1}}, HK_ERR_SHAPE, "rank 7"},
        {HK_F32, {1, {-2}}, HK_ERR_SHAPE, "(-2)"},
        {HK_F32, {2, {INT64_MAX, 2}}, HK_ERR_SHAPE, "9223372036854775807"},
        {HK_F64, {1, {INT64_C(1) << 58}}, HK_ERR_MEMORY, "(288230376151711744) of f64"},
    };
    for (int64_t k = 0; k < 4 * COUNT(bad); k++) {
        const hk_dtype dtype = bad[k / 4].dtype;
        const hk_shape shape = bad[k / 4].shape;
        switch (k % 4) {
        case 0: assert_null(hk_tensor_new(ctx, dtype, shape)); break;
        case 1: assert_null(hk_tensor_from(ctx, dtype, shape, "")); break;
        case 2: assert_null(hk_full(ctx, dtype, shape, 1)); break;
        default: assert_null(hk_constant(ctx, dtype, shape, ""));
        }
        if (hk_error(ctx) != bad[k / 4].status || !strstr(hk_error_message(ctx), bad[k / 4].word))
            fail_msg("no '%s' in '%s'", bad[k / 4].word, hk_error_message(ctx));
        hk_error_clear(ctx);
    }
    assert_null(hk_constant(ctx, HK_F32, HK_SHAPE(2), NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "no data");
    assert_non_null(hk_constant(ctx, HK_F32, HK_SHAPE(0), NULL));
    assert_values("zeros", hk_tensor_new(ctx, HK_I32, HK_SHAPE(3)), 3, (const double[]){0, 0, 0},
                  0);
    assert_values("zeros", hk_tensor_from(ctx, HK_F64, HK_SHAPE(3), NULL), 3,
                  (const double[]){0, 0, 0}, 0);
    assert_values("full", hk_full(ctx, HK_U8, HK_SHAPE(2), 300), 2, (const double[]){255, 255}, 0);
    assert_values("full", hk_full(ctx, HK_F32, HK_SCALAR, -2.5), 1, (const double[]){-2.5}, 0);
    assert_null(hk_tensor_new(NULL, HK_F32, HK_SHAPE(2)));
    assert_null(hk_full(NULL, HK_F32, HK_SHAPE(2), 0));
    assert_ok(ctx);
}

static void kept_outlives_the_step(void **state) {
    hk_context *ctx = *state;
    const float data[] = {1, 2, 3, 4, 5, 6};
    hk_tensor *step = hk_constant(ctx, HK_F32, HK_SHAPE(2, 3), data);
    hk_tensor *view_kept = hk_tensor_keep(hk_transpose(step, 0, 1)),
              *from = hk_tensor_from(ctx, HK_F32, HK_SHAPE(6), data);
    assert_true(hk_tensor_is_contiguous(view_kept));
    for (int i = 0; i < 40; i++) must(hk_step_end(ctx));
    assert_values("kept", view_kept, 6, (const double[]){1, 4, 2, 5, 3, 6}, 0);
    assert_values("from", from, 6, (const double[]){1, 2, 3, 4, 5, 6}, 0);
    hk_tensor *passing = hk_full(ctx, HK_F32, HK_SHAPE(2), 1);
    hk_tensor_destroy(passing); /* not a kept one: left alone */
    assert_values("passing", passing, 2, (const double[]){1, 1}, 0);
    hk_require_grad(from);
    hk_tensor_destroy(hk_grad(from)); /* its owner frees it */
    assert_values("grad", hk_grad(from), 6, (const double[6]){0}, 0);
    hk_tensor *a = hk_tensor_new(ctx, HK_F32, HK_SCALAR),
              *b = hk_tensor_new(ctx, HK_F32, HK_SCALAR);
    hk_tensor_destroy(a); /* in the middle, at the head, at the end of the list */
    hk_tensor_destroy(b);
    hk_tensor_destroy(view_kept);
    hk_tensor_destroy(from);
    hk_tensor_destroy(NULL);
    assert_null(ctx->kept);
}

static void facts(void **state) {
    hk_context *ctx = *state;
    hk_tensor *t = hk_tensor_new(ctx, HK_I32, HK_SHAPE(2, 3, 5));
    assert_ptr_equal(hk_tensor_context(t), ctx);
    assert_int_equal(hk_tensor_dtype(t), HK_I32);
    assert_int_equal(hk_tensor_rank(t), 3);
    assert_int_equal(hk_tensor_count(t), 30);
    assert_int_equal(hk_tensor_dim(t, 1), 3);
    assert_int_equal(hk_tensor_dim(t, -1), 5);
    assert_int_equal(hk_tensor_dim(t, -3), 2);
    assert_int_equal(hk_tensor_dim(t, 3), 0);
    expect_error(ctx, HK_ERR_ARGUMENT, "axis 3", "rank 3");
    assert_string_equal(hk_tensor_name(t), "");
    char name[] = "weights";
    assert_ptr_equal(hk_tensor_set_name(t, name), t);
    name[0] = 'X'; /* kept tensors copy it */
    assert_string_equal(hk_tensor_name(t), "weights");
    hk_tensor_set_name(t, "other");
    hk_tensor_set_name(t, NULL);
    assert_string_equal(hk_tensor_name(t), "");
    /* NULL passes through everything. */
    assert_null(hk_tensor_context(NULL));
    assert_int_equal(hk_tensor_count(NULL) + hk_tensor_dim(NULL, 0) + hk_tensor_rank(NULL), 0);
    assert_false(hk_tensor_is_contiguous(NULL));
    assert_string_equal(hk_tensor_name(NULL), "");
    assert_null(hk_tensor_set_name(NULL, "x"));
    assert_null(hk_tensor_keep(NULL));
    assert_null(hk_tensor_data(NULL));
    assert_nan("item", 0, hk_tensor_item(NULL));
    assert_int_equal(hk_tensor_read(NULL, name, 1), HK_ERR_ARGUMENT);
    assert_int_equal(hk_tensor_write(NULL, name, 1), HK_ERR_ARGUMENT);
    assert_int_equal(hk_tensor_copy(NULL, t), HK_ERR_ARGUMENT);
    assert_int_equal(hk_tensor_copy(t, NULL), HK_ERR_ARGUMENT);
    assert_ok(ctx);
}

static void elements(void **state) {
    hk_context *ctx = *state;
    hk_tensor *t = kept(ctx, HK_F64, HK_SHAPE(2, 3), (const double[]){1, 2, 3, 4, 5, 6});
    double out[7] = {0, 0, 0, 0, 0, 0, -7};
    assert_int_equal(hk_tensor_read(t, out, 47), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "(2, 3)", "48 bytes", "47");
    must(hk_tensor_read(hk_transpose(t, 0, 1), out, sizeof out));
    assert_memory_equal(out, ((double[]){1, 4, 2, 5, 3, 6, -7}), sizeof out);
    assert_null(hk_tensor_data(hk_transpose(t, 0, 1)));
    expect_error(ctx, HK_ERR_SHAPE, "hk_contiguous");
    must(hk_tensor_write(t, (const double[]){6, 5, 4, 3, 2, 1}, 48));
    assert_values("written", t, 6, (const double[]){6, 5, 4, 3, 2, 1}, 0);
    assert_int_equal(hk_tensor_write(t, out, 40), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "48 bytes");
    assert_int_equal(hk_tensor_write(hk_full(ctx, HK_F64, HK_SHAPE(1), 0), out, 8),
                     HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "kept");
    assert_close("item", 0, hk_tensor_item(hk_slice(hk_slice(t, 0, 1, 1), 1, 2, 1)), 1, 0);
    assert_close("item", 1, hk_tensor_item(hk_full(ctx, HK_U8, HK_SHAPE(1, 1), 200)), 200, 0);
    assert_close("item", 2, hk_tensor_item(hk_full(ctx, HK_I32, HK_SCALAR, -5)), -5, 0);
    assert_nan("item", 3, hk_tensor_item(t));
    expect_error(ctx, HK_ERR_SHAPE, "(2, 3)", "one element");
}

static void copies(void **state) {
    hk_context *ctx = *state, *far = new_context(1, NULL);
    hk_tensor *src = kept(ctx, HK_F64, HK_SHAPE(2, 3), (const double[]){1.5, -2.5, 300, 4, 5, 6});
    hk_tensor *dst = hk_tensor_new(far, HK_F32, HK_SHAPE(3, 2));
    must(hk_tensor_copy(dst, hk_transpose(src, 0, 1))); /* context, layout and type all differ */
    assert_values("copy", dst, 6, (const double[]){1.5, 4, -2.5, 5, 300, 6}, 0);
    hk_tensor *bytes = hk_tensor_new(far, HK_U8, HK_SHAPE(2, 3));
    must(hk_tensor_copy(bytes, src));
    assert_values("bytes", bytes, 6, (const double[]){1, 0, 255, 4, 5, 6}, 0);
    assert_int_equal(hk_tensor_copy(dst, src), HK_ERR_SHAPE);
    expect_error(far, HK_ERR_SHAPE, "(3, 2)", "(2, 3)");
    assert_int_equal(hk_tensor_copy(hk_full(far, HK_F32, HK_SHAPE(2, 3), 0), src), HK_ERR_ARGUMENT);
    expect_error(far, HK_ERR_ARGUMENT, "no kept tensor");
    hk_tensor *old = hk_full(ctx, HK_F32, HK_SHAPE(3, 2), 1);
    must(hk_step_end(ctx));
    assert_int_equal(hk_tensor_copy(dst, old), HK_ERR_STALE); /* the error is in both contexts */
    expect_error(ctx, HK_ERR_STALE, "step");
    expect_error(far, HK_ERR_STALE, "the source");
    assert_null(hk_add(dst, src));
    expect_error(far, HK_ERR_DEVICE, "hk_tensor_copy");
    assert_ok(ctx);
    hk_context_destroy(far);
}

static void values_where_the_host_reads(void **state) {
    hk_context *ctx = *state;
    hk_tensor *t = kept(ctx, HK_F64, HK_SHAPE(2, 3), (const double[]){1, 2, 3, 4, 5, 6});
    assert_memory_equal(hk_tensor_values(t), ((double[]){1, 2, 3, 4, 5, 6}), 48);
    if (!on_gpu()) assert_ptr_equal(hk_tensor_values(t), hk_tensor_data(t));
    const double *turned = hk_tensor_values(hk_transpose(t, 0, 1));
    assert_memory_equal(turned, ((double[]){1, 4, 2, 5, 3, 6}), 48);
    assert_null(hk_tensor_values(NULL));
    hk_tensor *old = hk_full(ctx, HK_F32, HK_SHAPE(2), 1);
    must(hk_step_end(ctx));
    assert_null(hk_tensor_values(old));
    expect_error(ctx, HK_ERR_STALE, "tensor_values");
}

static void sums_over_steps(void **state) {
    hk_context *ctx = *state;
    hk_tensor *sum = hk_tensor_new(ctx, HK_F32, HK_SHAPE(2, 2));
    for (int step = 1; step <= 3; step++) {
        const float v[] = {(float)step, 0.5f, -1, 10};
        hk_tensor *t = hk_constant(ctx, HK_F32, HK_SHAPE(2, 2), v);
        must(hk_tensor_add(sum, hk_transpose(t, 0, 1)));
        must(hk_step_end(ctx));
    }
    must(hk_context_wait(ctx));
    assert_values("sum", sum, 4, (const double[]){6, -3, 1.5, 30}, 0);
    assert_int_equal(hk_tensor_add(sum, NULL), HK_ERR_ARGUMENT);
    assert_int_equal(hk_tensor_add(sum, hk_full(ctx, HK_F32, HK_SHAPE(4), 1)), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "(2, 2)", "(4)");
    assert_int_equal(hk_tensor_add(sum, hk_full(ctx, HK_F64, HK_SHAPE(2, 2), 1)), HK_ERR_DTYPE);
    expect_error(ctx, HK_ERR_DTYPE, "f64");
    assert_int_equal(hk_tensor_add(hk_full(ctx, HK_F32, HK_SHAPE(2, 2), 1), sum), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "no kept tensor");
    hk_tensor *numbers = hk_tensor_new(ctx, HK_I32, HK_SHAPE(2));
    assert_int_equal(hk_tensor_add(numbers, numbers), HK_ERR_DTYPE);
    expect_error(ctx, HK_ERR_DTYPE, "i32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(broadcasting),
        cmocka_unit_test_setup_teardown(making, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_outlives_the_step, setup, teardown),
        cmocka_unit_test_setup_teardown(facts, setup, teardown),
        cmocka_unit_test_setup_teardown(elements, setup, teardown),
        cmocka_unit_test_setup_teardown(copies, setup, teardown),
        cmocka_unit_test_setup_teardown(values_where_the_host_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(sums_over_steps, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
