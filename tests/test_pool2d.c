/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_pool2d.c: pooling: its gradients, corners, errors and layers, and its bits on two threads.
   SPDX-License-Identifier: MIT */
#include "pool_fixture.h"

#include "hk_layers.h"

/* --- gradients ------------------------------------------------------------------------------------ */

static hk_tensor *pooled(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n;
    const pooling *p = arg;
    const hk_pair out = {p->oh, p->ow};
    if (p->adaptive)
        return p->max ? hk_adaptive_max_pool2d_op(in[0], out)
                      : hk_adaptive_avg_pool2d_op(in[0], out);
    return p->max ? hk_max_pool2d_op(in[0], &p->c) : hk_avg_pool2d_op(in[0], &p->c);
}

/* Two poolings of one input, so that one gradient is added to the other; the second has other weights. */
static hk_tensor *pooled_twice(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    hk_tensor *y = pooled(ctx, n, in, arg);
    return hk_add(hk_mul(y, y), hk_scale(pooled(ctx, n, in, arg), 3, 0));
}

/* Values a tenth apart in a mixed order, none equal: no winner changes within the step of a difference. */
static hk_tensor *apart(hk_context *ctx, hk_dtype dtype, hk_shape shape) {
    const int64_t n = hk_shape_count(shape);
    double *value = malloc((size_t)n * sizeof *value);
    assert_non_null(value);
    for (int64_t i = 0; i < n; i++) value[i] = 0.1 * (double)(i * 1009 % n) - 0.05 * (double)n;
    hk_tensor *t = kept(ctx, dtype, shape, value);
    free(value);
    return t;
}

static void gradients(void **state) {
    hk_context *ctx = *state;
    static const pooling cases[] = {
        {.h = 4, .w = 6, .c = {.kernel = {2, 2}}},
        {.h = 5, .w = 7, .c = {.kernel = {2, 2}}},
        {.h = 5, .w = 7, .c = {.kernel = {2, 2}, .ceil_mode = true}},
        {.h = 5, .w = 6, .c = {.kernel = {3, 2}, .stride = {1, 2}, .padding = {1, 1}}},
        {.h = 6,
         .w = 5,
         .c = {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .ceil_mode = true}},
        {.h = 5, .w = 6, .c = {.kernel = {2, 4}, .padding = {1, 2}, .exclude_padding = true}},
        {.h = 3, .w = 5, .c = {.kernel = {3, 5}}},
        {.h = 6, .w = 7, .adaptive = true, .oh = 4, .ow = 3},
        {.h = 6, .w = 4, .adaptive = true, .oh = 3, .ow = 2},
        {.h = 3, .w = 5, .adaptive = true, .oh = 1, .ow = 1},
        {.h = 2, .w = 3, .adaptive = true, .oh = 3, .ow = 4},
        {.h = 18, .w = 17, .max = true, .c = {.kernel = {17, 16}, .stride = {1, 1}}},
        {.h = 6,
         .w = 7,
         .max = true,
         .c = {.kernel = {2, 3}, .stride = {1, 2}, .padding = {1, 1}, .dilation = {3, 2}}},
    };
    for (int k = 0; k < 2 * COUNT(cases); k++) {
        pooling p = cases[k / 2];
        p.max |= k % 2;
        char text[256];
        describe(&p, text, sizeof text);
        hk_tensor *x = apart(ctx, HK_F64, HK_SHAPE(2, 2, p.h, p.w));
        assert_gradient(ctx, text, pooled, &p, 1, &x, NULL);
        assert_gradient(ctx, text, pooled_twice, &p, 1, &x, NULL);
    }
}

/* --- corners ------------------------------------------------------------------------------------------ */

static hk_tensor *image(hk_context *ctx, int64_t h, int64_t w, const double *x) {
    return hk_require_grad(kept(ctx, HK_F32, HK_SHAPE(1, 1, h, w), x));
}

