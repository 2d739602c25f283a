/* ctest: labels=grad timeout=120 devices=cpu,cuda */
/* test_conv_ops.c: gradients of conv2d and conv_transpose2d by x, w and b: every setting, views,
   inputs used twice, some inputs alone, nothing at all.
   SPDX-License-Identifier: MIT */
#include "hk_image_ops.h"
#include "testing.h"

/* --- every setting --------------------------------------------------------------------------- */

typedef struct setting {
    int64_t n, in, out, h, w; /* of a batch */
    hk_pair kernel;
    hk_conv2d_config config;
    bool bias, transposed;
    view view[3]; /* how x, w and the bias lie in memory */
} setting;

static hk_shape input_shape(const setting *s, int i) {
    const int64_t groups = s->config.groups > 0 ? s->config.groups : 1;
    const hk_shape shapes[] = {HK_SHAPE(s->n, s->in, s->h, s->w),
                               s->transposed
                                   ? HK_SHAPE(s->in, s->out / groups, s->kernel.h, s->kernel.w)
                                   : HK_SHAPE(s->out, s->in / groups, s->kernel.h, s->kernel.w),
                               HK_SHAPE(s->out)};
    return shapes[i];
}

static hk_tensor *apply(const setting *s, hk_tensor *x, hk_tensor *w, hk_tensor *b) {
    return s->transposed ? hk_conv_transpose2d_op(x, w, b, &s->config)
                         : hk_conv2d_op(x, w, b, &s->config);
}

static hk_tensor *convolve(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx;
    const setting *s = arg;
    hk_tensor *v[3] = {NULL, NULL, HK_NO_BIAS};
    for (int i = 0; i < n; i++) v[i] = view_of(s->view[i], in[i], input_shape(s, i));
    return apply(s, v[0], v[1], v[2]);
}

static void make_inputs(hk_context *ctx, hk_dtype dtype, const setting *s, hk_tensor *in[3]) {
    static const char *const names[] = {"conv/x", "conv/w", "conv/b"};
    for (int i = 0; i < 3; i++)
        in[i] = seeded(ctx, dtype, view_source(s->view[i], input_shape(s, i)), names[i], -1, 1, 0);
}

static void destroy_inputs(hk_tensor *const in[3]) {
    for (int i = 0; i < 3; i++) hk_tensor_destroy(in[i]);
}

static void check_gradient(hk_context *ctx, setting s) {
    hk_tensor *in[3];
    char what[400], text[3][64];
    make_inputs(ctx, HK_F64, &s, in);
    for (int i = 0; i < 2; i++) hk_shape_text(input_shape(&s, i), text[i], sizeof text[i]);
    snprintf(what, sizeof what,
             "%s %s by %s, stride %d,%d padding %d,%d dilation %d,%d groups %d more %d,%d views %d "
             "%d %d",
             s.transposed ? "transposed" : "conv", text[0], text[1], (int)s.config.stride.h,
             (int)s.config.stride.w, (int)s.config.padding.h, (int)s.config.padding.w,
             (int)s.config.dilation.h, (int)s.config.dilation.w, (int)s.config.groups,
             (int)s.config.output_padding.h, (int)s.config.output_padding.w, s.view[0], s.view[1],
             s.view[2]);
    assert_gradient(ctx, what, convolve, &s, s.bias ? 3 : 2, in, NULL);
    destroy_inputs(in);
}

/* clang-format off */
#define ROW(n_, in_, out_, h_, w_, kh, kw, bias_, ...)                                            \
    {.n = n_, .in = in_, .out = out_, .h = h_, .w = w_, .kernel = {kh, kw}, .bias = bias_ == WITH, \
     .config = {__VA_ARGS__}}
