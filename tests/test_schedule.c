/* test_schedule.c: learning rates against PyTorch's and against formulas; names; bad settings.
   SPDX-License-Identifier: MIT */
/* ctest: labels=unit devices=cpu,cuda */
#include "optim_fixture.h"

static const double half_turn = 3.14159265358979323846;

static void expect_rates(const hk_schedule *s, double lr, int n, const double *rates) {
    for (int t = 0; t < n; t++) {
        const double rate = hk_schedule_rate(s, lr, t);
        const bool ok = fabs(rate - rates[t]) <= 1e-14 * lr;
        if (!ok) print_message("t %d: %.17g, expected %.17g\n", t, rate, rates[t]);
        assert_true(ok);
    }
}

/* Numbers of PyTorch 2.15, printed with %.17g by
     p = torch.nn.Parameter(torch.zeros(1)); o = torch.optim.SGD([p], lr=.1); s = SCHEDULER(o)
     for t in range(n): print(o.param_groups[0]['lr']); o.step(); s.step()
   where SCHEDULER is the line above each list. */
static void rates_of_pytorch(void **state) {
    (void)state;
    /* OneCycleLR(o, max_lr=.1, total_steps=7, pct_start=.3, cycle_momentum=False) */
    expect_rates(&(hk_schedule){.kind = HK_ONE_CYCLE, .total = 7, .pct_start = 0.3}, 0.1, 7,
                 (const double[]){0.0040000000000000036, 0.098055662733495877, 0.091904437626971064,
                                  0.067268383648054514, 0.035773877573965704, 0.0099296791893265599,
                                  3.9999999999999998e-07});
    /* total_steps=12, pct_start=.25 */
    expect_rates(&(hk_schedule){.kind = HK_ONE_CYCLE, .total = 12, .pct_start = 0.25}, 0.1, 12,
                 (const double[]){0.0040000000000000036, 0.052000000000000005, 0.10000000000000001,
                                  0.096984643100771276, 0.088302268947060281, 0.0750001,
                                  0.058682574153710997, 0.04131782584628902, 0.025000300000000013,
                                  0.011698131052939729, 0.0030157568992287415,
                                  3.9999999999999998e-07});
    /* total_steps=5, pct_start=0. */
    expect_rates(&(hk_schedule){.kind = HK_ONE_CYCLE, .total = 5, .pct_start = 0}, 0.1, 5,
                 (const double[]){0.090450887915348499, 0.065450987915348494, 0.03454941208465151,
                                  0.0095495120846515076, 3.9999999999999998e-07});
    /* total_steps=5, pct_start=1. */
    expect_rates(&(hk_schedule){.kind = HK_ONE_CYCLE, .total = 5, .pct_start = 1}, 0.1, 5,
                 (const double[]){0.0040000000000000036, 0.018058874503045733, 0.052000000000000005,
                                  0.08594112549695429, 0.10000000000000001});
    /* CosineAnnealingLR(o, 6, eta_min=.01); PyTorch's rises again after T_max, this one stays */
    expect_rates(&(hk_schedule){.kind = HK_COSINE, .total = 6, .min_lr = 0.01}, 0.1, 9,
                 (const double[]){0.10000000000000001, 0.093971143170299753, 0.077500000000000013,
                                  0.055000000000000014, 0.032500000000000015, 0.016028856829700261,
                                  0.01, 0.01, 0.01});
    /* StepLR(o, 3, gamma=.5) */
    expect_rates(&(hk_schedule){.kind = HK_STEP, .step_size = 3, .gamma = 0.5}, 0.1, 8,
                 (const double[]){0.10000000000000001, 0.10000000000000001, 0.10000000000000001,
                                  0.050000000000000003, 0.050000000000000003, 0.050000000000000003,
                                  0.025000000000000001, 0.025000000000000001});
}

