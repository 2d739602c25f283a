/* test_init.c: how parameters start: distributions, gains, orthogonality, and the very bits.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit timeout=60 devices=cpu,cuda */
#include "net_fixture.h"

enum { IN = 200, OUT = 300 };

/* --- distributions -------------------------------------------------------------------------- */

/* Mean, deviation and kurtosis within 3 standard errors of what that many draws of a distribution
   with this deviation and kurtosis have. */
static void check_moments(const char *what, hk_tensor *t, double deviation, double kurtosis) {
    const double n = (double)hk_tensor_count(t), *v = values(t);
    double sum = 0, square = 0, fourth = 0;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) sum += v[i];
    const double mean = sum / n;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) {
        const double d = v[i] - mean;
        square += d * d;
        fourth += d * d * d * d;
    }
    const double s = sqrt(square / n), k = fourth / n / (s * s * s * s);
    const bool good = fabs(mean) <= 3 * deviation / sqrt(n) &&
                      fabs(s - deviation) <= 3 * deviation * sqrt((kurtosis - 1) / (4 * n)) &&
                      fabs(k - kurtosis) <= 3 * sqrt(24 / n);
    if (!good)
        fail_msg("%s: mean %g, deviation %g for %g, kurtosis %g for %g", what, mean, s, deviation,
                 k, kurtosis);
}

static void check_normal(const char *what, hk_tensor *t, double deviation) {
    check_moments(what, t, deviation, 3);
}

static void check_uniform(const char *what, hk_tensor *t, double bound) {
    check_moments(what, t, bound / sqrt(3), 1.8);
    const double *v = values(t);
    double low = 0, high = 0;
    for (int64_t i = 0; i < hk_tensor_count(t); i++) {
        low = fmin(low, v[i]);
        high = fmax(high, v[i]);
    }
    const double limit = bound * (1 + 1e-7);
    assert_true(low >= -limit && high <= limit && low < -0.999 * bound && high > 0.999 * bound);
}

static void check_zero(hk_tensor *t) {
    const double *v = values(t);
    for (int64_t i = 0; i < hk_tensor_count(t); i++) assert_true(v[i] == 0);
}

static void distributions(void **state) {
    (void)state;
    for (int i = 0; i < hk_init_count(); i++) {
        const char *name = hk_init_name(i);
        hk_context *ctx = context(HK_F32, 1, 5);
        hk_module *net = hk_sequential(ctx, hk_linear(ctx, IN, OUT), hk_activation(ctx, "tanh"),
                                       hk_linear(ctx, OUT, 4 * IN));
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, IN), name), HK_OK);
        hk_tensor *w = hk_module_find(net, "0.weight"), *b = hk_module_find(net, "0.bias");
        hk_tensor *last = hk_module_find(net, "2.weight"), *last_b = hk_module_find(net, "2.bias");
        const double in = IN, out = OUT;
        if (strcmp(name, "auto") == 0) {
            check_normal(name, w, 1.5925 / sqrt(in));
            check_normal(name, last, 1 / sqrt(out));
        } else if (strcmp(name, "torch") == 0) {
            check_uniform(name, w, 1 / sqrt(in));
            check_uniform(name, last, 1 / sqrt(out));
            check_moments("torch's bias", last_b, 1 / sqrt(3 * out), 1.8);
            const double *of_b = values(b), *of_w = values(w);
            for (int64_t k = 0; k < OUT; k++)
                assert_true(fabs(of_b[k]) <= 1 / sqrt(in) && of_b[k] != of_w[k]);
        } else if (strcmp(name, "kaiming") == 0) {
            check_normal(name, w, sqrt(2 / in));
            check_normal(name, last, sqrt(2 / out));
        } else if (strcmp(name, "xavier") == 0) {
            check_uniform(name, w, sqrt(6 / (in + out)));
            check_uniform(name, last, sqrt(6 / (out + 4 * in)));
        } else if (strcmp(name, "lecun") == 0) {
            check_normal(name, w, 1 / sqrt(in));
            check_normal(name, last, 1 / sqrt(out));
        } else {
            assert_string_equal(name, "orthogonal"); /* it has a test of its own */
        }
        if (strcmp(name, "torch") != 0) check_zero(b);
        assert_true(number(w, 0) != number(last, 0));
        hk_context_destroy(ctx);
    }
    assert_int_equal(hk_init_count(), 6);
    assert_null(hk_init_name(-1));
    assert_null(hk_init_name(6));
}

static void unknown_name(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = hk_linear(ctx, 2, 2);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2), "he"), HK_ERR_NAME);
    expect_error(ctx, HK_ERR_NAME,
                 "[init] unknown initialiser 'he'; there are: auto, torch, kaiming, xavier, lecun, "
                 "orthogonal");
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2), "lecun"), HK_OK); /* nothing was lost */
    hk_context_destroy(ctx);
}

/* --- orthogonal ----------------------------------------------------------------------------- */