static void expect(hk_context *ctx, hk_tensor *x, hk_tensor *y, const double *want_y,
                   const double *want_g) {
    assert_non_null(y);
    must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
    const double *got = values(y), *g = values(hk_grad(x));
    for (int64_t i = 0; i < hk_tensor_count(y); i++)
        assert_true(same_or_close(got[i], want_y[i], 1e-7));
    for (int64_t i = 0; i < hk_tensor_count(x); i++)
        assert_close("gradient", i, g[i], want_g[i], 1e-7);
    must(hk_step_end(ctx));
}

/* The first of equals has the gradient, also of minus infinities; a NaN wins. */
static void who_wins(void **state) {
    hk_context *ctx = *state;
    const hk_pool2d_config two = {.kernel = HK_SQUARE(2)}, three = {.kernel = HK_SQUARE(3)};
    const double m = -INFINITY;
    hk_tensor *x =
        image(ctx, 4, 4, (double[]){1, 1, 0, 2, 1, 1, 2, 2, m, m, 0, NAN, m, m, 5, INFINITY});
    const double want[] = {1, 2, m, NAN},
                 where[] = {1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0};
    expect(ctx, x, hk_max_pool2d_op(x, &two), want, where);
    hk_zero_grad(x);
    expect(ctx, x, hk_adaptive_max_pool2d_op(x, HK_SQUARE(2)), want, where);
    x = image(ctx, 3, 3, (double[]){3, NAN, 1, NAN, 7, 7, 2, 1, 0});
    expect(ctx, x, hk_max_pool2d_op(x, &three), (double[]){NAN},
           (double[]){0, 0, 0, 1, 0, 0, 0, 0, 0});
}

/* A window whose few elements, far apart, all lie in the padding. */
static void nothing_to_see(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = image(ctx, 2, 2, (double[]){1, 2, 3, 4});
    const hk_pool2d_config c = {
        .kernel = {2, 1}, .stride = {1, 1}, .padding = {1, 0}, .dilation = {3, 1}};
    expect(ctx, x, hk_max_pool2d_op(x, &c), (double[]){-INFINITY, -INFINITY}, (double[4]){0});
}

/* With ceil mode a window may begin in the left padding or the image, not behind it, and divides by what it has
   inside of the padded image. */
static void ceil_mode(void **state) {
    hk_context *ctx = *state;
    hk_pool2d_config c = {.kernel = {1, 2}, .stride = {1, 2}, .ceil_mode = true};
    hk_tensor *x = image(ctx, 1, 3, (double[]){1, 2, 4});
    expect(ctx, x, hk_avg_pool2d_op(x, &c), (double[]){1.5, 4}, (double[]){0.5, 0.5, 1});
    x = image(ctx, 1, 4, (double[]){1, 2, 4, 8});
    c.padding.w = 1; /* -1 0, 1 2, 3 4; the last one ends with the padding */
    expect(ctx, x, hk_avg_pool2d_op(x, &c), (double[]){0.5, 3, 4}, (double[]){0.5, 0.5, 0.5, 0.5});
    hk_zero_grad(x);
    c.exclude_padding = true;
    expect(ctx, x, hk_avg_pool2d_op(x, &c), (double[]){1, 3, 8}, (double[]){1, 0.5, 0.5, 1});
    x = image(ctx, 1, 3, (double[]){1, 2, 4}); /* a window at 3 would begin behind the image */
    expect(ctx, x, hk_avg_pool2d_op(x, &c), (double[]){1, 3}, (double[]){1, 0.5, 0.5});
    x = image(ctx, 1, 2, (double[]){1, 2}); /* a window of three where two are */
    c = (hk_pool2d_config){.kernel = {1, 3}, .stride = {1, 2}, .ceil_mode = true};
    expect(ctx, x, hk_max_pool2d_op(x, &c), (double[]){2}, (double[]){0, 1});
    c.ceil_mode = false;
    assert_null(hk_max_pool2d_op(x, &c));
    expect_error(ctx, HK_ERR_SHAPE, "[max_pool2d]", "(1, 1, 1, 2)", "(1, 3)");
}

