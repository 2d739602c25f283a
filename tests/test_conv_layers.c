/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_conv_layers.c: convolutions as modules: shapes, names, and what they and their operations
   refuse.
   SPDX-License-Identifier: MIT */
#include "module.h"
#include "testing.h"

typedef hk_module *maker(hk_context *ctx, int64_t in, int64_t out, hk_pair kernel,
                         const hk_conv2d_config *config);
static maker *const makers[] = {hk_conv2d, hk_conv2d_no_bias, hk_conv_transpose2d,
                                hk_conv_transpose2d_no_bias};

/* --- shapes ---------------------------------------------------------------------------------- */

typedef struct layer {
    bool transposed;
    int64_t in, out;
    hk_pair kernel;
    hk_conv2d_config config;
    hk_pair size, want; /* of the image, of the result */
    int64_t weight[2];  /* its first sizes */
} layer;

static const layer layers[] = {
    {false, 3, 8, {3, 5}, {.groups = 1}, {28, 20}, {26, 16}, {8, 3}},
    {false, 3, 8, {3, 5}, {.padding = {1, 3}}, {28, 20}, {28, 22}, {8, 3}},
    {false, 3, 8, {3, 5}, {.stride = {3, 2}}, {28, 20}, {9, 8}, {8, 3}},
    {false, 3, 8, {3, 5}, {.dilation = {4, 2}}, {28, 20}, {20, 12}, {8, 3}},
    {false, 6, 8, {2, 1}, {.groups = 2}, {5, 7}, {4, 7}, {8, 3}},
    {false, 4, 12, {3, 3}, {.groups = 4, .stride = {2, 0}}, {9, 9}, {4, 7}, {12, 1}},
    {false, 2, 3, {4, 6}, {.groups = 0}, {4, 6}, {1, 1}, {3, 2}},
    {true, 3, 8, {3, 5}, {.groups = 1}, {7, 9}, {9, 13}, {3, 8}},
    {true, 3, 8, {3, 5}, {.padding = {1, 2}}, {7, 9}, {7, 9}, {3, 8}},
    {true, 3, 8, {3, 5}, {.stride = {3, 2}}, {7, 9}, {21, 21}, {3, 8}},
    {true, 3, 8, {3, 5}, {.stride = {3, 2}, .output_padding = {2, 1}}, {7, 9}, {23, 22}, {3, 8}},
    {true, 3, 8, {3, 5}, {.dilation = {2, 3}}, {7, 9}, {11, 21}, {3, 8}},
    {true, 6, 8, {2, 3}, {.groups = 2}, {5, 7}, {6, 9}, {6, 4}},
    {true, 4, 12, {3, 3}, {.groups = 4, .stride = {2, 0}}, {4, 4}, {9, 6}, {4, 3}},
};

static hk_module *make(hk_context *ctx, const layer *l, bool bias) {
    return makers[2 * l->transposed + !bias](ctx, l->in, l->out, l->kernel, &l->config);
}

/* Built for `in`, the result is known as far as that is; what comes out then has that shape. */
static void check_shapes(hk_context *ctx, const layer *l, bool bias, hk_shape in, hk_shape want) {
    hk_module *m = make(ctx, l, bias);
    must(hk_module_build(m, in, NULL));
    char got[96], expected[96];
    if (m->output.rank != 4 || memcmp(m->output.dim, want.dim, 4 * sizeof *want.dim) != 0)
        fail_msg("%s of %s, not %s", m->cls->name, hk__shape_pattern(m->output, got, sizeof got),
                 hk__shape_pattern(want, expected, sizeof expected));
    for (int64_t n = 0; n <= 3; n += 3) {
        hk_tensor *y =
            hk_forward(m, hk_full(ctx, HK_F32, HK_SHAPE(n, l->in, l->size.h, l->size.w), 1));
        assert_ok(ctx);
        assert_shape(y, HK_SHAPE(n, l->out, l->want.h, l->want.w));
    }
    const hk_parameters all = hk_module_parameters(m);
    assert_int_equal(all.count, 1 + bias);
    assert_string_equal(hk_tensor_name(all.items[0]), "weight");
    assert_shape(all.items[0], HK_SHAPE(l->weight[0], l->weight[1], l->kernel.h, l->kernel.w));
    if (bias) assert_string_equal(hk_tensor_name(all.items[1]), "bias");
    if (bias) assert_shape(all.items[1], HK_SHAPE(l->out));
    must(hk_step_end(ctx));
    hk_module_destroy(m);
}

