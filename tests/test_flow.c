/* ctest: labels=unit,grad timeout=60 devices=cpu,cuda */
/* test_flow.c: the numbers in a record of gradient flow, against plain loops and by hand.
   SPDX-License-Identifier: MIT */
#include "flow_fixture.h"

static void assert_near(const char *what, double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance) && !(isnan(got) && isnan(want)))
        fail_msg("%s is %.17g, not %.17g", what, got, want);
}

/* --- statistics, norms, updates ------------------------------------------------------------------ */

static double distance(const hk_tensor *a, const hk_tensor *b) { /* b may be NULL: 0 */
    long double sum = 0;
    for (int64_t i = 0; i < hk_tensor_count(a); i++) {
        const long double d = (long double)number(a, i) - (b ? (long double)number(b, i) : 0);
        sum += d * d;
    }
    return (double)sqrtl(sum);
}

typedef struct watched {
    hk_module *net;
    hk_stats grad[ROWS], out[ROWS];
    double grad_l2[ROWS];
    hk_tensor *y[ROWS];
    int layers;
} watched;

static void note_output(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x;
    watched *w = arg;
    w->y[w->layers++] = y;
}

static void note_gradients(hk_context *ctx, void *arg) {
    (void)ctx;
    watched *w = arg;
    const hk_parameters all = hk_module_parameters(w->net);
    for (int i = 0; i < all.count; i++) w->grad[i] = hk_tensor_stats(hk_grad(all.items[i]));
    for (int i = 0; i < w->layers; i++) {
        hk_tensor *g = hk_grad(w->y[i]);
        w->out[i] = hk_tensor_stats(w->y[i]);
        w->grad_l2[i] = g ? distance(g, NULL) : (double)NAN;
    }
}

static hk_module *mixed_net(hk_context *ctx) {
    const hk_pool2d_config two = {.kernel = {2, 2}};
    return hk_sequential(ctx, hk_zero_pad2d(ctx, 1, 1, 1, 1),
                         hk_conv2d(ctx, 2, 4, HK_SQUARE(3), NULL), hk_activation(ctx, "relu"),
                         hk_max_pool2d(ctx, &two), hk_batch_norm2d(ctx, NULL), hk_flatten(ctx),
                         hk_linear(ctx, 36, 5), hk_activation(ctx, "prelu"), hk_linear(ctx, 5, 3));
}