/* No image, no channel: nothing to do. */
static void empty(void **state) {
    hk_context *ctx = *state;
    const hk_pool2d_config two = {.kernel = HK_SQUARE(2)};
    for (int k = 0; k < 2; k++) {
        hk_tensor *x = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(k, 1 - k, 6, 4)));
        hk_tensor *y[] = {hk_max_pool2d_op(x, &two), hk_avg_pool2d_op(x, &two),
                          hk_adaptive_max_pool2d_op(x, (hk_pair){3, 2}),
                          hk_adaptive_avg_pool2d_op(x, (hk_pair){3, 2})};
        for (int i = 0; i < 4; i++) {
            assert_shape(y[i], HK_SHAPE(k, 1 - k, 3, 2));
            must(hk_backward(ctx, hk_sum(y[i], HK_ALL_AXES, false)));
        }
        must(hk_step_end(ctx));
    }
}

/* What is not recorded keeps no winners. */
static void winners_on_demand(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = hk_require_grad(hk_tensor_new(ctx, HK_F32, HK_SHAPE(64, 8, 28, 28)));
    const hk_pool2d_config two = {.kernel = HK_SQUARE(2)};
    const size_t before = hk__values_arena(ctx)->used, y = 64 * 8 * 14 * 14 * sizeof(float);
    assert_non_null(hk_max_pool2d_op(x, &two));
    const size_t recorded = hk__values_arena(ctx)->used - before;
    hk_grad_enable(ctx, false);
    assert_non_null(hk_max_pool2d_op(x, &two));
    hk_grad_enable(ctx, true);
    const size_t plain = hk__values_arena(ctx)->used - before - recorded;
    assert_true(recorded >= y + y / 4 && recorded < y + y / 4 + 4096);
    assert_true(plain >= y && plain < y + 4096);
}

/* --- threads ---------------------------------------------------------------------------------------------- */

typedef struct outcome {
    float *y, *gx;
    size_t y_bytes, gx_bytes;
} outcome;

static outcome run(hk_context *ctx, pooling p) {
    hk_tensor *x = hk_require_grad(seeded(ctx, HK_F32, HK_SHAPE(9, 7, p.h, p.w), "x", -1, 1, 0));
    hk_tensor *y = pooled(ctx, 1, &x, &p);
    assert_ok(ctx);
    must(hk_backward(ctx, hk_sum(hk_mul(y, y), HK_ALL_AXES, false)));
    outcome o = {.y_bytes = (size_t)hk_tensor_count(y) * 4,
                 .gx_bytes = (size_t)hk_tensor_count(x) * 4};
    o.y = malloc(o.y_bytes);
    o.gx = malloc(o.gx_bytes);
    assert_true(o.y && o.gx);
    must(hk_tensor_read(y, o.y, o.y_bytes));
    must(hk_tensor_read(hk_grad(x), o.gx, o.gx_bytes));
    must(hk_step_end(ctx));
    return o;
}

static void same_bits_on_two_threads(void **state) {
    (void)state;
    static const pooling cases[] = {
        {.max = true, .h = 28, .w = 28, .c = {.kernel = {2, 2}}},
        {.h = 29, .w = 33, .c = {.kernel = {2, 2}}},
        {.max = true,
         .h = 30,
         .w = 31,
         .c = {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}},
        {.h = 30, .w = 31, .c = {.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}}},
        {.max = true, .h = 29, .w = 31, .c = {.kernel = {19, 19}, .stride = {3, 3}}},
        {.h = 29, .w = 31, .adaptive = true, .oh = 1, .ow = 1},
        {.h = 29, .w = 31, .adaptive = true, .oh = 7, .ow = 5},
    };
    hk_context *one = new_context(1, NULL), *two = new_context(2, NULL);
    for (int64_t k = 0; k < COUNT(cases); k++) {
        const uint64_t before = hk__pool_parallel_regions(two->pool);
        outcome a = run(one, cases[k]), b = run(two, cases[k]);
        assert_true(on_gpu() || hk__pool_parallel_regions(two->pool) >= before + 2);
        assert_memory_equal(a.y, b.y, a.y_bytes);
        assert_memory_equal(a.gx, b.gx, a.gx_bytes);
        free(a.y), free(a.gx), free(b.y), free(b.gx);
    }
    hk_context_destroy(one);
    hk_context_destroy(two);
}

