/* ctest: labels=unit timeout=240 */
/* What looks inside of a training, on a GPU against the CPU: statistics, gradient flow, units, Jacobians, the NaN guard;
   flow in steps that are replayed.
   SPDX-License-Identifier: MIT */
#include "flow_fixture.h"

#include "hk_jacobian.h"
#include "hk_stats.h"
#include "hk_units.h"

static hk_context *on(hk_device device, hk_dtype dtype) {
    return open_context(
        (hk_context_config){.device = device, .dtype = dtype, .threads = 1, .seed = 3});
}

static void close_to(const char *what, double got, double want, double share) {
    if (same(got, want) || fabs(got - want) <= share * (fabs(want) + 1e-6)) return;
    fail_msg("%s: %.17g on the GPU, %.17g on the CPU", what, got, want);
}

static void close_stats(const char *what, const hk_stats *a, const hk_stats *b, double share) {
    assert_true(a->count == b->count && a->nonfinite == b->nonfinite);
    close_to(what, (double)a->zeros, (double)b->zeros, 0);
    close_to(what, a->mean, b->mean, share * (1 + b->max_abs / (fabs(b->mean) + 1e-6)));
    close_to(what, a->std, b->std, share);
    close_to(what, a->min, b->min, share);
    close_to(what, a->max, b->max, share);
    close_to(what, a->max_abs, b->max_abs, share);
    close_to(what, a->l2, b->l2, share);
}

/* --- statistics ------------------------------------------------------------------------------------------------- */

/* Far from 0, with zeros, a number too small for arithmetic, and some that are none. */
static double element(int64_t i, int kind) {
    const double z = hk_random_normal(hk_random_stream(7, "stats", 0), (uint64_t)i);
    if (kind > 0 && i % 7 == 3) return i % 2 ? 0.0 : -0.0;
    if (kind > 0 && i % 41 == 5) return 1e-40;
    if (kind > 1 && i % 31 == 9) return i % 2 ? NAN : -INFINITY;
    return 1000 + z;
}

static hk_tensor *elements(hk_context *ctx, hk_shape shape, int kind) {
    hk_tensor *t = hk_full(ctx, ctx->config.dtype, shape, 0);
    assert_non_null(t);
    void *own = host(t);
    for (int64_t i = 0; i < hk_tensor_count(t); i++)
        if (t->dtype == HK_F64)
            ((double *)own)[i] = element(i, kind);
        else
            ((float *)own)[i] = (float)element(i, kind);
    host_done(t, own);
    return t;
}

static void test_stats(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{0, 3}, {1, 1}, {1, 7}, {3, 1000}, {1, 5003}, {90, 301}};
    for (hk_dtype dtype = HK_F32; dtype <= HK_F64; dtype++) {
        hk_context *ctx[2] = {on(HK_CUDA, dtype), on(HK_CPU, dtype)};
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int kind = 0; kind < 3; kind++) {
                hk_stats got[2][3];
                for (int side = 0; side < 2; side++) {
                    hk_tensor *t = elements(ctx[side], HK_SHAPE(sizes[s][0], sizes[s][1]), kind);
                    got[side][0] = hk_tensor_stats(t);
                    got[side][1] = hk_tensor_stats(hk_permute(t, (int[]){1, 0}));
                    got[side][2] = hk_tensor_stats(
                        hk_slice(t, 1, sizes[s][1] / 3, sizes[s][1] - sizes[s][1] / 3));
                    assert_ok(ctx[side]);
                    assert_int_equal(hk_step_end(ctx[side]), HK_OK);
                }
                for (int view = 0; view < 3; view++)
                    close_stats("stats", &got[0][view], &got[1][view], 1e-12);
            }
        hk_context_destroy(ctx[0]);
        hk_context_destroy(ctx[1]);
    }
}

/* --- networks ------------------------------------------------------------------------------------------------------ */

enum { MLP, CNN, NETS, SAMPLES = 6, CLASSES = 5 };

