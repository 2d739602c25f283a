/* test_golden.c: networks, optimizers, schedules, losses and operations against PyTorch.
   SPDX-License-Identifier: MIT */
/* ctest: labels=golden timeout=60 devices=cpu,cuda */
#include "golden_check.h"

enum { STEPS = 10 };
static const double lr = 0.1; /* of SGD in optim.txt */

/* --- the network ---------------------------------------------------------------------------- */

static const char *const parameters[] = {"0.weight", "0.bias",   "2.weight",
                                         "2.bias",   "4.weight", "4.bias"};
enum { PARAMETERS = sizeof parameters / sizeof *parameters };

static hk_module *make_net(hk_context *ctx, golden *g, const char *act) {
    hk_module *net =
        hk_sequential(ctx, hk_linear(ctx, 12, 9), hk_activation(ctx, act), hk_linear(ctx, 9, 7),
                      hk_activation(ctx, act), hk_linear(ctx, 7, 5));
    assert_ok(ctx);
    for (int i = 0; i < PARAMETERS; i++) write_to(net, g, "", parameters[i], parameters[i]);
    return net;
}

static void network(void **state) {
    (void)state;
    static const char *const activations[] = {"relu", "tanh", "sigmoid"};
    golden g = golden_read("mlp.txt");
    for (int w = 0; w < WAYS; w++)
        for (int a = 0; a < 3; a++) {
            hk_context *ctx = start(&ways[w]);
            if (!ctx) continue;
            const double tolerance = ways[w].tolerance;
            const char *act = activations[a];
            hk_module *net = make_net(ctx, &g, act);
            hk_tensor *x = load(ctx, &g, "", "x"), *labels = load(ctx, &g, "", "labels");
            hk_tensor *logits = hk_forward(net, x), *loss = hk_cross_entropy(logits, labels);
            assert_int_equal(hk_backward(ctx, loss), HK_OK);
            check(&g, act, "logits", logits, tolerance);
            check(&g, act, "loss", loss, tolerance);
            check(&g, act, "grad.x", hk_grad(x), tolerance);
            for (int i = 0; i < PARAMETERS; i++) {
                char name[32];
                snprintf(name, sizeof name, "grad.%s", parameters[i]);
                check(&g, act, name, hk_grad(hk_module_find(net, parameters[i])), tolerance);
            }
            assert_int_equal(hk_step_end(ctx), HK_OK);
            hk_context_destroy(ctx);
        }
    golden_all_used(&g, "");
    golden_free(&g);
}

/* --- ten steps ------------------------------------------------------------------------------ */

typedef hk_optimizer *maker(hk_context *ctx, hk_module *net, const void *config);

/* Trains on the one batch and checks the losses; rates and norms where the file has them. */
static void check_run(golden *g, golden *nets, const way *w, const char *name, maker *make,
                      const void *config) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    hk_module *net = make_net(ctx, nets, "tanh");
    hk_tensor *x = load(ctx, nets, "", "x"), *labels = load(ctx, nets, "", "labels");
    hk_optimizer *opt = make(ctx, net, config);
    assert_ok(ctx);
    char losses[64], rates[64], norms[64];
    snprintf(losses, sizeof losses, "%s.losses", name);
    snprintf(rates, sizeof rates, "%s.rates", name);
    snprintf(norms, sizeof norms, "%s.norms", name);
    const golden_entry *rate = golden_seek(g, rates), *norm = golden_seek(g, norms);
    for (int t = 0; t < STEPS; t++) {
        hk_optimizer_zero_grad(opt);
        hk_tensor *loss = hk_cross_entropy(hk_forward(net, x), labels);
        check_value(losses, t, hk_tensor_item(loss), golden_get(g, losses)->value[t], w->tolerance);
        assert_int_equal(hk_backward(ctx, loss), HK_OK);
        if (rate) check_value(rates, t, hk_optimizer_lr(opt), rate->value[t], 1e-15);
        if (norm) check_value(norms, t, hk_optimizer_grad_norm(opt), norm->value[t], w->tolerance);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        assert_int_equal(hk_step_end(ctx), HK_OK);
    }
    checked++;
    hk_context_destroy(ctx);
}