/* Rows of a wide matrix, columns of a tall one: products of all pairs, over gain². */
static void check_orthogonal(hk_tensor *t, double gain) {
    const double *v = values(t);
    const int64_t rows = t->shape.dim[0], cols = t->shape.dim[1];
    const int64_t n = rows < cols ? rows : cols, length = rows < cols ? cols : rows;
    const int64_t next = rows <= cols ? 1 : cols, step = rows <= cols ? cols : 1;
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t k = 0; k < length; k++)
                sum += v[i * step + k * next] * v[j * step + k * next];
            const double error = fabs(sum / (gain * gain) - (i == j));
            if (!(error <= worst)) worst = error;
        }
    if (!(worst <= 1e-6)) fail_msg("off by %g", worst);
}

static void orthogonal(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_linear(ctx, 200, 300), hk_activation(ctx, "relu"),
                                   hk_linear(ctx, 300, 100), hk_linear(ctx, 100, 100),
                                   hk_activation(ctx, "tanh"), hk_linear(ctx, 100, 1));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 200), "orthogonal"), HK_OK);
    check_orthogonal(hk_module_find(net, "0.weight"), sqrt(2));  /* tall */
    check_orthogonal(hk_module_find(net, "2.weight"), 1);        /* wide */
    check_orthogonal(hk_module_find(net, "3.weight"), 1.592537); /* square */
    check_orthogonal(hk_module_find(net, "5.weight"), 1);        /* one row */
    check_zero(hk_module_find(net, "0.bias"));
    hk_context_destroy(ctx);
}

/* --- the gain of the activation that follows ------------------------------------------------ */

static hk_module *layer(hk_context *ctx) { return hk_linear(ctx, IN, OUT); }

/* Deviation of the (OUT, IN) layer's weights times sqrt(IN). */
static void check_gain(const char *what, hk_context *ctx, hk_module *net, double gain) {
    const hk_parameters all = hk_module_parameters(net);
    assert_ok(ctx);
    bool found = false;
    for (int i = 0; i < all.count; i++) {
        if (!hk_shape_equal(hk_tensor_shape(all.items[i]), HK_SHAPE(OUT, IN))) continue;
        check_normal(what, all.items[i], gain / sqrt(IN));
        found = true;
    }
    assert_true(found);
}

static hk_status unknown_build(hk_module *m, void *state, hk_shape in, hk_shape *out) {
    (void)m, (void)state;
    *out = in;
    return HK_OK;
}
static hk_tensor *unknown_forward(hk_module *m, void *state, hk_tensor *x) {
    (void)m, (void)state;
    return x;
}
static hk_module *unknown_module(hk_context *ctx) {
    static const hk_module_class cls = {
        .name = "unknown", .build = unknown_build, .forward = unknown_forward};
    return hk_module_create(ctx, &cls, NULL);
}

static void gains(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F32, 1, 1);
    const double relu = sqrt(2), tanh_gain = 1.5925374;
#define GAIN(gain, ...) check_gain(#__VA_ARGS__, ctx, hk_sequential(ctx, __VA_ARGS__), gain)
#define ACT(name) hk_activation(ctx, name)
    GAIN(relu, layer(ctx), ACT("relu"));
    GAIN(tanh_gain, layer(ctx), ACT("tanh"));
    GAIN(relu, hk_linear_no_bias(ctx, IN, OUT), ACT("relu"));
    GAIN(1, layer(ctx), ACT("identity"));
    GAIN(1, layer(ctx));
    GAIN(1, ACT("relu"), layer(ctx));
    GAIN(1, layer(ctx), hk_linear(ctx, OUT, 2), ACT("relu"));
    GAIN(relu, layer(ctx), hk_dropout(ctx, 0.5), hk_flatten(ctx), ACT("relu"));
    GAIN(relu, layer(ctx), hk_alpha_dropout(ctx, 0.5), ACT("relu"), ACT("tanh"));
    GAIN(1, layer(ctx), hk_dropout(ctx, 0.5));
    GAIN(relu, hk_sequential(ctx, layer(ctx)), ACT("relu"));
    GAIN(relu, hk_sequential(ctx, layer(ctx), hk_dropout(ctx, 0.5)), ACT("relu"));
    GAIN(relu, layer(ctx), hk_sequential(ctx, hk_dropout(ctx, 0.5), ACT("relu")), ACT("tanh"));
    GAIN(tanh_gain, layer(ctx), hk_sequential(ctx, hk_dropout(ctx, 0.5)), ACT("tanh"));
    GAIN(1, layer(ctx), hk_sequential(ctx, hk_linear(ctx, OUT, 2), ACT("relu")));
    GAIN(1, layer(ctx), unknown_module(ctx), ACT("relu")); /* nobody knows what it does */
    /* 1/sqrt(E f(z)²): half of z² passes whole, half with the slope's square. */
    GAIN(sqrt(2 / (1 + 0.25 * 0.25)), layer(ctx), ACT("prelu"));
    GAIN(sqrt(2 / (1 + 0.7 * 0.7)), layer(ctx), ACT("leaky_relu:negative_slope=0.7"));
    hk_context_destroy(ctx);
}

