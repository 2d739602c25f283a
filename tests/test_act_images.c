/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_act_images.c: activations on images, (n, c, h, w): gradients of all that have channels,
   FReLU, batch norm inside of meta_acon.
   SPDX-License-Identifier: MIT */
#include "testing.h"

#include "activation_fixture.h"
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

/* Parameters leave their starts: of these some have gradients of 0. */
static void move(hk_module *m) {
    const hk_parameters all = hk_module_parameters(m);
    for (int i = 0; i < all.count; i++) {
        hk_tensor *t = all.items[i], *by = seeded(hk_module_context(m), HK_F64, hk_tensor_shape(t),
                                                  hk_tensor_name(t), -0.3, 0.4, 0);
        double *value = host(t);
        const double *more = host(by);
        for (int64_t k = 0; k < hk_tensor_count(t); k++) value[k] += more[k];
        host_done(t, value);
        hk_tensor_destroy(by);
    }
}

/* --- gradients ------------------------------------------------------------------------------- */

static const hk_shape shapes[] = {{4, {3, 12, 3, 5}}, {4, {4, 12, 1, 3}}, {4, {3, 12, 2, 1}}};

/* An emulated GPU makes do with the smallest. */
static int64_t first_shape(void) { return on_emulator() ? COUNT(shapes) - 1 : 0; }

/* In training batch norm takes away a constant that comes in, and between the first and the last of
   meta_acon all is linear: gradients by these biases are 0, and differences are noise. */
static bool is_taken_away(const char *text, const char *name, bool training) {
    return training && strstr(text, "bn=on") && strstr(name, ".bias") &&
           strcmp(name, "bn2.bias") != 0;
}

/* The gradients of these are 0. */
static void check_taken_away(hk_module *m, hk_tensor *x, const bool *skip, const char *where) {
    const hk_parameters all = hk_module_parameters(m);
    hk_tensor *y = hk_forward(m, x);
    must(hk_backward(hk_module_context(m), hk_sum(hk_mul(y, y), HK_ALL_AXES, false)));
    for (int i = 0; i < all.count; i++) {
        const double *g = values(hk_grad(all.items[i]));
        double largest = 0;
        for (int64_t k = 0; k < hk_tensor_count(all.items[i]); k++)
            largest = fmax(largest, fabs(g[k]));
        if (skip[1 + i] ? !(largest < 1e-12) : !(largest > 1e-6))
            fail_msg("%s: a gradient of %g by %s", where, largest, hk_tensor_name(all.items[i]));
    }
    must(hk_step_end(hk_module_context(m)));
}

/* By the input and by every parameter, which are `parameters` in number unless that is -1; buffers
   stay. */
static void check(hk_context *ctx, const char *text, hk_shape shape, bool training,
                  int parameters) {
    char where[160], at[64];
    snprintf(where, sizeof where, "%s on %s, %s", text, hk_shape_text(shape, at, sizeof at),
             training ? "training" : "evaluation");
    hk_module *m = built(ctx, hk_activation(ctx, text), shape);
    hk_module_train(m, training);
    move(m);
    hk_tensor *x = uniform(ctx, shape, text);
    const hk_parameters all = hk_module_parameters(m), buffers = hk_module_buffers(m);
    bool skip[32] = {false};
    int64_t elements = hk_tensor_count(x);
    for (int i = 0; i < all.count; i++) {
        skip[1 + i] = is_taken_away(text, hk_tensor_name(all.items[i]), training);
        elements += skip[1 + i] ? 0 : hk_tensor_count(all.items[i]);
    }
    hk_gradcheck_result result;
    if (hk_gradcheck_module(m, x, &(hk_gradcheck_config){.skip = skip}, &result) != HK_OK)
        fail_msg("%s: %s; %s", where, result.message, hk_error_message(ctx));
    assert_int_equal(result.elements, elements);
    if (parameters >= 0 && all.count != parameters) fail_msg("%s: %d parameters", where, all.count);
    for (int i = 0; i < buffers.count; i++)
        if (strstr(hk_tensor_name(buffers.items[i]), "num_batches_tracked"))
            assert_int_equal(*(int32_t *)host(buffers.items[i]), 0);
    if (strstr(text, "bn=on")) check_taken_away(m, x, skip, where);
    hk_tensor_destroy(x);
    hk_module_destroy(m);
}

