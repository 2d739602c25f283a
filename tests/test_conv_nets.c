/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_conv_nets.c: networks of convolutions: how weights start, activations that decide their
   start or their width, the summary, gradients of whole networks.
   SPDX-License-Identifier: MIT */
#include "module.h"
#include "testing.h"

/* --- how weights start ----------------------------------------------------------------------- */

/* Mean and deviation within 4 standard errors of those of that many draws. */
static void check_deviation(const char *what, hk_tensor *t, double want, double kurtosis) {
    const double n = (double)hk_tensor_count(t), *v = values(t);
    double sum = 0, square = 0;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) {
        sum += v[i];
        square += v[i] * v[i];
    }
    const double mean = sum / n, deviation = sqrt(square / n);
    if (!(fabs(mean) <= 4 * want / sqrt(n)) ||
        !(fabs(deviation - want) <= 4 * want * sqrt((kurtosis - 1) / (4 * n))))
        fail_msg("%s: mean %g, deviation %g, not %g", what, mean, deviation, want);
}

static void check_bound(const char *what, hk_tensor *t, double bound) {
    const double *v = values(t);
    double most = 0;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) most = fmax(most, fabs(v[i]));
    if (!(most <= bound * (1 + 1e-6)) || !(most >= 0.99 * bound))
        fail_msg("%s: within %g, not %g", what, most, bound);
    check_deviation(what, t, bound / sqrt(3), 1.8);
}

/* `rows` vectors of `cols` elements, `next` and `step` apart: orthogonal, of length gain. */
static void check_orthogonal(hk_tensor *t, int64_t rows, int64_t cols, int64_t next, int64_t step,
                             double gain) {
    const double *v = values(t);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k <= i; k++) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c++)
                sum += v[i * next + c * step] * v[k * next + c * step];
            assert_close("product", i, sum / (gain * gain), i == k, 1e-5);
        }
}

typedef struct fans {
    bool transposed;
    int64_t in, out, groups;
    hk_pair kernel;
    double fan_in, fan_out;
} fans;

/* What one output is summed from, and what one input goes to. */
static const fans kinds[] = {
    {false, 16, 48, 1, {5, 3}, 16 * 15, 48 * 15}, {false, 48, 16, 1, {2, 4}, 48 * 8, 16 * 8},
    {false, 32, 64, 4, {3, 3}, 8 * 9, 16 * 9},    {false, 300, 600, 300, {3, 5}, 15, 2 * 15},
    {true, 16, 48, 1, {5, 3}, 16 * 15, 48 * 15},  {true, 64, 32, 4, {3, 2}, 16 * 6, 8 * 6},
};

static hk_module *layer_of(hk_context *ctx, const fans *f) {
    const hk_conv2d_config config = {.groups = f->groups};
    return (f->transposed ? hk_conv_transpose2d : hk_conv2d)(ctx, f->in, f->out, f->kernel,
                                                             &config);
}

static void check_start(hk_context *ctx, const fans *f, const char *name, const char *activation,
                        double gain) {
    hk_module *net = hk_sequential(ctx, layer_of(ctx, f), hk_activation(ctx, activation));
    must(hk_module_build(net, HK_UNKNOWN, name));
    hk_tensor *w = hk_module_find(net, "0.weight"), *b = hk_module_find(net, "0.bias");
    char what[120];
    snprintf(what, sizeof what, "%s, %s%lld to %lld, groups %lld, %s", name,
             f->transposed ? "transposed " : "", (long long)f->in, (long long)f->out,
             (long long)f->groups, activation);
    if (strcmp(name, "auto") == 0) check_deviation(what, w, gain / sqrt(f->fan_in), 3);
    if (strcmp(name, "lecun") == 0) check_deviation(what, w, 1 / sqrt(f->fan_in), 3);
    if (strcmp(name, "kaiming") == 0) check_deviation(what, w, sqrt(2 / f->fan_in), 3);
    if (strcmp(name, "torch") == 0) check_bound(what, w, 1 / sqrt(f->fan_in));
    if (strcmp(name, "xavier") == 0) check_bound(what, w, sqrt(6 / (f->fan_in + f->fan_out)));
    const int64_t rows = w->shape.dim[0], cols = hk_tensor_count(w) / rows;
    const bool wide = rows <= cols;
    if (strcmp(name, "orthogonal") == 0)
        check_orthogonal(w, wide ? rows : cols, wide ? cols : rows, wide ? cols : 1,
                         wide ? 1 : cols, gain);
    double largest = 0;
    const double *of_b = values(b);
    for (int64_t i = 0; i < f->out; i++) largest = fmax(largest, fabs(of_b[i]));
    if (strcmp(name, "torch") != 0)
        assert_true(largest == 0);
    else
        assert_true(largest <= 1 / sqrt(f->fan_in) * (1 + 1e-6) && largest > 0.8 / sqrt(f->fan_in));
    hk_module_destroy(net);
}