static hk_module *make_net(hk_context *ctx, int kind) {
    const hk_pool2d_config two = {.kernel = HK_SQUARE(2)};
    hk_module *net =
        kind == MLP ? hk_sequential(ctx, hk_flatten(ctx), hk_linear(ctx, 64, 24),
                                    hk_activation(ctx, "relu"), hk_linear(ctx, 24, 20),
                                    hk_activation(ctx, "prelu"), hk_dropout(ctx, 0.25),
                                    hk_linear(ctx, 20, 16), hk_activation(ctx, "tanh"),
                                    hk_linear(ctx, 16, CLASSES))
                    : hk_sequential(ctx, hk_conv2d(ctx, 1, 6, HK_SQUARE(3), NULL),
                                    hk_activation(ctx, "relu"), hk_batch_norm2d(ctx, NULL),
                                    hk_max_pool2d(ctx, &two), hk_flatten(ctx),
                                    hk_dropout(ctx, 0.25), hk_linear(ctx, 54, 12),
                                    hk_activation(ctx, "sigmoid"), hk_linear(ctx, 12, CLASSES));
    assert_int_equal(hk_module_build(net, HK_SHAPE(-1, 1, 8, 8), NULL), HK_OK);
    return net;
}

static hk_tensor *images(hk_context *ctx) {
    return normal(ctx, "images", HK_SHAPE(SAMPLES, 1, 8, 8));
}

static void flow_of(hk_context *ctx, int kind, records *all) {
    hk_module *net = make_net(ctx, kind);
    hk_optimizer *opt = hk_sgd(ctx, hk_module_parameters(net), (hk_sgd_config){.lr = 0.05});
    hk_flow *flow = hk_flow_create(net, &(hk_flow_config){.report = keep_record, .arg = all});
    for (int i = 0; i < 3; i++) sgd_step(ctx, net, opt, images(ctx));
    hk_flow_finish(flow);
    assert_ok(ctx);
    assert_int_equal(all->n, 3);
}

static void close_records(const records *a, const records *b, double share) {
    for (int i = 0; i < a->n; i++) {
        assert_int_equal(a->n_layers[i], b->n_layers[i]);
        for (int p = 0; p < a->n_parameters[i]; p++) {
            const hk_flow_parameter *x = &a->parameter[i][p], *y = &b->parameter[i][p];
            close_stats(x->name, &x->grad, &y->grad, share);
            close_to(x->name, x->weight_l2, y->weight_l2, share);
            close_to(x->name, x->update_ratio, y->update_ratio, share);
            close_to(x->name, x->one_sign, y->one_sign, share);
        }
        for (int l = 0; l < a->n_layers[i]; l++) {
            const hk_flow_layer *x = &a->layer[i][l], *y = &b->layer[i][l];
            assert_string_equal(x->kind, y->kind);
            close_stats(x->name, &x->out, &y->out, share);
            close_to(x->name, x->grad_l2, y->grad_l2, share);
            close_to(x->name, x->ratio, y->ratio, share);
            close_to(x->name, x->one_sign_sample, y->one_sign_sample, share);
        }
    }
}

static const double shares[] = {[HK_F32] = 2e-3, [HK_F64] = 1e-9};

static void test_flow(void **state) {
    (void)state;
    for (hk_dtype dtype = HK_F32; dtype <= HK_F64; dtype++)
        for (int kind = 0; kind < NETS; kind++) {
            static records got, want;
            got.n = want.n = 0;
            hk_context *gpu = on(HK_CUDA, dtype), *cpu = on(HK_CPU, dtype);
            flow_of(gpu, kind, &got);
            flow_of(cpu, kind, &want);
            close_records(&got, &want, shares[dtype]);
            hk_context_destroy(gpu);
            hk_context_destroy(cpu);
        }
}

/* --- units --------------------------------------------------------------------------------------------------------- */

/* Some units are made dead, saturated or constant by hand. */
static hk_units *units_of(hk_context *ctx, int kind) {
    hk_module *net = make_net(ctx, kind);
    const char *const bias[] = {kind == MLP ? "1.bias" : "0.bias", "6.bias"};
    element_put(hk_module_find(net, bias[0]), 1, -50);
    element_put(hk_module_find(net, bias[1]), 2, 40);
    element_put(hk_module_find(net, bias[1]), 3, -40);
    hk_units *units = hk_units_create(net, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hk_units_add(units, images(ctx)), HK_OK);
        assert_int_equal(hk_units_add(units, hk_scale(images(ctx), -0.5, 0.1)), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
        if (i != 1) assert_int_equal(hk_units_end(units), HK_OK);
    }
    return units;
}