static void shapes(void **state) {
    for (int64_t k = 0; k < 2 * COUNT(layers); k++) {
        const layer *l = &layers[k / 2];
        const int64_t h = l->size.h, w = l->size.w;
        const hk_shape full = HK_SHAPE(-1, l->out, l->want.h, l->want.w),
                       half = HK_SHAPE(-1, l->out, -1, l->want.w),
                       none = HK_SHAPE(-1, l->out, -1, -1);
        check_shapes(*state, l, k % 2, HK_SHAPE(-1, l->in, h, w), full);
        check_shapes(*state, l, k % 2, HK_SHAPE(3, l->in, h, w),
                     HK_SHAPE(3, l->out, l->want.h, l->want.w));
        check_shapes(*state, l, k % 2, HK_SHAPE(-1, -1, h, w), full);
        check_shapes(*state, l, k % 2, HK_SHAPE(-1, -1, -1, w), half);
        check_shapes(*state, l, k % 2, HK_SHAPE(-1, l->in, -1, -1), none);
        check_shapes(*state, l, k % 2, HK_UNKNOWN, none);
    }
}

static void names_in_a_tree(void **state) {
    hk_context *ctx = *state;
    hk_module *net =
        hk_sequential(ctx, hk_conv2d(ctx, 1, 4, HK_SQUARE(3), NULL),
                      hk_sequential(ctx, hk_conv2d_no_bias(ctx, 4, 4, HK_SQUARE(1), NULL),
                                    hk_conv_transpose2d(ctx, 4, 2, HK_SQUARE(2), NULL)),
                      hk_flatten(ctx), hk_linear(ctx, 2 * 27 * 27, 2));
    static const char *const names[] = {"0.weight", "0.bias",   "1.0.weight", "1.1.weight",
                                        "1.1.bias", "3.weight", "3.bias"};
    const hk_parameters all = hk_module_parameters(net); /* before any image was seen */
    assert_ok(ctx);
    assert_int_equal(all.count, COUNT(names));
    for (int i = 0; i < all.count; i++) assert_string_equal(hk_tensor_name(all.items[i]), names[i]);
    assert_string_equal(hk_module_kind(hk_module_child_at(net, 0)), "conv2d");
    assert_string_equal(hk_module_kind(hk_module_child_at(hk_module_child_at(net, 1), 1)),
                        "conv_transpose2d");
    assert_int_equal(hk_module_parameters_of(net, HK_OF_WEIGHTS).count, all.count);
    assert_shape(hk_forward(net, hk_full(ctx, HK_F32, HK_SHAPE(5, 1, 28, 28), 1)), HK_SHAPE(5, 2));
    /* Without a configuration: stride 1, no padding, one group; as with {0}. */
    hk_tensor *x = seeded(ctx, HK_F32, HK_SHAPE(1, 2, 5, 6), "x", -1, 1, 0);
    hk_tensor *w = seeded(ctx, HK_F32, HK_SHAPE(2, 2, 3, 2), "w", -1, 1, 0);
    const hk_conv2d_config zero = {.groups = 0};
    hk_tensor *pairs[] = {hk_conv2d_op(x, w, HK_NO_BIAS, NULL),
                          hk_conv2d_op(x, w, HK_NO_BIAS, &zero),
                          hk_conv_transpose2d_op(x, w, HK_NO_BIAS, NULL),
                          hk_conv_transpose2d_op(x, w, HK_NO_BIAS, &zero)};
    assert_shape(pairs[0], HK_SHAPE(1, 2, 3, 5));
    assert_shape(pairs[2], HK_SHAPE(1, 2, 7, 7));
    for (int k = 0; k < 4; k += 2)
        assert_values("defaults", pairs[k], hk_tensor_count(pairs[k + 1]), values(pairs[k + 1]), 0);
}

