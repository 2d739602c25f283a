/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_act_wide.c: functions of a row, small networks and mixtures: gradients on rows and on
   images, ties, halves, starts, and the shapes they refuse.
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

static hk_module *built(hk_context *ctx, const char *text, hk_shape shape) {
    hk_module *m = hk_activation(ctx, text);
    if (!m || hk_module_build(m, shape, NULL) != HK_OK)
        fail_msg("%s: %s", text, hk_error_message(ctx));
    hk_module_train(m, false);
    return m;
}

/* --- gradients ------------------------------------------------------------------------------- */

static const hk_shape shapes[] = {{2, {5, 12}}, {2, {1, 12}}, {4, {3, 12, 3, 5}}, {3, {2, 12, 1}}};

/* Parameters leave their starts: of these some have gradients of 0. */
static void move(hk_module *m) {
    const hk_parameters all = hk_module_parameters(m);
    for (int i = 0; i < all.count; i++) {
        hk_tensor *t = all.items[i], *draw = seeded(hk_module_context(m), HK_F64,
                                                    hk_tensor_shape(t), "move", -0.7, 0.8, 0);
        double *value = host(t);
        const double *more = host(draw);
        for (int64_t k = 0; k < hk_tensor_count(t); k++) value[k] += more[k];
        host_done(t, value);
        hk_tensor_destroy(draw);
    }
}

static void check_module(hk_context *ctx, const char *text, hk_shape shape) {
    hk_module *m = built(ctx, text, shape);
    hk_tensor *x = seeded(ctx, HK_F64, shape, text, -2, 2, 0);
    hk_gradcheck_result result;
    move(m);
    must(hk_step_end(ctx));
    if (hk_gradcheck_module(m, x, NULL, &result) != HK_OK) {
        char at[64];
        fail_msg("%s on %s: %s; %s", text, hk_shape_text(shape, at, sizeof at), result.message,
                 hk_error_message(ctx));
    }
    int64_t elements = hk_tensor_count(x);
    const hk_parameters all = hk_module_parameters(m);
    for (int i = 0; i < all.count; i++) elements += hk_tensor_count(all.items[i]);
    assert_int_equal(result.elements, elements);
    hk_tensor_destroy(x);
    hk_module_destroy(m);
}

static void gradients(void **state) {
    static const char *const texts[] = {"softmax",
                                        "log_softmax",
                                        "maxout",
                                        "maxout:k=3",
                                        "maxout:k=4",
                                        "glu",
                                        "glu:half=first",
                                        "reglu",
                                        "geglu",
                                        "geglu:half=first",
                                        "swiglu",
                                        "swiglu:half=first",
                                        "bilinear",
                                        "bilinear:half=first",
                                        "dyrelu_a",
                                        "dyrelu_a:r=12",
                                        "dyrelu_b",
                                        "dyrelu_b:r=2",
                                        "meta_acon",
                                        "meta_acon:r=2",
                                        "mix:relu+tanh+silu",
                                        "mix:identity+gelu:T=0.5",
                                        "mix:relu+leaky_relu,negative_slope=0.2:T=3"};
    for (int64_t k = 0; k < COUNT(texts); k++)
        for (int64_t s = 0; s < COUNT(shapes); s++) check_module(*state, texts[k], shapes[s]);
}

/* --- maxout ---------------------------------------------------------------------------------- */

/* Small whole numbers, so ties everywhere; against the definition, on images too, in both types. */
static void check_maxout(hk_context *ctx, hk_dtype dtype, int64_t k, hk_shape shape) {
    hk_tensor *z = hk_require_grad(seeded(ctx, dtype, shape, "ties", 0, 4, 1));
    char text[32];
    snprintf(text, sizeof text, "maxout:k=%d", (int)k);
    hk_tensor *y = hk_activate(z, text), *g;
    assert_ok(ctx);
    must(hk_backward_from(ctx, y, g = seeded(ctx, dtype, hk_tensor_shape(y), "gradient", 1, 2, 0)));
    const double *in = values(z), *out = values(y), *gy = values(g), *gz = values(hk_grad(z));
    const int64_t channels = shape.dim[1] / k,
                  inner = hk_shape_count(shape) / shape.dim[0] / shape.dim[1];
    for (int64_t o = 0; o < hk_tensor_count(y); o++) {
        const int64_t n = o / (channels * inner), c = o / inner % channels, i = o % inner;
        const int64_t from = (n * shape.dim[1] + c * k) * inner + i;
        int64_t first = 0;
        for (int64_t j = 1; j < k; j++)
            if (in[from + j * inner] > in[from + first * inner]) first = j;
        assert_close(text, o, out[o], in[from + first * inner], 0);
        for (int64_t j = 0; j < k; j++)
            assert_close(text, from + j * inner, gz[from + j * inner], j == first ? gy[o] : 0, 0);
    }
    must(hk_step_end(ctx));
    hk_tensor_destroy(z);
    hk_tensor_destroy(g);
}

