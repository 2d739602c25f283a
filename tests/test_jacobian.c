/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_jacobian.c: singular values of modules' Jacobians: all layers, networks with known ones, radii.
   SPDX-License-Identifier: MIT */
#include "activation_fixture.h"
#include "hk_jacobian.h"
#include "net_fixture.h"

#define assert_near(name, got, want, tolerance)                                                    \
    do {                                                                                           \
        const double got_ = (got), want_ = (want), allowed_ = (tolerance);                         \
        if (!(fabs(got_ - want_) <= allowed_))                                                     \
            fail_msg("%s: %.17g, not %.17g", name, got_, want_);                                   \
    } while (0)

static hk_jacobian study(hk_module *m, hk_tensor *x, const hk_jacobian_config *config,
                         double *spectrum) {
    hk_jacobian result;
    if (hk_module_jacobian(m, x, config, &result, spectrum) != HK_OK)
        fail_msg("%s", hk_error_message(hk_module_context(m)));
    return result;
}

/* --- every layer ----------------------------------------------------------------------------- */

typedef hk_module *maker(hk_context *ctx);
#define LAYER(name, expression)                                                                    \
    static hk_module *name(hk_context *ctx) { return expression; }                                 \
    struct hk_semicolon

LAYER(linear, hk_linear(ctx, 7, 5));
LAYER(linear_no_bias, hk_linear_no_bias(ctx, 5, 7));
LAYER(flatten, hk_flatten(ctx));
LAYER(dropout, hk_dropout(ctx, 0.5));
LAYER(dropout2d, hk_dropout2d(ctx, 0.5));
LAYER(alpha_dropout, hk_alpha_dropout(ctx, 0.5));
LAYER(conv, hk_conv2d(ctx, 4, 6, (hk_pair){3, 2},
                      &(hk_conv2d_config){.padding = {1, 0}, .stride = {2, 1}}));
LAYER(conv_groups,
      hk_conv2d(ctx, 4, 8, HK_SQUARE(2), &(hk_conv2d_config){.groups = 2, .dilation = {1, 2}}));
LAYER(conv_no_bias, hk_conv2d_no_bias(ctx, 4, 3, HK_SQUARE(1), NULL));
LAYER(conv_transpose,
      hk_conv_transpose2d(ctx, 4, 2, HK_SQUARE(3),
                          &(hk_conv2d_config){.stride = {2, 1}, .padding = {1, 1}}));
LAYER(conv_transpose_no_bias, hk_conv_transpose2d_no_bias(ctx, 4, 3, HK_SQUARE(2), NULL));
LAYER(max_pool, hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 2}}));
LAYER(max_pool_wide,
      hk_max_pool2d(ctx,
                    &(hk_pool2d_config){.kernel = {3, 3}, .stride = {1, 2}, .padding = {1, 1}}));
LAYER(avg_pool, hk_avg_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 3}, .stride = {1, 1}}));
LAYER(adaptive_avg, hk_adaptive_avg_pool2d(ctx, (hk_pair){3, 2}));
LAYER(adaptive_max, hk_adaptive_max_pool2d(ctx, (hk_pair){3, 2}));
LAYER(global_avg, hk_global_avg_pool(ctx));
LAYER(batch_norm1d, hk_batch_norm1d(ctx, NULL));
LAYER(batch_norm2d, hk_batch_norm2d(ctx, NULL));
LAYER(layer_norm, hk_layer_norm(ctx, 3, NULL));
LAYER(group_norm, hk_group_norm(ctx, 2, NULL));
LAYER(zero_pad, hk_zero_pad2d(ctx, 1, 0, 2, 1));
LAYER(residual, hk_residual(ctx, hk_conv2d(ctx, 4, 4, HK_SQUARE(1), NULL), NULL));
LAYER(residual_shortcut, hk_residual(ctx, hk_conv2d(ctx, 4, 2, HK_SQUARE(1), NULL),
                                     hk_conv2d_no_bias(ctx, 4, 2, HK_SQUARE(1), NULL)));
LAYER(conv_block,
      hk_sequential(ctx, hk_conv2d(ctx, 4, 6, HK_SQUARE(2), NULL), hk_activation(ctx, "relu"),
                    hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 2}})));