/* --- what is refused ------------------------------------------------------------------------- */

#define REFUSED(call, status, ...)                                                                 \
    do {                                                                                           \
        assert_null(call);                                                                         \
        expect_error(ctx, status, __VA_ARGS__);                                                    \
    } while (0)

static const hk_conv2d_config bad_settings[] = {
    {.stride = {-1, 1}},
    {.stride = {1, -1}},
    {.dilation = {-2, 1}},
    {.dilation = {1, -2}},
    {.padding = {-1, 0}},
    {.padding = {0, -1}},
    {.groups = -1},
    {.stride = {INT64_MAX, 1}},
    {.padding = {0, INT64_MAX}},
    {.dilation = {INT64_MAX, 1}},
};
static const hk_conv2d_config bad_output_padding[] = {
    {.output_padding = {1, 0}},
    {.output_padding = {-1, 0}},
    {.output_padding = {0, -1}},
    {.output_padding = {0, 1}},
    {.stride = {2, 1}, .output_padding = {2, 0}},
    {.stride = {3, 2}, .output_padding = {0, 2}},
    {.dilation = {2, 3}, .output_padding = {2, 0}},
    {.dilation = {2, 3}, .output_padding = {0, 3}},
    {.dilation = {3, 1}, .output_padding = {0, 1}},
    {.output_padding = {INT64_MAX, 0}},
};

static void settings(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_full(ctx, HK_F32, HK_SHAPE(1, 2, 9, 9), 1),
              *w = hk_full(ctx, HK_F32, HK_SHAPE(2, 2, 3, 3), 1);
    for (int64_t k = 0; k < COUNT(bad_settings); k++) {
        const hk_conv2d_config *s = &bad_settings[k];
        REFUSED(hk_conv2d_op(x, w, HK_NO_BIAS, s), HK_ERR_ARGUMENT, "[conv2d]", "stride",
                "must be 1 or more, padding", "0 or more");
        REFUSED(hk_conv_transpose2d_op(x, w, HK_NO_BIAS, s), HK_ERR_ARGUMENT, "[conv_transpose2d]",
                "must be 1 or more, padding");
        for (int m = 0; m < 4; m++)
            REFUSED(makers[m](ctx, 2, 2, HK_SQUARE(3), s), HK_ERR_ARGUMENT,
                    "must be 1 or more, padding");
    }
    REFUSED(hk_conv2d_op(x, w, HK_NO_BIAS, &bad_settings[0]), HK_ERR_ARGUMENT, "stride (-1, 1)");
    REFUSED(hk_conv2d_op(x, w, HK_NO_BIAS, &bad_settings[5]), HK_ERR_ARGUMENT, "(0, -1)");
    for (int64_t k = 0; k < COUNT(bad_output_padding); k++) {
        const hk_conv2d_config *s = &bad_output_padding[k];
        REFUSED(hk_conv2d_op(x, w, HK_NO_BIAS, s), HK_ERR_ARGUMENT, "[conv2d]",
                "output_padding is for transposed");
        REFUSED(hk_conv_transpose2d_op(x, w, HK_NO_BIAS, s), HK_ERR_ARGUMENT, "[conv_transpose2d]",
                "output_padding (", "below stride or dilation");
        for (int m = 0; m < 4; m++)
            REFUSED(makers[m](ctx, 2, 2, HK_SQUARE(3), s), HK_ERR_ARGUMENT, "output_padding");
    }
}

#define OF(dtype, ...) hk_full(ctx, dtype, HK_SHAPE(__VA_ARGS__), 1)

typedef hk_tensor *op_fn(hk_tensor *x, hk_tensor *w, hk_tensor *b, const hk_conv2d_config *config);
static op_fn *const ops[] = {hk_conv2d_op, hk_conv_transpose2d_op};