/* --- errors -------------------------------------------------------------------------------------------------- */

static void refused_settings(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = kept(ctx, HK_F32, HK_SHAPE(1, 1, 2, 2), (double[]){1, 2, 3, 4});
    static const struct {
        hk_pool2d_config c;
        const char *word;
    } bad[] = {
        {{.kernel = {0, 2}}, "kernel (0, 2) must be 1 or more"},
        {{.kernel = {2, -1}}, "kernel (2, -1)"},
        {{.kernel = {2, (int64_t)1 << 40}}, "kernel (2, 1099511627776)"},
        {{.kernel = {2, 2}, .stride = {-1, 1}}, "stride (-1, 1)"},
        {{.kernel = {3, 3}, .padding = {2, 1}}, "padding (2, 1) must be 0 to half of the kernel"},
        {{.kernel = {3, 3}, .padding = {1, 2}}, "padding (1, 2)"},
        {{.kernel = {3, 3}, .padding = {-1, 0}}, "padding (-1, 0)"},
        {{.kernel = {2, 2}, .dilation = {1, -2}}, "dilation (1, -2)"},
    };
    for (int64_t k = 0; k < COUNT(bad); k++) {
        assert_null(hk_max_pool2d_op(x, &bad[k].c));
        assert_non_null(strstr(hk_error_message(ctx), bad[k].word));
        expect_error(ctx, HK_ERR_ARGUMENT, "[max_pool2d]");
        assert_null(hk_avg_pool2d_op(x, &bad[k].c));
        assert_non_null(strstr(hk_error_message(ctx), bad[k].word));
        expect_error(ctx, HK_ERR_ARGUMENT, "[avg_pool2d]");
        assert_null(hk_max_pool2d(ctx, &bad[k].c));
        expect_error(ctx, HK_ERR_ARGUMENT, "[max_pool2d]");
        assert_null(hk_avg_pool2d(ctx, &bad[k].c));
        expect_error(ctx, HK_ERR_ARGUMENT, "[avg_pool2d]");
    }
    const hk_pool2d_config far = {.kernel = {1, 1}, .dilation = {1, 2}};
    assert_null(hk_avg_pool2d_op(x, &far));
    expect_error(ctx, HK_ERR_ARGUMENT, "[avg_pool2d] dilation (1, 2)", "max pooling alone");
    assert_non_null(hk_max_pool2d_op(x, &far));
    assert_null(hk_max_pool2d_op(x, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[max_pool2d] no settings");
    assert_null(hk_avg_pool2d(ctx, NULL));
    expect_error(ctx, HK_ERR_ARGUMENT, "[avg_pool2d] no settings");
    assert_null(hk_adaptive_avg_pool2d_op(x, (hk_pair){0, 1}));
    expect_error(ctx, HK_ERR_ARGUMENT, "[adaptive_avg_pool2d]", "(0, 1) must be 1 or more");
    assert_null(hk_adaptive_max_pool2d(ctx, (hk_pair){3, -1}));
    expect_error(ctx, HK_ERR_ARGUMENT, "[adaptive_max_pool2d]", "(3, -1)");
    assert_null(hk_max_pool2d_op(NULL, &far));
    assert_null(hk_max_pool2d(NULL, &far));
    assert_null(hk_adaptive_avg_pool2d(NULL, HK_SQUARE(1)));
    assert_null(hk_global_avg_pool(NULL));
    assert_ok(ctx);
}

static void refused_shapes(void **state) {
    hk_context *ctx = *state;
    const hk_pool2d_config four = {.kernel = {4, 2}, .padding = {1, 0}, .dilation = {2, 1}};
    hk_tensor *x = hk_tensor_set_name(hk_full(ctx, HK_F32, HK_SHAPE(2, 3, 4, 5), 0), "x");
    assert_null(hk_max_pool2d_op(x, &four));
    expect_error(ctx, HK_ERR_SHAPE, "[max_pool2d]", "x (2, 3, 4, 5)", "window (4, 2)",
                 "padding (1, 0)", "dilation (2, 1)",
                 "h + 2·padding must be dilation·(kernel - 1) + 1 or more");
    hk_tensor *flat = hk_full(ctx, HK_F32, HK_SHAPE(4, 5), 0),
              *bytes = hk_full(ctx, HK_U8, HK_SHAPE(1, 1, 4, 4), 0),
              *none = hk_full(ctx, HK_F32, HK_SHAPE(1, 1, 0, 4), 0);
    const hk_pool2d_config two = {.kernel = HK_SQUARE(2)};
    assert_null(hk_max_pool2d_op(flat, &two));
    expect_error(ctx, HK_ERR_SHAPE, "[max_pool2d] x must be (n, c, h, w), not (4, 5)");
    assert_null(hk_avg_pool2d_op(flat, &two));
    expect_error(ctx, HK_ERR_SHAPE, "[avg_pool2d]", "(4, 5)");
    assert_null(hk_adaptive_avg_pool2d_op(flat, HK_SQUARE(1)));
    expect_error(ctx, HK_ERR_SHAPE, "[adaptive_avg_pool2d]", "(4, 5)");
    assert_null(hk_adaptive_max_pool2d_op(none, HK_SQUARE(1)));
    expect_error(ctx, HK_ERR_SHAPE, "[adaptive_max_pool2d]", "(1, 1, 0, 4)");
    assert_null(hk_avg_pool2d_op(none, &two));
    expect_error(ctx, HK_ERR_SHAPE, "[avg_pool2d]", "(1, 1, 0, 4)");
    assert_null(hk_max_pool2d_op(bytes, &two));
    expect_error(ctx, HK_ERR_DTYPE, "[max_pool2d]", "hk_cast");
}

/* --- layers --------------------------------------------------------------------------------------------------- */

static hk_module *pools(hk_context *ctx) {
    return hk_sequential(
        ctx, hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 2}}),
        hk_avg_pool2d(ctx,
                      &(hk_pool2d_config){.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}}),
        hk_adaptive_max_pool2d(ctx, (hk_pair){6, 4}), hk_adaptive_avg_pool2d(ctx, (hk_pair){3, 2}),
        hk_global_avg_pool(ctx), hk_linear(ctx, 3, 2));
}