LAYER(mlp, hk_sequential(ctx, hk_linear(ctx, 7, 9), hk_activation(ctx, "tanh"),
                         hk_linear(ctx, 9, 6), hk_batch_norm1d(ctx, NULL),
                         hk_activation(ctx, "gelu"), hk_dropout(ctx, 0.3), hk_linear(ctx, 6, 4)));
LAYER(cnn,
      hk_sequential(ctx, hk_conv2d(ctx, 4, 6, HK_SQUARE(3), &(hk_conv2d_config){.padding = {1, 1}}),
                    hk_batch_norm2d(ctx, NULL), hk_activation(ctx, "relu"),
                    hk_max_pool2d(ctx, &(hk_pool2d_config){.kernel = {2, 2}}),
                    hk_activation(ctx, "prelu:per=channel"), hk_flatten(ctx),
                    hk_linear(ctx, 24, 5)));

enum { IMAGE = 4 * 5 * 4 };
static const hk_shape image = {4, {3, 4, 5, 4}};
static const struct {
    const char *name;
    maker *make;
    int64_t row; /* of a sample that is a row; 0: an image */
    int64_t outputs;
} layers[] = {
    {"linear", linear, 7, 5},
    {"linear_no_bias", linear_no_bias, 5, 7},
    {"flatten", flatten, 0, IMAGE},
    {"flatten of rows", flatten, 7, 7},
    {"dropout", dropout, 0, IMAGE},
    {"dropout2d", dropout2d, 0, IMAGE},
    {"alpha_dropout", alpha_dropout, 0, IMAGE},
    {"conv", conv, 0, 6 * 3 * 3},
    {"conv_groups", conv_groups, 0, 8 * 4 * 2},
    {"conv_no_bias", conv_no_bias, 0, 3 * 20},
    {"conv_transpose", conv_transpose, 0, 2 * 9 * 4},
    {"conv_transpose_no_bias", conv_transpose_no_bias, 0, 3 * 6 * 5},
    {"max_pool", max_pool, 0, 4 * 2 * 2},
    {"max_pool_wide", max_pool_wide, 0, 4 * 5 * 2},
    {"avg_pool", avg_pool, 0, 4 * 4 * 2},
    {"adaptive_avg", adaptive_avg, 0, 4 * 3 * 2},
    {"adaptive_max", adaptive_max, 0, 4 * 3 * 2},
    {"global_avg", global_avg, 0, 4},
    {"batch_norm1d", batch_norm1d, 7, 7},
    {"batch_norm2d", batch_norm2d, 0, IMAGE},
    {"layer_norm", layer_norm, 0, IMAGE},
    {"group_norm", group_norm, 0, IMAGE},
    {"zero_pad", zero_pad, 0, 4 * 6 * 7},
    {"residual", residual, 0, IMAGE},
    {"residual_shortcut", residual_shortcut, 0, 2 * 20},
    {"conv_block", conv_block, 0, 6 * 2 * 1},
    {"mlp", mlp, 7, 4},
    {"cnn", cnn, 0, 5},
};
enum { LAYERS = sizeof layers / sizeof *layers };

/* Running statistics that are not those of a start, so that batch norm does something. */
static void move_buffers(hk_module *m) {
    const hk_parameters all = hk_module_buffers(m);
    for (int i = 0; i < all.count; i++) {
        hk_tensor *t = all.items[i];
        if (t->dtype == HK_I32) continue;
        const bool variance = strstr(t->name, "var") != NULL;
        for (int64_t k = 0; k < hk_tensor_count(t); k++) {
            const double value = variance ? 0.5 + 0.3 * (double)k : 0.2 * (double)k - 0.3;
            element_put(t, k, value);
        }
    }
}

static double inner(hk_tensor *a, hk_tensor *b) {
    double sum = 0;
    for (int64_t i = 0; i < hk_tensor_count(a); i++) sum += number(a, i) * number(b, i);
    return sum;
}