/* Operation k refuses these by its name, with the words. */
static void refuses(hk_context *ctx, int k, hk_tensor *x, hk_tensor *w, hk_tensor *b,
                    hk_status status, const char *words, const char *more) {
    const char *all[] = {k ? "[conv_transpose2d]" : "[conv2d]", words, more};
    assert_null(ops[k](x, w, b, NULL));
    const char *text = hk_error_message(ctx);
    if (hk_error(ctx) != status) fail_msg("%s: '%s'", hk_status_name(hk_error(ctx)), text);
    for (int i = 0; i < 3; i++)
        if (!strstr(text, all[i])) fail_msg("no '%s' in '%s'", all[i], text);
    hk_error_clear(ctx);
}

static void tensors(void **state) {
    hk_context *ctx = *state, *other = new_context(1, NULL);
    hk_tensor *x = OF(HK_F32, 2, 4, 5, 6), *w = OF(HK_F32, 4, 4, 3, 3), *b = OF(HK_F32, 4);
    for (int k = 0; k < 2; k++) {
        assert_non_null(ops[k](x, w, b, NULL));
        const hk_status shape = HK_ERR_SHAPE, dtype = HK_ERR_DTYPE;
        const char *channels = "one element for each output channel";
        const char *empty = k ? "nothing is left" : "does not fit";
        refuses(ctx, k, OF(HK_F32, 4, 5, 6), w, b, shape, "rank 4: (4, 5, 6)", "(4, 4, 3, 3)");
        refuses(ctx, k, OF(HK_F32, 1, 2, 4, 5, 6), w, b, shape, "rank 4", "(1, 2, 4, 5, 6)");
        refuses(ctx, k, x, OF(HK_F32, 4, 4, 3), b, shape, "rank 4", "and (4, 4, 3)");
        refuses(ctx, k, OF(HK_F32, 2, 3, 5, 6), w, b, shape, "x's channels", "(2, 3, 5, 6)");
        refuses(ctx, k, x, OF(HK_F32, 3, 3, 3, 3), b, shape, "x's channels", "(3, 3, 3, 3)");
        refuses(ctx, k, x, w, OF(HK_F32, 5), shape, channels, "(4, 4, 3, 3) and (5)");
        refuses(ctx, k, x, w, OF(HK_F32, 1), shape, channels, "(1)");
        refuses(ctx, k, x, w, OF(HK_F32, 1, 4), shape, channels, "(1, 4)");
        refuses(ctx, k, x, w, OF(HK_F32, 4, 1), shape, channels, "(4, 1)");
        refuses(ctx, k, x, OF(HK_F32, 4, 4, 0, 3), b, shape, empty, "(4, 4, 0, 3)");
        refuses(ctx, k, x, OF(HK_F32, 4, 4, 3, 0), b, shape, empty, "(4, 4, 3, 0)");
        refuses(ctx, k, OF(HK_F64, 2, 4, 5, 6), w, b, dtype, "f64 and f32", "hk_cast");
        refuses(ctx, k, x, OF(HK_F64, 4, 4, 3, 3), b, dtype, "f32 and f64", "hk_cast");
        refuses(ctx, k, x, w, OF(HK_F64, 4), dtype, "f32 and f64", "hk_cast");
        refuses(ctx, k, OF(HK_U8, 2, 4, 5, 6), w, b, dtype, "f32 or f64", "u8");
        refuses(ctx, k, x, OF(HK_I32, 4, 4, 3, 3), b, dtype, "f32 or f64", "i32");
        refuses(ctx, k, x, hk_full(other, HK_F32, HK_SHAPE(4, 4, 3, 3), 1), b, HK_ERR_DEVICE,
                "another context", "");
        assert_null(ops[k](NULL, w, b, NULL));
        assert_null(ops[k](x, NULL, b, NULL));
        assert_null(ops[k](x, w, NULL, NULL));
        assert_ok(ctx);
    }
    hk_context_destroy(other);
}