static void close_unit(const char *name, const hk_unit *a, const hk_unit *b, double share) {
    assert_true(a->dead == b->dead && a->zero == b->zero && a->constant == b->constant);
    assert_true(a->saturated == b->saturated && a->saturated_left == b->saturated_left &&
                a->saturated_right == b->saturated_right);
    assert_true(a->dormant == b->dormant && a->dormant_mean_free == b->dormant_mean_free);
    close_to(name, a->mean, b->mean, share);
    close_to(name, a->std, b->std, share);
    close_to(name, a->min, b->min, share);
    close_to(name, a->max, b->max, share);
    close_to(name, a->max_slope, b->max_slope, share);
    close_to(name, a->score, b->score, share);
    close_to(name, a->score_mean_free, b->score_mean_free, share);
}

static void close_units(const hk_units *a, const hk_units *b, double share) {
    assert_int_equal(hk_units_count(a), hk_units_count(b));
    for (int i = 0; i < hk_units_count(a); i++) {
        const hk_units_layer *x = hk_units_layer_at(a, i), *y = hk_units_layer_at(b, i);
        assert_true(x->units == y->units && x->positions == y->positions &&
                    x->samples == y->samples);
        assert_true(x->dead == y->dead && x->zero == y->zero && x->constant == y->constant);
        assert_true(x->saturated == y->saturated && x->saturated_left == y->saturated_left &&
                    x->saturated_right == y->saturated_right);
        assert_true(x->dormant == y->dormant && x->dormant_mean_free == y->dormant_mean_free);
        assert_int_equal(x->dead_by_bias, y->dead_by_bias);
        assert_int_equal(x->dead_positions, y->dead_positions);
        assert_true(x->died == y->died && x->revived == y->revived && x->quiet == y->quiet);
        close_to(x->name, x->zero_share, y->zero_share, 0);
        for (int64_t k = 0; k < x->units; k++)
            close_unit(x->name, hk_units_at(a, i, k), hk_units_at(b, i, k), share);
    }
}

static void test_units(void **state) {
    (void)state;
    for (hk_dtype dtype = HK_F32; dtype <= HK_F64; dtype++)
        for (int kind = 0; kind < NETS; kind++) {
            hk_context *gpu = on(HK_CUDA, dtype), *cpu = on(HK_CPU, dtype);
            const hk_units *a = units_of(gpu, kind), *b = units_of(cpu, kind);
            assert_true(hk_units_layer_at(b, 0)->dead > 0);
            assert_true(hk_units_layer_at(b, kind == MLP ? 2 : 1)->saturated > 0);
            close_units(a, b, shares[dtype]);
            hk_context_destroy(gpu);
            hk_context_destroy(cpu);
        }
}

/* --- Jacobians ------------------------------------------------------------------------------------------------------ */

static void test_jacobian(void **state) {
    (void)state;
    hk_jacobian got[2];
    for (int side = 0; side < 2; side++) {
        hk_context *ctx = on(side ? HK_CPU : HK_CUDA, HK_F64);
        hk_module *net = make_net(ctx, MLP);
        assert_int_equal(hk_module_jacobian(net, images(ctx),
                                            &(hk_jacobian_config){.probes = 3, .full_up_to = 64},
                                            &got[side], NULL),
                         HK_OK);
        hk_context_destroy(ctx);
    }
    assert_true(got[0].count == got[1].count && got[0].iterations == got[1].iterations);
    close_to("norm", got[0].norm, got[1].norm, 1e-9);
    close_to("mean square", got[0].mean_square, got[1].mean_square, 1e-9);
    close_to("smallest", got[0].smallest, got[1].smallest, 1e-7);
    close_to("largest", got[0].largest, got[1].largest, 1e-9);
}

/* --- steps that are replayed ---------------------------------------------------------------------------------------- */

typedef struct training {
    hk_module *net;
    hk_optimizer *opt;
    hk_tensor *x;
} training;