/* <u, Jv> = <Jᵀu, v>, relative to |u|·|Jv|. */
static void check_adjoint(hk_module *m, const char *name, hk_shape shape, double tolerance) {
    hk_context *ctx = hk_module_context(m);
    hk_tensor *x = hk_require_grad(hk_tensor_keep(normal(ctx, "x", shape)));
    hk_module_train(m, false);
    hk_tensor *y = hk_forward(m, hk_scale(x, 1, 0));
    if (!y) fail_msg("%s: %s", name, hk_error_message(ctx));
    hk_tensor *v = normal(ctx, "v", shape), *u = normal(ctx, "u", hk_tensor_shape(y));
    hk_tensor *jv = hk_contiguous(hk_jvp(ctx, y, 1, &x, &v));
    if (!jv || hk_backward_from(ctx, y, u) != HK_OK)
        fail_msg("%s: %s", name, hk_error_message(ctx));
    const double forward = inner(u, jv), reverse = inner(hk_grad(x), v),
                 scale = sqrt(inner(u, u) * inner(jv, jv));
    if (!(scale > 0)) fail_msg("%s: J·v is %g", name, scale);
    assert_near(name, forward, reverse, tolerance * scale);
    assert_int_equal(hk_step_end(ctx), HK_OK);
    hk_tensor_destroy(x);
}

/* Power iteration, Hutchinson's estimate and the full spectrum tell of one matrix. */
static void check_agreement(hk_module *m, const char *name, hk_shape shape) {
    hk_context *ctx = hk_module_context(m);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", shape));
    static double spectrum[8192];
    const hk_jacobian_config config = {
        .iterations = 200, .tolerance = 1e-13, .probes = 64, .full_up_to = 400};
    const hk_jacobian r = study(m, x, &config, spectrum);
    hk_tensor_destroy(x);
    const int64_t n = shape.dim[0], count = r.count;
    assert_int_equal(r.samples, n);
    assert_int_equal(r.inputs, hk_shape_count(shape) / n);
    assert_int_equal(count, r.inputs < r.outputs ? r.inputs : r.outputs);
    double squares = 0, most = 0, least = INFINITY, mean = 0;
    for (int64_t i = 0; i < n * count; i++) {
        squares += spectrum[i] * spectrum[i];
        assert_true(i % count == 0 || spectrum[i] <= spectrum[i - 1]);
        least = fmin(least, spectrum[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, spectrum[i * count]);
        mean += spectrum[i * count] / (double)n;
    }
    squares /= (double)(n * r.outputs);
    assert_near(name, r.largest, most, 0);
    assert_near(name, r.smallest, least, 0);
    assert_true(r.smallest <= r.median && r.median <= r.largest);
    assert_near(name, r.norm_max, most, 1e-5 * most);
    assert_near(name, r.norm, mean, 1e-5 * mean);
    const double slack = 1e-12 * most; /* of rounding */
    if (!(r.norm_max <= most + slack && r.norm_min <= r.norm + slack &&
          r.norm <= r.norm_max + slack))
        fail_msg("%s: %.17g <= %.17g <= %.17g, of %.17g", name, r.norm_min, r.norm, r.norm_max,
                 most);
    assert_near(name, r.mean_square, squares, 4 * r.mean_square_error + 1e-12 * squares);
    assert_true(isnan(r.radius));
}

static void every_layer(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        hk_context *ctx = context(d ? HK_F64 : HK_F32, 1, 3);
        for (int i = 0; i < LAYERS; i++) {
            hk_module *m = layers[i].make(ctx);
            const hk_shape shape = layers[i].row ? HK_SHAPE(3, layers[i].row) : image;
            hk_shape input = shape;
            input.dim[0] = -1;
            assert_int_equal(hk_module_build(m, input, NULL), HK_OK);
            move_buffers(m);
            check_adjoint(m, layers[i].name, shape, d ? 1e-12 : 1e-5);
            hk_tensor *x = hk_tensor_keep(normal(ctx, "x", shape));
            assert_int_equal(study(m, x, NULL, NULL).outputs, layers[i].outputs);
            hk_tensor_destroy(x);
            if (d) check_agreement(m, layers[i].name, shape);
        }
        hk_context_destroy(ctx);
    }
}

/* Wide ones and networks, too. */
static void every_activation(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        hk_context *ctx = context(d ? HK_F64 : HK_F32, 1, 3);
        const hk_activation_info *row;
        int n = 0;
        for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r++, n++) {
            hk_module *m = hk_activation(ctx, activation_text(row));
            const hk_shape shape = activation_needs_images(row) ? image : HK_SHAPE(3, 24);
            check_adjoint(m, row->name, shape, d ? 1e-12 : 1e-5);
            if (d) check_agreement(m, row->name, shape);
        }
        if (n < 40) fail_msg("%d rows", n);
        hk_context_destroy(ctx);
    }
}

