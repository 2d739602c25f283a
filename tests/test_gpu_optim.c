/* ctest: labels=unit timeout=240 */
/* Optimizers on a GPU: the bits of the CPU's; a replayed step moves on as one that is run; one's own rule.
   SPDX-License-Identifier: MIT */
#include "gpu.h"
#include "hk_optim.h"
#include "gpu_fixture.h"

enum { STEPS = 8, PARAMS = 3, SLOW = 30 };

typedef struct setting {
    const char *rule;
    double decay, max_norm, max_value;
    bool groups, nesterov, dampened, rmsprop_momentum;
    hk_dtype dtype;
    bool mixed; /* the second parameter is of the other type */
} setting;

static hk_dtype type_of(const setting *s, int i) {
    return (s->dtype == HK_F64) != (s->mixed && i == 1) ? HK_F64 : HK_F32;
}

static const hk_shape shapes[PARAMS] = {{2, {37, 61}}, {1, {5}}, {2, {3, 700}}};

static hk_optimizer *make(hk_context *ctx, const setting *s, hk_parameters params) {
    hk_sgd_config sgd = {.lr = 0.05,
                         .momentum = 0.9,
                         .dampening = s->dampened ? 0.3 : 0,
                         .weight_decay = s->decay,
                         .nesterov = s->nesterov};
    hk_rmsprop_config rms = {
        .lr = 0.01, .alpha = 0.95, .eps = 1e-8, .weight_decay = s->decay, .momentum = 0.7};
    hk_optimizer *opt = s->nesterov || s->dampened ? hk_sgd(ctx, params, sgd)
                        : s->rmsprop_momentum
                            ? hk_rmsprop(ctx, params, rms)
                            : hk_optimizer_by_name(ctx, s->rule, params, 0.05, s->decay);
    assert_non_null(opt);
    if (s->groups) must(hk_optimizer_group(opt, (hk_parameters){1, params.items + 1}, 0.25, 0.3));
    must(hk_optimizer_clip_norm(opt, s->max_norm));
    must(hk_optimizer_clip_value(opt, s->max_value));
    hk_schedule schedule;
    must(hk_schedule_parse(ctx, "warmup-cosine", STEPS, &schedule));
    must(hk_optimizer_schedule(opt, &schedule));
    return opt;
}

/* The parameters after some steps with gradients that depend on the step alone. */
static void train(hk_context *ctx, const setting *s, hk_tensor **p) {
    for (int i = 0; i < PARAMS; i++)
        p[i] = hk_require_grad(hk_tensor_keep(numbers(ctx, type_of(s, i), shapes[i], "weights")));
    const hk_parameters params = {PARAMS, p};
    hk_optimizer *opt = make(ctx, s, params);
    for (int t = 0; t < STEPS; t++) {
        hk_optimizer_zero_grad(opt);
        for (int i = 0; i < PARAMS; i++) {
            if (i == 2 && t == 3) continue; /* nothing reached it */
            char name[32];
            snprintf(name, sizeof name, "gradient %d of %d", t, i);
            must(hk_tensor_copy(hk_grad(p[i]), numbers(ctx, type_of(s, i), shapes[i], name)));
        }
        must(hk_optimizer_step(opt));
        assert_int_equal(hk_optimizer_steps(opt), t + 1);
        must(hk_step_end(ctx));
    }
    hk_optimizer_destroy(opt);
}

static void bits_of_the_cpu(void **state) {
    (void)state;
    for (int which = 0; which < 8 * 8; which++) {
        const int row = which / 8;
        const setting how = {.rule = row < 5 ? hk_optimizer_row(row) : "sgd",
                             .nesterov = row == 5,
                             .rmsprop_momentum = row == 6,
                             .dampened = row == 7,
                             .decay = which & 1 ? 0.02 : 0,
                             .groups = which >> 1 & 1,
                             .max_value = which & 1 ? 0.5 : 0,
                             .max_norm =
                                 which >> 2 & 1 ? (which & 1 ? 20 : 60) : 0, /* some are shorter */
                             .dtype = which % 3 ? HK_F32 : HK_F64,
                             .mixed = which % 5 == 0};
        hk_tensor *want[PARAMS], *got[PARAMS];
        train(cpu, &how, want);
        train(gpu, &how, got);
        for (int i = 0; i < PARAMS; i++) /* a norm is summed up in another order */
            assert_alike(how.rule, want[i], got[i],
                         how.max_norm == 0                   ? 0
                         : how.dtype == HK_F64 && !how.mixed ? 1e-14
                                                             : 1e-6);
        forget();
    }
}

/* --- replayed steps ------------------------------------------------------------------------------ */

typedef struct model {
    hk_tensor *x, *w, *b;
    hk_optimizer *opt;
} model;

static hk_status train_step(hk_context *ctx, void *arg) {
    const model *m = arg;
    hk_optimizer_zero_grad(m->opt);
    hk_tensor *y = hk_affine(m->x, m->w, m->b);
    HK_TRY(hk_backward(ctx, hk_sum(hk_mul(y, y), HK_ALL_AXES, false)));
    return hk_optimizer_step(m->opt);
}