static void check_records(hk_dtype dtype, bool adam) {
    hk_context *ctx = context(dtype, 2, 1);
    static watched w;
    w = (watched){.net = mixed_net(ctx)};
    assert_int_equal(hk_module_build(w.net, HK_SHAPE(-1, 2, 6, 6), NULL), HK_OK);
    const hk_parameters all = hk_module_parameters(w.net);
    hk_optimizer *opt =
        adam ? hk_adam(ctx, all, hk_adam_defaults()) : hk_sgd(ctx, all, hk_sgd_defaults());
    hk_hook *hook = hk_hook_backward(ctx, note_gradients, &w);
    for (int i = 0; i < hk_module_child_count(w.net); i++)
        hk_hook_forward(hk_module_child_at(w.net, i), note_output, &w);
    hk_flow *flow = hk_flow_create(w.net, NULL);
    hk_tensor *x = hk_tensor_keep(normal(ctx, "x", HK_SHAPE(8, 2, 6, 6))), *before[ROWS];
    for (int step = 1; step <= 3; step++) {
        hk_optimizer_zero_grad(opt);
        for (int i = 0; i < all.count; i++) before[i] = hk_tensor_keep(all.items[i]);
        w.layers = 0;
        hk_hook_enable(hook, true);
        forward_backward(ctx, w.net, x, "g");
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        hk_flow_finish(flow);
        const hk_flow_record *r = hk_flow_last(flow);
        assert_non_null(r);
        assert_int_equal(r->step, step);
        assert_int_equal(r->n_parameters, all.count);
        assert_int_equal(r->n_layers, w.layers);
        for (int i = 0; i < all.count; i++) {
            const hk_flow_parameter *p = &r->parameters[i];
            const double norm = distance(before[i], NULL),
                         moved = distance(all.items[i], before[i]);
            assert_string_equal(p->name, hk_tensor_name(all.items[i]));
            assert_true(same_stats(&p->grad, &w.grad[i]));
            assert_true(p->grad.count == hk_tensor_count(all.items[i]) && p->grad.l2 > 0);
            assert_near("weight_l2", p->weight_l2, norm, 1e-13 * norm);
            if (norm > 0) assert_true(moved > 0);
            assert_near("update_ratio", p->update_ratio, norm > 0 ? moved / norm : (double)NAN,
                        1e-12 * moved / norm);
        }
        for (int i = 0; i < w.layers; i++) {
            const hk_flow_layer *l = &r->layers[i];
            assert_string_equal(l->name, hk_module_name(hk_module_child_at(w.net, i)));
            assert_string_equal(l->kind, hk_module_kind(hk_module_child_at(w.net, i)));
            assert_true(same_stats(&l->out, &w.out[i]) && l->out.l2 > 0);
            assert_true(isnan(w.grad_l2[i]) == (i == 0)); /* before the first weight */
            assert_near("grad_l2", l->grad_l2, w.grad_l2[i], 1e-12 * w.grad_l2[i]);
        }
        for (int i = 0; i < all.count; i++) hk_tensor_destroy(before[i]);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    hk_context_destroy(ctx);
}

static void against_plain_calls(void **state) {
    (void)state;
    check_records(HK_F32, false);
    check_records(HK_F32, true);
    check_records(HK_F64, true);
}

/* Plain SGD by hand: w' = w - lr·g. */
static void update_by_hand(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *net = hk_linear_no_bias(ctx, 2, 1);
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2), NULL), HK_OK);
    const double w[] = {3, 4}, x[] = {6, -8}, one = 1;
    assert_int_equal(hk_tensor_write(hk_module_find(net, "weight"), w, sizeof w), HK_OK);
    hk_optimizer *opt = hk_sgd(ctx, hk_module_parameters(net), (hk_sgd_config){.lr = 0.5});
    hk_flow *flow = hk_flow_create(net, NULL);
    hk_tensor *y = hk_forward(net, hk_constant(ctx, HK_F64, HK_SHAPE(1, 2), x));
    assert_int_equal(hk_backward_from(ctx, y, hk_constant(ctx, HK_F64, HK_SHAPE(1, 1), &one)),
                     HK_OK);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    assert_null(hk_flow_last(flow));
    hk_flow_finish(flow);
    const hk_flow_record *r = hk_flow_last(flow);
    assert_near("ratio", r->parameters[0].update_ratio, 0.5 * 10 / 5, 1e-15);
    assert_near("norm of g", r->parameters[0].grad.l2, 10, 1e-14);
    assert_near("norm of w", r->parameters[0].weight_l2, 5, 1e-14);
    assert_near("mean", r->parameters[0].grad.mean, -1, 1e-15);
    assert_near("one_sign", r->parameters[0].one_sign, 0, 0);
    assert_near("one_sign_sample", r->layers[0].one_sign_sample, 0, 0);
    assert_near("grad_l2", r->layers[0].grad_l2, 1, 0);
    assert_near("output", r->layers[0].out.mean, 18 - 32, 1e-14);
    hk_context_destroy(ctx);
}

/* --- signs --------------------------------------------------------------------------------------------- */

typedef struct signs {
    int plus, minus;
} signs;

static void add_sign(signs *s, double v) {
    s->plus += v > 0;
    s->minus += v < 0;
}

/* Share of units with one sign; -1 where nothing counts. */
static double share_of(const signs *s, int n) {
    int one = 0, all = 0;
    for (int i = 0; i < n; i++) {
        all += s[i].plus + s[i].minus > 0;
        one += (s[i].plus > 0) != (s[i].minus > 0);
    }
    return all ? (double)one / all : (double)NAN;
}

/* Element i of a weight's gradient belongs to which output; groups of conv_transpose2d alone. */
static int unit_of(const hk_tensor *t, int64_t i, int transposed_groups) {
    const int64_t *dim = t->shape.dim;
    if (!transposed_groups) return (int)(i / (hk_tensor_count(t) / dim[0]));
    const int64_t area = dim[2] * dim[3], in = i / area / dim[1], o = i / area % dim[1];
    return (int)(in / (dim[0] / transposed_groups) * dim[1] + o);
}