static void groups_and_sizes(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = OF(HK_F32, 2, 4, 5, 6), *w = OF(HK_F32, 4, 4, 3, 3), *b = OF(HK_F32, 4);
    const hk_conv2d_config two = {.groups = 2}, three = {.groups = 3};
    REFUSED(hk_conv2d_op(x, w, b, &three), HK_ERR_SHAPE, "groups (3)", "w's axis 1");
    REFUSED(hk_conv_transpose2d_op(x, w, b, &three), HK_ERR_SHAPE, "groups (3)", "w's axis 0");
    REFUSED(hk_conv2d_op(x, w, b, &two), HK_ERR_SHAPE, "groups (2)");
    REFUSED(hk_conv2d_op(x, OF(HK_F32, 3, 2, 3, 3), HK_NO_BIAS, &two), HK_ERR_SHAPE, "groups (2)");
    REFUSED(hk_conv_transpose2d_op(x, OF(HK_F32, 2, 4, 3, 3), b, &two), HK_ERR_SHAPE, "groups (2)");
    REFUSED(
        hk_conv_transpose2d_op(OF(HK_F32, 1, 3, 5, 6), OF(HK_F32, 3, 2, 3, 3), HK_NO_BIAS, &two),
        HK_ERR_SHAPE, "groups (2)");
    const hk_conv2d_config wide = {.dilation = {3, 1}}, cut = {.padding = {0, 4}};
    REFUSED(hk_conv2d_op(x, OF(HK_F32, 4, 4, 6, 1), b, NULL), HK_ERR_SHAPE, "does not fit",
            "(2, 4, 5, 6)", "(4, 4, 6, 1)");
    REFUSED(hk_conv2d_op(x, OF(HK_F32, 4, 4, 1, 7), b, NULL), HK_ERR_SHAPE, "does not fit");
    REFUSED(hk_conv2d_op(x, w, b, &wide), HK_ERR_SHAPE, "does not fit");
    REFUSED(hk_conv_transpose2d_op(x, w, b, &cut), HK_ERR_SHAPE, "nothing is left", "(4, 4, 3, 3)");
}