/* Parameters after SLOW steps, in a context of their own. */
static const double *run(bool graphs, const char *rule, int64_t *replayed) {
    hk_context *ctx =
        open_context((hk_context_config){.device = HK_CUDA, .threads = 1, .no_graph = !graphs});
    model m = {.x = hk_tensor_keep(numbers(ctx, HK_F32, HK_SHAPE(4, 10), "x")),
               .w = hk_require_grad(hk_tensor_keep(numbers(ctx, HK_F32, HK_SHAPE(6, 10), "w"))),
               .b = hk_require_grad(hk_tensor_keep(numbers(ctx, HK_F32, HK_SHAPE(6), "b")))};
    hk_tensor *both[] = {m.w, m.b};
    m.opt = hk_optimizer_by_name(ctx, rule, (hk_parameters){2, both}, 0.01, -1);
    hk_schedule schedule;
    must(hk_schedule_parse(ctx, "warmup-cosine", SLOW, &schedule));
    must(hk_optimizer_schedule(m.opt, &schedule));
    for (int t = 0; t < SLOW; t++) {
        if (t == SLOW / 2)
            must(hk_optimizer_clip_value(m.opt, 0.01)); /* other arguments from here on */
        if (t == SLOW - 5) must(hk_optimizer_clip_norm(m.opt, 0.001));
        must(hk_step_run(ctx, train_step, &m));
        assert_int_equal(hk_optimizer_steps(m.opt), t + 1);
        assert_int_equal(ctx->version, t + 1);
    }
    *replayed = (int64_t)hk_context_describe(ctx).replayed;
    const double *w = values(m.w);
    hk_context_destroy(ctx);
    return w;
}

static void replayed_as_run(void **state) {
    (void)state;
    for (int row = 0; row < hk_optimizer_count(); row++) {
        int64_t none, some;
        const double *eager = run(false, hk_optimizer_row(row), &none);
        const double *graph = run(true, hk_optimizer_row(row), &some);
        assert_int_equal(none, 0);
        assert_true(some > SLOW / 2);
        assert_memory_equal(eager, graph, 60 * sizeof *eager);
    }
}

/* A rate that was the same in all steps so far, the captured one too, and then is not. */
static hk_status only_update(hk_context *ctx, void *arg) {
    (void)ctx;
    return hk_optimizer_step(arg);
}

static void a_rate_set_later(void **state) {
    (void)state;
    hk_tensor *w = hk_require_grad(hk_tensor_new(gpu, HK_F32, HK_SHAPE(5)));
    must(hk_tensor_copy(hk_grad(w), hk_full(gpu, HK_F32, HK_SHAPE(5), 1)));
    must(hk_step_end(gpu));
    hk_optimizer *opt = hk_sgd(gpu, (hk_parameters){1, &w}, (hk_sgd_config){.lr = 0.25});
    const uint64_t before = gpu->replayed;
    for (int t = 0; t < 8; t++) must(hk_step_run(gpu, only_update, opt));
    must(hk_optimizer_set_lr(opt, 0.5));
    for (int t = 0; t < 4; t++) must(hk_step_run(gpu, only_update, opt));
    assert_true(gpu->replayed >= before + 8);
    for (int i = 0; i < 5; i++) assert_close("w", i, element_get(w, i), -4, 0);
    hk_optimizer_destroy(opt);
    forget();
}

/* Of two that clip by norm, the one whose gradient is not finite. */
static void the_one_that_failed(void **state) {
    (void)state;
    for (int bad = 0; bad < 2; bad++) {
        hk_tensor *w[2];
        hk_optimizer *opt[2];
        for (int i = 0; i < 2; i++) {
            w[i] = hk_require_grad(hk_tensor_new(gpu, HK_F32, HK_SHAPE(5)));
            must(hk_tensor_copy(hk_grad(w[i]),
                                hk_full(gpu, HK_F32, HK_SHAPE(5), i == bad ? NAN : 1)));
            opt[i] =
                hk_optimizer_by_name(gpu, i ? "adam" : "sgd", (hk_parameters){1, &w[i]}, 0.1, -1);
            must(hk_optimizer_clip_norm(opt[i], 1));
        }
        for (int i = 0; i < 2; i++) must(hk_optimizer_step(opt[i]));
        must(hk_context_wait(gpu));
        assert_int_equal(hk_step_end(gpu), HK_ERR_NONFINITE);
        assert_non_null(strstr(hk_error_message(gpu), bad ? "[adam]" : "[sgd]"));
        expect_error(gpu, HK_ERR_NONFINITE, "is not finite");
        assert_close("w", bad, element_get(w[bad], 0), 0, 0); /* it was not moved */
        assert_true(element_get(w[1 - bad], 0) < 0);
        for (int i = 0; i < 2; i++) hk_optimizer_destroy(opt[i]);
        forget();
    }
}

/* Two steps of one optimizer within a step would find one set of numbers. */
static hk_status two_steps(hk_context *ctx, void *arg) {
    HK_TRY(train_step(ctx, arg));
    return hk_optimizer_step(((const model *)arg)->opt);
}

static void two_steps_in_one(void **state) {
    (void)state;
    hk_context *ctx = gpu;
    model m = {.x = hk_tensor_keep(numbers(ctx, HK_F32, HK_SHAPE(4, 10), "x")),
               .w = hk_require_grad(hk_tensor_keep(numbers(ctx, HK_F32, HK_SHAPE(6, 10), "w"))),
               .b = hk_require_grad(hk_tensor_keep(numbers(ctx, HK_F32, HK_SHAPE(6), "b")))};
    m.opt = hk_optimizer_by_name(ctx, "adam", (hk_parameters){1, &m.w}, 0.01, -1);
    const uint64_t before = ctx->replayed;
    for (int t = 0; t < 6; t++) must(hk_step_run(ctx, two_steps, &m));
    assert_int_equal(ctx->replayed, before);
    assert_non_null(strstr(hk_step_why(ctx), "two steps"));
    hk_optimizer_destroy(m.opt);
    forget();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_the_cpu), cmocka_unit_test(replayed_as_run),
        cmocka_unit_test(a_rate_set_later), cmocka_unit_test(the_one_that_failed),
        cmocka_unit_test(two_steps_in_one)};
    return cmocka_run_group_tests(tests, open_both, close_both);
}