/* --- known matrices -------------------------------------------------------------------------- */

static void set_weight(hk_module *m, const char *name, const double *value) {
    hk_tensor *t = hk_module_find(m, name);
    assert_non_null(t);
    for (int64_t i = 0; i < hk_tensor_count(t); i++) element_put(t, i, value[i]);
}

/* Ten orthogonal layers, each with a gain of 1.1: J is a rotation times 1.1^10. */
static void orthogonal_network(void **state) {
    (void)state;
    enum { N = 24, DEPTH = 10 };
    for (int d = 0; d < 2; d++) {
        hk_context *ctx = context(d ? HK_F64 : HK_F32, 1, 5);
        hk_module *members[DEPTH];
        for (int i = 0; i < DEPTH; i++) members[i] = hk_linear(ctx, N, N);
        hk_module *net = hk_sequential_n(ctx, DEPTH, members);
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, N), "orthogonal"), HK_OK);
        const hk_parameters all = hk_module_parameters(net);
        for (int p = 0; p < all.count; p++)
            for (int64_t i = 0; i < hk_tensor_count(all.items[p]); i++)
                element_put(all.items[p], i, 1.1 * number(all.items[p], i));
        double spectrum[4 * N];
        hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(4, N)));
        const hk_jacobian r = study(
            net, x, &(hk_jacobian_config){.full_up_to = N, .radius = true, .probes = 3}, spectrum);
        const double gain = pow(1.1, DEPTH), tolerance = (d ? 1e-13 : 1e-5) * gain;
        for (int i = 0; i < 4 * N; i++) assert_near("orthogonal", spectrum[i], gain, tolerance);
        assert_near("norm", r.norm, gain, tolerance);
        assert_near("norm_min", r.norm_min, gain, tolerance);
        assert_near("norm_max", r.norm_max, gain, tolerance);
        assert_near("smallest", r.smallest, gain, tolerance);
        assert_near("median", r.median, gain, tolerance);
        assert_near("condition", r.condition, 1, d ? 1e-13 : 1e-5);
        assert_near("mean square", r.mean_square, gain * gain, 2 * tolerance * gain);
        assert_near("its error", r.mean_square_error, 0, tolerance * gain);
        assert_near("radius", r.radius, gain, tolerance);
        assert_true(r.converged && r.iterations == 2);
        hk_context_destroy(ctx);
    }
}

/* A relu behind an orthogonal layer takes those singular values away whose units are silent, and no others. */
static void relu_halves(void **state) {
    (void)state;
    enum { N = 200 };
    hk_context *ctx = context(HK_F32, 1, 6);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, N, N), hk_activation(ctx, "relu"));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, N), "orthogonal"), HK_OK);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(2, N)));
    hk_tensor *y = hk_forward(net, x);
    int active = 0;
    for (int i = 0; i < 2 * N; i++) active += number(y, i) > 0;
    double spectrum[2 * N];
    const hk_jacobian r = study(net, x, &(hk_jacobian_config){.full_up_to = N}, spectrum);
    int ones = 0, zeros = 0;
    for (int i = 0; i < 2 * N; i++) {
        ones += fabs(spectrum[i] - sqrt(2)) <= 1e-5;
        zeros += spectrum[i] <= 1e-6;
    }
    assert_int_equal(ones, active);
    assert_int_equal(zeros, 2 * N - active);
    assert_true(abs(active - N) < 60);
    /* The condition number is of those that are not 0. */
    assert_near("condition", r.condition, 1, 1e-5);
    assert_near("norm", r.norm, sqrt(2), 1e-5);
    hk_context_destroy(ctx);
}