/* Every row that is not pointwise, and what a setting changes in it. */
static void gradients(void **state) {
    hk_context *ctx = *state;
    static const char *const more[] = {"maxout:k=3",           "maxout:k=4",
                                       "glu:half=first",       "swiglu:half=first",
                                       "dyrelu_a:r=12",        "dyrelu_b:r=2",
                                       "meta_acon:r=2",        "meta_acon:bn=on",
                                       "meta_acon:r=2:bn=on",  "meta_acon:init=paper:bn=on",
                                       "frelu:gamma=0.5",      "frelu:init=relu",
                                       "mix:identity+gelu:T=2"};
    const hk_activation_info *row;
    for (int64_t s = first_shape(); s < COUNT(shapes); s++)
        for (int training = 0; training < 2; training++) {
            for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++)
                if (row->kind != HK_ACTIVATION_POINTWISE)
                    check(ctx, activation_text(row), shapes[s], training, -1);
            for (int64_t k = 0; k < COUNT(more); k++) check(ctx, more[k], shapes[s], training, -1);
        }
}

/* A parameter for each channel, of every pointwise row that has one that can learn. */
static void per_channel(void **state) {
    hk_context *ctx = *state;
    const hk_activation_info *row;
    int rows = 0;
    for (int r = 0; (row = hk_activation_row(NULL, r)) != NULL; r++) {
        char text[96];
        hk_activation_spec spec;
        must(hk_activation_parse(ctx, activation_text(row), &spec));
        int learn = 0;
        for (int k = 0; k < row->n_params; k++)
            learn += row->params[k].role != HK_PARAM_FIXED && row->params[k].from <= spec.value[0];
        if (row->kind != HK_ACTIVATION_POINTWISE || learn == 0) continue;
        snprintf(text, sizeof text, "%s:learn=yes:per=channel", activation_text(row));
        for (int64_t s = first_shape(); s < COUNT(shapes); s++)
            check(ctx, text, shapes[s], true, learn);
        rows++;
    }
    assert_true(rows > 0);
}

/* --- FReLU ----------------------------------------------------------------------------------- */

/* The names that programs show and files keep; no bias, as batch norm takes it away. */
static void frelu_has_names(void **state) {
    hk_context *ctx = *state;
    static const char *const parameters[] = {"1.conv.weight", "1.bn.weight", "1.bn.bias"},
                             *const buffers[] = {"1.bn.running_mean", "1.bn.running_var",
                                                 "1.bn.num_batches_tracked"};
    hk_module *m =
        hk_sequential(ctx, hk_conv2d(ctx, 3, 6, HK_SQUARE(3), NULL), hk_activation(ctx, "frelu"));
    built(ctx, m, HK_SHAPE(-1, 3, -1, -1));
    hk_module *frelu = hk_module_child_at(m, 1);
    const hk_parameters own = hk_module_parameters(frelu), kept_too = hk_module_buffers(frelu);
    assert_int_equal(own.count, 3);
    assert_int_equal(kept_too.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(hk_tensor_name(own.items[i]), parameters[i]);
        assert_string_equal(hk_tensor_name(kept_too.items[i]), buffers[i]);
    }
    assert_shape(own.items[0], HK_SHAPE(6, 1, 3, 3));
    assert_shape(own.items[1], HK_SHAPE(6));
}

/* With gamma = 0, T is 0: relu, to the bit, and the gradient of a tie is cut in two. */
static void frelu_starts_as_relu(void **state) {
    hk_context *ctx = *state;
    for (int64_t s = 0; s < COUNT(shapes); s++) {
        hk_module *m = built(ctx, hk_activation(ctx, "frelu:init=relu"), shapes[s]);
        hk_tensor *x = hk_require_grad(uniform(ctx, shapes[s], "relu"));
        element_put(x, 5, 0);
        hk_tensor *y = hk_forward(m, x), *want = hk_activate(x, "relu");
        assert_values("frelu", y, hk_tensor_count(x), values(want), 0);
        must(hk_backward_from(ctx, y, hk_full(ctx, HK_F64, shapes[s], 1)));
        const double *in = values(x), *gx = values(hk_grad(x));
        for (int64_t i = 0; i < hk_tensor_count(x); i++)
            assert_close("gradient", i, gx[i], in[i] > 0 ? 1 : in[i] < 0 ? 0 : 0.5, 0);
        must(hk_step_end(ctx));
    }
}