static void starts(void **state) {
    for (int64_t k = 0; k < COUNT(kinds); k++)
        for (int i = 0; i < hk_init_count(); i++) {
            check_start(*state, &kinds[k], hk_init_name(i), "relu", sqrt(2));
            check_start(*state, &kinds[k], hk_init_name(i), "tanh", 1.592537);
            check_start(*state, &kinds[k], hk_init_name(i), "identity", 1);
        }
}

/* The activation counts that the channels go to next, through what keeps them in order. */
static void gains(void **state) {
    hk_context *ctx = *state;
    const fans *f = &kinds[0];
    hk_module *const nets[] = {
        hk_sequential(ctx, layer_of(ctx, f), hk_dropout(ctx, 0.5), hk_flatten(ctx),
                      hk_activation(ctx, "relu")),
        hk_sequential(ctx, layer_of(ctx, f),
                      hk_sequential(ctx, hk_activation(ctx, "relu"), hk_activation(ctx, "tanh"))),
        hk_sequential(ctx, layer_of(ctx, f)),
        hk_sequential(ctx, layer_of(ctx, f), layer_of(ctx, &kinds[1]), hk_activation(ctx, "relu")),
        hk_sequential(ctx, hk_activation(ctx, "relu"), layer_of(ctx, f))};
    const double want[] = {sqrt(2), sqrt(2), 1, 1, 1};
    for (int64_t k = 0; k < COUNT(nets); k++)
        check_deviation("gain", hk_module_find(nets[k], k == 4 ? "1.weight" : "0.weight"),
                        want[k] / sqrt(f->fan_in), 3);
    assert_ok(ctx);
}

/* Each layer has draws of its own, one for each element. */
static void draws_differ(void **state) {
    hk_context *ctx = *state;
    hk_module *net = hk_sequential(ctx, hk_conv2d(ctx, 3, 3, HK_SQUARE(3), NULL),
                                   hk_conv2d(ctx, 3, 3, HK_SQUARE(3), NULL),
                                   hk_conv_transpose2d(ctx, 3, 3, HK_SQUARE(3), NULL));
    const hk_parameters all = hk_module_parameters(net);
    double draw[3 * 81];
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 81; i++) draw[81 * k + i] = element_get(all.items[2 * k], i);
    for (int i = 0; i < 3 * 81; i++)
        for (int k = 0; k < i; k++) assert_true(draw[i] != draw[k]);
}

/* --- activations that narrow ----------------------------------------------------------------- */

static void check_width(hk_context *ctx, hk_module *layer, const char *activation, int by,
                        hk_shape weight, hk_shape out) {
    hk_module *net = hk_sequential(ctx, layer, hk_activation(ctx, activation),
                                   hk_conv2d(ctx, out.dim[1], 2, HK_SQUARE(1), NULL),
                                   hk_activation(ctx, "relu"));
    hk_tensor *y = hk_forward(net, seeded(ctx, HK_F32, HK_SHAPE(2, 6, 7, 8), "wide", -1, 1, 0));
    assert_ok(ctx);
    assert_shape(hk_module_find(net, "0.weight"), weight);
    assert_shape(y, HK_SHAPE(2, 2, out.dim[2], out.dim[3]));
    assert_shape(hk_module_find(net, "0.bias"), HK_SHAPE(by * out.dim[1]));
    must(hk_backward(ctx, hk_sum(y, HK_ALL_AXES, false)));
    must(hk_step_end(ctx));
}

static void widened(void **state) {
    hk_context *ctx = *state;
    const hk_conv2d_config two = {.groups = 2, .padding = {1, 0}};
    const hk_pair k = {3, 2};
    check_width(ctx, hk_conv2d(ctx, 6, 4, k, NULL), "maxout:k=2", 2, HK_SHAPE(8, 6, 3, 2),
                HK_SHAPE(2, 4, 5, 7));
    check_width(ctx, hk_conv2d(ctx, 6, 4, k, NULL), "maxout:k=3", 3, HK_SHAPE(12, 6, 3, 2),
                HK_SHAPE(2, 4, 5, 7));
    check_width(ctx, hk_conv2d(ctx, 6, 4, k, &two), "glu", 2, HK_SHAPE(8, 3, 3, 2),
                HK_SHAPE(2, 4, 7, 7));
    check_width(ctx, hk_conv2d(ctx, 6, 3, k, NULL), "swiglu", 2, HK_SHAPE(6, 6, 3, 2),
                HK_SHAPE(2, 3, 5, 7));
    check_width(ctx, hk_conv2d(ctx, 6, 4, k, NULL), "relu", 1, HK_SHAPE(4, 6, 3, 2),
                HK_SHAPE(2, 4, 5, 7));
    check_width(ctx, hk_conv_transpose2d(ctx, 6, 4, k, NULL), "maxout:k=2", 2, HK_SHAPE(6, 8, 3, 2),
                HK_SHAPE(2, 4, 9, 9));
    check_width(ctx, hk_conv_transpose2d(ctx, 6, 4, k, &two), "geglu", 2, HK_SHAPE(6, 4, 3, 2),
                HK_SHAPE(2, 4, 7, 9));
}