static void maxout_ties(void **state) {
    for (int64_t k = 2; k <= 6; k++)
        for (int64_t s = 0; s < COUNT(shapes); s++)
            if (12 % k == 0)
                for (int f64 = 0; f64 < 2; f64++)
                    check_maxout(*state, f64 ? HK_F64 : HK_F32, k, shapes[s]);
    check_maxout(*state, HK_F32, 255, HK_SHAPE(3, 510)); /* the most, so the last may win */
}

/* Each adds its gradient to what is there of the other. */
static hk_tensor *two_maxouts(hk_context *ctx, int n, hk_tensor *const *in, void *arg) {
    (void)ctx, (void)n, (void)arg;
    return hk_add(hk_activate(in[0], "maxout"), hk_activate(in[0], "maxout"));
}

static void maxout_adds(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = seeded(ctx, HK_F64, HK_SHAPE(5, 12), "x", -2, 2, 0);
    hk_gradcheck_result result;
    if (hk_gradcheck(ctx, two_maxouts, NULL, 1, &x, NULL, &result) != HK_OK)
        fail_msg("%s; %s", result.message, hk_error_message(ctx));
    assert_int_equal(result.elements, 60);
}

/* NaN wins, wherever it stands, and infinities are numbers like others. */
static void maxout_special(void **state) {
    hk_context *ctx = *state;
    const double z[] = {1,   NAN,       2,        NAN,       1, 2, 1, 2, NAN,
                        NAN, -INFINITY, INFINITY, -INFINITY, 5, 1, 3, 2, 1};
    for (int f64 = 0; f64 < 2; f64++) {
        const double *y =
            values(hk_activate(kept(ctx, f64 ? HK_F64 : HK_F32, HK_SHAPE(1, 18), z), "maxout:k=3"));
        for (int i = 0; i < 4; i++) assert_nan("y", i, y[i]);
        assert_close("y", 4, y[4], 5, 0);
        assert_close("y", 5, y[5], 3, 0);
    }
}

/* --- gated units ----------------------------------------------------------------------------- */

/* y = a·h(b), bit for bit, where [a, b] is the input and half=first takes [b, a]; h by the row's
   own gate. */
static void halves(void **state) {
    hk_context *ctx = *state;
    static const char *const names[] = {"glu", "reglu", "geglu", "swiglu", "bilinear"};
    static const char *const gates[] = {"sigmoid", "relu", "gelu", "silu", "identity"};
    for (int64_t k = 0; k < COUNT(names); k++)
        for (int64_t s = 0; s < COUNT(shapes); s++)
            for (int first = 0; first < 2; first++) {
                char text[32];
                snprintf(text, sizeof text, "%s:half=%s", names[k], first ? "first" : "second");
                hk_tensor *z = seeded(ctx, HK_F64, shapes[s], text, -2, 2, 0),
                          *a = hk_slice(z, 1, first ? 6 : 0, 6),
                          *b = hk_slice(z, 1, first ? 0 : 6, 6), *y = hk_activate(z, text);
                hk_tensor *want = hk_mul(a, hk_activate(b, gates[k]));
                assert_shape(y, hk_tensor_shape(want));
                assert_values(text, y, hk_tensor_count(want), values(want), 0);
                must(hk_step_end(ctx));
            }
}

/* A vector has one axis, and that is the one. */
static void vectors(void **state) {
    hk_context *ctx = *state;
    hk_tensor *x = kept(ctx, HK_F64, HK_SHAPE(6), (const double[]){0, 1, 2, 5, -1, 0});
    assert_values("maxout", hk_activate(x, "maxout:k=3"), 2, (const double[]){2, 5}, 0);
    assert_values("reglu", hk_activate(x, "reglu"), 3, (const double[]){0, 0, 0}, 0);
    assert_values("bilinear", hk_activate(x, "bilinear"), 3, (const double[]){0, -1, 0}, 0);
    const double *y = values(hk_activate(x, "softmax"));
    double sum = 0;
    for (int i = 0; i < 6; i++) sum += y[i];
    assert_close("sum", 0, sum, 1, 1e-15);
}