static hk_optimizer *make_sgd(hk_context *ctx, hk_module *net, const void *config) {
    return hk_sgd(ctx, hk_module_parameters(net), *(const hk_sgd_config *)config);
}
static hk_optimizer *make_adam(hk_context *ctx, hk_module *net, const void *config) {
    return hk_adam(ctx, hk_module_parameters(net), *(const hk_adam_config *)config);
}
static hk_optimizer *make_adamw(hk_context *ctx, hk_module *net, const void *config) {
    return hk_adamw(ctx, hk_module_parameters(net), *(const hk_adam_config *)config);
}
static hk_optimizer *make_rmsprop(hk_context *ctx, hk_module *net, const void *config) {
    return hk_rmsprop(ctx, hk_module_parameters(net), *(const hk_rmsprop_config *)config);
}

/* Weights have the optimizer's rate and decay 1e-2, biases half the rate and no decay. */
static hk_optimizer *make_groups(hk_context *ctx, hk_module *net, const void *config) {
    hk_optimizer *opt = make_sgd(ctx, net, config);
    hk_tensor *biases[] = {hk_module_find(net, "0.bias"), hk_module_find(net, "2.bias"),
                           hk_module_find(net, "4.bias")};
    assert_int_equal(hk_optimizer_group(opt, (hk_parameters){3, biases}, 0.5, 0), HK_OK);
    return opt;
}

static void optimizers(void **state) {
    (void)state;
    const hk_adam_config adam = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    hk_adam_config decayed = adam;
    decayed.weight_decay = 0.01;
    const struct {
        const char *name;
        maker *make;
        hk_sgd_config sgd;
        hk_adam_config adam;
        hk_rmsprop_config rmsprop;
    } rows[] = {
        {"optim.sgd", make_sgd, .sgd = {.lr = lr}},
        {"optim.sgd_momentum", make_sgd, .sgd = {.lr = lr, .momentum = 0.9}},
        {"optim.sgd_nesterov", make_sgd, .sgd = {.lr = lr, .momentum = 0.9, .nesterov = true}},
        {"optim.sgd_decay", make_sgd, .sgd = {.lr = lr, .weight_decay = 0.01}},
        {"optim.sgd_momentum_decay", make_sgd,
         .sgd = {.lr = lr, .momentum = 0.9, .weight_decay = 0.01}},
        {"optim.sgd_dampening", make_sgd, .sgd = {.lr = lr, .momentum = 0.9, .dampening = 0.3}},
        {"optim.sgd_groups", make_groups, .sgd = {.lr = lr, .weight_decay = 0.01}},
        {"optim.adam", make_adam, .adam = adam},
        {"optim.adam_decay", make_adam, .adam = decayed},
        {"optim.adamw", make_adamw, .adam = decayed},
        {"optim.rmsprop", make_rmsprop, .rmsprop = {.lr = 0.01, .alpha = 0.99, .eps = 1e-8}},
        {"optim.rmsprop_momentum", make_rmsprop,
         .rmsprop = {.lr = 0.01, .alpha = 0.99, .eps = 1e-8, .momentum = 0.9}},
        {"optim.rmsprop_decay", make_rmsprop,
         .rmsprop = {.lr = 0.01, .alpha = 0.99, .eps = 1e-8, .weight_decay = 0.01}},
    };
    golden nets = golden_read("mlp.txt"), g = golden_read("optim.txt");
    for (int w = 0; w < WAYS; w++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            const bool adams = rows[i].make == make_adam || rows[i].make == make_adamw;
            const void *config = adams                          ? (const void *)&rows[i].adam
                                 : rows[i].make == make_rmsprop ? (const void *)&rows[i].rmsprop
                                                                : (const void *)&rows[i].sgd;
            check_run(&g, &nets, &ways[w], rows[i].name, rows[i].make, config);
        }
    golden_all_used(&g, "optim.");
    golden_free(&g);
    golden_free(&nets);
}

