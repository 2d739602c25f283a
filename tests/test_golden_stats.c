/* test_golden_stats.c: statistics of gradients, outputs and updates of a training step against PyTorch.
   SPDX-License-Identifier: MIT */
/* ctest: labels=golden timeout=60 devices=cpu,cuda */
#include "golden_check.h"

#include "hk_flow.h"

enum { NINE = 9 };

/* std, largest |x| and the norm are compared with what they are; mean, smallest and largest with the root mean square:
   they may be sums of what cancels. Counts are exact: the networks have units that no gradient reaches. */
static void check_stats(golden *g, const char *net, const char *kind, const char *name, hk_stats s,
                        double tolerance) {
    char full[GOLDEN_FULL];
    snprintf(full, sizeof full, "%s.%s.%s", net, kind, name);
    const golden_entry *e = golden_get(g, full);
    assert_int_equal(e->count, NINE);
    const double *want = e->value;
    const double got[NINE] = {(double)s.count, (double)s.zeros, (double)s.nonfinite, s.mean, s.std,
                              s.min,           s.max,           s.max_abs,           s.l2};
    const double rms = want[8] / sqrt(want[0]);
    for (int i = 0; i < NINE; i++) {
        const bool relative = i == 4 || i == 7 || i == 8;
        const double limit = i < 3 ? 0 : tolerance * (relative ? fabs(want[i]) : rms);
        if (!(fabs(got[i] - want[i]) <= limit))
            fail_msg("%s[%d]: %.17g, PyTorch has %.17g", full, i, got[i], want[i]);
    }
    checked++;
}

static void check_update(golden *g, const char *net, const hk_flow_parameter *p, double tolerance) {
    char full[GOLDEN_FULL];
    snprintf(full, sizeof full, "%s.update.%s", net, p->name);
    const golden_entry *e = golden_get(g, full);
    const double got[] = {p->weight_l2, p->update_ratio};
    /* Weights in float are rounded after the step, by more than their small changes would be. */
    const double limits[] = {tolerance, tolerance > 1e-8 ? 1e-4 : tolerance};
    for (int i = 0; i < 2; i++)
        if (!(fabs(got[i] - e->value[i]) <= limits[i] * e->value[i]))
            fail_msg("%s[%d]: %.17g, PyTorch has %.17g", full, i, got[i], e->value[i]);
    checked++;
}

static hk_module *mlp(hk_context *ctx) {
    return hk_sequential(ctx, hk_linear(ctx, 12, 16), hk_activation(ctx, "relu"),
                         hk_linear(ctx, 16, 14), hk_activation(ctx, "relu"), hk_linear(ctx, 14, 5));
}

static hk_module *cnn(hk_context *ctx) {
    const hk_pool2d_config two = {.kernel = {2, 2}};
    const hk_conv2d_config padded = {.padding = {1, 1}};
    return hk_sequential(ctx, hk_conv2d(ctx, 1, 6, HK_SQUARE(3), &padded),
                         hk_activation(ctx, "relu"), hk_max_pool2d(ctx, &two),
                         hk_conv2d(ctx, 6, 8, HK_SQUARE(3), NULL), hk_activation(ctx, "relu"),
                         hk_flatten(ctx), hk_linear(ctx, 32, 5));
}

typedef struct layers {
    int n;
    hk_module *m[8];
    hk_tensor *y[8];
} layers;

static void note(hk_module *m, hk_tensor *x, hk_tensor *y, void *arg) {
    (void)x;
    layers *l = arg;
    l->m[l->n] = m;
    l->y[l->n++] = y;
}

static void check_net(golden *g, const way *w, const char *net, hk_module *(*make)(hk_context *)) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    hk_module *m = make(ctx);
    hk_tensor *x = load(ctx, g, net, "x"), *labels = load(ctx, g, net, "labels");
    assert_int_equal(hk_module_build(m, hk_tensor_shape(x), NULL), HK_OK);
    const hk_parameters all = hk_module_parameters(m);
    for (int i = 0; i < all.count; i++) {
        char name[GOLDEN_NAME];
        snprintf(name, sizeof name, "start.%s", hk_tensor_name(all.items[i]));
        write_to(m, g, net, name, hk_tensor_name(all.items[i]));
    }
    layers seen = {0};
    for (int i = 0; i < hk_module_child_count(m); i++)
        hk_hook_forward(hk_module_child_at(m, i), note, &seen);
    hk_flow *flow = hk_flow_create(m, NULL);
    hk_optimizer *opt = hk_sgd(ctx, all, (hk_sgd_config){.lr = 0.1});
    assert_int_equal(hk_backward(ctx, hk_cross_entropy(hk_forward(m, x), labels)), HK_OK);
    for (int i = 0; i < seen.n; i++) /* the flow tells the norm alone of these */
        check_stats(g, net, "outgrad", hk_module_name(seen.m[i]),
                    hk_tensor_stats(hk_grad(seen.y[i])), w->tolerance);
    assert_int_equal(hk_optimizer_step(opt), HK_OK);
    hk_flow_finish(flow);
    const hk_flow_record *r = hk_flow_last(flow);
    assert_non_null(r);
    for (int i = 0; i < r->n_parameters; i++) {
        check_stats(g, net, "grad", r->parameters[i].name, r->parameters[i].grad, w->tolerance);
        check_update(g, net, &r->parameters[i], w->tolerance);
    }
    assert_int_equal(r->n_layers, seen.n);
    for (int i = 0; i < r->n_layers; i++)
        check_stats(g, net, "out", r->layers[i].name, r->layers[i].out, w->tolerance);
    assert_string_equal(hk_error_message(ctx), "");
    hk_context_destroy(ctx);
}

static void against_pytorch(void **state) {
    (void)state;
    golden g = golden_read("stats.txt");
    for (int w = 0; w < WAYS; w++) {
        check_net(&g, &ways[w], "mlp", mlp);
        check_net(&g, &ways[w], "cnn", cnn);
    }
    golden_all_used(&g, "");
    golden_free(&g);
    print_message("%d results compared with PyTorch's\n", checked);
    assert_true(checked > (on_gpu() ? 40 : 100)); /* fewer ways to compute */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