enum { WITHOUT, WITH };
static const setting forwards[] = {
    ROW(1, 1, 1, 1, 1, 1, 1, WITHOUT, .groups = 1),
    ROW(2, 3, 2, 4, 5, 1, 1, WITH, .groups = 0), /* {0}: the defaults */
    ROW(2, 2, 3, 5, 6, 3, 3, WITH, .groups = 1),
    ROW(1, 2, 2, 5, 6, 3, 2, WITHOUT, .groups = 1),
    ROW(2, 1, 2, 4, 7, 2, 5, WITH, .groups = 1),
    ROW(1, 2, 2, 5, 6, 3, 3, WITH, .padding = {1, 1}),
    ROW(1, 2, 2, 5, 6, 3, 3, WITH, .padding = {2, 0}),
    ROW(1, 2, 2, 5, 6, 3, 3, WITH, .padding = {0, 3}),
    ROW(1, 1, 2, 2, 3, 2, 2, WITH, .padding = {4, 3}), /* windows of padding alone */
    ROW(1, 2, 2, 7, 6, 3, 3, WITH, .stride = {2, 2}),
    ROW(2, 2, 2, 7, 8, 2, 3, WITH, .stride = {3, 1}),
    ROW(1, 2, 2, 6, 9, 3, 2, WITH, .stride = {1, 3}, .padding = {1, 1}),
    ROW(1, 2, 2, 7, 7, 1, 1, WITH, .stride = {3, 2}), /* most of x meets no window */
    ROW(1, 2, 1, 6, 6, 2, 2, WITH, .stride = {4, 5}),
    ROW(1, 2, 2, 7, 8, 3, 3, WITH, .dilation = {2, 2}),
    ROW(1, 2, 2, 8, 6, 3, 2, WITH, .dilation = {3, 1}, .padding = {1, 0}),
    ROW(1, 2, 2, 5, 9, 2, 3, WITH, .dilation = {1, 3}, .padding = {0, 2}),
    ROW(1, 2, 2, 9, 9, 3, 2, WITH, .stride = {2, 3}, .padding = {1, 2}, .dilation = {2, 4}),
    ROW(1, 2, 1, 5, 6, 3, 1, WITH, .dilation = {2, 5}), /* one column: its dilation is moot */
    ROW(2, 4, 6, 4, 5, 3, 2, WITH, .groups = 2),
    ROW(1, 6, 3, 4, 4, 2, 2, WITHOUT, .groups = 3, .padding = {1, 0}),
    ROW(2, 3, 3, 5, 5, 3, 3, WITH, .groups = 3, .padding = {1, 1}),  /* depthwise */
    ROW(1, 3, 6, 5, 6, 3, 2, WITH, .groups = 3, .stride = {2, 1}),   /* two for each */
    ROW(1, 2, 6, 5, 5, 2, 2, WITHOUT, .groups = 2, .dilation = {2, 2}), /* three */
    ROW(2, 2, 3, 4, 5, 4, 5, WITH, .groups = 1), /* as large as the image */
    ROW(1, 1, 2, 3, 2, 5, 4, WITH, .padding = {1, 1}), /* and as the padded one */
    ROW(1, 9, 2, 3, 4, 2, 2, WITH, .groups = 1), /* channels around whole vectors */
    ROW(1, 2, 9, 3, 4, 2, 2, WITH, .groups = 1),
    ROW(1, 5, 4, 4, 3, 2, 1, WITH, .dilation = {1, 2}),
    ROW(1, 3, 2, 3, 9, 2, 2, WITH, .dilation = {1, 2}, .stride = {1, 2}),
    ROW(9, 1, 2, 3, 3, 2, 2, WITH, .groups = 1), /* more images than parts */
    ROW(1, 1, 1, 1, 12, 1, 4, WITH, .groups = 1),
    ROW(1, 1, 1, 12, 1, 4, 1, WITH, .groups = 1),
};