/* --- schedules and clipping: SGD with something more ---------------------------------------- */

typedef struct more {
    hk_schedule schedule;
    double max_norm, max_value;
} more;

static hk_optimizer *make_more(hk_context *ctx, hk_module *net, const void *config) {
    const more *m = config;
    hk_optimizer *opt = make_sgd(ctx, net, &(hk_sgd_config){.lr = lr});
    assert_int_equal(hk_optimizer_clip_norm(opt, m->max_norm), HK_OK);
    assert_int_equal(hk_optimizer_clip_value(opt, m->max_value), HK_OK);
    assert_int_equal(hk_optimizer_schedule(opt, &m->schedule), HK_OK);
    return opt;
}

static void schedules_and_clipping(void **state) {
    (void)state;
    static const struct {
        const char *name;
        more what;
    } rows[] = {
        {"schedule.constant", {.schedule = {.kind = HK_CONSTANT, .total = STEPS}}},
        {"schedule.step",
         {.schedule = {.kind = HK_STEP, .total = STEPS, .step_size = 3, .gamma = 0.5}}},
        {"schedule.cosine", {.schedule = {.kind = HK_COSINE, .total = STEPS}}},
        {"schedule.warmup", {.schedule = {.kind = HK_CONSTANT, .total = STEPS, .warmup = 3}}},
        {"schedule.warmup_cosine", {.schedule = {.kind = HK_COSINE, .total = STEPS, .warmup = 3}}},
        {"schedule.onecycle",
         {.schedule = {.kind = HK_ONE_CYCLE, .total = STEPS, .pct_start = 0.3}}},
        {"clip.norm", {.schedule = {.kind = HK_CONSTANT, .total = STEPS}, .max_norm = 0.5}},
        {"clip.norm_some", {.schedule = {.kind = HK_CONSTANT, .total = STEPS}, .max_norm = 1.2}},
        {"clip.value", {.schedule = {.kind = HK_CONSTANT, .total = STEPS}, .max_value = 0.05}},
    };
    golden nets = golden_read("mlp.txt"), g = golden_read("optim.txt");
    for (int w = 0; w < WAYS; w++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            check_run(&g, &nets, &ways[w], rows[i].name, make_more, &rows[i].what);
    golden_all_used(&g, "schedule.");
    golden_all_used(&g, "clip.");
    golden_free(&g);
    golden_free(&nets);
}

/* --- losses and operations ------------------------------------------------------------------ */

typedef struct operands {
    hk_tensor *x, *b, *labels;
} operands;

static hk_tensor *power(hk_tensor *x, double exponent) {
    return hk_pow(x, hk_full(hk_tensor_context(x), hk_tensor_dtype(x), HK_SCALAR, exponent));
}

/* One line for each case of ops.txt. */
#define CASES(X)                                                                                   \
    X(ce, hk_cross_entropy(o.x, o.labels))                                                         \
    X(ce_smooth, hk_cross_entropy_smooth(o.x, o.labels, 0.1))                                      \
    X(ce_extreme, hk_cross_entropy(o.x, o.labels))                                                 \
    X(mse, hk_mse(o.x, o.b))                                                                       \
    X(l1, hk_l1(o.x, o.b))                                                                         \
    X(huber, hk_huber(o.x, o.b, 0.7))                                                              \
    X(bce, hk_bce_with_logits(o.x, o.b))                                                           \
    X(bce_extreme, hk_bce_with_logits(o.x, o.b))                                                   \
    X(softmax, hk_softmax(o.x, -1))                                                                \
    X(log_softmax, hk_log_softmax(o.x, -1))                                                        \
    X(softmax_axis1, hk_softmax(o.x, 1))                                                           \
    X(var_unbiased, hk_var(o.x, HK_AXIS(1), 1, false))                                             \
    X(var_biased, hk_var(o.x, HK_AXIS(1), 0, false))                                               \
    X(var_all, hk_var(o.x, HK_ALL_AXES, 1, false))                                                 \
    X(pow, hk_pow(o.x, o.b))                                                                       \
    X(pow_square, power(o.x, 2))                                                                   \
    X(pow_cube, power(o.x, 3))                                                                     \
    X(pow_half, power(o.x, 0.5))                                                                   \
    X(maximum, hk_maximum(o.x, o.b))                                                               \
    X(minimum, hk_minimum(o.x, o.b))                                                               \
    X(clamp, hk_clamp(o.x, -0.5, 0.75))

#define CASE_FUNCTION(name, expression)                                                            \
    static hk_tensor *case_##name(operands o) { return expression; }
CASES(CASE_FUNCTION)

static const struct {
    const char *name;
    hk_tensor *(*fn)(operands o);
} cases[] = {
#define CASE_ROW(name, expression) {#name, case_##name},
    CASES(CASE_ROW)};

static void check_case(golden *g, const way *w, size_t i) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    const char *name = cases[i].name;
    operands o = {.x = load(ctx, g, name, "x")};
    if (has(g, name, "b")) o.b = load(ctx, g, name, "b");
    if (has(g, name, "labels")) o.labels = load(ctx, g, name, "labels");
    hk_tensor *y = cases[i].fn(o);
    assert_ok(ctx);
    check(g, name, "y", y, w->tolerance);
    const bool scalar = !has(g, name, "v");
    if (scalar)
        assert_int_equal(hk_backward(ctx, y), HK_OK);
    else
        assert_int_equal(hk_backward_from(ctx, y, load(ctx, g, name, "v")), HK_OK);
    check(g, name, "dx", hk_grad(o.x), w->tolerance);
    if (has(g, name, "db")) check(g, name, "db", hk_grad(o.b), w->tolerance);
    hk_context_destroy(ctx);
}