/* --- bits ----------------------------------------------------------------------------------- */

/* The start of 784-128-10 with relu, as gcc 12 and clang 14 have it on x86-64: every compiler,
   number of threads and instruction set gives the same. */
static const struct {
    const char *init;
    uint64_t seed, fingerprint;
    float first, last; /* of 0.weight and of 2.weight */
} starts[] = {
    {"auto", 1, 0x1CC2F2B2F68BD90Fu, 0x1.a2117ep-7F, 0x1.66c72p-5F},
    {"auto", 2, 0xDCBD3205FAD0A2E8u, -0x1.082954p-7F, 0x1.cb90eep-9F},
    {"torch", 1, 0xDC957B9BE951974Cu, 0x1.e284bcp-6F, -0x1.9c29dp-6F},
    {"kaiming", 1, 0x520842D2E61D5809u, 0x1.a2117ep-7F, 0x1.fb6372p-5F},
    {"xavier", 1, 0x56AD20D576B5F6FCu, 0x1.11f64p-4F, -0x1.e6294ep-5F},
    {"lecun", 1, 0x6769AEF7D794AE8Fu, 0x1.279e74p-7F, 0x1.66c72p-5F},
    {"orthogonal", 1, 0xFA4E83AEDB2E3484u, 0x1.a0113p-7F, 0x1.a44206p-4F},
};

static hk_module *mnist_net(hk_context *ctx) {
    return hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 784, 128), hk_activation(ctx, "relu"),
                         hk_linear(ctx, 128, 10));
}

static void same_start_everywhere(void **state) {
    (void)state;
    static const char *const isas[] = {"base", NULL};
    bool good = true;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        for (int k = 0; k < 2; k++) {
            const hk_context_config config = {
                .seed = starts[i].seed, .threads = 1 + k, .isa = isas[k]};
            hk_context *ctx = test_context(&config);
            hk_module *net = mnist_net(ctx);
            assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 28, 28), starts[i].init), HK_OK);
            const uint64_t print = fingerprint(hk_module_parameters(net));
            const hk_tensor *w = hk_module_find(net, "1.weight"),
                            *v = hk_module_find(net, "3.weight");
            const float first = (float)number(w, 0), last = (float)number(v, 1279);
            if (print != starts[i].fingerprint || first != starts[i].first ||
                last != starts[i].last) {
                print_message("{\"%s\", %d, 0x%016llXu, %aF, %aF},\n", starts[i].init,
                              (int)starts[i].seed, (unsigned long long)print, (double)first,
                              (double)last);
                good = false;
            }
            hk_context_destroy(ctx);
        }
    assert_true(good);
}

static bool same_parameter(hk_module *a, const char *in_a, hk_module *b, const char *in_b) {
    hk_tensor *x = hk_module_find(a, in_a), *y = hk_module_find(b, in_b);
    assert_non_null(x);
    assert_non_null(y);
    return hk_shape_equal(hk_tensor_shape(x), hk_tensor_shape(y)) && same_elements(x, y);
}

static void additions_change_no_other_draw(void **state) {
    (void)state;
    for (int i = 0; i < hk_init_count(); i++) {
        const char *init = hk_init_name(i);
        const bool by_activation = strcmp(init, "auto") == 0 || strcmp(init, "orthogonal") == 0;
        hk_context *ctx = context(HK_F32, 1, 9);
        hk_module *base = hk_sequential(ctx, hk_linear(ctx, 20, 16), hk_activation(ctx, "relu"),
                                        hk_linear(ctx, 16, 4));
        hk_module *longer = hk_sequential(ctx, hk_linear(ctx, 20, 16),
                                          hk_activation(ctx, by_activation ? "relu" : "prelu"),
                                          hk_dropout(ctx, 0.5), hk_linear(ctx, 16, 4),
                                          hk_linear(ctx, 4, 3), hk_activation(ctx, "prelu"));
        assert_int_equal(hk_module_build(base, HK_SHAPE(-1, 20), init), HK_OK);
        assert_int_equal(hk_module_build(longer, HK_SHAPE(-1, 20), init), HK_OK);
        assert_true(same_parameter(base, "0.weight", longer, "0.weight"));
        assert_true(same_parameter(base, "0.bias", longer, "0.bias"));
        assert_true(same_parameter(base, "2.weight", longer, "3.weight"));
        assert_true(same_parameter(base, "2.bias", longer, "3.bias"));
        hk_context *other = context(HK_F32, 1, 10); /* the seed does change them */
        hk_module *again = hk_sequential(other, hk_linear(other, 20, 16));
        assert_int_equal(hk_module_build(again, HK_SHAPE(-1, 20), init), HK_OK);
        assert_false(same_parameter(base, "0.weight", again, "0.weight"));
        hk_context_destroy(other);
        hk_context_destroy(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions),
        cmocka_unit_test(unknown_name),
        cmocka_unit_test(orthogonal),
        cmocka_unit_test(gains),
        cmocka_unit_test(same_start_everywhere),
        cmocka_unit_test(additions_change_no_other_draw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