/* A linear layer's J is its weight, whatever the samples are. */
static void linear_layer(void **state) {
    (void)state;
    enum { IN = 9, OUT = 14 };
    hk_context *ctx = context(HK_F64, 1, 7);
    hk_module *m = hk_linear(ctx, IN, OUT);
    assert_int_equal(hk_module_build(m, HK_SHAPE(-1, IN), NULL), HK_OK);
    double weight[OUT * IN], want[IN], spectrum[2 * IN];
    hk_tensor *w = hk_module_find(m, "weight");
    for (int i = 0; i < OUT * IN; i++) weight[i] = number(w, i);
    double squares = 0;
    assert_int_equal(hk_singular_values(OUT, IN, weight, want), HK_OK);
    for (int i = 0; i < IN; i++) squares += want[i] * want[i] / OUT;
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(2, IN)));
    const hk_jacobian r =
        study(m, x, &(hk_jacobian_config){.full_up_to = OUT, .probes = 400}, spectrum);
    for (int i = 0; i < 2 * IN; i++) assert_near("weight", spectrum[i], want[i % IN], 1e-14);
    assert_near("condition", r.condition, want[0] / want[IN - 1], 1e-10);
    assert_near("median", r.median, want[IN / 2], 1e-14);
    if (!(r.converged && r.norm <= want[0] * (1 + 1e-14) && r.norm >= 0.99 * want[0]))
        fail_msg("norm %.17g of %.17g", r.norm, want[0]);
    assert_near("mean square", r.mean_square, squares, 3 * r.mean_square_error);
    /* 800 probes: var(uᵀAu) = 2(|A|² - Σ A[i][i]²) of A = WWᵀ. */
    double variance = 0;
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < OUT; j++) {
            double product = 0;
            for (int k = 0; k < IN; k++) product += number(w, i * IN + k) * number(w, j * IN + k);
            if (i != j) variance += 2 * product * product;
        }
    assert_near("its error", r.mean_square_error, sqrt(variance / 800) / OUT,
                0.1 * r.mean_square_error);
    /* Likewise from two probes each of 300 samples; one alone cannot tell. */
    x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(300, IN)));
    const double error = study(m, x, &(hk_jacobian_config){.probes = 2}, NULL).mean_square_error;
    assert_near("its error", error, sqrt(variance / 600) / OUT, 0.1 * error);
    assert_true(isnan(study(m, x, &(hk_jacobian_config){.probes = 1}, NULL).mean_square_error));
    hk_context_destroy(ctx);
}

/* What rounding leaves in place of zeros is not taken for singular values. */
static void low_rank(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        hk_context *ctx = context(d ? HK_F64 : HK_F32, 1, 7);
        hk_module *m = hk_sequential(ctx, hk_linear(ctx, 9, 2), hk_linear(ctx, 2, 9));
        hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(3, 9)));
        double spectrum[27];
        const hk_jacobian r = study(m, x, &(hk_jacobian_config){.full_up_to = 9}, spectrum);
        assert_true(spectrum[1] > 0.01 * spectrum[0] && spectrum[2] < 1e-6 * spectrum[0]);
        assert_near("condition", r.condition, spectrum[0] / spectrum[1], 1e-5);
        hk_context_destroy(ctx);
    }
}

/* Samples whose Jacobians differ: each has its own. */
static void samples_differ(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 7);
    hk_module *m = hk_activation(ctx, "tanh");
    const double at[] = {0, 0.5, -1, 0, 3, 2}, steep[] = {1, 1, 1 - tanh(2) * tanh(2)};
    hk_tensor *x = hk_tensor_from(ctx, HK_F64, HK_SHAPE(3, 2), at);
    double spectrum[6];
    const hk_jacobian_config config = {
        .full_up_to = 2, .radius = true, .tolerance = 1e-12, .iterations = 400};
    const hk_jacobian r = study(m, x, &config, spectrum);
    double mean = 0;
    for (int i = 0; i < 3; i++) {
        assert_near("norm", spectrum[2 * i], steep[i], 1e-14);
        mean += steep[i] / 3;
    }
    assert_near("norm", r.norm, mean, 1e-10);
    assert_near("norm_max", r.norm_max, 1, 1e-10);
    assert_near("norm_min", r.norm_min, steep[2], 1e-10);
    assert_near("radius", r.radius, mean, 1e-10); /* symmetric: the norm */
    hk_context_destroy(ctx);
}

/* More samples than full Jacobians are held at once: each keeps its own. */
static void many_samples(void **state) {
    (void)state;
    enum { N = 43000, WIDTH = 20 };
    hk_context *ctx = context(HK_F64, 1, 7);
    hk_module *m = hk_activation(ctx, "tanh");
    hk_tensor *x = hk_tensor_new(ctx, HK_F64, HK_SHAPE(N, WIDTH));
    double *of = malloc(sizeof *of * N * WIDTH);
    assert_non_null(of);
    for (int i = 0; i < N * WIDTH; i++) of[i] = i / WIDTH * (2.0 / N);
    host_done(x, of);
    double *spectrum = malloc(sizeof *spectrum * N * WIDTH);
    assert_non_null(spectrum);
    (void)study(m, x, &(hk_jacobian_config){.full_up_to = WIDTH, .probes = 1, .iterations = 1},
                spectrum);
    for (int i = 0; i < N * WIDTH; i++) {
        const double y = tanh(of[i]);
        assert_near("slope", spectrum[i], (1 - y) * (1 + y), 1e-14);
    }
    free(spectrum), free(of);
    hk_context_destroy(ctx);
}