static void layers(void **state) {
    hk_context *ctx = *state;
    hk_module *net = pools(ctx);
    static const char *const kinds[] = {"max_pool2d", "avg_pool2d", "adaptive_max_pool2d",
                                        "adaptive_avg_pool2d", "global_avg_pool"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(hk_module_kind(hk_module_child_at(net, i)), kinds[i]);
    char text[2048];
    assert_true(hk_module_summary(net, HK_SHAPE(-1, 3, 28, 28), text, sizeof text) < sizeof text);
    assert_ok(ctx);
    static const char *const rows[] = {"(n, 3, 14, 14)", "(n, 3, 6, 4)", "(n, 3, 3, 2)", "(n, 3) ",
                                       "(n, 2)"};
    for (int64_t i = 0; i < COUNT(rows); i++)
        if (!strstr(text, rows[i])) fail_msg("no %s in\n%s", rows[i], text);

    hk_tensor *x = seeded(ctx, HK_F32, HK_SHAPE(2, 3, 28, 28), "x", -1, 1, 0);
    hk_tensor *y = hk_max_pool2d_op(x, &(hk_pool2d_config){.kernel = {2, 2}});
    y = hk_avg_pool2d_op(
        y, &(hk_pool2d_config){.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}});
    y = hk_adaptive_avg_pool2d_op(hk_adaptive_max_pool2d_op(y, (hk_pair){6, 4}), (hk_pair){3, 2});
    y = hk_affine(hk_mean(y, HK_AXIS(2) | HK_AXIS(3), false), hk_module_find(net, "5.weight"),
                  hk_module_find(net, "5.bias"));
    hk_tensor *got = hk_forward(net, x);
    assert_shape(got, HK_SHAPE(2, 2));
    assert_values("network", got, 4, values(y), 1e-6);

    /* Sizes that are not known yet, and an input of another size in use. */
    hk_module *open = pools(ctx);
    must(hk_module_build(open, HK_SHAPE(-1, -1, -1, 28), NULL));
    assert_shape(hk_forward(open, hk_slice(x, 2, 0, 9)), HK_SHAPE(2, 2));
    hk_module *unknown = pools(ctx);
    assert_int_equal(hk_module_parameters(unknown).count, 2);
    assert_shape(hk_forward(unknown, x), HK_SHAPE(2, 2));
}