static void one_sign(void **state) {
    (void)state;
    int between = 0;
    for (int seed = 0; seed < 12; seed++)
        for (int groups = 1; groups <= 2; groups++) {
            hk_context *ctx = context(seed % 2 ? HK_F64 : HK_F32, 1, (uint64_t)seed);
            const hk_conv2d_config config = {.groups = groups};
            hk_module *net = hk_sequential(
                ctx, hk_conv2d(ctx, 2, 8, (hk_pair){1, 2}, &config), hk_activation(ctx, "relu"),
                hk_conv_transpose2d(ctx, 8, 6, HK_SQUARE(1), &config), hk_activation(ctx, "relu"),
                hk_flatten(ctx), hk_linear(ctx, 24, 3));
            assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2, 2, 3), NULL), HK_OK);
            hk_flow *flow = hk_flow_create(net, NULL);
            forward_backward(ctx, net, normal(ctx, "x", HK_SHAPE(2, 2, 2, 3)), "g");
            hk_flow_finish(flow);
            static const char *const names[] = {"0.weight", "2.weight", "5.weight"};
            for (int k = 0; k < 3; k++) {
                const hk_tensor *g = hk_grad(hk_module_find(net, names[k]));
                signs unit[8] = {{0}};
                const int transposed = k == 1 ? groups : 0, units = k == 0 ? 8 : k == 1 ? 6 : 3;
                for (int64_t i = 0; i < hk_tensor_count(g); i++)
                    add_sign(&unit[unit_of(g, i, transposed)], number(g, i));
                const double want = share_of(unit, units);
                const double got = parameter_row(hk_flow_last(flow), names[k])->one_sign;
                assert_near(names[k], got, want, 0);
                between += got > 0 && got < 1;
            }
            assert_true(isnan(parameter_row(hk_flow_last(flow), "0.bias")->one_sign));
            hk_context_destroy(ctx);
        }
    assert_true(between > 20); /* not all of them 0, 1 or NaN */
}

/* A gradient for each sample and unit, in full. */
static double naive_samples(const hk_tensor *x, const hk_tensor *g) {
    const int64_t in = x->shape.dim[x->shape.rank - 1], out = g->shape.dim[g->shape.rank - 1];
    static signs pair[512];
    int n = 0;
    for (int64_t s = 0; s < hk_tensor_count(x) / in; s++)
        for (int64_t u = 0; u < out; u++, n++) {
            assert_true(n < 512);
            pair[n] = (signs){0, 0};
            for (int64_t i = 0; i < in; i++)
                add_sign(&pair[n], number(g, s * out + u) * number(x, s * in + i));
        }
    return share_of(pair, n);
}

static void note_both(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m;
    hk_tensor **at = arg;
    at[0] = x;
    at[1] = y;
}

static void one_sign_of_samples(void **state) {
    (void)state;
    double sum[2] = {0};
    for (int seed = 0; seed < 8; seed++) {
        hk_context *ctx = context(HK_F64, 1, (uint64_t)seed);
        hk_module *net =
            hk_sequential(ctx, hk_activation(ctx, seed % 2 ? "tanh" : "relu"), hk_linear(ctx, 3, 5),
                          hk_activation(ctx, "relu"), hk_linear(ctx, 5, 4));
        hk_tensor *x = normal(ctx, seed % 3 ? "x" : "other", HK_SHAPE(5, 4, 3)), *at[2][2];
        if (seed % 4 == 1) x = hk_transpose(normal(ctx, "y", HK_SHAPE(5, 3, 4)), 1, 2);
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 4, 3), NULL), HK_OK);
        for (int k = 0; k < 2; k++)
            hk_hook_forward(hk_module_child_at(net, 2 * k + 1), note_both, at[k]);
        hk_flow *flow = hk_flow_create(net, NULL);
        forward_backward(ctx, net, x, "g");
        hk_flow_finish(flow);
        for (int k = 0; k < 2; k++) {
            const double got = layer_row(hk_flow_last(flow), k ? "3" : "1")->one_sign_sample;
            const hk_tensor *in = hk_contiguous(at[k][0]), *g = hk_grad(at[k][1]);
            assert_near("one_sign_sample", got, naive_samples(in, g), 0);
            sum[k] += got;
        }
        assert_true(isnan(layer_row(hk_flow_last(flow), "2")->one_sign_sample));
        hk_context_destroy(ctx);
    }
    assert_true(sum[0] < 7 && sum[0] > 3 && sum[1] == 8); /* behind a relu, always */
}