static void rates_by_formula(void **state) {
    (void)state;
    const hk_schedule constant = {.kind = HK_CONSTANT};
    const hk_schedule warm = {.kind = HK_CONSTANT, .warmup = 4};
    const hk_schedule cosine = {.kind = HK_COSINE, .total = 100, .warmup = 10, .min_lr = 0.002};
    const hk_schedule step = {.kind = HK_STEP, .warmup = 3, .step_size = 5, .gamma = 0.1};
    for (int t = 0; t < 130; t++) {
        const double lr = 0.3;
        assert_true(hk_schedule_rate(NULL, lr, t) == lr);
        assert_true(hk_schedule_rate(&constant, lr, t) == lr);
        const double warming = t < 4 ? lr * (t + 1) / 4 : lr;
        assert_true(fabs(hk_schedule_rate(&warm, lr, t) - warming) < 1e-15);
        double rate = 0.002 + (lr - 0.002) * (1 + cos(half_turn * (t - 10) / 90)) / 2;
        if (t < 10) rate = lr * (t + 1) / 10;
        if (t >= 100) rate = 0.002;
        assert_true(fabs(hk_schedule_rate(&cosine, lr, t) - rate) < 1e-14);
        rate = t < 3 ? lr * (t + 1) / 3 : lr * pow(0.1, (t - 3) / 5); /* whole division */
        assert_true(fabs(hk_schedule_rate(&step, lr, t) - rate) < 1e-15);
    }
    assert_true(hk_schedule_rate(&warm, 0.3, -7) == hk_schedule_rate(&warm, 0.3, 0));
}

/* Where both phases of one-cycle meet, and beyond its end. */
static void corners_of_one_cycle(void **state) {
    (void)state;
    const hk_schedule one = {.kind = HK_ONE_CYCLE, .total = 1, .pct_start = 0.3};
    const hk_schedule top_first = {.kind = HK_ONE_CYCLE, .total = 4, .pct_start = 0.25};
    const hk_schedule whole = {.kind = HK_ONE_CYCLE, .total = 1, .pct_start = 1};
    const double lowest = 1.0 / 25 / 1e4;
    assert_true(fabs(hk_schedule_rate(&one, 1, 0) - lowest) < 1e-16);
    assert_true(hk_schedule_rate(&top_first, 1, 0) == 1); /* PyTorch divides by zero here */
    assert_true(fabs(hk_schedule_rate(&top_first, 1, 3) - lowest) < 1e-16);
    assert_true(fabs(hk_schedule_rate(&top_first, 1, 1000) - lowest) < 1e-16);
    assert_true(hk_schedule_rate(&whole, 1, 0) == 1);
    assert_true(hk_schedule_rate(&whole, 1, 5) == 1);
}

static void names(void **state) {
    (void)state;
    hk_context *ctx = context_of(1, HK_F32, NULL);
    static const struct {
        const char *name;
        int64_t total;
        hk_schedule_kind kind;
        int64_t warmup, step_size;
    } rows[] = {
        {"constant", 90, HK_CONSTANT, 0, 30},
        {"step", 90, HK_STEP, 0, 30},
        {"step", 91, HK_STEP, 0, 31},
        {"step", 1, HK_STEP, 0, 1},
        {"cosine", 90, HK_COSINE, 0, 30},
        {"one-cycle", 90, HK_ONE_CYCLE, 0, 30},
        {"warmup-constant", 200, HK_CONSTANT, 10, 64},
        {"warmup-step", 200, HK_STEP, 10, 64},
        {"warmup-cosine", 200, HK_COSINE, 10, 64},
        {"warmup-cosine", 19, HK_COSINE, 1, 6},
        {"warmup-cosine", 1, HK_COSINE, 0, 1},
        {"constant", INT64_MAX, HK_CONSTANT, 0, INT64_MAX / 3 + 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hk_schedule s;
        assert_int_equal(hk_schedule_parse(ctx, rows[i].name, rows[i].total, &s), HK_OK);
        assert_int_equal(s.kind, rows[i].kind);
        assert_true(s.total == rows[i].total);
        assert_int_equal(s.warmup, rows[i].warmup);
        assert_true(s.gamma == 0.1 && s.min_lr == 0 && s.pct_start == 0.3);
        if (s.kind == HK_STEP) assert_int_equal(s.step_size, rows[i].step_size);
        assert_int_equal(hk__schedule_check(ctx, &s), HK_OK);
    }
    static const char *const unknown[] = {"cosin", "", "warmup", "warmup-", "warmup-one-cycle",
                                          NULL};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        hk_schedule s = {.total = 77};
        assert_int_equal(hk_schedule_parse(ctx, unknown[i], 10, &s), HK_ERR_NAME);
        assert_int_equal(s.total, 77);
        assert_non_null(strstr(hk_error_message(ctx),
                               "there are: constant, step, cosine, one-cycle, warmup-constant, "
                               "warmup-step, warmup-cosine"));
        hk_error_clear(ctx);
    }
    hk_schedule s;
    assert_int_equal(hk_schedule_parse(ctx, "cosine", 0, &s), HK_ERR_ARGUMENT);
    hk_context_destroy(ctx);
}