/* PyTorch's file has the three numbers of alpha-dropout: they are read off zeros and ones. */
static void check_alpha_dropout(golden *g, const way *w) {
    hk_context *ctx = start(w);
    if (!ctx) return;
    const double p = golden_get(g, "alpha_dropout.p")->value[0];
    const double a = golden_get(g, "alpha_dropout.keep.a")->value[0];
    const double b = golden_get(g, "alpha_dropout.keep.b")->value[0];
    const double drop = golden_get(g, "alpha_dropout.drop")->value[0];
    int kept = 0, dropped = 0;
    for (int one = 0; one < 2; one++) {
        hk_tensor *x = hk_full(ctx, ctx->config.dtype, HK_SHAPE(1000), one);
        hk_tensor *y = hk_alpha_dropout_op(x, p, "test");
        assert_ok(ctx);
        for (int64_t i = 0; i < 1000; i++) {
            const bool is_kept = number(y, i) > 0; /* both kept values are positive */
            check_value("alpha_dropout", i, number(y, i), is_kept ? one * a + b : drop,
                        w->tolerance);
            if (is_kept)
                kept++;
            else
                dropped++;
        }
    }
    assert_true(kept > 1700 && dropped > 120);
    checked++;
    hk_context_destroy(ctx);
}

static void losses_and_operations(void **state) {
    (void)state;
    golden g = golden_read("ops.txt");
    for (int w = 0; w < WAYS; w++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(&g, &ways[w], i);
        check_alpha_dropout(&g, &ways[w]);
    }
    golden_all_used(&g, "");
    golden_free(&g);
}

static int report(void **state) {
    (void)state;
    print_message("%d results compared with PyTorch's\n", checked);
    return checked > (on_gpu() ? 100 : 200) ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(network),
        cmocka_unit_test(optimizers),
        cmocka_unit_test(schedules_and_clipping),
        cmocka_unit_test(losses_and_operations),
    };
    return cmocka_run_group_tests(tests, NULL, report);
}