static const setting transposes[] = {
    ROW(1, 1, 1, 1, 1, 1, 1, WITHOUT, .groups = 1),
    ROW(2, 3, 2, 4, 3, 1, 1, WITH, .groups = 0),
    ROW(2, 2, 3, 3, 4, 3, 3, WITH, .groups = 1),
    ROW(1, 2, 2, 3, 4, 3, 2, WITHOUT, .groups = 1),
    ROW(2, 1, 2, 4, 3, 2, 5, WITH, .groups = 1),
    ROW(1, 2, 2, 4, 5, 3, 3, WITH, .padding = {1, 1}),
    ROW(1, 2, 2, 5, 3, 3, 4, WITH, .padding = {2, 0}),
    ROW(1, 2, 2, 3, 6, 3, 4, WITH, .padding = {0, 3}),
    ROW(1, 2, 2, 3, 4, 2, 2, WITH, .stride = {2, 2}),
    ROW(2, 2, 2, 3, 4, 2, 3, WITH, .stride = {3, 1}),
    ROW(1, 2, 2, 3, 4, 3, 2, WITH, .stride = {1, 3}, .padding = {1, 1}),
    ROW(1, 2, 2, 3, 3, 1, 1, WITH, .stride = {3, 2}), /* the bias alone in most places */
    ROW(1, 2, 2, 3, 4, 3, 3, WITH, .stride = {2, 2}, .output_padding = {1, 1}),
    ROW(1, 2, 2, 3, 4, 3, 3, WITH, .stride = {2, 3}, .padding = {1, 1}, .output_padding = {1, 2}),
    ROW(1, 2, 2, 3, 3, 2, 2, WITH, .stride = {3, 1}, .output_padding = {2, 0}),
    ROW(1, 2, 2, 3, 3, 2, 3, WITH, .stride = {1, 4}, .output_padding = {0, 3}),
    ROW(1, 2, 2, 3, 3, 2, 2, WITH, .dilation = {3, 2}, .output_padding = {2, 1}),
    ROW(1, 1, 2, 3, 2, 1, 1, WITH, .stride = {3, 5}, .padding = {1, 2}, .output_padding = {2, 4}),
    ROW(1, 2, 2, 3, 4, 3, 3, WITH, .dilation = {2, 2}),
    ROW(1, 2, 2, 4, 3, 3, 2, WITH, .dilation = {3, 1}, .padding = {1, 0}),
    ROW(1, 2, 2, 3, 3, 2, 3, WITH, .dilation = {1, 3}, .padding = {0, 2}),
    ROW(1, 2, 2, 3, 3, 3, 2, WITH, .stride = {2, 3}, .padding = {1, 2}, .dilation = {2, 4}),
    ROW(2, 4, 6, 3, 4, 3, 2, WITH, .groups = 2),
    ROW(1, 3, 6, 3, 3, 2, 2, WITHOUT, .groups = 3, .padding = {1, 0}),
    ROW(2, 3, 3, 4, 4, 3, 3, WITH, .groups = 3, .padding = {1, 1}),
    ROW(1, 6, 3, 3, 4, 3, 2, WITH, .groups = 3, .stride = {2, 1}),
    ROW(1, 6, 2, 3, 3, 2, 2, WITH, .groups = 2, .dilation = {2, 2}, .output_padding = {1, 0}),
    ROW(2, 3, 2, 1, 1, 4, 5, WITH, .groups = 1), /* the kernel is the image */
    ROW(1, 1, 2, 3, 2, 3, 4, WITH, .padding = {2, 2}), /* one place is left */
    ROW(1, 9, 2, 3, 2, 2, 2, WITH, .groups = 1),
    ROW(1, 2, 9, 3, 2, 2, 2, WITH, .groups = 1),
    ROW(9, 1, 2, 2, 2, 2, 2, WITH, .groups = 1),
};
/* clang-format on */

static void every_setting(void **state) {
    for (int64_t k = 0; k < COUNT(forwards); k++) check_gradient(*state, forwards[k]);
    for (int64_t k = 0; k < COUNT(transposes); k++) {
        setting s = transposes[k];
        s.transposed = true;
        check_gradient(*state, s);
    }
}

/* --- layouts --------------------------------------------------------------------------------- */

static setting in_layout(bool transposed, int x, int w, int b) {
    return (setting){.n = 2,
                     .in = 2,
                     .out = 4,
                     .h = 4,
                     .w = 3,
                     .kernel = {2, 3},
                     .config = {.groups = 2, .stride = {2, 1}, .padding = {0, 1}},
                     .bias = true,
                     .transposed = transposed,
                     .view = {(view)x, (view)w, (view)b}};
}

static void views(void **state) {
    for (int k = 0; k < 2 * VIEWS * VIEWS; k++) {
        const int x = k / 2 % VIEWS, w = k / 2 / VIEWS;
        check_gradient(*state, in_layout(k % 2, x, w, (x + w) % VIEWS));
    }
}

/* The gradient that comes back may be a view as well. */
static hk_tensor *turned(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    hk_tensor *y = convolve(ctx, n, in, arg);
    const int order[] = {3, 0, 2, 1};
    hk_tensor *both[] = {hk_permute(y, order), hk_slice(hk_permute(y, order), 0, 0, 2)};
    return hk_mul(hk_slice(both[0], 0, 1, 2), both[1]);
}