/* --- the summary ------------------------------------------------------------------------------ */

static hk_module *digits(hk_context *ctx) {
    const hk_conv2d_config half = {.stride = {2, 2}, .padding = {1, 1}}, deep = {.groups = 64};
    return hk_sequential(ctx, hk_conv2d(ctx, 1, 64, HK_SQUARE(3), &half),
                         hk_activation(ctx, "gelu"),
                         hk_sequential(ctx, hk_conv2d_no_bias(ctx, 64, 128, HK_SQUARE(3), &deep),
                                       hk_activation(ctx, "maxout:k=2")),
                         hk_conv_transpose2d(ctx, 128, 7, (hk_pair){2, 3}, &half), hk_flatten(ctx),
                         hk_linear(ctx, 7 * 22 * 23, 10));
}

static void summary(void **state) {
    hk_context *ctx = *state;
    char text[4096], *line = text;
    const size_t length =
        hk_module_summary(digits(ctx), HK_SHAPE(-1, 1, 28, 28), text, sizeof text);
    assert_ok(ctx);
    assert_true(length > 200 && length < sizeof text);
    for (char *end; (end = strchr(line, '\n')); line = end + 1)
        if (end - line > 80)
            fail_msg("%d columns: %.*s", (int)(end - line), (int)(end - line), line);
    static const char *const rows[] = {"conv2d",           "(n, 64, 14, 14)", "640",
                                       "(n, 256, 12, 12)", "2,304",           "(n, 128, 12, 12)",
                                       "conv_transpose2d", "(n, 7, 22, 23)",  "5,383"};
    for (int64_t k = 0; k < COUNT(rows); k++)
        if (!strstr(text, rows[k])) fail_msg("no '%s' in\n%s", rows[k], text);
    hk_module_summary(digits(ctx), HK_UNKNOWN, text, sizeof text);
    assert_ok(ctx);
    if (!strstr(text, "(n, 64, ?, ?)")) fail_msg("%s", text);
}

/* --- gradients of networks -------------------------------------------------------------------- */

static void check_net(hk_context *ctx, const char *what, hk_shape x, hk_module *net) {
    hk_tensor *in = seeded(ctx, HK_F64, x, what, -1, 1, 0);
    hk_gradcheck_result result;
    if (hk_gradcheck_module(net, in, NULL, &result) != HK_OK)
        fail_msg("%s: %s", what, result.message);
    assert_ok(ctx);
    assert_true(result.elements > 100);
    must(hk_step_end(ctx));
}

static void gradients(void **state) {
    (void)state;
    hk_context *ctx = test_context(&(hk_context_config){.dtype = HK_F64, .threads = 2, .seed = 3});
    assert_non_null(ctx);
    const hk_conv2d_config pad = {.padding = {1, 1}}, step = {.stride = {2, 1}},
                           two = {.groups = 2, .dilation = {1, 2}, .padding = {1, 1}};
    check_net(ctx, "plain", HK_SHAPE(3, 2, 5, 6),
              hk_sequential(ctx, hk_conv2d(ctx, 2, 3, HK_SQUARE(3), &pad),
                            hk_activation(ctx, "tanh"),
                            hk_conv2d(ctx, 3, 2, (hk_pair){3, 2}, &step), hk_flatten(ctx),
                            hk_linear(ctx, 20, 3)));
    check_net(ctx, "grouped, there and back", HK_SHAPE(2, 2, 6, 5),
              hk_sequential(ctx, hk_conv2d(ctx, 2, 4, HK_SQUARE(3), &two),
                            hk_activation(ctx, "softplus"),
                            hk_conv_transpose2d(ctx, 4, 2, (hk_pair){3, 2}, &step),
                            hk_activation(ctx, "tanh"),
                            hk_conv2d_no_bias(ctx, 2, 1, HK_SQUARE(2), NULL), hk_flatten(ctx)));
    check_net(ctx, "widened", HK_SHAPE(2, 1, 5, 5),
              hk_sequential(
                  ctx, hk_conv2d(ctx, 1, 2, HK_SQUARE(3), NULL), hk_activation(ctx, "glu"),
                  hk_conv_transpose2d(ctx, 2, 2, HK_SQUARE(2), NULL),
                  hk_activation(ctx, "prelu:per=channel"), hk_flatten(ctx), hk_linear(ctx, 32, 2)));
    hk_module *same = hk_conv2d(ctx, 2, 2, HK_SQUARE(3), &pad); /* stands in two places */
    check_net(ctx, "shared", HK_SHAPE(2, 2, 5, 6),
              hk_sequential(ctx, same, hk_activation(ctx, "tanh"), same, hk_flatten(ctx),
                            hk_linear(ctx, 60, 2)));
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(starts, setup, teardown),
        cmocka_unit_test_setup_teardown(gains, setup, teardown),
        cmocka_unit_test_setup_teardown(draws_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(widened, setup, teardown),
        cmocka_unit_test_setup_teardown(summary, setup, teardown),
        cmocka_unit_test(gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