/* T by its definition, in evaluation: what the convolution sees outside of the image is 0. */
static double condition(const double *x, const double *w, hk_shape shape, int64_t plane, int64_t i,
                        int64_t j) {
    const int64_t h = shape.dim[2], width = shape.dim[3];
    double sum = 0;
    for (int64_t u = 0; u < 3; u++)
        for (int64_t v = 0; v < 3; v++) {
            const int64_t a = i + u - 1, b = j + v - 1;
            if (a < 0 || a >= h || b < 0 || b >= width) continue;
            sum += w[plane % shape.dim[1] * 9 + u * 3 + v] * x[(plane * h + a) * width + b];
        }
    return sum;
}

/* A training step moves the running statistics; evaluation uses them and leaves them. */
static void frelu_evaluates(void **state) {
    hk_context *ctx = *state;
    const hk_shape shape = shapes[0];
    hk_module *m = built(ctx, hk_activation(ctx, "frelu"), shape);
    move(m);
    hk_tensor *x = uniform(ctx, shape, "statistics");
    (void)hk_forward(m, x);
    must(hk_step_end(ctx));
    const double *mean = host(hk_module_find(m, "bn.running_mean")),
                 *var = host(hk_module_find(m, "bn.running_var")),
                 *gamma = host(hk_module_find(m, "bn.weight")),
                 *beta = host(hk_module_find(m, "bn.bias")),
                 *w = host(hk_module_find(m, "conv.weight"));
    const int32_t *batches = host(hk_module_find(m, "bn.num_batches_tracked"));
    assert_int_equal(*batches, 1);
    assert_true(mean[0] != 0 && var[0] != 1);
    hk_module_train(m, false);
    const double before = mean[0], *in = values(x), *y = values(hk_forward(m, x));
    const int64_t width = shape.dim[3], area = shape.dim[2] * width;
    int of_t = 0;
    for (int64_t k = 0; k < hk_tensor_count(x); k++) {
        const int64_t c = k / area % shape.dim[1];
        const double raw = condition(in, w, shape, k / area, k % area / width, k % width);
        const double t = gamma[c] * (raw - mean[c]) / sqrt(var[c] + 1e-5) + beta[c];
        assert_close("y", k, y[k], fmax(in[k], t), 1e-12);
        of_t += t > in[k];
    }
    assert_true(of_t > hk_tensor_count(x) / 4 && of_t < 3 * hk_tensor_count(x) / 4);
    assert_true(*batches == 1 && mean[0] == before);
}

/* Batch norm's weight starts at gamma; the convolution at N(0, 0.01²). */
static void frelu_starts(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *text;
        double gamma;
    } cases[] = {{"frelu", 1}, {"frelu:init=relu", 0}, {"frelu:gamma=0.1", 0.1}};
    for (int64_t i = 0; i < COUNT(cases); i++) {
        hk_module *m = built(ctx, hk_activation(ctx, cases[i].text), HK_SHAPE(-1, 500, -1, -1));
        const double *gamma = host(hk_module_find(m, "bn.weight")),
                     *beta = host(hk_module_find(m, "bn.bias")),
                     *w = host(hk_module_find(m, "conv.weight"));
        double sum = 0, square = 0;
        for (int k = 0; k < 500; k++) assert_true(gamma[k] == cases[i].gamma && beta[k] == 0);
        for (int k = 0; k < 4500; k++) {
            sum += w[k];
            square += w[k] * w[k];
        }
        assert_close("mean", i, sum / 4500, 0, 0.0006);
        assert_close("deviation", i, sqrt(square / 4500), 0.01, 0.0005);
    }
}

