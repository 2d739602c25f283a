/* ctest: labels=unit timeout=60 devices=cpu,cuda */
/* test_jacobian_chi.c: the mean squared singular value of random layers is the mean-field theory's factor.
   SPDX-License-Identifier: MIT */
#include "activation_fixture.h"
#include "hk_jacobian.h"
#include "hk_mean_field.h"
#include "net_fixture.h"

enum { WIDTH = 1000, NETS = 20, NETS_EMULATED = 6, SAMPLES = 4 };

static int count_nets(void) { return on_emulator() ? NETS_EMULATED : NETS; }

/* Weights of variance 1/fan_in, one set for each network; shared by all activations, since drawing them is what takes
   time. */
static float *weights;

static int draw(void **state) {
    (void)state;
    weights = malloc(sizeof *weights * NETS * WIDTH * WIDTH);
    if (!weights) return -1;
    for (int k = 0; k < count_nets(); k++) {
        const hk_random r = hk_random_stream((uint64_t)k, "chi/weights", 0);
        float *w = weights + (int64_t)k * WIDTH * WIDTH;
        for (int64_t i = 0; i < WIDTH * WIDTH; i++)
            w[i] = (float)(hk_random_normal(r, (uint64_t)i) / sqrt(WIDTH));
    }
    return 0;
}

static int drop(void **state) {
    (void)state;
    free(weights);
    return 0;
}

/* Rows of mean square 1/gain², so that q, the mean square of the pre-activations, is 1. */
static hk_tensor *inputs(hk_context *ctx, int net, double gain) {
    hk_tensor *x = hk_tensor_new(ctx, HK_F32, HK_SHAPE(SAMPLES, WIDTH));
    float *to = host(x);
    const hk_random r = hk_random_stream((uint64_t)net, "chi/inputs", 0);
    for (int s = 0; s < SAMPLES; s++) {
        double squares = 0;
        for (int i = 0; i < WIDTH; i++)
            squares += pow(hk_random_normal(r, (uint64_t)(s * WIDTH + i)), 2) / WIDTH;
        for (int i = 0; i < WIDTH; i++)
            to[s * WIDTH + i] =
                (float)(hk_random_normal(r, (uint64_t)(s * WIDTH + i)) / sqrt(squares) / gain);
    }
    host_done(x, to);
    return x;
}

/* One layer, linear and activation, with weights of variance gain²/fan_in. */
static double measured(hk_module *net, int k, double gain) {
    hk_context *ctx = hk_module_context(net);
    hk_tensor *weight = hk_module_find(net, "0.weight");
    float *w = host(weight);
    const float *from = weights + (int64_t)k * WIDTH * WIDTH;
    for (int64_t i = 0; i < WIDTH * WIDTH; i++) w[i] = (float)gain * from[i];
    host_done(weight, w);
    hk_tensor *x = inputs(ctx, k, gain);
    hk_jacobian r;
    const hk_jacobian_config config = {.probes = 2, .iterations = 1, .seed = (uint64_t)k};
    if (hk_module_jacobian(net, x, &config, &r, NULL) != HK_OK)
        fail_msg("%s", hk_error_message(ctx));
    hk_tensor_destroy(x);
    return r.mean_square;
}

static void chi_of_every_activation(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 2, 1);
    const hk_activation_info *row;
    int n = 0;
    double most = 0, most_errors = 0;
    const int step = on_emulator() ? 12 : 1;
    for (int r = 0; (row = hk_activation_row(ctx, r)) != NULL; r += step) {
        if (row->kind != HK_ACTIVATION_POINTWISE) continue;
        hk_activation_spec spec;
        assert_int_equal(hk_activation_parse(ctx, activation_text(row), &spec), HK_OK);
        const double gain = hk_activation_gain(ctx, &spec);
        const double theory = hk_mean_field_of(&spec, gain * gain, 0).chi;
        hk_module *net = hk_sequential(ctx, hk_linear_no_bias(ctx, WIDTH, WIDTH),
                                       hk_activation(ctx, activation_text(row)));
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, WIDTH), "torch"), HK_OK);
        double chi[NETS], mean = 0, squares = 0;
        const int nets = count_nets();
        for (int k = 0; k < nets; k++) mean += (chi[k] = measured(net, k, gain)) / nets;
        for (int k = 0; k < nets; k++) squares += (chi[k] - mean) * (chi[k] - mean);
        hk_module_destroy(net);
        const double error = sqrt(squares / (nets - 1) / nets), off = fabs(mean - theory);
        print_message("%-12s theory %.4f, measured %.4f +- %.4f: %+.2f errors\n", row->name, theory,
                      mean, error, (mean - theory) / error);
        most = fmax(most, off / theory);
        most_errors = fmax(most_errors, off / error);
        if (!(off <= 0.05 * theory && off <= 3 * error)) fail_msg("%s: chi is off", row->name);
        n++;
    }
    print_message("%d activations, off by at most %.2g %% and %.2f standard errors\n", n,
                  100 * most, most_errors);
    if (n < 30 / step) fail_msg("%d activations", n);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(chi_of_every_activation)};
    return cmocka_run_group_tests(tests, draw, drop);
}