static void bad_schedules(void **state) {
    (void)state;
    hk_context *ctx = context_of(1, HK_F32, NULL);
    net t;
    net_make(&t, ctx, HK_F32, true, 1, (const int64_t[]){3});
    hk_optimizer *opt = hk_sgd(ctx, t.params, hk_sgd_defaults());
    static const struct {
        hk_schedule s;
        const char *part;
    } rows[] = {
        {{.kind = (hk_schedule_kind)9}, "no schedule of that kind"},
        {{.kind = HK_COSINE}, "cosine: total is 0; it must be at least 1"},
        {{.kind = HK_ONE_CYCLE, .total = -3}, "one-cycle: total is -3"},
        {{.kind = HK_CONSTANT, .warmup = -1}, "a warm-up of -1 steps does not fit"},
        {{.kind = HK_COSINE, .total = 5, .warmup = 5}, "a warm-up of 5 steps does not fit"},
        {{.kind = HK_ONE_CYCLE, .total = 5, .warmup = 1}, "one-cycle: a warm-up of 1 steps"},
        {{.kind = HK_STEP, .gamma = 0.5}, "step_size is 0"},
        {{.kind = HK_STEP, .step_size = 1, .gamma = NAN}, "gamma is nan"},
        {{.kind = HK_COSINE, .total = 5, .min_lr = -1}, "min_lr is -1"},
        {{.kind = HK_ONE_CYCLE, .total = 5, .pct_start = NAN}, "pct_start is nan"},
        {{.kind = HK_ONE_CYCLE, .total = 5, .pct_start = 1.5}, "pct_start is 1.5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(hk_optimizer_schedule(opt, &rows[i].s), HK_ERR_ARGUMENT);
        if (!strstr(hk_error_message(ctx), rows[i].part))
            print_message("%s\n", hk_error_message(ctx));
        assert_non_null(strstr(hk_error_message(ctx), rows[i].part));
        hk_error_clear(ctx);
    }
    assert_int_equal(hk_optimizer_schedule(opt, NULL), HK_ERR_ARGUMENT);
    hk_error_clear(ctx);
    assert_true(hk_optimizer_lr(opt) == 0.01);
    net_free(&t);
    hk_context_destroy(ctx);
}

/* The rate that an update really uses, read off a weight with gradient 1. */
static void steps_follow_the_schedule(void **state) {
    (void)state;
    hk_context *ctx = context_of(1, HK_F64, NULL);
    net t;
    net_make(&t, ctx, HK_F64, true, 1, (const int64_t[]){1});
    hk_optimizer *opt = hk_sgd(ctx, t.params, (hk_sgd_config){.lr = 0.5});
    hk_schedule s = {.kind = HK_COSINE, .total = 8, .warmup = 2};
    assert_int_equal(hk_optimizer_schedule(opt, &s), HK_OK);
    s.total = 1; /* it was copied */
    const hk_tensor *w = t.p[0];
    element_put(hk_grad(t.p[0]), 0, 1);
    for (int step = 0; step < 10; step++) {
        double rate = step < 2 ? 0.25 * (step + 1) : 0.25 * (1 + cos(half_turn * (step - 2) / 6));
        if (step >= 8) rate = 0;
        assert_true(fabs(hk_optimizer_lr(opt) - rate) < 1e-15);
        const double before = element_get(w, 0);
        assert_int_equal(hk_optimizer_step(opt), HK_OK);
        assert_true(fabs(before - element_get(w, 0) - rate) < 1e-15);
    }
    assert_int_equal(hk_optimizer_set_lr(opt, 0.125), HK_OK); /* ends the schedule */
    assert_true(hk_optimizer_lr(opt) == 0.125);

    const hk_schedule grows = {.kind = HK_STEP, .step_size = 1, .gamma = 1e300};
    assert_int_equal(hk_optimizer_schedule(opt, &grows), HK_OK);
    const double before = element_get(w, 0);
    assert_int_equal(hk_optimizer_step(opt), HK_ERR_NONFINITE);
    assert_true(element_get(w, 0) == before);
    assert_string_equal(hk_error_message(ctx), "[sgd] the schedule gives rate inf at step 10");
    net_free(&t);
    hk_context_destroy(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_of_pytorch),     cmocka_unit_test(rates_by_formula),
        cmocka_unit_test(corners_of_one_cycle), cmocka_unit_test(names),
        cmocka_unit_test(bad_schedules),        cmocka_unit_test(steps_follow_the_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