/* Settings so far apart that sizes times each other leave 64 bits. */
static void gigantic(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = OF(HK_F32, 1, 1, 1, 1), *w = OF(HK_F32, 1, 1, 2, 2),
              *one = OF(HK_F32, 1, 1, 1, 1);
    const hk_pair most = HK_SQUARE(INT32_MAX), half = HK_SQUARE((int64_t)1 << 30);
    const hk_conv2d_config far = {.padding = half, .dilation = most}, /* 2^31 rows */
        apart = {.padding = most, .stride = most},                    /* 2^32 */
        flat = {.padding = {0, INT32_MAX}, .stride = {1, INT32_MAX}}, /* one */
        farther = {.padding = most, .dilation = most};
    REFUSED(hk_conv2d_op(x, w, HK_NO_BIAS, &far), HK_ERR_SHAPE, "too large");
    REFUSED(hk_conv2d_op(x, one, HK_NO_BIAS, &apart), HK_ERR_SHAPE, "too large");
    REFUSED(hk_conv2d_op(x, one, HK_NO_BIAS, &flat), HK_ERR_SHAPE, "too large");
    /* Rows times columns are fewer than 2^31, but not twice as many. */
    const hk_conv2d_config wide = {.padding = HK_SQUARE(20000), .stride = HK_SQUARE(40000)};
    hk_tensor *two = OF(HK_F32, 1, 2, 1, 1);
    REFUSED(hk_conv2d_op(two, two, HK_NO_BIAS, &wide), HK_ERR_SHAPE, "too large");
    REFUSED(hk_conv2d_op(x, w, HK_NO_BIAS, &farther), HK_ERR_SHAPE, "no tensor can have shape");
    REFUSED(hk_conv2d_op(OF(HK_F32, 0, 1, 1, (int64_t)1 << 40), one, HK_NO_BIAS, NULL),
            HK_ERR_SHAPE, "2147483647");
    REFUSED(hk_conv2d(ctx, 1, 1, (hk_pair){1, INT64_MAX}, NULL), HK_ERR_ARGUMENT, "kernel");
    hk_module *m = hk_conv2d(ctx, INT32_MAX, INT32_MAX, HK_SQUARE(INT32_MAX), NULL);
    assert_int_equal(hk_module_build(m, HK_UNKNOWN, NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "no tensor can have shape");
}

static void module_sizes(void **state) {
    hk_context *ctx = *state;
    for (int k = 0; k < 4; k++) {
        const char *name = k < 2 ? "[conv2d]" : "[conv_transpose2d]";
        static const int64_t bad[][4] = {{0, 1, 3, 3}, {1, 0, 3, 3},  {-4, 1, 3, 3},
                                         {1, 1, 0, 3}, {1, 1, 3, -1}, {1, -1, 3, 3}};
        for (int64_t i = 0; i < COUNT(bad); i++)
            REFUSED(makers[k](ctx, bad[i][0], bad[i][1], (hk_pair){bad[i][2], bad[i][3]}, NULL),
                    HK_ERR_ARGUMENT, "channels and kernel must be 1 or more");
        const hk_conv2d_config three = {.groups = 3};
        REFUSED(makers[k](ctx, 4, 6, HK_SQUARE(3), &three), HK_ERR_ARGUMENT,
                "3 groups do not divide 4 and 6 channels");
        REFUSED(makers[k](ctx, 6, 4, HK_SQUARE(3), &three), HK_ERR_ARGUMENT, "3 groups");
        assert_null(makers[k](ctx, 6, 4, HK_SQUARE(3), &three));
        assert_non_null(strstr(hk_error_message(ctx), name));
        hk_error_clear(ctx);
        static const hk_shape inputs[] = {
            {4, {-1, 4, 9, 9}}, {3, {3, 9, 9}}, {2, {-1, 27}}, {5, {-1, 3, 9, 9, 9}}, {0, {0}}};
        for (int64_t i = 0; i < COUNT(inputs); i++) {
            hk_module *net = hk_sequential(ctx, makers[k](ctx, 3, 2, HK_SQUARE(2), NULL));
            assert_int_equal(hk_module_build(net, inputs[i], NULL), HK_ERR_SHAPE);
            expect_error(ctx, HK_ERR_SHAPE, "0 takes (n, 3, height, width), not (");
        }
        hk_module *net = hk_sequential(ctx, makers[k](ctx, 3, 2, HK_SQUARE(2), NULL));
        assert_null(hk_forward(net, OF(HK_F32, 1, 4, 9, 8)));
        assert_non_null(strstr(hk_error_message(ctx), name));
        expect_error(ctx, HK_ERR_SHAPE, "0 takes (n, 3, height, width), not (n, 4, 9, 8)");
        net = makers[k](ctx, 3, 2, HK_SQUARE(2), NULL);
        assert_non_null(hk_forward(net, OF(HK_F32, 1, 3, 9, 8)));
        REFUSED(hk_forward(net, OF(HK_F64, 1, 3, 9, 8)), HK_ERR_DTYPE, "f64 and f32");
        REFUSED(hk_forward(net, OF(HK_F32, 1, 2, 9, 8)), HK_ERR_SHAPE, "x's channels");
        assert_null(makers[k](NULL, 1, 1, HK_SQUARE(1), NULL));
    }
}

static void kernels_that_do_not_fit(void **state) {
    hk_context *ctx = *state;
    hk_module *net = hk_sequential(ctx, hk_conv2d(ctx, 3, 2, (hk_pair){3, 2}, NULL));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3, 2, 9), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[conv2d] 0", "kernel of 3 x 2", "does not fit",
                 "(n, 3, 2, 9)");
    net = hk_conv2d(ctx, 3, 2, (hk_pair){3, 2}, NULL); /* height unknown, width too small */
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3, -1, 1), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "the module", "does not fit", "(n, 3, ?, 1)");
    const hk_conv2d_config cut = {.padding = {0, 3}};
    net = hk_conv_transpose2d(ctx, 3, 2, (hk_pair){3, 2}, &cut);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3, -1, 4), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[conv_transpose2d] the module", "nothing is left",
                 "(n, 3, ?, 4)");
    net = hk_sequential(ctx, hk_conv2d(ctx, 3, 2, HK_SQUARE(3), NULL), hk_flatten(ctx),
                        hk_linear(ctx, 99, 2));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 3, 9, 8), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[linear] 2 takes (..., 99), not (n, 84)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(names_in_a_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(settings, setup, teardown),
        cmocka_unit_test_setup_teardown(tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(groups_and_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(gigantic, setup, teardown),
        cmocka_unit_test_setup_teardown(module_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(kernels_that_do_not_fit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