/* Ten thousandfold and more a layer, forward and backward: beyond what floats hold when squared. */
static void far_from_one(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 7);
    for (int sign = -1; sign <= 1; sign += 2) {
        const double scale = pow(10, sign * 8.0), diagonal[] = {scale, 0, 0, scale / 2};
        hk_module *m = hk_sequential(ctx, hk_linear(ctx, 2, 2), hk_linear(ctx, 2, 2),
                                     hk_linear(ctx, 2, 2), hk_linear(ctx, 2, 2));
        const double start[] = {1e-3, 1e-3};
        hk_tensor *x = hk_tensor_new(ctx, HK_F32, HK_SHAPE(1, 2));
        element_put(x, 0, start[0]);
        assert_int_equal(hk_module_build(m, HK_SHAPE(-1, 2), NULL), HK_OK);
        for (int i = 0; i < 4; i++)
            set_weight(m, (const char *[]){"0.weight", "1.weight", "2.weight", "3.weight"}[i],
                       diagonal);
        const hk_jacobian r = study(m, x, NULL, NULL);
        assert_near("norm", r.norm, pow(scale, 4), 1e-5 * pow(scale, 4));
        assert_near("square", r.mean_square, pow(scale, 8) * (1 + 1 / 256.) / 2,
                    1e-5 * pow(scale, 8));
    }
    hk_context_destroy(ctx);
}

/* --- radius ---------------------------------------------------------------------------------- */

static hk_jacobian of_matrix(hk_context *ctx, int n, const double *a) {
    hk_module *m = hk_linear_no_bias(ctx, n, n);
    assert_int_equal(hk_module_build(m, HK_SHAPE(-1, n), NULL), HK_OK);
    set_weight(m, "weight", a);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(2, n)));
    return study(m, x, &(hk_jacobian_config){.radius = true, .tolerance = 1e-9}, NULL);
}

static void radius(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 8);
    /* Far from normal: the norm is two hundred times the radius. */
    const hk_jacobian shear = of_matrix(ctx, 2, (double[]){0.5, 100, 0, 0.25});
    assert_near("radius", shear.radius, 0.5, 1e-6);
    assert_near("norm", shear.norm, 100.001, 1e-2);
    const hk_jacobian nilpotent = of_matrix(ctx, 3, (double[]){0, 7, 1, 0, 0, 5, 0, 0, 0});
    assert_near("radius", nilpotent.radius, 0, 0);
    assert_true(nilpotent.norm > 7);
    /* Complex pairs: a rotation times 0.9, and the same seen askew, where |J^k v| goes up and down. */
    const double c = 0.9 * cos(1), s = 0.9 * sin(1);
    assert_near("radius", of_matrix(ctx, 2, (double[]){c, -s, s, c}).radius, 0.9, 1e-12);
    assert_near("radius", of_matrix(ctx, 2, (double[]){c, -4 * s, s / 4, c}).radius, 0.9, 0.03);
    const hk_jacobian zero = of_matrix(ctx, 2, (double[]){0, 0, 0, 0});
    assert_near("radius", zero.radius, 0, 0);
    assert_near("norm", zero.norm, 0, 0);
    assert_near("square", zero.mean_square, 0, 0);
    assert_true(zero.converged);
    /* It has a meaning for square J alone, and must be asked for. */
    hk_module *m = hk_linear(ctx, 3, 2);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(2, 3)));
    assert_true(isnan(study(m, x, &(hk_jacobian_config){.radius = true}, NULL).radius));
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer),        cmocka_unit_test(every_activation),
        cmocka_unit_test(orthogonal_network), cmocka_unit_test(relu_halves),
        cmocka_unit_test(linear_layer),       cmocka_unit_test(low_rank),
        cmocka_unit_test(many_samples),       cmocka_unit_test(samples_differ),
        cmocka_unit_test(far_from_one),       cmocka_unit_test(radius),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