static void gradients_that_are_views(void **state) {
    for (int k = 0; k < 2; k++) {
        setting s = in_layout(k, PLAIN, PLAIN, PLAIN);
        hk_tensor *in[3];
        make_inputs(*state, HK_F64, &s, in);
        assert_gradient(*state, "turned", turned, &s, 3, in, NULL);
        destroy_inputs(in);
    }
}

/* --- used several times ---------------------------------------------------------------------- */

#define FN(name, expr)                                                                             \
    static hk_tensor *name(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {              \
        (void)ctx, (void)n, (void)arg;                                                             \
        hk_tensor *x = in[0], *w = in[1], *b = in[2];                                              \
        (void)w, (void)b;                                                                          \
        return (expr);                                                                             \
    }                                                                                              \
    WANTS_SEMICOLON
#define PAD(...) (&(hk_conv2d_config){.padding = HK_SQUARE(1), __VA_ARGS__})
FN(x_twice, hk_mul(hk_conv2d_op(x, w, b, NULL), hk_slice(hk_slice(x, 2, 1, 2), 3, 1, 3)));
FN(chain, hk_conv2d_op(hk_conv2d_op(x, w, b, PAD(.groups = 1)), w, b, PAD(.groups = 1)));
FN(branches,
   hk_add(hk_conv2d_op(x, w, b, PAD(.groups = 1)), hk_conv_transpose2d_op(x, w, b, PAD())));
FN(itself, hk_add(hk_conv2d_op(x, x, HK_NO_BIAS, PAD()), hk_sum(hk_mul(w, w), HK_ALL_AXES, false)));
FN(back_by_itself, hk_conv_transpose2d_op(x, x, b, PAD(.stride = {2, 3})));
FN(w_of_bias, hk_conv2d_op(x, hk_mul(w, hk_reshape(b, HK_SHAPE(2, 1, 1, 1))), b, PAD(.groups = 1)));

static void used_several_times(void **state) {
    hk_context *ctx = *state;
    hk_function *const all[] = {x_twice, chain, branches, itself, back_by_itself, w_of_bias};
    for (int64_t k = 0; k < COUNT(all); k++) {
        const setting s = {.n = 2, .in = 2, .out = 2, .h = 4, .w = 5, .kernel = {3, 3}};
        hk_tensor *in[3];
        char what[64];
        make_inputs(ctx, HK_F64, &s, in);
        snprintf(what, sizeof what, "several times, number %lld", (long long)k);
        const bool skip[] = {false, all[k] == back_by_itself, all[k] == itself};
        assert_gradient(ctx, what, all[k], NULL, 3, in, skip);
        destroy_inputs(in);
    }
}

/* --- only some inputs, twice ----------------------------------------------------------------- */

static void backward(hk_context *ctx, hk_tensor *y) {
    hk_tensor *g = seeded(ctx, hk_tensor_dtype(y), hk_tensor_shape(y), "conv/g", -1, 1, 0);
    must(hk_backward_from(ctx, y, g));
    hk_tensor_destroy(g);
}

/* Gradients of the inputs whose bit is set, exactly as with all; a second backward doubles them. */
static void check_subset(hk_context *ctx, const setting *s, int subset, double want[3][MOST]) {
    hk_tensor *in[3];
    make_inputs(ctx, HK_F32, s, in);
    for (int i = 0; i < 3; i++)
        if (subset >> i & 1) hk_require_grad(in[i]);
    hk_tensor *y = apply(s, in[0], in[1], in[2]);
    for (int times = 1; times <= 2; times++) {
        backward(ctx, y);
        for (int i = 0; i < 3; i++) {
            const int64_t n = hk_tensor_count(in[i]);
            if (!(subset >> i & 1)) {
                assert_null(hk_grad(in[i]));
                continue;
            }
            const double *got = values(hk_grad(in[i]));
            for (int64_t e = 0; e < n; e++)
                assert_close("gradient", e, got[e], times * want[i][e], 0);
        }
    }
    must(hk_step_end(ctx));
    destroy_inputs(in);
}

static void subsets(void **state) {
    static double want[3][MOST];
    hk_context *ctx = *state;
    for (int k = 0; k < 2; k++) {
        setting s = in_layout(k, PLAIN, PLAIN, PLAIN);
        s.n = 11, s.h = 6, s.w = 7;
        hk_tensor *in[3];
        make_inputs(ctx, HK_F32, &s, in);
        for (int i = 0; i < 3; i++) hk_require_grad(in[i]);
        backward(ctx, apply(&s, in[0], in[1], in[2]));
        for (int i = 0; i < 3; i++) {
            const double *g = values(hk_grad(in[i]));
            for (int64_t e = 0; e < hk_tensor_count(in[i]); e++) want[i][e] = g[e];
            assert_true(fabs(want[i][0]) > 0);
        }
        must(hk_step_end(ctx));
        destroy_inputs(in);
        for (int subset = 1; subset < 8; subset++) check_subset(ctx, &s, subset, want);
    }
}

/* --- nothing --------------------------------------------------------------------------------- */

/* y is the bias alone, and so is what has a gradient. */
static void check_bias_alone(hk_context *ctx, const setting *s, hk_shape shape) {
    hk_tensor *in[3];
    make_inputs(ctx, HK_F64, s, in);
    for (int i = 0; i < 3; i++) hk_require_grad(in[i]);
    hk_tensor *y = apply(s, in[0], in[1], in[2]), *plain = apply(s, in[0], in[1], HK_NO_BIAS);
    assert_ok(ctx);
    assert_shape(y, shape);
    assert_shape(plain, shape);
    const int64_t count = hk_shape_count(shape), area = shape.dim[2] * shape.dim[3];
    const double *got = values(y), *zero = values(plain), *b = values(in[2]);
    for (int64_t i = 0; i < count; i++) {
        assert_close("the bias alone", i, got[i], b[i / area % s->out], 0);
        assert_close("nothing", i, zero[i], 0, 0);
    }
    const double *along = values(hk_jvp(ctx, y, 3, in, in)); /* y is linear in the bias */
    assert_ok(ctx);
    for (int64_t i = 0; i < count; i++) assert_close("direction", i, along[i], got[i], 0);
    must(hk_backward(ctx, hk_sum(hk_add(y, plain), HK_ALL_AXES, false)));
    for (int i = 0; i < 2; i++) {
        const double *g = values(hk_grad(in[i]));
        for (int64_t e = 0; e < hk_tensor_count(in[i]); e++) assert_close("zero", e, g[e], 0, 0);
    }
    const double *gb = values(hk_grad(in[2]));
    for (int64_t o = 0; o < s->out; o++)
        assert_close("bias", o, gb[o], (double)(shape.dim[0] * area), 0);
    must(hk_step_end(ctx));
    destroy_inputs(in);
}

static void nothing(void **state) {
    for (int k = 0; k < 2; k++) {
        setting s = {.in = 2, .out = 4, .h = 5, .w = 6, .kernel = {3, 2}, .transposed = k};
        const int64_t oh = k ? 7 : 3, ow = k ? 7 : 5;
        check_bias_alone(*state, &s, HK_SHAPE(0, 4, oh, ow)); /* no images */
        s.n = 2, s.in = 0;
        check_bias_alone(*state, &s, HK_SHAPE(2, 4, oh, ow)); /* no channels */
    }
    const setting s = {
        .n = 2, .in = 3, .out = 4, .w = 6, .kernel = {3, 2}, .config.padding = {2, 0}};
    check_bias_alone(*state, &s, HK_SHAPE(2, 4, 2, 5)); /* padding around no rows */
    const setting t = {.n = 2,
                       .in = 3,
                       .out = 4,
                       .w = 6,
                       .kernel = {3, 2},
                       .config.stride = {1, 2},
                       .transposed = true};
    check_bias_alone(*state, &t, HK_SHAPE(2, 4, 2, 12));
    /* Every window lies in the padding, beside the one column that is left. */
    for (int64_t out = 1; out <= 2; out++) {
        setting beside = {.n = 2,
                          .in = 2,
                          .out = out,
                          .h = 3,
                          .w = 1,
                          .kernel = {3, 1},
                          .config = {.stride = {1, 5}, .padding = {1, 2}, .output_padding = {0, 4}},
                          .transposed = true};
        check_bias_alone(*state, &beside, HK_SHAPE(2, out, 3, 1));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_setting, setup, teardown),
        cmocka_unit_test_setup_teardown(views, setup, teardown),
        cmocka_unit_test_setup_teardown(gradients_that_are_views, setup, teardown),
        cmocka_unit_test_setup_teardown(used_several_times, setup, teardown),
        cmocka_unit_test_setup_teardown(subsets, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