static hk_status step_of(hk_context *ctx, void *arg) {
    training *t = arg;
    hk_optimizer_zero_grad(t->opt);
    hk_tensor *y = hk_forward(t->net, t->x);
    HK_TRY(hk_backward(ctx, hk_mean(hk_mul(y, y), HK_ALL_AXES, false)));
    return hk_optimizer_step(t->opt);
}

static training training_of(hk_context *ctx) {
    training t = {.net = make_net(ctx, MLP), .x = hk_tensor_keep(images(ctx))};
    t.opt = hk_sgd(ctx, hk_module_parameters(t.net), (hk_sgd_config){.lr = 0.05});
    assert_int_equal(hk_step_end(ctx), HK_OK);
    return t;
}

static void test_replayed_flow(void **state) {
    (void)state;
    static records got[2];
    for (int no_graph = 0; no_graph < 2; no_graph++) {
        hk_context *ctx = open_context(
            (hk_context_config){.device = HK_CUDA, .threads = 1, .seed = 3, .no_graph = no_graph});
        training t = training_of(ctx);
        records *all = &got[no_graph];
        all->n = 0;
        hk_flow *flow =
            hk_flow_create(t.net, &(hk_flow_config){.every = 8, .report = keep_record, .arg = all});
        for (int i = 0; i < 24; i++) assert_int_equal(hk_step_run(ctx, step_of, &t), HK_OK);
        hk_flow_finish(flow);
        assert_ok(ctx);
        /* Of each 8 steps one is recorded, and one completes the record. */
        const uint64_t replayed = hk_context_describe(ctx).replayed;
        if (no_graph ? replayed != 0 : replayed < 12)
            fail_msg("%d steps were replayed: %s", (int)replayed, hk_step_why(ctx));
        hk_context_destroy(ctx);
    }
    assert_int_equal(got[0].n, 3);
    assert_int_equal(got[1].n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(got[0].step[i], 1 + 8 * i);
        assert_same_record(&got[0], i, &got[1], i);
    }
}

static void look(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)m, (void)x, (void)y;
    ++*(int *)arg;
}

static void test_hooks_are_called(void **state) {
    (void)state;
    hk_context *ctx = on(HK_CUDA, HK_F32);
    training t = training_of(ctx);
    int calls = 0;
    hk_hook *hook = hk_hook_forward(t.net, look, &calls);
    for (int i = 0; i < 6; i++) assert_int_equal(hk_step_run(ctx, step_of, &t), HK_OK);
    assert_int_equal(calls, 6);
    assert_non_null(strstr(hk_step_why(ctx), "hook"));
    hk_hook_enable(hook, false);
    hk_nan_guard(ctx, true);
    for (int i = 0; i < 6; i++) assert_int_equal(hk_step_run(ctx, step_of, &t), HK_OK);
    assert_non_null(strstr(hk_step_why(ctx), "NaN guard"));
    assert_true(hk_context_describe(ctx).replayed == 0);
    hk_nan_guard(ctx, false);
    for (int i = 0; i < 6; i++) assert_int_equal(hk_step_run(ctx, step_of, &t), HK_OK);
    assert_true(hk_context_describe(ctx).replayed > 0);
    hk_context_destroy(ctx);
}

static void test_guard_names(void **state) {
    (void)state;
    char text[2][256];
    for (int side = 0; side < 2; side++) {
        hk_context *ctx = on(side ? HK_CPU : HK_CUDA, HK_F32);
        hk_nan_guard(ctx, true);
        hk_tensor *x = images(ctx);
        element_put(x, 137, 0);
        assert_null(hk_log(hk_mul(x, x)));
        snprintf(text[side], sizeof text[side], "%s", hk_error_message(ctx));
        hk_context_destroy(ctx);
    }
    assert_non_null(strstr(text[0], "element 137"));
    assert_string_equal(text[0], text[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats),         cmocka_unit_test(test_flow),
        cmocka_unit_test(test_units),         cmocka_unit_test(test_jacobian),
        cmocka_unit_test(test_replayed_flow), cmocka_unit_test(test_hooks_are_called),
        cmocka_unit_test(test_guard_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