/* ∂L/∂w of a 3 x 3 convolution with padding 1, by its definition, for each of the first samples. */
static double naive_images(const hk_tensor *x, const hk_tensor *g, int64_t groups) {
    const int64_t *xd = x->shape.dim, *gd = g->shape.dim, out = gd[1], in = xd[1] / groups;
    static signs pair[512];
    int n = 0;
    for (int64_t s = 0; s < HK_FLOW_IMAGES; s++)
        for (int64_t u = 0; u < out; u++, n++) {
            assert_true(n < 512);
            pair[n] = (signs){0, 0};
            for (int64_t w = 0; w < in * 9; w++) {
                double sum = 0;
                for (int64_t p = 0; p < gd[2] * gd[3]; p++) {
                    const int64_t i = p / gd[3] + w % 9 / 3 - 1, j = p % gd[3] + w % 3 - 1;
                    if (i < 0 || j < 0 || i >= xd[2] || j >= xd[3]) continue;
                    const int64_t c = u / (out / groups) * in + w / 9;
                    sum += number(g, (s * out + u) * gd[2] * gd[3] + p) *
                           number(x, ((s * xd[1] + c) * xd[2] + i) * xd[3] + j);
                }
                add_sign(&pair[n], sum);
            }
        }
    return share_of(pair, n);
}

static void one_sign_of_images(void **state) {
    (void)state;
    double sum = 0;
    for (int seed = 0; seed < 8; seed++) {
        hk_context *ctx = context(HK_F64, 1 + seed % 2, (uint64_t)seed);
        const int64_t groups = 1 + seed % 2;
        const hk_conv2d_config config = {.padding = HK_SQUARE(1), .groups = groups};
        hk_module *net =
            hk_sequential(ctx, hk_activation(ctx, "relu"),
                          hk_conv2d(ctx, 2, 4, HK_SQUARE(3), &config), hk_activation(ctx, "relu"));
        assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 2, 3, 4), NULL), HK_OK);
        hk_tensor *at[2];
        hk_hook_forward(hk_module_child_at(net, 1), note_both, at);
        hk_flow *flow = hk_flow_create(net, NULL);
        forward_backward(ctx, net, normal(ctx, "x", HK_SHAPE(HK_FLOW_IMAGES + 4, 2, 3, 4)), "g");
        hk_flow_finish(flow);
        const double got = layer_row(hk_flow_last(flow), "1")->one_sign_sample;
        assert_near("one_sign_sample", got, naive_images(at[0], hk_grad(at[1]), groups), 0);
        sum += got;
        hk_context_destroy(ctx);
    }
    assert_true(sum > 0.1 && sum < 7); /* not all of them 0 or 1 */
}

/* --- ratio ------------------------------------------------------------------------------------------------ */

static void ratio(void **state) {
    (void)state;
    hk_context *ctx = context(HK_F64, 1, 1);
    hk_module *net = hk_sequential(ctx, hk_linear_no_bias(ctx, 20, 20), hk_flatten(ctx),
                                   hk_linear_no_bias(ctx, 20, 20), hk_linear_no_bias(ctx, 20, 20));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 20), "orthogonal"), HK_OK);
    double *w = host(hk_module_find(net, "3.weight"));
    for (int i = 0; i < 400; i++) w[i] *= 1.5;
    host_done(hk_module_find(net, "3.weight"), w);
    hk_flow *flow = hk_flow_create(net, NULL);
    forward_backward(ctx, net, normal(ctx, "x", HK_SHAPE(7, 20)), "g");
    hk_flow_finish(flow);
    const hk_flow_record *r = hk_flow_last(flow);
    assert_near("ratio of 0", layer_row(r, "0")->ratio, 1, 1e-12);
    assert_near("ratio of 2", layer_row(r, "2")->ratio, 2.25, 1e-12);
    assert_true(isnan(layer_row(r, "1")->ratio) && isnan(layer_row(r, "3")->ratio));
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_plain_calls),
        cmocka_unit_test(update_by_hand),
        cmocka_unit_test(one_sign),
        cmocka_unit_test(one_sign_of_samples),
        cmocka_unit_test(one_sign_of_images),
        cmocka_unit_test(ratio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