static void refused(void **state) {
    hk_context *ctx = *state;
    hk_tensor *odd = hk_full(ctx, HK_F64, HK_SHAPE(2, 5), 1),
              *bytes = hk_full(ctx, HK_U8, HK_SHAPE(2, 6), 1),
              *scalar = hk_full(ctx, HK_F64, HK_SCALAR, 1);
    assert_null(hk_activate(odd, "maxout"));
    expect_error(ctx, HK_ERR_SHAPE, "[maxout]", "axis 1 of (2, 5)", "not a multiple of k = 2");
    assert_null(hk_activate(odd, "swiglu"));
    expect_error(ctx, HK_ERR_SHAPE, "[swiglu]", "axis 1 of (2, 5)", "not even");
    assert_null(hk_activate(bytes, "maxout"));
    expect_error(ctx, HK_ERR_DTYPE, "[maxout]", "u8");
    assert_null(hk_activate(bytes, "glu"));
    expect_error(ctx, HK_ERR_DTYPE, "u8");
    static const char *const wide[] = {"softmax", "log_softmax", "maxout", "glu"};
    for (int64_t k = 0; k < COUNT(wide); k++) {
        assert_null(hk_activate(scalar, wide[k]));
        if (hk_error(ctx) == HK_OK) fail_msg("%s takes a scalar", wide[k]);
        hk_error_clear(ctx);
    }
    hk_module *m = hk_activation(ctx, "maxout:k=4");
    assert_int_equal(hk_module_build(m, HK_SHAPE(-1, 10), NULL), HK_ERR_SHAPE);
    expect_error(ctx, HK_ERR_SHAPE, "axis 1 is 10, not a multiple of 4");
    static const char *const networks[] = {"dyrelu_a", "dyrelu_b", "meta_acon",
                                           "prelu:per=channel"};
    for (int64_t k = 0; k < COUNT(networks); k++) {
        m = hk_activation(ctx, networks[k]);
        assert_int_equal(hk_module_build(m, HK_SHAPE(-1, -1), NULL), HK_ERR_SHAPE);
        expect_error(ctx, HK_ERR_SHAPE, "the number of channels", "must be known");
    }
    m = hk_activation(ctx, "mix:relu+acon_c,p1=0,p2=0");
    assert_int_equal(hk_module_build(m, HK_SHAPE(-1, 4), NULL), HK_ERR_ARGUMENT);
    expect_error(ctx, HK_ERR_ARGUMENT, "acon_c is a constant: it cannot be normalised");
}

/* --- networks -------------------------------------------------------------------------------- */

/* Dynamic relu starts as relu: fc2 is 0. */
static void dynamic_relu_starts_as_relu(void **state) {
    hk_context *ctx = *state;
    static const char *const texts[] = {"dyrelu_a", "dyrelu_b", "dyrelu_b:r=1"};
    for (int64_t k = 0; k < COUNT(texts); k++)
        for (int64_t s = 0; s < COUNT(shapes); s++) {
            hk_module *m = built(ctx, texts[k], shapes[s]);
            hk_tensor *x = seeded(ctx, HK_F64, shapes[s], texts[k], -2, 2, 0);
            assert_values(texts[k], hk_forward(m, x), hk_tensor_count(x),
                          values(hk_activate(x, "relu")), 0);
            must(hk_step_end(ctx));
        }
}

/* Where both lines are equal, as at 0 at the start, the first has the gradient. */
static void dynamic_relu_ties(void **state) {
    hk_context *ctx = *state;
    static const char *const texts[] = {"dyrelu_a", "dyrelu_b"};
    for (int64_t k = 0; k < COUNT(texts); k++) {
        hk_module *m = built(ctx, texts[k], HK_SHAPE(-1, 3));
        hk_tensor *x = hk_require_grad(kept(ctx, HK_F64, HK_SHAPE(1, 3), (double[]){0, -1, 2}));
        hk_tensor *y = hk_forward(m, x);
        must(hk_backward_from(ctx, y, hk_full(ctx, HK_F64, HK_SHAPE(1, 3), 1)));
        assert_values(texts[k], hk_grad(x), 3, (const double[]){1, 0, 1}, 0);
        must(hk_step_end(ctx));
    }
}

/* The sizes of the two linear layers. */
static void hidden_sizes(void **state) {
    hk_context *ctx = *state;
    static const struct {
        const char *text;
        int64_t channels, hidden, out;
    } cases[] = {{"dyrelu_a", 12, 3, 4},    {"dyrelu_a:r=5", 12, 2, 4},
                 {"dyrelu_a", 3, 1, 4},     {"dyrelu_b:r=2", 12, 6, 48},
                 {"meta_acon", 12, 16, 12}, {"meta_acon:r=2", 12, 6, 12},
                 {"meta_acon:r=2", 3, 2, 3}};
    for (int64_t k = 0; k < COUNT(cases); k++) {
        hk_module *m = built(ctx, cases[k].text, HK_SHAPE(-1, cases[k].channels));
        assert_shape(hk_module_find(m, "fc1.weight"), HK_SHAPE(cases[k].hidden, cases[k].channels));
        assert_shape(hk_module_find(m, "fc2.weight"), HK_SHAPE(cases[k].out, cases[k].hidden));
        assert_shape(hk_module_find(m, "fc2.bias"), HK_SHAPE(cases[k].out));
    }
}