static void frelu_refuses(void **state) {
    hk_context *ctx = *state;
    static const hk_shape wrong[] = {{1, {5}}, {2, {-1, 64}}, {3, {-1, 8, 5}}};
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(hk_module_build(hk_activation(ctx, "frelu"), wrong[i], NULL),
                         HK_ERR_SHAPE);
        expect_error(ctx, HK_ERR_SHAPE, "[frelu]", "takes images", "(n, channels, height, width)");
    }
    hk_module *m = hk_sequential(ctx, hk_linear(ctx, 4, 8), hk_activation(ctx, "frelu"));
    assert_null(hk_forward(m, uniform(ctx, HK_SHAPE(3, 4), "features")));
    expect_error(ctx, HK_ERR_SHAPE, "[frelu] 1 takes images", "not (n, 8)");
    assert_int_equal(hk_module_build(hk_activation(ctx, "frelu"), HK_SHAPE(-1, -1, 8, 8), NULL),
                     HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "[frelu]", "the number of channels", "must be known");
    m = built(ctx, hk_activation(ctx, "frelu"), HK_SHAPE(-1, 8, -1, -1));
    assert_null(hk_forward(m, uniform(ctx, HK_SHAPE(3, 8), "features")));
    expect_error(ctx, HK_ERR_SHAPE, "[frelu]", "takes images");
    assert_null(hk_activate(uniform(ctx, HK_SHAPE(1, 1, 3, 3), "image"), "frelu"));
    expect_error(ctx, HK_ERR_ARGUMENT, "[frelu]", "make a module");
    assert_null(hk_activation(ctx, "frelu:gamma=-1"));
    expect_error(ctx, HK_ERR_ARGUMENT, "frelu: gamma must be a number from 0");
    assert_null(hk_activation(ctx, "frelu:beta=1"));
    expect_error(ctx, HK_ERR_NAME, "frelu has no setting 'beta=1'", "gamma, init=paper|relu");
}

/* --- meta_acon with batch norm ----------------------------------------------------------------- */

static void meta_acon_has_names(void **state) {
    hk_context *ctx = *state;
    static const char *const names[] = {"p1",         "p2",       "fc1.weight", "fc1.bias",
                                        "fc2.weight", "fc2.bias", "bn1.weight", "bn1.bias",
                                        "bn2.weight", "bn2.bias"};
    hk_module *m = built(ctx, hk_activation(ctx, "meta_acon:r=2:bn=on"), HK_SHAPE(-1, 6, -1, -1));
    const hk_parameters all = hk_module_parameters(m);
    assert_int_equal(all.count, COUNT(names));
    for (int i = 0; i < all.count; i++) assert_string_equal(hk_tensor_name(all.items[i]), names[i]);
    assert_shape(hk_module_find(m, "bn1.weight"), HK_SHAPE(3));
    assert_shape(hk_module_find(m, "bn2.running_var"), HK_SHAPE(6));
    m = built(ctx, hk_activation(ctx, "meta_acon:init=paper"), HK_SHAPE(-1, 6, -1, -1));
    assert_int_equal(hk_module_parameters(m).count, 6);
    assert_int_equal(hk_module_buffers(m).count, 0);
}

/* One sample has no variance; evaluation needs none. */
static void meta_acon_needs_two_samples(void **state) {
    hk_context *ctx = *state;
    static const hk_shape one[] = {{4, {1, 6, 3, 3}}, {2, {1, 6}}};
    for (int64_t i = 0; i < COUNT(one); i++) {
        hk_shape input = one[i];
        input.dim[0] = -1;
        hk_module *m = hk_sequential(ctx, hk_activation(ctx, "meta_acon:bn=on"));
        built(ctx, m, input);
        hk_tensor *x = uniform(ctx, one[i], "one");
        assert_null(hk_forward(m, x));
        expect_error(ctx, HK_ERR_ARGUMENT, "[meta_acon] 0: with bn=on", "2 samples or more",
                     "bn=off");
        hk_module_train(m, false);
        assert_non_null(hk_forward(m, x));
        must(hk_step_end(ctx));
        m = built(ctx, hk_activation(ctx, "meta_acon"), input);
        assert_non_null(hk_forward(m, x));
        must(hk_step_end(ctx));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradients, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(per_channel, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(frelu_has_names, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(frelu_starts_as_relu, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(frelu_evaluates, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(frelu_starts, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(frelu_refuses, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(meta_acon_has_names, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(meta_acon_needs_two_samples, setup_f64, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