static void layers_refuse(void **state) {
    hk_context *ctx = *state;
    assert_int_equal(hk_module_build(pools(ctx), HK_SHAPE(-1, 3, 28), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[max_pool2d] 0 takes (n, c, h, w), not (n, 3, 28)");
    assert_int_equal(hk_module_build(pools(ctx), HK_SHAPE(-1, 3, 28, 1), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[max_pool2d]", "(n, 3, 28, 1)", "window (2, 2)", "or more");
    assert_int_equal(hk_module_build(hk_global_avg_pool(ctx), HK_SHAPE(-1), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[global_avg_pool] the module takes (n, c, ...)", "(n)");
    assert_int_equal(
        hk_module_build(hk_adaptive_avg_pool2d(ctx, HK_SQUARE(1)), HK_SHAPE(-1, 2, 0, 3), NULL),
        HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[adaptive_avg_pool2d]", "rows and columns", "(n, 2, 0, 3)");
    hk_module *global = hk_global_avg_pool(ctx);
    hk_module_parameters(global);
    assert_null(hk_forward(global, hk_full(ctx, HK_F32, HK_SHAPE(4), 0)));
    expect_error(ctx, HK_ERR_SHAPE, "[global_avg_pool]", "(4)");
}

/* Whatever axes a channel has. */
static void global_average(void **state) {
    hk_context *ctx = *state;
    static const hk_shape shapes[] = {
        {2, {3, 4}}, {3, {3, 4, 7}}, {4, {3, 4, 5, 2}}, {5, {3, 4, 2, 3, 2}}};
    for (int64_t k = 0; k < COUNT(shapes); k++) {
        hk_tensor *x = hk_require_grad(seeded(ctx, HK_F64, shapes[k], "x", -1, 1, 0));
        hk_tensor *y = hk_forward(hk_global_avg_pool(ctx), x);
        assert_ok(ctx);
        assert_shape(y, HK_SHAPE(3, 4));
        const int64_t n = hk_tensor_count(x) / 12;
        const double *in = values(x), *got = values(y);
        for (int64_t i = 0; i < 12; i++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++) sum += in[i * n + j];
            assert_close("mean", i, got[i], sum / (double)n, 1e-15);
        }
        must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
        const double *g = values(hk_grad(x));
        for (int64_t i = 0; i < 12 * n; i++)
            assert_close("gradient", i, g[i], 1.0 / (double)n, 1e-16);
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradients, setup, teardown),
        cmocka_unit_test_setup_teardown(who_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_to_see, setup, teardown),
        cmocka_unit_test_setup_teardown(ceil_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(empty, setup, teardown),
        cmocka_unit_test_setup_teardown(winners_on_demand, setup, teardown),
        cmocka_unit_test(same_bits_on_two_threads),
        cmocka_unit_test_setup_teardown(refused_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(layers, setup, teardown),
        cmocka_unit_test_setup_teardown(layers_refuse, setup, teardown),
        cmocka_unit_test_setup_teardown(global_average, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