/* Σ w_k (f_k(x) - m_k)/s_k of relu, tanh and silu by the oracle. */
static double mixed(hk_context *ctx, const double *w, double x) {
    static const char *const names[] = {"relu", "tanh", "silu"};
    double sum = 0;
    for (int k = 0; k < 3; k++) {
        hk_activation_spec f;
        must(hk_activation_parse(ctx, names[k], &f));
        const double mean = hk_activation_expectation(&f, HK_MEAN),
                     second = hk_activation_expectation(&f, HK_SECOND_MOMENT);
        sum += w[k] * (hk_activation_value(&f, x) - mean) / sqrt(second - mean * mean);
    }
    return sum;
}

/* w = softmax(logits/T), equal at the start; with one logit far ahead its candidate alone. */
static void mixture_values(void **state) {
    hk_context *ctx = *state;
    const double t = 0.5, e[] = {exp(0.25 / t), exp(-0.5 / t), exp(1.25 / t)},
                 sum = e[0] + e[1] + e[2];
    const double logits[][3] = {{0, 0, 0}, {0.25, -0.5, 1.25}, {400, 0, 0}, {0, 0, 400}},
                 weights[][3] = {{1 / 3.0, 1 / 3.0, 1 / 3.0},
                                 {e[0] / sum, e[1] / sum, e[2] / sum},
                                 {1, 0, 0},
                                 {0, 0, 1}};
    hk_module *m = built(ctx, "mix:relu+tanh+silu:T=0.5", HK_SHAPE(-1, 4));
    hk_tensor *a = hk_module_find(m, "logits"),
              *x = seeded(ctx, HK_F64, HK_SHAPE(3, 4), "mix", -2, 2, 0);
    for (int64_t k = 0; k < COUNT(logits); k++) {
        if (k > 0) must(hk_tensor_write(a, logits[k], sizeof logits[k]));
        const double *y = values(hk_forward(m, x)), *in = values(x);
        for (int i = 0; i < 12; i++)
            assert_close("mix", i, y[i], mixed(ctx, weights[k], in[i]), 1e-13);
        must(hk_step_end(ctx));
    }
}

/* --- random starts --------------------------------------------------------------------------- */

static void drawn(hk_module *m, const char *name, double mean, double deviation, double most) {
    const double *p = values(hk_module_find(m, name));
    const int64_t n = hk_tensor_count(hk_module_find(m, name));
    double sum = 0, square = 0;
    assert_int_equal(n, 4000);
    for (int64_t i = 0; i < n; i++) {
        assert_close(name, i, p[i], mean, most);
        sum += p[i] - mean;
        square += (p[i] - mean) * (p[i] - mean);
    }
    assert_close(name, 0, sum / (double)n, 0, 0.06 * deviation);
    assert_close(name, 0, sqrt(square / (double)n), deviation, 0.05 * deviation);
}

static void paper_starts(void **state) {
    hk_context *ctx = *state;
    const hk_shape shape = {4, {-1, 4000, -1, -1}};
    hk_module *m = built(ctx, "acon_c:init=paper:per=channel", shape);
    assert_shape(hk_module_find(m, "p1"), HK_SHAPE(4000, 1, 1));
    drawn(m, "p1", 0, 1, 5);
    drawn(m, "p2", 0, 1, 5);
    drawn(m, "beta", 1, 0, 0);
    m = built(ctx, "apl:init=paper:per=channel", shape);
    for (int k = 0; k < 4; k++)
        drawn(m, (const char *[]){"a1", "a2", "b1", "b2"}[k], 0, k < 2 ? 0.25 / sqrt(3) : 0.5,
              k < 2 ? 0.25 : 2.5);
    m = built(ctx, "meta_acon:init=paper", HK_SHAPE(-1, 4000));
    drawn(m, "p1", 0, 1, 5);
    drawn(m, "p2", 0, 1, 5);
    m = built(ctx, "meta_acon", HK_SHAPE(-1, 4000));
    drawn(m, "p1", 1, 0, 0);
    drawn(m, "p2", 0, 0, 0);
    m = built(ctx, "srelu:per=channel:t_r=0.75", shape);
    drawn(m, "t_r", 0.75, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradients, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(maxout_ties, setup, teardown),
        cmocka_unit_test_setup_teardown(maxout_adds, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(maxout_special, setup, teardown),
        cmocka_unit_test_setup_teardown(halves, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(dynamic_relu_starts_as_relu, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(dynamic_relu_ties, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(hidden_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(mixture_values, setup_f64, teardown),
        cmocka_unit_test_setup_teardown(paper_starts, setup_f64, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
